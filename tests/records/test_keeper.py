"""Whatever the database and the disk do, calls hand over their reports at once, and each becomes a record exactly once."""

import asyncio
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab import PostgresServer, find_postgres
from structlog.testing import capture_logs

from agi_bridge.call import CallRecord, Report
from agi_bridge.config import RecordSettings
from agi_bridge.errors import RecordsError
from agi_bridge.records.keeper import Records
from agi_bridge.records.selection import Selection
from agi_bridge.records.store import Store, database_url
from agi_bridge.spool import Spool
from tests.records.reports import ended, routed, told_by_millis

PATIENCE_SECONDS = 20.0


def opening(url: str, folder: Path) -> Callable[[], Store]:
    return partial(Store.open_for_writing, database_url(url, "", folder), 5)


def keeper(
    folder: Path,
    url: str = "",
    open_store: Callable[[], Store] | None = None,
    *,
    forgets: bool = True,
    forgetting_seconds: float = 3600,
    **settings: Any,
) -> Records:
    """Return what is to be tested, with short pauses; once begun, it does not soon look for what has become too old."""
    quick = {"gather_seconds": 0.01, "batch_seconds": 0.01, "retry_seconds": 0.05}
    return Records(
        RecordSettings(**quick | settings),
        folder,
        open_store or opening(url, folder),
        forgets=forgets,
        settling_seconds=0,
        forgetting_seconds=forgetting_seconds,
    )


def records_in(url: str, folder: Path) -> list[CallRecord]:
    with closing(Store.open_for_reading(database_url(url, "", folder), 5)) as store:
        return list(store.all(Selection()))


def spools(folder: Path) -> list[Path]:
    return list(folder.glob("*.spool"))


async def until(happened: Callable[[], bool]) -> None:
    """Look again and again, because threads tell nobody."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not happened():  # noqa: ASYNC110 - nothing could set an event
            await asyncio.sleep(0.005)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that a test may stop."""
    with find_postgres().start() as server:
        yield server


async def test_reports_become_records_before_the_end(store_url: str, tmp_path: Path):
    """Whoever leaves waits until all that was handed over is in the database; no spool is left."""
    async with keeper(tmp_path, store_url) as records:
        for number in range(450):
            records.add(routed(f"c{number}"))
            records.add(ended(f"c{number}"))

    assert len({record.bridge_call_id for record in records_in(store_url, tmp_path)}) == 450
    assert records.counts == {"taken": 900, "written": 900, "lost": 0, "set_aside": 0}
    assert spools(tmp_path) == []


async def test_records_are_seen_while_calls_come(store_url: str, tmp_path: Path):
    """A record is in the database soon, and not only at the end."""
    async with keeper(tmp_path, store_url) as records:
        for number in range(3):
            records.add(routed(f"c{number}"))
            await until(lambda: records.counts["written"] == number + 1)  # noqa: B023 - awaited here
            assert len(records_in(store_url, tmp_path)) == number + 1
        await until(lambda: records.waiting_bytes == 0)


async def test_a_database_that_is_stopped_under_calls_gets_each_record_once(
    own_postgres: PostgresServer, tmp_path: Path
):
    """Calls go on while PostgreSQL is stopped; what they report is in the spool meanwhile, and in the database afterwards."""
    url = own_postgres.url("postgres")
    with capture_logs() as lines:
        async with keeper(tmp_path, url) as records:
            records.add(routed("before"))
            await until(lambda: records.counts["written"] == 1)
            own_postgres.stop()
            for number in range(100):
                records.add(routed(f"c{number}"))
                records.add(ended(f"c{number}"))
            await until(lambda: not records.database_is_well and records.queued == 0)
            assert records.waiting_bytes > 0
            own_postgres.start()
            await until(lambda: records.database_is_well and records.waiting_bytes == 0)
            assert len(records_in(url, tmp_path)) == 101

    told = [line["event"] for line in lines]
    assert told.count("the database of records is back, and has all that waited") == 1
    assert "the database of records is away; reports of calls wait in the spool" in told
    assert records.counts["lost"] == 0


