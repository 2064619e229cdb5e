"""Which calls are asked for, as the commands are told it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

_AGO = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions that all hold; None is no condition. `until` is the first moment that is too late."""

    since: datetime | None = None
    until: datetime | None = None
    did: str | None = None
    caller_number: str | None = None
    rule: str | None = None
    result: str | None = None
    reason: str | None = None


def parse_time(text: str, now: datetime) -> datetime:
    """Read "2h" (ago), "2026-07-01" or "2026-07-01T09:30" in the time zone of *now*; raise ValueError."""
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError("must be such as 90m, 24h or 7d ago, 2026-07-01 or 2026-07-01T09:30") from None
    return time if time.tzinfo else time.replace(tzinfo=now.tzinfo)
