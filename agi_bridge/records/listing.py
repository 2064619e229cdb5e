"""Records as lines for a terminal: what a person asks first of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agi_bridge.call import CallRecord

_COLUMNS = "{:<19}  {:<16}  {:<16}  {:<16}  {:<22}  {:>8}  {}"

HEADING = _COLUMNS.format("received", "caller", "did", "rule", "reason", "answered", "bridge_call_id")

# A caller or a trunk may send anything; what is longer than its column moves the rest of the line, and no more.
_LONGEST_CELL = 40


def listed(record: CallRecord) -> str:
    """Return the line of *record*, in local time."""
    talked = "" if record.answered_seconds is None else f"{record.answered_seconds} s"
    cells = (
        record.received_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        record.caller_number or ("withheld" if record.caller_withheld else "-"),
        record.did or "-",
        record.rule or "-",
        record.reason or "-",
        talked,
        record.bridge_call_id,
    )
    return _COLUMNS.format(*map(cell, cells)).rstrip()


def cell(text: str) -> str:
    """Return *text* as it may stand in a line: not too long, and with nothing that a terminal would obey."""
    return "".join(sign if sign.isprintable() else "?" for sign in text[:_LONGEST_CELL])
