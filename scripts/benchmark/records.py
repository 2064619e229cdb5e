"""Records of calls: what they cost a call, what a `kill -9` costs them, and how fast a page of a large table is.

Pages and the export are asked of tables that are filled here, in a SQLite file and in a PostgreSQL of our own; they hold calls of
a year, on ten numbers and from many callers, of which one in a hundred went wrong.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from lab import find_postgres
from structlog.testing import capture_logs

from agi_bridge.config import RecordSettings
from agi_bridge.records.keeper import Records
from agi_bridge.records.schema import calls
from agi_bridge.records.selection import Selection
from agi_bridge.records.store import Store, database_url
from benchmark import bridge_config, latency
from benchmark.report import Chapter, Goal, spread
from benchmark.run import Run
from benchmark.servers import AGI_BRIDGE, Kind, running

_CALLS_PER_SECOND = 100
_PAGE = 20
_ASKED = 15
_KILLS = 5
_YEAR = timedelta(days=365)
_SMALL_EXPORT = 20_000

# A process that hands over reports at an even pace, and says when it handed over each.
_KILLED = """
import asyncio, sys, time
import structlog
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from agi_bridge.call import Report
from agi_bridge.config import RecordSettings
from agi_bridge.records.keeper import Records
from agi_bridge.records.store import Store, database_url

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main(folder):
    open_store = partial(Store.open_for_writing, database_url(None, "", folder), 5)
    async with Records(RecordSettings(), folder, open_store, settling_seconds=0) as records:
        for number in range(1_000_000):
            records.add(Report(f"c{number:07}", datetime.now(UTC), {"uniqueid": "1.1", "result": "completed"}))
            print(number, time.monotonic(), flush=True)
            await asyncio.sleep(0.002)

asyncio.run(main(Path(sys.argv[1])))
"""


def _rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield rows as calls leave them: numbered, in the order of time."""
    chance = Random(1)
    began = datetime.now(UTC) - _YEAR
    for number in range(count):
        fate = chance.random()
        result, reason = (
            ("completed", "answered") if fate < 0.9 else ("caller", "caller-hung-up") if fate < 0.99 else ("millis", "millis-timeout")
        )  # fmt: skip
        at = began + _YEAR * (number / count)
        row: dict[str, Any] = dict.fromkeys(calls.c.keys())
        yield row | {
            "bridge_call_id": f"{chance.getrandbits(128):032x}",
            "received_at": at,
            "channel": f"PJSIP/trunk-{number:08x}",
            "uniqueid": f"{at.timestamp():.0f}.{number}",
            "linkedid": f"{at.timestamp():.0f}.{number}",
            "did": f"+1555123000{chance.randrange(10)}",
            "caller_number": f"+1555{chance.randrange(10**7):07}",
            "caller_name": "Ada Lovelace",
            "caller_withheld": False,
            "verb": "route",
            "rule": f"rule-{chance.randrange(10)}",
            "agent_id": "-NxAgentOfSales",
            "account": "default",
            "region": "us-west",
            "millis_call_id": f"call-{chance.getrandbits(64):016x}",
            "failover": False,
            "standby": False,
            "redialled": False,
            "orphaned": False,
            "fallback": "ext-queues,600,1",
            "decided_seconds": 0.0004,
            "millis_seconds": 0.08,
            "registered_seconds": 0.081,
            "setup_seconds": 0.082,
            "dialstatus": "ANSWER",
            "hangup_cause": 16,
            "dialled_seconds": 95,
            "answered_seconds": 93,
            "hung_up_by": "caller",
            "ended_at": at + timedelta(seconds=95),
            "result": result,
            "reason": reason,
            "fallback_taken": result == "millis",
            "as_of_verb": at,
            "as_of_dialstatus": at,
            "as_of_result": at,
            "numbers_masked": False,
            "revision": number + 1,
        }


def _fill_sqlite(store: Store, count: int) -> None:
    rows = _rows(count)
    with store._engine.begin() as connection:
        connection.exec_driver_sql("BEGIN")
        while batch := [row for _, row in zip(range(5_000), rows, strict=False)]:
            connection.execute(calls.insert(), batch)


def _fill_postgresql(url: str, count: int) -> None:
    names = calls.c.keys()
    with closing(psycopg.connect(url)) as connection:
        copying = f"COPY calls ({', '.join(names)}) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(copying.encode()) as copy:
            for row in _rows(count):
                copy.write_row([row[name] for name in names])
        connection.commit()
        # As autovacuum does where so much has come in.
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE calls")


