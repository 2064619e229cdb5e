"""A report as one line of text, as it stands in the spool, and back.

Pure. What comes out of a line is fit for every database: no NUL, no half of a character, no number beyond what a column holds,
no text without a bound. A line that a power cut has spoilt raises ValueError and nothing else.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agi_bridge.call import Report

if TYPE_CHECKING:
    from agi_bridge.call import Fact

LONGEST_TEXT_CHARACTERS = 4_096
LONGEST_TRANSCRIPT_CHARACTERS = 500_000

_TIMES = frozenset({"ended_at", "transfer_ended_at"})

# What PostgreSQL takes for an integer; Asterisk's seconds and causes are far from it, hostile text is not.
_GREATEST_WHOLE = 2**31 - 1

_encode = json.JSONEncoder(separators=(",", ":"), default=datetime.isoformat).encode


def to_line(report: Report) -> bytes:
    """Return *report* as a line, line feed included; it holds no other."""
    return _encode([report.bridge_call_id, report.at, report.facts]).encode("ascii") + b"\n"


def from_line(line: bytes) -> Report:
    """Return the report in *line*; raise ValueError if there is none."""
    try:
        bridge_call_id, at, facts = json.loads(line)
        if not (isinstance(bridge_call_id, str) and isinstance(facts, dict)):
            raise ValueError("not a report")
        if not (bridge_call_id or facts.get("millis_session_id") or facts.get("millis_call_id")):
            raise ValueError("it is about no call")
        return Report(_fit(bridge_call_id, ""), _time(at), {name: _fact(name, fact) for name, fact in facts.items()})
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a report: {error}") from None


def _fact(name: str, fact: Any) -> Fact:
    if isinstance(fact, str):
        return _time(fact) if name in _TIMES else _fit(fact, name)
    if fact is None or isinstance(fact, bool):
        return fact
    if isinstance(fact, int):
        return fact if abs(fact) <= _GREATEST_WHOLE else None
    return fact if isinstance(fact, float) and math.isfinite(fact) else None


def _fit(text: str, name: str) -> str:
    if len(text) <= LONGEST_TEXT_CHARACTERS and text.isascii() and "\0" not in text:
        return text  # as nearly all are
    text = text[: LONGEST_TRANSCRIPT_CHARACTERS if name == "transcript" else LONGEST_TEXT_CHARACTERS]
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} names no time zone")
    return time.astimezone(UTC)
