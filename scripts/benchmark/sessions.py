"""What open calls cost: `dial` sessions that stay for as long as the parties talk, and what they do to a new call."""

import asyncio

from benchmark import latency
from benchmark.asterisk import PlayedCall, place_call
from benchmark.report import Chapter, Goal, spread
from benchmark.run import Run
from benchmark.servers import BARE, BRIDGE, Server

_OPENED_AT_A_TIME = 100
_CALLS_PER_SECOND = 100


async def _talking(server: Server, number: int) -> list[PlayedCall]:
    """Bring *number* calls to the point where the parties talk."""
    calls: list[PlayedCall] = []
    while len(calls) < number:
        batch = min(_OPENED_AT_A_TIME, number - len(calls))
        calls += await asyncio.gather(*(place_call(server.port, "dial") for _ in range(batch)))
    return calls


async def run(run: Run) -> Chapter:
    """Open the sessions on each server, weigh it, and measure further calls."""
    chapter = Chapter(
        f"{run.open_sessions:,} open dial sessions",
        ("server", "idle MB", "with sessions MB", "KB/session", "further call p50 ms", "p99 ms", "failed"),
    )
    async with run.servers((BRIDGE, BARE)) as servers:
        for server in servers:
            name = server.kind.name
            idle = server.resident_megabytes()
            calls = await _talking(server, run.open_sessions)
            run.stub.forget()
            held = server.resident_megabytes()
            added, failed_further = await latency.measure(server, run.stub, _CALLS_PER_SECOND, run.seconds * run.rounds)
            failed = failed_further + sum(not call.ok or call.ended.done() for call in calls)
            for call in calls:
                call.hang_up()
            await asyncio.wait_for(asyncio.gather(*(call.ended for call in calls)), 30)
            further = spread(added)
            each = (held - idle) * 1024 / run.open_sessions
            chapter.figures[name] = {"idle": idle, "held": held, "further_call": further, "failed": failed}
            chapter.rows.append(
                (
                    name,
                    f"{idle:.0f}",
                    f"{held:.0f}",
                    f"{each:.1f}",
                    f"{further['median']:.2f}",
                    f"{further['p99']:.2f}",
                    f"{failed}",
                )
            )
            if failed:
                chapter.warnings.append(f"{failed} calls to {name} did not stay or end as they should")
            if server.kind is BRIDGE:
                figure = f"{run.open_sessions:,} open dial sessions"
                chapter.goals += [
                    Goal.at_most(f"{figure}: resident", 150, held, "MB"),
                    Goal.at_most(f"{figure}: a further call's p99", 10, further["p99"], "ms"),
                ]
    return chapter
