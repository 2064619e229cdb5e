"""Asks Millis for the ends of calls that no webhook has told: page by page, at a bounded pace, and only while some are missing.

A shell around the client. What it finds are reports like any other. It has never met a live Millis, and does not rely on
`start_time` being understood: what is too old is left out here too.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from agi_bridge.errors import BridgeError
from agi_bridge.millis.session_report import UNDER_WAY, report_of_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from agi_bridge.call import Report
    from agi_bridge.config import BackfillSettings
    from agi_bridge.millis.models import CallLogs

log = structlog.get_logger(__name__)

# A session may begin before the call that it belongs to was written down, by another clock.
_CLOCKS_DIFFER = timedelta(minutes=10)


class Archive(Protocol):
    """What knows past calls; `millis.client.MillisClient` does."""

    async def call_logs(
        self,
        account: str,
        region: str,
        query: Mapping[str, str | int | float],
        timeout_seconds: float,
        limit_bytes: int,
    ) -> CallLogs: ...


async def ended_sessions(
    archive: Archive, settings: BackfillSettings, account: str, region: str, since: datetime
) -> AsyncIterator[Report]:
    """Yield what Millis says of the calls of *account* that began after *since* and are over; raise a MillisError."""
    earliest = (since - _CLOCKS_DIFFER).timestamp()
    query: dict[str, str | int | float] = {"limit": settings.page_size, "start_time": int(earliest)}
    for page_number in range(settings.page_limit):
        if page_number:
            await asyncio.sleep(settings.pause_seconds)
        page = await archive.call_logs(account, region, query, settings.timeout_seconds, settings.answer_limit_bytes)
        fresh = [each for each in page.sessions if not _is_before(each, earliest)]
        for each in fresh:
            if each.get("call_status") not in UNDER_WAY and (report := _report(each)) is not None:
                yield report
        if not fresh or page.next_cursor in ("", query.get("start_after_ts")):
            return
        query["start_after_ts"] = page.next_cursor
    log.warning("there are more call logs than page_limit under [backfill] lets in", account=account, region=region)


class Backfill:
    """Does so from time to time. *first_missing* tells when the first call came whose end is missing, between two times."""

    def __init__(
        self,
        archive: Archive,
        settings: Callable[[], BackfillSettings],
        places: Callable[[], Iterable[tuple[str, str]]],
        first_missing: Callable[[datetime, datetime], Awaitable[datetime | None]],
        add: Callable[[Report], None],
    ) -> None:
        """*places* are the accounts and regions to ask; *add* takes what is found."""
        self._archive, self._settings, self._places = archive, settings, places
        self._first_missing, self._add = first_missing, add
        self._idle_seconds = 60.0

    async def run(self) -> None:
        """Ask from time to time until cancelled; what fails is told, and tried again next time."""
        while True:
            # Looked at again soon where it is switched off: a reload may switch it on.
            await asyncio.sleep(self._settings().every_seconds or self._idle_seconds)
            if self._settings().every_seconds:
                try:
                    await self.once(datetime.now(UTC))
                except BridgeError as error:
                    log.warning("what Millis knows of past calls cannot be had", why=str(error))
                except Exception:
                    log.exception("the backfill failed unexpectedly")

    async def once(self, now: datetime) -> int:
        """Ask for what is missing now; return how many ends were found. Raises a MillisError or RecordsError."""
        settings = self._settings()
        until = now - timedelta(seconds=settings.wait_seconds)
        since = await self._first_missing(until - timedelta(seconds=settings.look_back_seconds), until)
        if since is None:
            return 0
        found = 0
        for account, region in self._places():
            async for report in ended_sessions(self._archive, settings, account, region, since):
                self._add(report)
                found += 1
        log.info("ends of calls are backfilled", found=found, since=since.isoformat(timespec="seconds"))
        return found


def _is_before(session: Mapping[str, Any], earliest: float) -> bool:
    began = session.get("ts")
    return isinstance(began, int | float) and began < earliest


def _report(session: Mapping[str, Any]) -> Report | None:
    try:
        return report_of_end(session)
    except ValueError:
        return None
