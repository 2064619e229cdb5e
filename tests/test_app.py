"""The whole bridge as a process: ready, serving, drained, insisted upon."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agi_bridge.simulator.asterisk import AsteriskSide, play_call
from agi_bridge.simulator.command import DialEnding
from agi_bridge.simulator.millis import Fault, SimulatedMillis

CONFIG = """
[agi]
listen = "127.0.0.1:0"
drain_timeout_seconds = 5

[millis]
base_url = "{url}"
allowed_hosts = "127.0.0.1"

[defaults]
fallback = "reception,s,1"

[[route]]
name = "all"
did = "_+X."
agent_id = "-Nall"
"""

PATIENCE_SECONDS = 15.0


class Served:
    """A running `agi-bridge serve`: its address, and what it has written."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    async def wrote(self, event: str) -> dict[str, Any]:
        """Read the log until it has *event*."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while raw := await self.process.stderr.readline():
                self.lines.append(json.loads(raw))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]
        raise AssertionError(f"the bridge ended without {event!r}: {self.lines}")

    async def ended(self) -> int:
        """Wait until the process is over."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def serving(millis: SimulatedMillis, folder: Path) -> AsyncIterator[tuple[Served, str, int]]:
    """Run the bridge as a process; yield it with host and port."""
    (folder / "bridge.toml").write_text(CONFIG.format(url=millis.url))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agi_bridge",
        "serve",
        "--config",
        str(folder / "bridge.toml"),
        env={**os.environ, "MILLIS_API_KEY": "k"},
        stderr=asyncio.subprocess.PIPE,
    )
    served = Served(process)
    try:
        host, port = (await served.wrote("listening for FastAGI"))["address"]
        await served.wrote("ready")
        yield served, host, port
    finally:
        if process.returncode is None:
            process.kill()
        await served.ended()


async def test_a_call_is_served_and_told_in_one_line_of_json(tmp_path: Path):
    """The process takes a call, routes it, and writes its line with the numbers masked."""
    async with SimulatedMillis() as millis, serving(millis, tmp_path) as (served, host, port):
        played = await play_call(host, port, arguments=("did=+15551230001",))
        line = await served.wrote("call")

    assert played.variables["MILLIS_STATUS"] == "ok"
    assert (line["rule"], line["reason"], line["did"]) == ("all", "routed", "+155******01")


async def test_sigterm_lets_a_call_that_is_being_set_up_finish(tmp_path: Path):
    """A drain closes the door at once, but the caller inside still gets an answer, and the process ends with 0."""
    async with (
        SimulatedMillis(fault=Fault(delay_seconds=0.5)) as millis,
        serving(millis, tmp_path) as (served, host, port),
    ):
        async with AsteriskSide(host, port, script="route", arguments=("did=+15551230001",)) as call:
            await millis.received()
            served.process.send_signal(signal.SIGTERM)
            await served.wrote("draining")
            late = await play_call(host, port)
            played = await call.finished()
        assert await served.ended() == 0

    assert played.variables["MILLIS_STATUS"] == "ok"
    assert late.agistatus == "FAILURE"


async def test_sigterm_does_not_wait_for_a_call_that_only_awaits_the_end_of_dial(tmp_path: Path):
    """A call in EXEC Dial needs the bridge no more: it is left to Asterisk, and recorded as such."""
    async with SimulatedMillis() as millis, serving(millis, tmp_path) as (served, host, port):
        arguments = ("did=+15551230001",)
        async with AsteriskSide(host, port, script="dial", arguments=arguments, dial=DialEnding(held=True)) as call:
            await call.saw('EXEC "Dial"')
            served.process.send_signal(signal.SIGTERM)
            line = await served.wrote("call")
            assert await served.ended() == 0

    assert (line["result"], line["reason"]) == ("unknown", "bridge-stopped")


async def test_a_second_signal_insists(tmp_path: Path):
    """Whoever asks twice is not made to wait for a Millis that never answers."""
    async with (
        SimulatedMillis(fault=Fault(hang=True)) as millis,
        serving(millis, tmp_path) as (served, host, port),
        AsteriskSide(host, port, script="route", arguments=("did=+15551230001",)),
    ):
        await millis.received()
        served.process.send_signal(signal.SIGTERM)
        await served.wrote("draining")
        served.process.send_signal(signal.SIGTERM)
        await served.wrote("stopping at once")
        line = await served.wrote("call")
        assert await served.ended() in (0, 130)

    assert line["reason"] == "bridge-stopped"