async def test_what_the_database_could_not_take_before_the_end_is_written_at_the_next_start(
    store_url: str, tmp_path: Path
):
    """A bridge that ends while the database is away leaves its spool, which the next one writes; twice would be once."""

    def away() -> Store:
        raise RecordsError("the database is being moved")

    with capture_logs() as lines:
        async with keeper(tmp_path, open_store=away) as records:
            records.add(routed())
            records.add(ended())
    (spool,) = spools(tmp_path)
    (tmp_path / "again.spool").write_bytes(spool.read_bytes())
    async with keeper(tmp_path, store_url):
        pass

    assert [line["event"] for line in lines][-1] == "records wait in the spool"
    assert [record.reason for record in records_in(store_url, tmp_path)] == ["answered"]
    assert spools(tmp_path) == []


async def test_a_database_that_does_not_answer_keeps_nobody_waiting(tmp_path: Path):
    """Reports are taken and saved on disk while the database hangs, and the end does not wait for it for long."""
    answers, asked = threading.Event(), threading.Event()

    def hangs() -> Store:
        asked.set()
        answers.wait()
        raise RecordsError("too late")

    async with keeper(tmp_path, open_store=hangs) as records:
        await until(asked.is_set)
        records.add(routed())
        await until(lambda: records.queued == 0)
    answers.set()

    (spool,) = spools(tmp_path)
    assert b'"c1"' in spool.read_bytes()
    for thread in records._threads:
        thread.join()


async def test_without_a_spool_reports_go_from_memory_into_the_database(store_url: str, tmp_path: Path):
    """A folder that cannot be written is told once, and costs no record as long as the database is well."""
    (tmp_path / "file").touch()
    with capture_logs() as lines:
        async with keeper(tmp_path / "file" / "spool", open_store=opening(store_url, tmp_path)) as records:
            for number in range(300):
                records.add(routed(f"c{number}"))
            await until(lambda: records.counts["written"] == 300)

    told = [line["why"] for line in lines if line["event"].startswith("the spool of records cannot be written")]
    assert told == [f"{tmp_path}/file/spool: Not a directory"]
    assert len(records_in(store_url, tmp_path)) == 300


async def test_where_nothing_can_be_written_one_line_says_so(tmp_path: Path):
    """On a read-only file system the bridge says so once, takes reports while there is room, and counts what it loses."""
    (tmp_path / "file").touch()
    with capture_logs() as lines:
        async with keeper(tmp_path / "file" / "records", queue_limit=10) as records:
            await until(lambda: bool(lines))
            for number in range(15):
                records.add(routed(f"c{number}"))

    told = [(line["log_level"], line["event"]) for line in lines]
    assert told == [
        ("error", "records cannot be kept; reports of calls wait in memory"),
        ("error", "the report of a call is lost: queue_limit is reached"),
        ("error", "reports of calls are lost with the end of the process"),
    ]
    assert lines[0]["spool"] == f"{tmp_path}/file/records: Not a directory"
    assert (records.counts["taken"], records.counts["lost"]) == (10, 15)


async def test_a_full_spool_keeps_what_it_has(tmp_path: Path):
    """When the spool has reached its limit, new reports wait in memory, then are lost and counted; old ones stay."""

    def away() -> Store:
        raise RecordsError("away")

    with capture_logs() as lines:
        async with keeper(
            tmp_path, open_store=away, spool_limit_bytes=65_536, queue_limit=50, batch_limit=10
        ) as records:
            for number in range(400):
                records.add(routed(f"c{number}"))
                await until(lambda: records.queued == 0 or not records.spool_is_well)
            assert records.queued == 50

    assert any("has reached its limit of 65536 bytes" in str(line.get("why")) for line in lines)
    async with keeper(tmp_path) as after:
        pass
    saved = len(records_in("", tmp_path))
    assert 100 < saved == after.counts["written"]
    # What waited in memory is lost with the process, beside what found no room.
    assert saved + records.counts["lost"] == 400


async def test_what_is_no_report_is_set_aside(tmp_path: Path):
    """A line that was spoilt keeps nobody from becoming a record, and is kept for a person to look at."""
    spool = Spool.create(tmp_path, "old", 65_536)
    spool.append(b'\0\0\0\n["c1","2026-07-01T12:00:00+00:00",{"result":"completed"}]\n')
    os.close(spool._descriptor)
    with capture_logs() as lines:
        async with keeper(tmp_path) as records:
            pass

    assert records.counts["set_aside"] == 1
    assert (tmp_path / "set-aside.jsonl").read_bytes() == b"\0\0\0\n"
    assert "the report of a call cannot become a record, and is set aside" in [line["event"] for line in lines]
    assert [record.bridge_call_id for record in records_in("", tmp_path)] == ["c1"]


