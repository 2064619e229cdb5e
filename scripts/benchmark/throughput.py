"""How many calls a second: a closed loop keeps each server's core full and counts what it finishes.

The servers take turns, round after round, so that whatever else the machine does hits all of them; ratios are formed
within a round.
"""

import asyncio
import time
from dataclasses import asdict, dataclass
from statistics import median

from benchmark.asterisk import place_call
from benchmark.report import Chapter, Goal
from benchmark.run import Load, Run, Shares
from benchmark.servers import BARE, BRIDGE, KINDS, PANORAMISK, PROCESSES, THREADS, Server

_SETTLE_SECONDS = 0.5
_GENERATOR_FULL = 0.85
_DISTURBED = 0.05
_GOALS = {PANORAMISK.name: 1.3, THREADS.name: 4, PROCESSES.name: 50, BARE.name: 0.6}


@dataclass(frozen=True)
class Rate:
    """One server's turn."""

    calls_per_second: float
    shares: Shares
    failed: int

    @property
    def microseconds_per_call(self) -> float:
        """Return the server's processor time for a call, which other work on the machine disturbs least."""
        return self.shares.server / max(self.calls_per_second, 0.01) * 1e6


async def measure(server: Server, seconds: float, concurrency: int) -> Rate:
    """Keep *concurrency* calls going on *server* and count those that end within *seconds*."""
    ended = failed = 0
    open_for_calls = True

    async def caller() -> None:
        nonlocal ended, failed
        while open_for_calls:
            call = await place_call(server.port)
            ended += call.ok
            failed += not call.ok

    callers = [asyncio.create_task(caller()) for _ in range(concurrency)]
    await asyncio.sleep(_SETTLE_SECONDS)
    load, began, ended_before = Load(server), time.perf_counter(), ended
    await asyncio.sleep(seconds)
    calls_per_second = (ended - ended_before) / (time.perf_counter() - began)
    shares = load.shares()
    open_for_calls = False
    await asyncio.gather(*callers)
    return Rate(calls_per_second, shares, failed)


async def run(run: Run) -> Chapter:
    """Measure every server in turn, *rounds* times."""
    rates: dict[str, list[Rate]] = {}
    async with run.servers(KINDS) as servers:
        for _ in range(run.rounds):
            for server in servers:
                rate = await measure(server, run.seconds, server.kind.concurrency or run.concurrency)
                rates.setdefault(server.kind.name, []).append(rate)
                run.stub.forget()
    return _chapter(rates, run)


def _chapter(rates: dict[str, list[Rate]], run: Run) -> Chapter:
    reference = rates.get(BRIDGE.name) or next(iter(rates.values()))
    judged = BRIDGE.name in rates
    chapter = Chapter(
        f"Throughput, closed loop, {run.concurrency} calls at a time, median of {run.rounds} rounds",
        (
            "server",
            "calls/s",
            "the first is",
            "server µs/call",
            "the first is",
            "server's core",
            "generator's core",
            "failed",
        ),
    )
    for name, turns in rates.items():
        rate = median(turn.calls_per_second for turn in turns)
        cost = median(turn.microseconds_per_call for turn in turns)
        pairs = list(zip(reference, turns, strict=True))
        times = median(ours.calls_per_second / max(theirs.calls_per_second, 0.01) for ours, theirs in pairs)
        times_by_cost = median(theirs.microseconds_per_call / ours.microseconds_per_call for ours, theirs in pairs)
        shares = [median(getattr(turn.shares, of) for turn in turns) for of in ("server", "generator", "disturbed")]
        failed = sum(turn.failed for turn in turns)
        chapter.rows.append(
            (
                name,
                f"{rate:,.0f}",
                f"{times:.2f} ×",
                f"{cost:,.0f}",
                f"{times_by_cost:.2f} ×",
                f"{shares[0]:.0%}",
                f"{shares[1]:.0%}",
                f"{failed}",
            )
        )
        chapter.figures[name] = {
            "calls_per_second": rate,
            "ratio": times,
            "microseconds_per_call": cost,
            "ratio_by_processor_time": times_by_cost,
            "rounds": [asdict(turn) for turn in turns],
        }
        if shares[1] > _GENERATOR_FULL:
            chapter.warnings.append(f"against {name} the generator's core is {shares[1]:.0%} busy: it is the limit")
        if shares[2] > _DISTURBED and name != THREADS.name:
            chapter.warnings.append(
                f"{name}: other work held a core for {shares[2]:.0%} of the time; trust the ratio of µs/call"
            )
        if failed:
            chapter.warnings.append(f"{failed} calls to {name} did not end as they should")
        if judged and name in _GOALS:
            chapter.goals.append(Goal.at_least(f"calls/s against {name}", _GOALS[name], times, "×"))
    return chapter
