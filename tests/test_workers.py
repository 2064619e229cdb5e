"""The parent of several workers: real processes, small enough to misbehave as told."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from agi_bridge.errors import WorkerFailed
from agi_bridge.workers import Place, Workers, place_from_environ

PATIENCE_SECONDS = 10

# A worker that says on its wire what it is told to, and writes each signal that it gets into the folder.
WORKER = """
import os, pathlib, signal, socket, sys, time
place, wire = os.environ["AGI_BRIDGE_WORKER"].split(":")
wire = socket.socket(fileno=int(wire))
folder, behaviour = pathlib.Path(sys.argv[1]), sys.argv[2]
number = place.split("/")[0]

def on_signal(signum, frame):
    name = signal.Signals(signum).name
    with open(folder / f"signals-{number}", "a") as file:
        file.write(name + "\\n")
    if name == "SIGHUP":
        wire.send(b"RELOADING=1\\nREADY=1\\n")
    elif name == "SIGINT" or behaviour != "deaf":
        sys.exit(0)

for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(each, on_signal)
with open(folder / f"started-{number}", "a") as file:
    file.write(place + "\\n")
starts = (folder / f"started-{number}").read_text().count("\\n")
if behaviour == "fails" and number == "2":
    sys.exit(3)
if behaviour == "slow":
    (folder / "slow").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
wire.send(b"READY=1\\nSTATUS=x\\n")
if behaviour == "dies" and number == "2" and starts < 3:
    sys.exit(4)
while behaviour != "stuck" or number != "2" or starts > 1:
    wire.send(b"WATCHDOG=1\\n")
    time.sleep(0.05)
while True:
    signal.pause()
"""


class Told:
    """Whoever is told how the workers are."""

    def __init__(self):
        self.facts: asyncio.Queue[str] = asyncio.Queue()

    def ready(self, status):
        self.facts.put_nowait(f"ready: {status}")

    def reloading(self):
        self.facts.put_nowait("reloading")

    def stopping(self):
        self.facts.put_nowait("stopping")

    async def next(self):
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.facts.get()


@asynccontextmanager
async def running(folder, behaviour="well", watchdog_seconds=None, stop_timeout_seconds=5.0):
    """Run two workers; yield the parent, who was told what, and the task that ends when the parent does."""
    told = Told()
    workers = Workers(
        [sys.executable, "-I", "-S", "-c", WORKER, str(folder), behaviour],
        2,
        os.environ,
        [],
        told,
        watchdog_seconds=watchdog_seconds,
        stop_timeout_seconds=stop_timeout_seconds,
    )
    run = asyncio.create_task(workers.run())
    try:
        yield workers, told, run
    finally:
        async with asyncio.timeout(PATIENCE_SECONDS):
            if not run.done():
                workers.stop()
            await asyncio.wait([run])


def said(folder, name):
    return (folder / name).read_text().split()


async def test_ready_is_told_once_all_are(tmp_path):
    """systemd hears of the service when every worker takes calls, and each knows its place."""
    async with running(tmp_path) as (workers, told, run):
        assert await told.next() == "ready: 2 workers take calls"
        workers.stop()
        await run
        assert await told.next() == "stopping"
    assert (said(tmp_path, "started-1"), said(tmp_path, "started-2")) == (["1/2"], ["2/2"])
    assert (said(tmp_path, "signals-1"), said(tmp_path, "signals-2")) == (["SIGTERM"], ["SIGTERM"])


async def test_stop_that_is_said_twice_insists(tmp_path):
    """The first stop drains; the second is another signal, which systemd never sends by itself."""
    async with running(tmp_path, "deaf") as (workers, told, run):
        await told.next()
        workers.stop()
        workers.stop()
        await run
    assert said(tmp_path, "signals-1")[-1] == "SIGINT"


async def test_workers_that_do_not_end_are_killed(tmp_path):
    """A stop has an end, whatever the workers do."""
    with capture_logs() as logs:
        async with running(tmp_path, "deaf", stop_timeout_seconds=0.1) as (workers, told, run):
            await told.next()
            workers.stop()
            await run
    assert logs[-1] == {"event": "workers do not end; killed", "log_level": "error", "workers": [1, 2]}


async def test_worker_that_does_not_start_ends_all(tmp_path):
    """A service that cannot start as a whole says so at once, rather than run by half."""
    async with running(tmp_path, "fails") as (_, _, run):
        with pytest.raises(WorkerFailed, match="worker 2 ended with 3 before it was ready; its lines above say why"):
            await run


async def test_worker_that_dies_is_started_again_after_a_pause(tmp_path):
    """The pause doubles while it goes on dying, and the others are left alone."""
    with capture_logs() as logs:
        async with running(tmp_path, "dies") as (_, told, _):
            assert await told.next() == "ready: 2 workers take calls"
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(said(tmp_path, "started-2")) < 3:  # noqa: ASYNC110 - it shows in a file alone
                    await asyncio.sleep(0.01)
    assert len(said(tmp_path, "started-1")) == 1
    ended = [line for line in logs if line["event"] == "a worker ended"]
    assert [(line["worker"], line["exit_code"], line["starts_again_in_seconds"]) for line in ended] == [
        (2, 4, 0.1),
        (2, 4, 0.2),
    ]


async def test_worker_that_is_stuck_is_killed_and_started_again(tmp_path):
    """A worker that its watchdog misses holds a share of the calls, and must not keep it."""
    with capture_logs() as logs:
        async with running(tmp_path, "stuck", watchdog_seconds=0.5) as (_, told, _):
            assert await told.next() == "ready: 2 workers take calls"
            assert await told.next() == "ready: 2 workers take calls"
    assert {"event": "a worker is stuck; killed", "log_level": "error", "worker": 2, "watchdog_seconds": 0.5} in logs
    assert (len(said(tmp_path, "started-1")), len(said(tmp_path, "started-2"))) == (1, 2)


async def test_reload_reaches_every_worker(tmp_path):
    """It is over when all of them say so."""
    async with running(tmp_path) as (workers, told, _):
        await told.next()
        workers.reload()
        assert [await told.next(), await told.next()] == ["reloading", "ready: 2 workers take calls"]
    assert (said(tmp_path, "signals-1")[0], said(tmp_path, "signals-2")[0]) == ("SIGHUP", "SIGHUP")


async def test_reload_waits_for_a_worker_that_is_still_starting(tmp_path):
    """SIGHUP would kill a worker that does not listen for it yet, so it gets the signal when it is ready."""
    async with running(tmp_path, "slow") as (workers, told, _):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (tmp_path / "slow").exists():  # noqa: ASYNC110 - it shows in a file alone
                await asyncio.sleep(0.01)
        workers.reload()
        (tmp_path / "go").touch()
        assert [await told.next(), await told.next()] == ["reloading", "ready: 2 workers take calls"]
    assert (said(tmp_path, "signals-1")[0], said(tmp_path, "signals-2")[0]) == ("SIGHUP", "SIGHUP")


def test_process_without_a_parent_is_alone():
    """A bridge that was started by hand, or by systemd, is the first of one."""
    assert place_from_environ({}) == Place(1, 1, None)
    assert Place().parent == os.getpid()
