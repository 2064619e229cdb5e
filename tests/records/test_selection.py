"""How times are written on a command line."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from agi_bridge.records.selection import parse_time

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
