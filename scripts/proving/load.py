"""The command line of `scripts/load`: how much a real Asterisk takes, and what the bridge uses of the machine at that point.

`calls` sends callers at rising rates through Asterisk, the bridge and a simulated Millis to an agent, until one of them gives.
`sessions` opens many AGI sessions at once, without Asterisk; it is the scenario of that name of `scripts/bench`.

Exit status: 0 all goals met, 1 one missed or something failed, 2 bad arguments, 130 interrupted.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import Asterisk, AsteriskFailed, AsteriskUnavailable, Pbx, find_asterisk
from rich.console import Console
from rich.table import Table

from agi_bridge.simulator.millis import SimulatedMillis
from proving import bridge, sipp
from proving.process import busy_seconds, cpu_seconds
from proving.site import DID, FALLBACK, TRUNK, asterisk_pid, settings

_NUMBER = "+15557654321"
_RATES = (10, 20, 30, 40, 50, 60, 80, 100, 125, 150, 175, 200, 250, 300, 400, 500)

# Asterisk is saturated where a call fails, more than one message in a hundred calls is repeated, callers come later than
# they should, or one caller in twenty waits longer than this for an agent who answers at once.
_SETUP_MS = 250.0
_REPEATED_SHARE = 0.01
_LATE_SHARE = 0.05

_PATIENCE_SECONDS = 10.0
_QUIET_SECONDS = 90.0
_BRIDGE_SHARE = 0.10


@dataclass(frozen=True)
class Shares:
    """Processor time in shares of one core."""

    asterisk: float
    bridge: float
    sipp: float
    ours: float  # this process, which plays Millis
    machine: float  # everybody, us or not


@dataclass(frozen=True)
class Step:
    """One rate, and what came of it."""

    rate: float
    placed: float  # calls a second that were really placed
    callers: sipp.Callers
    shares: Shares

    @property
    def limits(self) -> str:
        """Return in which way Asterisk is saturated, "" where it is not."""
        callers = self.callers
        found = []
        if callers.failed:
            found.append(f"{callers.failed} calls failed")
        if callers.retransmissions > _REPEATED_SHARE * callers.created:
            found.append(f"{callers.retransmissions} messages repeated")
        if callers.setup(0.95) > _SETUP_MS:
            found.append("slow")
        if self.placed < self.rate * (1 - _LATE_SHARE):
            found.append("callers late")
        return ", ".join(found)


class Line:
    """Everybody whom a call passes: callers, PBX, bridge, Millis and the agent."""

    def __init__(
        self, asterisk: Asterisk, pbx: Pbx, process: bridge.BridgeProcess, agent_pid: int, folder: Path
    ) -> None:
        self._asterisk, self._pbx, self._bridge, self._folder = asterisk, pbx, process, folder
        self._agent_pid = agent_pid
        self._asterisk_pid = asterisk_pid(pbx)
        self._steps = 0

    async def step(self, rate: float, seconds: float, talk_seconds: float) -> Step:
        """Send callers at *rate* for some seconds, and wait until the last of them has gone."""
        self._steps += 1
        calls = max(round(rate * seconds), 1)
        crowd = sipp.callers(
            self._asterisk,
            self._folder / f"step-{self._steps}",
            host=TRUNK,
            target=f"{self._pbx.address}:{self._pbx.sip_port}",
            did=DID,
            number=_NUMBER,
            rate=rate,
            calls=calls,
            talk_seconds=talk_seconds,
            patience_seconds=_PATIENCE_SECONDS,
        )
        with crowd.guest:
            # The middle of the step: neither its beginning, when few calls are there, nor its end, when they thin out.
            await asyncio.sleep(min(talk_seconds + 1, seconds / 3))
            before = self._cpu(crowd.guest.pid)
            await asyncio.sleep(max(seconds - talk_seconds - 2, seconds / 3))
            after = self._cpu(crowd.guest.pid)
            callers = await asyncio.to_thread(crowd.ended)
        await bridge.until(
            lambda: self._pbx.cli("core show channels count").startswith("0 active channels"),
            _QUIET_SECONDS,
            "the PBX still had calls",
        )
        now, *used = (late - early for late, early in zip(after, before, strict=True))
        return Step(
            rate, calls / max(callers.placing_seconds, 1 / rate), callers, Shares(*(share / now for share in used))
        )

    def _cpu(self, callers_pid: int) -> tuple[float, ...]:
        asterisk = cpu_seconds(self._asterisk_pid) if self._asterisk_pid else 0.0
        both = cpu_seconds(callers_pid) + cpu_seconds(self._agent_pid)
        return time.monotonic(), asterisk, cpu_seconds(self._bridge.pid), both, time.process_time(), busy_seconds()


@asynccontextmanager
async def line(asterisk: Asterisk, folder: Path) -> AsyncIterator[Line]:
    """Bring everybody together."""
    async with AsyncExitStack() as stack:
        agent, sip_host = sipp.agent(asterisk, folder)
        stack.enter_context(agent)
        millis = await stack.enter_async_context(SimulatedMillis(key=bridge.KEY, sip_host=sip_host))
        text = bridge.config_text([millis.url], FALLBACK, patience_seconds=4.0)
        process = await stack.enter_async_context(bridge.running(folder, text))
        starting = asterisk.start(settings(process.address))
        pbx = await asyncio.to_thread(starting.__enter__)
        stack.push_async_callback(asyncio.to_thread, starting.__exit__, None, None, None)
        yield Line(asterisk, pbx, process, agent.pid, folder)


async def rise(given: argparse.Namespace, folder: Path, console: Console) -> list[Step]:
    """Raise the rate until Asterisk is saturated, then try the rate half way back; return the steps by rate."""
    asterisk = find_asterisk()
    console.print(f"Asterisk {asterisk.version} on {os.cpu_count()} cores; calls of {given.talk:g} s")
    steps: list[Step] = []
    async with line(asterisk, folder) as everybody:
        await everybody.step(5, 4, 0.5)  # the first calls of a PBX's life do not count
        for rate in given.rates:
            steps.append(await everybody.step(rate, given.seconds, given.talk))
            console.print(f"[dim]{_told(steps[-1])}[/dim]")
            if steps[-1].limits:
                break
        carried = [step.rate for step in steps if not step.limits]
        if carried and steps[-1].limits and steps[-1].rate - carried[-1] > 5:
            steps.append(await everybody.step((carried[-1] + steps[-1].rate) / 2, given.seconds, given.talk))
    return sorted(steps, key=lambda step: step.rate)


def _told(step: Step) -> str:
    return f"{step.rate:g} calls/s: p95 {step.callers.setup(0.95):.0f} ms, {step.limits or 'carried'}"


def show(console: Console, steps: list[Step]) -> bool:
    """Print the steps and what follows from them; return whether the bridge stays within its share."""
    table = Table(title="Calls through Asterisk, at rising rates (shares in % of one core)", title_justify="left")
    columns = (
        "calls/s",
        "placed/s",
        "failed",
        "repeated",
        "setup p50 ms",
        "p95 ms",
        "Asterisk",
        "bridge",
        "SIPp",
        "Millis",
    )
    for column in (*columns, "machine", ""):
        table.add_column(column, justify="right")
    for step in steps:
        callers, shares = step.callers, step.shares
        each = (shares.asterisk, shares.bridge, shares.sipp, shares.ours, shares.machine)
        table.add_row(
            *(f"{step.rate:g}", f"{step.placed:.1f}", f"{callers.failed}", f"{callers.retransmissions}"),
            *(f"{callers.setup(0.5):.0f}", f"{callers.setup(0.95):.0f}", *(f"{100 * share:.0f}" for share in each)),
            step.limits,
        )
    console.print(table)
    saturated = next((step for step in steps if step.limits), None)
    if saturated is None:
        console.print(f"Asterisk carried every rate up to {steps[-1].rate:g} calls/s")
    else:
        carried = max((step.rate for step in steps if not step.limits and step.rate < saturated.rate), default=0)
        console.print(
            f"Asterisk carried {carried:g} calls/s and was saturated at {saturated.rate:g} ({saturated.limits})"
        )
    last = saturated or steps[-1]
    met = last.shares.bridge <= _BRIDGE_SHARE
    verdict = "[green]met[/green]" if met else "[red]MISSED[/red]"
    share = f"{100 * last.shares.bridge:.1f} % of a core"
    console.print(f"the bridge at {last.rate:g} calls/s: {share}, wanted ≤ {100 * _BRIDGE_SHARE:g} %: {verdict}")
    return met


def _sessions(number: int) -> bool:
    """Open AGI sessions in the bench, which wants a process of its own; return whether its goals are met."""
    command = [sys.executable, "-m", "benchmark", "sessions", "--servers", "agi-bridge", "--sessions", str(number)]
    return subprocess.run(command, check=False).returncode == 0


def main() -> int:
    """Load what was asked for."""
    parser = argparse.ArgumentParser(
        prog="scripts/load", description="How much Asterisk takes, and the bridge with it."
    )
    parser.add_argument("scenario", nargs="*", help="calls or sessions; both without")
    parser.add_argument("--rates", help="calls a second to try, separated by commas (default 10 to 500)")
    parser.add_argument("--seconds", type=float, default=15, help="length of each rate (default 15)")
    parser.add_argument("--talk", type=float, default=1, help="seconds that each call lasts (default 1)")
    parser.add_argument("--sessions", type=int, default=10_000, help="AGI sessions at once (default 10,000)")
    given = parser.parse_args()
    if unknown := set(given.scenario) - {"calls", "sessions"}:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are calls and sessions")
    try:
        given.rates = [float(rate) for rate in given.rates.split(",")] if given.rates else _RATES
    except ValueError:
        parser.error("--rates takes numbers separated by commas, such as 20,40,60")
    console = Console(width=None if sys.stdout.isatty() else 150)
    wanted = given.scenario or ["calls", "sessions"]
    met = True
    try:
        if "calls" in wanted:
            with tempfile.TemporaryDirectory(prefix="agi-bridge-load-") as folder:
                met &= show(console, asyncio.run(rise(given, Path(folder), console)))
        if "sessions" in wanted:
            met &= _sessions(given.sessions)
    except (AsteriskUnavailable, AsteriskFailed, bridge.BridgeFailedError) as error:
        console.print(f"[red]{error}[/red]")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