def _selections(store: Store) -> dict[str, Selection]:
    """Return what people ask, the last of it hard: conditions that are met often by themselves and never together."""
    one = store.page(Selection(), 1, newest_first=True)[0]
    last_week = one.received_at - timedelta(days=7)
    return {
        "the latest": Selection(),
        "by did": Selection(did=one.did),
        "by caller": Selection(caller_number=one.caller_number),
        "by rule": Selection(rule=one.rule),
        "by result": Selection(result="millis"),
        "by reason, a week": Selection(reason="millis-timeout", since=last_week),
        "by did and reason": Selection(did=one.did, reason="millis-timeout"),
        "by rule and result": Selection(rule=one.rule, result="caller"),
        "by rule, did, result, a week": Selection(rule=one.rule, did=one.did, result="millis", since=last_week),
        "a year ago": Selection(until=one.received_at - _YEAR * 0.99),
        "never together: rule and caller": Selection(rule="rule-x", caller_number=one.caller_number),
        "never together: rule and did": Selection(rule="rule-1", did="+15559999999"),
        "never together: result and reason": Selection(result="millis", reason="caller-hung-up"),
    }


def _measure_pages(chapter: Chapter, kind: str, store: Store) -> None:
    slowest = 0.0
    for name, selection in _selections(store).items():
        times, found = list[float](), 0
        for _ in range(_ASKED):
            began = time.perf_counter()
            found = len(store.page(selection, _PAGE, newest_first=True))
            times.append((time.perf_counter() - began) * 1e3)
        figures = spread(times)
        slowest = max(slowest, figures["maximum"])
        chapter.figures[f"{kind}, {name}"] = figures | {"found": found}
        chapter.rows.append(
            (f"{kind}: page {name}", f"{figures['median']:.1f} ms", f"{figures['maximum']:.1f} ms", f"{found} found")
        )
    chapter.goals.append(Goal.at_most(f"{kind}: the slowest page", 100, slowest, "ms"))


def _measure_export(chapter: Chapter, kind: str, url: str, count: int) -> None:
    """Compare the memory of a short export with that of a long one."""
    environ = os.environ | {"AGI_BRIDGE_RECORDS_URL": url}
    peaks, lines, seconds = list[float](), 0, 0.0
    for until in (datetime.now(UTC) - _YEAR * (1 - _SMALL_EXPORT / count), datetime.now(UTC)):
        began = time.perf_counter()
        command = [str(AGI_BRIDGE), "export", "--format", "csv", "--until", until.isoformat()]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines, peak = 0, 0
            for _ in process.stdout:
                lines += 1
                if not lines % 5_000:
                    peak = max(peak, _resident_kilobytes(process.pid))
        peaks.append(peak / 1024)
        seconds = time.perf_counter() - began
    chapter.figures[f"{kind}, export"] = {"megabytes": peaks, "lines": lines, "seconds": seconds}
    chapter.rows.append(
        (
            f"{kind}: export of {lines - 1:,} calls",
            f"{seconds:.0f} s",
            f"{peaks[1]:.0f} MB",
            f"short one {peaks[0]:.0f} MB",
        )
    )
    chapter.goals.append(
        Goal.at_most(f"{kind}: memory of the long export above the short one", 10, peaks[1] - peaks[0], "MB")
    )


