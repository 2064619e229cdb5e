"""Ends of calls that no webhook told, asked for page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from agi_bridge.call import Report
from agi_bridge.config import BackfillSettings, MillisSettings
from agi_bridge.errors import MillisNonsense
from agi_bridge.millis.backfill import Backfill, ended_sessions
from agi_bridge.millis.client import MillisClient
from agi_bridge.millis.models import CallLogs
from agi_bridge.simulator.millis import Fault, SimulatedMillis

NOW = datetime.now(UTC)
QUICK = BackfillSettings(pause_seconds=0, page_size=2, wait_seconds=0)


@asynccontextmanager
async def past_calls(count: int) -> AsyncIterator[tuple[SimulatedMillis, MillisClient]]:
    """Play a Millis that has had so many calls, the last of which goes on."""
    async with SimulatedMillis() as millis:
        for number in range(count):
            millis.sessions.register(f"call-{number}", {"metadata": {"bridge_call_id": f"c{number}"}})
            await millis.sessions.begin(f"call-{number}")
            if number < count - 1:
                await millis.sessions.end(f"call-{number}")
        settings = MillisSettings(base_url=millis.url, allowed_hosts=["127.0.0.1"])  # type: ignore[arg-type] # validated
        async with MillisClient(settings, {"default": "k"}) as client:
            yield millis, client


async def found(client: MillisClient, settings: BackfillSettings, since: datetime) -> list[str]:
    """Return our ids of the calls whose ends are found, in order."""
    return sorted(
        [report.bridge_call_id async for report in ended_sessions(client, settings, "default", "us-west", since)]
    )


async def test_every_page_is_read_and_calls_under_way_are_left_out():
    """Five calls on three pages: the four that are over are found, and each page is asked for once."""
    async with past_calls(5) as (millis, client):
        assert await found(client, QUICK, NOW - timedelta(hours=1)) == ["c0", "c1", "c2", "c3"]

    asked = [request.query for request in millis.requests if request.path == "/call-logs"]
    assert len(asked) == 3
    assert {query["limit"] for query in asked} == {"2"}
    assert ["start_after_ts" in query for query in asked] == [False, True, True]


async def test_pages_have_a_limit():
    """A limit that is reached is told, and what was found counts."""
    with capture_logs() as lines:
        async with past_calls(5) as (_, client):
            settings = QUICK.model_copy(update={"page_limit": 1})
            assert len(await found(client, settings, NOW - timedelta(hours=1))) < 4

    assert [line["event"] for line in lines] == ["there are more call logs than page_limit under [backfill] lets in"]


class OldArchive:
    """A Millis that does not understand start_time, and whose cursor never ends."""

    def __init__(self) -> None:
        self.pages = 0

    async def call_logs(
        self, account: str, region: str, query: Mapping[str, Any], timeout_seconds: float, limit_bytes: int
    ) -> CallLogs:
        self.pages += 1
        began = (NOW - timedelta(hours=self.pages)).timestamp()
        return CallLogs(({"session_id": f"s{self.pages}", "ts": began, "call_status": "user-ended"},), str(began))


async def test_what_is_too_old_ends_the_search():
    """Millis may send everything that it has; what began before is left out, and nothing behind it is asked for."""
    archive = OldArchive()
    reports = [
        report
        async for report in ended_sessions(archive, QUICK, "default", "us-west", NOW - timedelta(hours=2, minutes=30))
    ]

    assert [report.facts["millis_session_id"] for report in reports] == ["s1", "s2"]
    assert archive.pages == 3


async def test_answer_beyond_the_limit():
    """A page that would fill the memory is one clear error."""
    async with past_calls(1) as (millis, client):
        millis.fault = Fault(body="huge")
        settings = QUICK.model_copy(update={"answer_limit_bytes": 65_536})
        with pytest.raises(MillisNonsense, match="more than 65536 bytes"):
            await found(client, settings, NOW)


def missing(since: datetime | None) -> Callable[[datetime, datetime], Awaitable[datetime | None]]:
    """Return what says that ends have been missing since then."""

    async def first_missing(earliest: datetime, latest: datetime) -> datetime | None:
        return since

    return first_missing


async def test_backfill_asks_only_while_something_is_missing():
    """Where every call has its end, Millis is not asked at all; else every account and region is."""
    reports: list[Report] = []
    places = [("default", "us-west")]
    async with past_calls(3) as (millis, client):
        assert await Backfill(client, lambda: QUICK, lambda: places, missing(None), reports.append).once(NOW) == 0
        assert [request.path for request in millis.requests] == []
        since = NOW - timedelta(minutes=1)
        assert await Backfill(client, lambda: QUICK, lambda: places, missing(since), reports.append).once(NOW) == 2

    assert sorted(report.bridge_call_id for report in reports) == ["c0", "c1"]
