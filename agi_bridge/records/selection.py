"""Which calls are asked for, as the commands and the API are told it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agi_bridge.call import Reason, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agi_bridge.numbers import Numbers

_AGO = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_PAGE = 50
LONGEST_PAGE = 500
_ASKED = frozenset({"since", "until", "did", "caller", "rule", "result", "reason", "limit", "after"})
_CURSOR_TIME = "%Y%m%dT%H%M%S%fZ"
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


@dataclass(frozen=True, slots=True)
class Page:
    """So many of the calls of a selection, the latest first, from behind the one that `after` names."""

    selection: Selection
    limit: int
    after: tuple[datetime, str] | None = None


def asked_page(query: Mapping[str, str], numbers: Numbers, now: datetime) -> Page:
    """Read what the query of an HTTP request asks for; raise ValueError with what is wrong."""
    if unknown := sorted(query.keys() - _ASKED):
        raise ValueError(f"there is no {unknown[0][:40]!r}; there are: {', '.join(sorted(_ASKED))}")
    if unfit := next((name for name, text in query.items() if not text.isprintable()), ""):
        raise ValueError(f"{unfit} holds what nobody types")
    limit = query.get("limit", str(_PAGE))
    if not re.fullmatch("[0-9]{1,4}", limit) or not 1 <= int(limit) <= LONGEST_PAGE:
        raise ValueError(f"limit must be a number from 1 to {LONGEST_PAGE}")
    _known_outcome(query)
    did, caller = (query.get(name) and (numbers.normalise(query[name]) or query[name]) for name in ("did", "caller"))
    selection = Selection(
        since=_asked_time(query, "since", now),
        until=_asked_time(query, "until", now),
        did=did,
        caller_number=caller,
        rule=query.get("rule"),
        result=query.get("result"),
        reason=query.get("reason"),
    )
    return Page(selection, int(limit), _cursor(query["after"]) if "after" in query else None)


def cursor_after(received_at: datetime, bridge_call_id: str) -> str:
    """Return what `after` says to go on behind that call."""
    return f"{received_at.astimezone(UTC):{_CURSOR_TIME}}.{bridge_call_id}"


def _asked_time(query: Mapping[str, str], name: str, now: datetime) -> datetime | None:
    try:
        return parse_time(query[name], now) if name in query else None
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _known_outcome(query: Mapping[str, str]) -> None:
    for name, known in (("result", Result), ("reason", Reason)):
        if name in query and query[name] not in {each.value for each in known}:
            raise ValueError(f"there is no {name} {query[name][:40]!r}")


def _cursor(text: str) -> tuple[datetime, str]:
    time, _, bridge_call_id = text.partition(".")
    try:
        return datetime.strptime(time, _CURSOR_TIME).replace(tzinfo=UTC), bridge_call_id
    except ValueError:
        raise ValueError("after must be what next of the page before said") from None


def parse_time(text: str, now: datetime) -> datetime:
    """Read "2h" (ago), "2026-07-01" or "2026-07-01T09:30" in the time zone of *now*; raise ValueError."""
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError("must be such as 90m, 24h or 7d ago, 2026-07-01 or 2026-07-01T09:30") from None
    return time if time.tzinfo else time.replace(tzinfo=now.tzinfo)
