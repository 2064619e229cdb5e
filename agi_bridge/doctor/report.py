"""How findings look to a person and to a script. Pure: findings in, text or plain values out."""

from __future__ import annotations

import textwrap
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Any

from agi_bridge.doctor.finding import Check, Finding, Severity, worst, worst_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SEVERITY_COLUMN = 9
_CHECK_COLUMN = max(len(check) for check in Check) + 2
_NARROWEST = 40

# Terminals take these; typer takes them away where there is none.
_COLOURS = {Severity.ERROR: "31;1", Severity.WARNING: "33;1", Severity.INFO: "36", Severity.OK: "32"}


def as_text(findings: Sequence[Finding], seconds: float, *, width: int, quiet: bool = False) -> str:
    """Return what a person reads: the worst first, everything that is fine in one line each, and the sum at the end."""
    shown = [finding for finding in worst_first(findings) if not quiet or finding.severity > Severity.INFO]
    groups = groupby(shown, key=lambda finding: finding.severity)
    # A problem has several lines, and stands by itself; notes and what is fine stand together.
    paragraphs = [
        ("\n\n" if severity > Severity.INFO else "\n").join(_block(finding, width) for finding in group)
        for severity, group in groups
    ]
    return "\n\n".join([*paragraphs, _sum(findings, seconds)])


def as_json(findings: Iterable[Finding], seconds: float, version: str) -> dict[str, Any]:
    """Return what a script reads, as plain values."""
    ordered = worst_first(findings)
    return {
        "version": version,
        "worst": worst(ordered).word,
        "seconds": round(seconds, 2),
        "findings": [
            {
                "severity": finding.severity.word,
                "check": str(finding.check),
                "looked_at": finding.looked_at,
                "found": finding.found,
                "why": finding.why,
                "remedy": finding.remedy,
            }
            for finding in ordered
        ],
    }


def _block(finding: Finding, width: int) -> str:
    word = finding.severity.word
    head = f"\x1b[{_COLOURS[finding.severity]}m{word}\x1b[0m" + " " * (_SEVERITY_COLUMN - len(word))
    lines = _lines(f"{finding.check:<{_CHECK_COLUMN}}", finding.found, width)
    if finding.severity > Severity.OK:
        lines += _told("why", finding.why, width)
        lines += _told("what to do", finding.remedy, width)
    if finding.severity > Severity.INFO:
        lines += _told("looked at", finding.looked_at, width)
    return head + f"\n{' ' * _SEVERITY_COLUMN}".join(lines)


def _told(name: str, text: str, width: int) -> list[str]:
    return _lines(f"  {name:<{_CHECK_COLUMN - 2}}", text, width) if text else []


def _lines(head: str, text: str, width: int) -> list[str]:
    room = max(_NARROWEST, width - _SEVERITY_COLUMN - _CHECK_COLUMN)
    wrapped = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    return [head + wrapped[0], *(" " * _CHECK_COLUMN + line for line in wrapped[1:])]


def _sum(findings: Iterable[Finding], seconds: float) -> str:
    counts = Counter(finding.severity for finding in findings)
    parts = list(_counted(counts))
    return f"{', '.join(parts)}; {counts[Severity.OK]} fine. Looked for {seconds:.1f} s."


def _counted(counts: Counter[Severity]) -> Iterator[str]:
    for severity, one, many in (
        (Severity.ERROR, "error", "errors"),
        (Severity.WARNING, "warning", "warnings"),
        (Severity.INFO, "note", "notes"),
    ):
        count = counts[severity]
        if severity > Severity.INFO or count:
            yield f"{count or 'no'} {one if count == 1 else many}"
