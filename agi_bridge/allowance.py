"""Whom we may call, and how often: the prefixes, the limit of a minute and that of a day.

Pure: the count so far comes in with the time, and the next count goes out; `ledger` keeps it. A number is judged as E.164, in
which it is then dialled, so that no way of writing it gets past the prefixes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agi_bridge.errors import DailyLimitReached, NumberNotAllowed, TooManyOriginates
from agi_bridge.numbers import never_dialled

if TYPE_CHECKING:
    from datetime import datetime

    from agi_bridge.numbers import Numbers

_MINUTE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the operator allows. Without a prefix in `allow`, nobody may be called."""

    allow: tuple[str, ...]
    rate_limit_per_minute: int
    daily_limit: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How many calls were started on a `day` (in UTC, such as "2026-01-31"), and when those of the last minute, in seconds
    since 1970."""

    day: str = ""
    started: int = 0
    lately: tuple[float, ...] = ()


def allowed_number(allowance: Allowance, numbers: Numbers, text: str) -> str:
    """Return *text* as E.164, in which it may be dialled; raise NumberNotAllowed."""
    number = numbers.normalise(text.strip())
    if number is None:
        raise NumberNotAllowed('that is no complete phone number; write it like "+15551230001"')
    if why := never_dialled(number):
        raise NumberNotAllowed(f"that {why}")
    if not number.startswith(allowance.allow):
        raise NumberNotAllowed("no prefix of allow under [originate] fits that number")
    return number


def one_more(allowance: Allowance, tally: Tally, now: datetime) -> Tally:
    """Return the tally with one more call, started *now*; raise TooManyOriginates. A call that nobody answers counts too."""
    day, at = now.date().isoformat(), now.timestamp()
    started = tally.started if tally.day == day else 0
    if started >= allowance.daily_limit:
        raise DailyLimitReached(f"{started} calls were started today (UTC), which is daily_limit under [originate]")
    # Both ways, in case the clock was set back meanwhile.
    lately = tuple(each for each in tally.lately if abs(at - each) < _MINUTE_SECONDS)
    if len(lately) >= allowance.rate_limit_per_minute:
        raise TooManyOriginates(
            f"{len(lately)} calls were started within a minute, which is rate_limit_per_minute under [originate]"
        )
    return Tally(day, started + 1, (*lately, at))


def tally_from(text: str) -> Tally:
    """Return the tally that `tally_text` has written; raise ValueError where it is none."""
    try:
        said = json.loads(text)
        day, started, lately = said["day"], said["started"], said["lately"]
    except (TypeError, KeyError, ValueError, RecursionError):
        raise ValueError("it holds no count of calls") from None
    is_count = isinstance(started, int) and started >= 0 and isinstance(day, str) and isinstance(lately, list)
    if not is_count or not all(isinstance(each, int | float) for each in lately):
        raise ValueError("it holds no count of calls")
    return Tally(day, started, tuple(map(float, lately)))


def tally_text(tally: Tally) -> str:
    """Return *tally* as it is kept."""
    return json.dumps({"day": tally.day, "started": tally.started, "lately": tally.lately}) + "\n"