async def test_a_report_that_the_database_does_not_take_is_set_aside_alone(postgres_url: str, tmp_path: Path):
    """Of a batch with one bad report, all others become records."""
    async with keeper(tmp_path, postgres_url) as records:
        for number in range(50):
            records.add(routed(f"c{number}", setup_seconds="soon" if number == 17 else 0.1))

    assert len(records_in(postgres_url, tmp_path)) == 49
    assert (records.counts["written"], records.counts["set_aside"]) == (49, 1)
    assert b'"c17"' in (tmp_path / "set-aside.jsonl").read_bytes()


async def test_what_is_too_old_is_forgotten(store_url: str, tmp_path: Path):
    """Days to keep, days until numbers are masked and days until transcripts go are counted from when the call came."""
    today = datetime.now(UTC)
    aged = {f"c{days}": days for days in (0, 10, 20, 40)}
    with closing(opening(store_url, tmp_path)()) as store:
        for call, days in aged.items():
            at = today - timedelta(days=days, hours=1)
            store.write([Report(call, at, routed().facts), Report(call, at, told_by_millis().facts)])
    limits: dict[str, Any] = {"keep_days": 30, "mask_numbers_after_days": 15, "drop_transcripts_after_days": 5}
    async with keeper(tmp_path, store_url, **limits):
        await until(lambda: len(found := records_in(store_url, tmp_path)) == 3 and found[1].transcript is None)

    oldest, middle, newest = records_in(store_url, tmp_path)
    assert [each.bridge_call_id for each in (oldest, middle, newest)] == ["c20", "c10", "c0"]
    assert (oldest.caller_number, oldest.transcript) == ("+155******21", None)
    assert (middle.caller_number, middle.transcript) == ("+15557654321", None)
    assert (newest.caller_number, newest.transcript) == ("+15557654321", "Hello.")


def came_before(call: str, **ago: float) -> Report:
    """Return the report of a call that came so long ago, may last an hour with its agent, and has not ended."""
    return Report(call, datetime.now(UTC) - timedelta(**ago), routed(call, longest_seconds=3600).facts)


def reasons(url: str, folder: Path) -> dict[str, str | None]:
    return {record.bridge_call_id: record.reason for record in records_in(url, folder)}


async def test_calls_whose_end_was_never_reported_are_closed(store_url: str, tmp_path: Path):
    """Each call that must be over is marked so and told, once its longest time and the grace are over; others may last."""
    with closing(opening(store_url, tmp_path)()) as store:
        store.write([came_before("over", minutes=71), came_before("may last", minutes=69), ended("ended")])
    with capture_logs() as lines:
        async with keeper(tmp_path, store_url, close_calls_after_seconds=600):
            await until(lambda: reasons(store_url, tmp_path)["over"] != "routed")

    assert reasons(store_url, tmp_path) == {"over": "end-not-reported", "may last": "routed", "ended": "answered"}
    told = [line["calls"] for line in lines if line["event"] == "calls are closed whose end was never reported"]
    assert told == [1]


async def test_calls_are_closed_and_forgotten_while_nothing_happens(store_url: str, tmp_path: Path):
    """From time to time the bridge looks for what has become too old, also where no report comes."""
    async with keeper(tmp_path, store_url, forgetting_seconds=0.05, keep_days=30) as records:
        records.add(came_before("now", minutes=1))
        await until(lambda: records.counts["written"] == 1)
        with closing(opening(store_url, tmp_path)()) as store:
            store.write([came_before("over", days=1), came_before("too old", days=31)])
        await until(lambda: reasons(store_url, tmp_path) == {"now": "routed", "over": "end-not-reported"})


async def test_what_is_too_old_is_not_looked_for_with_each_report(store_url: str, tmp_path: Path):
    """In between, a busy bridge writes, and does nothing else to its database."""
    async with keeper(tmp_path, store_url) as records:
        await until(lambda: records._forgets_at > 0)
        for number in range(3):
            records.add(came_before(f"c{number}", days=1))
            await until(lambda: records.counts["written"] == number + 1)  # noqa: B023 - awaited here
        assert set(reasons(store_url, tmp_path).values()) == {"routed"}


