"""A report survives as a line of text, and what is no report is told apart."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge.records.report_line import LONGEST_TEXT_CHARACTERS, from_line, to_line
from tests.records.reports import ended, routed, told_by_millis, transferred


@pytest.mark.parametrize("report", [routed(), ended(), transferred(), told_by_millis()])
def test_line_and_back(report):
    """What comes out of a line is what went in, times included."""
    line = to_line(report)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert from_line(line) == report


@given(st.text(max_size=200))
def test_any_text_of_a_caller_fits_on_a_line_and_into_a_database(name):
    """No text can break the line, and neither a NUL nor half a character reaches a database."""
    line = to_line(routed(caller_name=name))
    kept = from_line(line).facts["caller_name"]

    assert line.count(b"\n") == 1
    assert isinstance(kept, str)
    assert "\0" not in kept.encode().decode()


def test_half_a_character_is_replaced():
    """A lone surrogate, which no UTF-8 can carry, becomes a question mark."""
    assert from_line(to_line(routed(caller_name="A\ud800\0B"))).facts["caller_name"] == "A?B"


@pytest.mark.parametrize(
    ("given_fact", "kept"),
    [
        (2**40, None),
        (float("inf"), None),
        (["a"], None),
        ("x" * 9_999, "x" * LONGEST_TEXT_CHARACTERS),
        (True, True),
        (16, 16),
    ],
)
def test_what_no_column_holds_is_left_out(given_fact, kept):
    """A number beyond a column, or no single value at all, is dropped; a text is cut."""
    assert from_line(to_line(ended(hangup_cause=given_fact))).facts["hangup_cause"] == kept


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\0\0\0\0",
        b'["c1","2026-07-01T12:00:00+00:00",{"result":"comp',
        b"[]",
        b"{}",
        b"17",
        b'["","2026-07-01T12:00:00+00:00",{}]',
        b'["c1","2026-07-01T12:00:00",{}]',
        b'["c1","noon",{}]',
        b'["c1",17,{}]',
        b'["c1","2026-07-01T12:00:00+00:00",[]]',
        b'["c1","2026-07-01T12:00:00+00:00",{"ended_at":"later"}]',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_report_raises_value_error(line):
    """A line that a power cut has spoilt, or that somebody else wrote, is told apart by one error."""
    with pytest.raises(ValueError, match="not a report"):
        from_line(line)


def test_time_of_another_zone_is_read():
    """Times are kept in UTC, in whichever zone they come."""
    report = routed()
    line = json.dumps([report.bridge_call_id, "2026-07-01T14:00:00+02:00", {}]).encode()

    assert from_line(line).at - report.at == timedelta(0)