def _resident_kilobytes(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def _measure_kill(chapter: Chapter, folder: Path) -> None:
    """Kill a process under load, and find out which of its last reports are gone."""
    lost_milliseconds, lost_reports, written = [], [], 0
    for turn in range(_KILLS):
        place = folder / f"killed-{turn}"
        place.mkdir()
        command = [sys.executable, "-c", _KILLED, str(place)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            times, killed = dict[int, float](), 0.0
            for line in process.stdout:
                number, at = line.split()
                times[int(number)] = float(at)
                if len(times) == 1_500 + 137 * turn:
                    process.send_signal(signal.SIGKILL)
                    killed = time.monotonic()
        with closing(Store.open_for_writing(database_url(None, "", place), 5)) as store:
            asyncio.run(_recovered(place))
            kept = {int(record.bridge_call_id[1:]) for record in store.all(Selection())}
        gone = sorted(set(times) - kept)
        written += len(kept)
        lost_reports.append(len(gone))
        lost_milliseconds.append((killed - times[gone[0]]) * 1e3 if gone else 0.0)
        if gone and gone != list(range(gone[0], max(times) + 1)):
            chapter.warnings.append(f"reports are missing that were not the last: {gone[:5]}")
    chapter.figures["kill -9"] = {"lost_milliseconds": lost_milliseconds, "lost_reports": lost_reports}
    chapter.rows.append(
        (
            f"kill -9 at 500 reports a second, {_KILLS} times",
            f"{median(lost_milliseconds):.0f} ms",
            f"{max(lost_milliseconds):.0f} ms",
            f"{sum(lost_reports)} of {written + sum(lost_reports)} lost",
        )
    )
    chapter.goals.append(Goal.at_most("kill -9: reports lost, of the last", 100, max(lost_milliseconds), "ms"))


async def _recovered(folder: Path) -> None:
    """Let a keeper take over what the killed one has left."""
    open_store = partial(Store.open_for_writing, database_url(None, "", folder), 5)
    with capture_logs():
        async with Records(RecordSettings(), folder, open_store, settling_seconds=0):
            pass


def _bridge(name: str, records: str) -> Kind:
    def command(folder: Path, port: int, api: str) -> list[str]:
        config = bridge_config.write(folder, port, api, records=records)
        return [str(AGI_BRIDGE), "serve", "--config", str(config)]

    return Kind(name, command)


async def _measure_calls(chapter: Chapter, run: Run, folder: Path) -> None:
    """Compare bridges that keep no records, keep them in SQLite, and have a PostgreSQL that is stopped, in turns."""
    away = f'folder = "records"\\nurl = "postgresql://agi@/calls?host={folder}/nobody"'.replace("\\n", "\n")
    kinds = [
        _bridge("without records", "enabled = false"),
        _bridge("without records again", "enabled = false"),
        _bridge("records in SQLite", 'folder = "records"'),
        _bridge("PostgreSQL stopped", away),
    ]
    added: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(running(kind, folder, run.stub.url, run.core)) for kind in kinds]
        await asyncio.sleep(3)  # until each has opened its database, or found that it cannot
        for turn in range(run.rounds + 1):
            for server in servers:
                times, failed = await latency.measure(server, run.stub, _CALLS_PER_SECOND, run.seconds)
                if failed:
                    chapter.warnings.append(f"{server.kind.name}: {failed} calls failed")
                if turn:
                    added[server.kind.name] += times
    api = run.stub.delay_seconds * 1e3
    middle = {name: median(times) + api for name, times in added.items()}
    late = {name: spread(times)["p99"] + api for name, times in added.items()}
    for name, times in added.items():
        chapter.figures[name] = spread(times)
        chapter.rows.append(
            (
                f"set-up of a call: {name}",
                f"{middle[name]:.2f} ms",
                f"{late[name]:.2f} ms",
                f"{len(times)} calls, p50 and p99",
            )
        )
    usual, late_usual = middle["without records"], max(late["without records"], late["without records again"])
    for name in ("records in SQLite", "PostgreSQL stopped"):
        chapter.goals.append(Goal.at_most(f"{name}: set-up time added", 3, (middle[name] / usual - 1) * 100, "%"))
    chapter.goals.append(
        Goal.at_most("PostgreSQL stopped: p99 against without", 1.01, late["PostgreSQL stopped"] / late_usual, "times")
    )


async def run(run: Run) -> Chapter:
    """Measure all three."""
    chapter = Chapter(
        f"Records of calls: tables of {run.records:,}, pages of {_PAGE}", ("what", "median", "worst", "besides")
    )
    with TemporaryDirectory(prefix="agi-bridge-bench-") as name:
        folder = Path(name)
        await _measure_calls(chapter, run, folder)
        await asyncio.to_thread(_measure_kill, chapter, folder)
        await asyncio.to_thread(_measure_tables, chapter, folder, run.records)
    return chapter


def _measure_tables(chapter: Chapter, folder: Path, count: int) -> None:
    sqlite = f"sqlite:///{folder}/records.sqlite"
    with closing(Store.open_for_writing(database_url(sqlite, "", folder), 60)) as store:
        _fill_sqlite(store, count)
        _measure_pages(chapter, "SQLite", store)
    _measure_export(chapter, "SQLite", sqlite, count)
    with find_postgres().start() as server:
        url = server.url("postgres")
        with closing(Store.open_for_writing(database_url(url, "", folder), 60)) as store:
            _fill_postgresql(url, count)
            _measure_pages(chapter, "PostgreSQL", store)
        _measure_export(chapter, "PostgreSQL", url, count)