async def test_one_process_of_several_forgets(store_url: str, tmp_path: Path):
    """The others leave alone what has become too old."""
    with closing(opening(store_url, tmp_path)()) as store:
        store.write([came_before("over", days=1), came_before("too old", days=31)])
    async with keeper(tmp_path, store_url, forgets=False, forgetting_seconds=0.01, keep_days=30) as other:
        for number in range(3):
            other.add(ended(f"c{number}"))
            await until(lambda: other.counts["written"] == number + 1)  # noqa: B023 - awaited here
        assert {"over": "routed", "too old": "routed"}.items() <= reasons(store_url, tmp_path).items()
    async with keeper(tmp_path, store_url, forgets=True, keep_days=30):
        await until(lambda: "too old" not in reasons(store_url, tmp_path))


async def test_what_is_never_to_be_kept_never_reaches_the_database(store_url: str, tmp_path: Path):
    """With 0 days, numbers are masked and transcripts left out before anything is written."""
    async with keeper(tmp_path, store_url, mask_numbers_after_days=0, drop_transcripts_after_days=0) as records:
        records.add(routed())
        records.add(told_by_millis())

    (record,) = records_in(store_url, tmp_path)
    assert (record.caller_number, record.transcript, record.millis_cost) == ("+155******21", None, 0.12)


async def test_a_process_that_is_stopped_at_once_leaves_its_reports_to_the_next(tmp_path: Path):
    """A restart does not wait for the database to be opened first; what came is on disk, and so in the next one's hands."""

    def open_store() -> Store:
        raise AssertionError("nobody waits for this")

    async with Records(RecordSettings(), tmp_path, open_store, settling_seconds=PATIENCE_SECONDS) as records:
        records.add(routed())
    assert records.waiting_bytes > 0
    async with keeper(tmp_path):
        pass

    assert [record.bridge_call_id for record in records_in("", tmp_path)] == ["c1"]


async def test_several_bridges_share_a_folder(tmp_path: Path):
    """Workers, and a bridge that still drains while the next one begins, have a spool each."""
    async with keeper(tmp_path) as first, keeper(tmp_path) as second:
        for number in range(100):
            (first if number % 2 else second).add(routed(f"c{number}"))
            (second if number % 3 else first).add(ended(f"c{number}"))
        await until(lambda: first.counts["written"] + second.counts["written"] == 200)

    assert {record.reason for record in records_in("", tmp_path)} == {"answered"}
    assert len(records_in("", tmp_path)) == 100


# A process that is killed. It says which reports it has handed over, and which of them it knows to be on disk.
KILLED = """
import asyncio, sys
import structlog
from datetime import UTC, datetime
from pathlib import Path

from agi_bridge.call import Report
from agi_bridge.config import RecordSettings
from agi_bridge.errors import RecordsError
from agi_bridge.records.keeper import Records
from agi_bridge.records.store import Store, database_url

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
folder = Path(sys.argv[1])

def open_store():
    if sys.argv[2] == "away":
        raise RecordsError("away")
    return Store.open_for_writing(database_url(None, "", folder), 5)

async def main():
    async with Records(RecordSettings(), folder, open_store, settling_seconds=0) as records:
        for number in range(1_000_000):
            records.add(Report(f"c{number}", datetime.now(UTC), {"uniqueid": "1.1", "result": "completed"}))
            if not number % 20:
                await asyncio.sleep(0.001)
            if not records.queued:
                print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("database", ["away", "well"])
async def test_kill_9_loses_no_more_than_what_was_not_on_disk_yet(tmp_path: Path, database: str):
    """Of a bridge that is killed under load, every report that had been saved becomes a record, and none twice."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        KILLED,
        str(tmp_path),
        database,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    saved = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while saved < 2_000:
            saved = int(await process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = (await process.stdout.read()).split()
        await process.wait()
    saved = max(saved, *map(int, rest)) if rest else saved
    async with keeper(tmp_path):
        pass

    kept = sorted(int(record.bridge_call_id[1:]) for record in records_in("", tmp_path))
    assert kept == list(range(len(kept)))
    assert len(kept) >= saved
    assert spools(tmp_path) == []


class TakenFrom(deque[Report]):
    """A queue whose last report the other thread takes, just after this one has looked."""

    def popleft(self) -> Report:
        report = super().popleft()
        if not self:
            raise IndexError("pop from an empty deque")
        return report


async def test_two_threads_that_empty_the_queue_lose_nothing(tmp_path: Path):
    """Where the spool can be written again while reports go straight to the database, what each thread took arrives."""
    records = keeper(tmp_path)
    records._queue = TakenFrom([routed("c1"), routed("c2"), routed("taken by the other")])
    async with records:
        pass

    assert [record.bridge_call_id for record in records_in("", tmp_path)] == ["c1", "c2"]
    assert records.counts["lost"] == 0
