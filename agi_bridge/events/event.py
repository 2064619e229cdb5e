"""What is told of a call, and when: an event out of a report, and the one shape of JSON that all events have. Pure.

    {"id": "1f…", "type": "call-ended", "time": "2026-07-01T12:00:03.250000+00:00", "bridge_call_id": "3f9c…",
     "call": {"did": "+15551230001", "rule": "sales", "result": "completed", "reason": "answered", …}}

The names under `call` are those of `CallRecord`; what the report does not know is left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from agi_bridge.call import Reason, Result
from agi_bridge.numbers import mask, mask_within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agi_bridge.call import Fact, Report

_NUMBERS = frozenset({"did", "caller_number", "rdnis"})

# What may hold a number among other words.
_TEXTS = frozenset({"channel", "caller_name", "detail"})

_encode = json.JSONEncoder(separators=(",", ":"), default=datetime.isoformat).encode


class EventType(StrEnum):
    """The closed set of what can happen to a call, as far as others are told."""

    CALL_ROUTED = "call-routed"
    CALL_REFUSED = "call-refused"
    CALL_FALLBACK = "call-fallback"
    CALL_TRANSFERRED = "call-transferred"
    TRANSFER_ENDED = "transfer-ended"
    CALL_ENDED = "call-ended"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a call. *id* is the same for all who are told, and each time that they are."""

    id: str
    type: EventType
    time: datetime
    bridge_call_id: str
    facts: Mapping[str, Fact]


def type_of(report: Report) -> EventType | None:
    """Return what a report tells to others; None where it is nothing of this list."""
    facts = report.facts
    if "reason" not in facts:
        return None
    if "transfer_dialstatus" in facts:
        return EventType.TRANSFER_ENDED
    if "dialstatus" in facts:
        return EventType.CALL_TRANSFERRED if facts["reason"] == Reason.TRANSFERRED else EventType.CALL_ENDED
    if facts["result"] == Result.COMPLETED:
        return EventType.CALL_ROUTED
    if facts["reason"] == Reason.BLOCKED_CALLER:
        return EventType.CALL_REFUSED
    return EventType.CALL_ENDED if facts["result"] == Result.CALLER else EventType.CALL_FALLBACK


def to_line(event: Event, *, masked: bool) -> bytes:
    """Return the body of the request that tells *event*, as a line without its line feed; *masked* hides numbers."""
    call = {name: fact for name, fact in event.facts.items() if fact is not None}
    if masked:
        call |= {name: mask(str(call[name])) for name in _NUMBERS & call.keys()}
        call |= {name: mask_within(str(call[name])) for name in _TEXTS & call.keys()}
    return _encode(
        {
            "id": event.id,
            "type": event.type,
            "time": event.time,
            "bridge_call_id": event.bridge_call_id,
            "call": call,
        }
    ).encode("ascii")


@dataclass(frozen=True, slots=True)
class Letter:
    """An event on its way to one target: the *body* that is sent, and what of it decides how."""

    id: str
    type: str
    bridge_call_id: str
    time: datetime
    body: bytes


def from_line(line: bytes) -> Letter:
    """Return the letter that a line is; raise ValueError for one that a power cut has spoilt."""
    try:
        said = json.loads(line)
        names = ("id", "type", "bridge_call_id")
        id, type, bridge_call_id = (said[name] for name in names)
        time = datetime.fromisoformat(said["time"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not an event: {error!r}") from None
    if time.tzinfo is None or not all(isinstance(text, str) and text for text in (id, type, bridge_call_id)):
        raise ValueError("not an event")
    return Letter(id, type, bridge_call_id, time, line)
