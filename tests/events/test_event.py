"""Which event a report is, and how it is written."""

import json
from datetime import UTC, datetime

import pytest

from agi_bridge.call import Report
from agi_bridge.events.event import Event, EventType, from_line, to_line, type_of

AT = datetime(2026, 7, 1, 12, 0, 3, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("facts", "type"),
    [
        ({"verb": "route", "result": "completed", "reason": "routed"}, EventType.CALL_ROUTED),
        ({"verb": "route", "result": "completed", "reason": "routed-standby"}, EventType.CALL_ROUTED),
        ({"verb": "route", "result": "operator", "reason": "blocked-caller"}, EventType.CALL_REFUSED),
        ({"verb": "route", "result": "operator", "reason": "no-rule"}, EventType.CALL_FALLBACK),
        ({"verb": "route", "result": "millis", "reason": "millis-timeout"}, EventType.CALL_FALLBACK),
        ({"result": "bridge", "reason": "internal-error"}, EventType.CALL_FALLBACK),
        ({"verb": "route", "result": "caller", "reason": "caller-hung-up"}, EventType.CALL_ENDED),
        ({"dialstatus": "ANSWER", "result": "completed", "reason": "answered"}, EventType.CALL_ENDED),
        ({"dialstatus": None, "result": "unknown", "reason": "never-dialled"}, EventType.CALL_ENDED),
        ({"dialstatus": "BUSY", "result": "millis", "reason": "agent-busy"}, EventType.CALL_ENDED),
        ({"dialstatus": "ANSWER", "result": "completed", "reason": "transferred"}, EventType.CALL_TRANSFERRED),
        (
            {"transfer_dialstatus": "NOANSWER", "result": "pbx", "reason": "transfer-unanswered"},
            EventType.TRANSFER_ENDED,
        ),
        ({"millis_cost": 0.2}, None),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_event_of_a_report(facts, type):
    """What a session reports is one event of the closed set; what Millis adds later is none."""
    assert type_of(Report("abc", AT, facts)) == type


def event(**facts):
    return Event("1f", EventType.CALL_ENDED, AT, "abc", facts)


def test_shape_of_an_event():
    """All events look alike, in one line of ASCII; what is not known is left out."""
    line = to_line(
        event(did="+15551230001", caller_name="Zoë\n", hangup_cause=16, region=None, ended_at=AT), masked=False
    )

    assert line.isascii()
    assert b"\n" not in line
    assert json.loads(line) == {
        "id": "1f",
        "type": "call-ended",
        "time": "2026-07-01T12:00:03.250000+00:00",
        "bridge_call_id": "abc",
        "call": {
            "did": "+15551230001",
            "caller_name": "Zoë\n",
            "hangup_cause": 16,
            "ended_at": "2026-07-01T12:00:03.250000+00:00",
        },
    }


def test_numbers_may_be_masked():
    """Then no field shows a number whole, also not among other words; ids and counts stay."""
    facts = {
        "did": "+15551230001",
        "caller_number": "+15559870002",
        "caller_name": "+15559870002",
        "channel": "Local/15559870002@office-00000003;1",
        "uniqueid": "1767323045.7",
        "answered_seconds": 12,
    }
    call = json.loads(to_line(event(**facts), masked=True))["call"]

    assert "5551230" not in str(call)
    assert "9870002" not in str(call)
    assert (call["did"], call["uniqueid"], call["answered_seconds"]) == ("+155******01", "1767323045.7", 12)


def test_line_is_read_again():
    """What is sent later is what was written, byte for byte."""
    line = to_line(event(did="1"), masked=False)
    letter = from_line(line)

    assert (letter.id, letter.type, letter.bridge_call_id, letter.time, letter.body) == (
        "1f",
        "call-ended",
        "abc",
        AT,
        line,
    )


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"\0\0", b"[]", b"7", b"{}", b"[" * 100_000, b'{"id": 1, "type": "a", "bridge_call_id": "c"}'),
        b'{"id": "a", "type": "b", "bridge_call_id": "c", "time": "2026-01-01"}',
        b'{"id": "", "type": "b", "bridge_call_id": "c", "time": "2026-01-01T00:00:00+00:00"}',
    ],
    ids=lambda line: repr(line[:30]),
)
def test_spoilt_line(line):
    """Whatever a power cut makes of a line is a ValueError."""
    with pytest.raises(ValueError, match=r"not an event|Expecting|codec|Extra"):
        from_line(line)
