"""Calls as lines for a terminal: what a person asks first of a record, and of a call that is up."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agi_bridge.call import CallRecord

_COLUMNS = "{:<19}  {:<16}  {:<16}  {:<16}  {:<22}  {:>8}  {}"

HEADING = _COLUMNS.format("received", "caller", "did", "rule", "reason", "answered", "bridge_call_id")

# The id, since when, the caller, the DID, the rule, the PBX, and which channels are up there.
_LIVE_COLUMNS = "{}  {:<8}  {:<16}  {:<16}  {:<16}  {:<8}  {}"

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
    return _COLUMNS.format(*map(_cell, cells)).rstrip()


def listed_live(call: Mapping[str, Any]) -> str:
    """Return the line of a call as the API shows it, in local time. Its id comes first, by which it can be ended."""
    came = call["received_at"]
    cells = (
        datetime.fromisoformat(came).astimezone().strftime("%H:%M:%S") if came else "-",
        *(call[name] or "-" for name in ("caller_number", "did", "rule", "pbx")),
    )
    channels = ", ".join(_cell(f"{channel['name']} {channel['state']}") for channel in call["channels"])
    return _LIVE_COLUMNS.format(call["bridge_call_id"], *map(_cell, cells), channels).rstrip()


def _cell(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text[:_LONGEST_CELL])
