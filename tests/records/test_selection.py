"""How times are written on a command line, and which calls the API is asked for."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from agi_bridge.numbers import Numbers
from agi_bridge.records.selection import Page, Selection, asked_page, cursor_after, parse_time

BERLIN = timezone(timedelta(hours=2))
NOW = datetime(2026, 7, 1, 12, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90m", NOW - timedelta(minutes=90)),
        ("24h", NOW - timedelta(hours=24)),
        ("7d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(days=14)),
        ("2026-06-30", datetime(2026, 6, 30, tzinfo=BERLIN)),
        ("2026-06-30T09:30", datetime(2026, 6, 30, 9, 30, tzinfo=BERLIN)),
        ("2026-06-30T09:30:00+00:00", datetime(2026, 6, 30, 9, 30, tzinfo=UTC)),
    ],
)
def test_time_is_ago_or_a_date(text, time):
    """A time is so long ago, or a date in the zone of whoever asks, unless it names another."""
    assert parse_time(text, NOW) == time


@pytest.mark.parametrize("text", ["", "yesterday", "7", "-1h", "2026-13-01", "99999999999d", "999999w"])
def test_what_is_no_time_is_told(text):
    """Anything else is refused with examples."""
    with pytest.raises(ValueError, match="must be such as 90m"):
        parse_time(text, NOW)


def test_page_is_asked_for_by_filters():
    """Those of the command, and numbers are read likewise; without any, it is the latest calls."""
    query = {"since": "24h", "until": "2026-07-01", "did": "(555) 123-0001", "caller": "alice", "rule": "sales"}
    page = asked_page(query | {"result": "millis", "reason": "busy", "limit": "7"}, Numbers("US"), NOW)

    assert page == Page(
        Selection(
            NOW - timedelta(hours=24),
            datetime(2026, 7, 1, tzinfo=BERLIN),
            "+15551230001",
            "alice",
            "sales",
            "millis",
            "busy",
        ),
        7,
    )
    assert asked_page({}, Numbers("US"), NOW) == Page(Selection(), 50)


def test_next_page_begins_behind_the_last_call():
    """What one page names as its end, the next one reads."""
    received_at = datetime(2026, 7, 1, 10, 0, 0, 123456, tzinfo=UTC)
    cursor = cursor_after(received_at.astimezone(BERLIN), "a.b-c")

    assert asked_page({"after": cursor}, Numbers("US"), NOW).after == (received_at, "a.b-c")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"colour": "red"}, "there is no 'colour'; there are: after, caller, did, limit"),
        ({"limit": "0"}, "limit must be a number from 1 to 500"),
        ({"limit": "501"}, "limit must be a number from 1 to 500"),
        ({"limit": "many"}, "limit must be a number from 1 to 500"),
        ({"since": "soon"}, "since must be such as"),
        ({"result": "fine"}, "there is no result 'fine'"),
        ({"reason": "fine"}, "there is no reason 'fine'"),
        ({"after": "x"}, "after must be what next of the page before said"),
        ({"rule": "a\0b"}, "rule holds what nobody types"),
    ],
)
def test_filter_that_is_none_is_one_clear_error(query, why):
    """A slip must not show other calls than those that were meant."""
    with pytest.raises(ValueError, match=why):
        asked_page(query, Numbers("US"), NOW)
