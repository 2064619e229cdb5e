"""What a server adds to the setup of a call: from connect to the last variable, less the API's own time for that call.

Calls come as callers do, independently of each other and of how the server fares (an open loop).
"""

import asyncio
import time
from collections import Counter
from random import Random

from benchmark.asterisk import PlayedCall, place_call
from benchmark.millis import MillisStub
from benchmark.report import Chapter, Goal, spread
from benchmark.run import Run
from benchmark.servers import BARE, BRIDGE, PANORAMISK, THREADS, Kind, Server

_CALLS_PER_SECOND = 200
_FIRST_SECONDS = 0.5


async def measure(server: Server, stub: MillisStub, rate: float, seconds: float) -> tuple[list[float], int]:
    """Return the milliseconds added to each call, and how many calls failed."""
    chance = Random(1)  # the same arrivals for every server
    calls: list[asyncio.Task[PlayedCall]] = []
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        calls.append(asyncio.create_task(place_call(server.port)))
        due += chance.expovariate(rate)
    ended = await asyncio.gather(*calls)
    added = [(call.finished - call.started - stub.seconds_taken(call.number)) * 1e3 for call in ended if call.ok]
    stub.forget()
    return added, len(ended) - len(added)


async def run(run: Run) -> Chapter:
    """Measure the servers that can take this many calls, in turns."""
    chapter = Chapter(
        f"Setup time added to the API's own, {_CALLS_PER_SECOND} calls/s, open loop",
        ("server", "p50 ms", "p99 ms", "max ms", "calls", "failed"),
    )
    added: dict[Kind, list[float]] = {}
    failed: Counter[Kind] = Counter()
    async with run.servers((BRIDGE, BARE, PANORAMISK, THREADS)) as servers:
        for turn in range(run.rounds + 1):
            for server in servers:
                calls = await measure(server, run.stub, _CALLS_PER_SECOND, run.seconds if turn else _FIRST_SECONDS)
                if turn:  # the first calls of a server's life do not count
                    added.setdefault(server.kind, []).extend(calls[0])
                    failed[server.kind] += calls[1]
    for kind, values in added.items():
        figures = spread(values)
        chapter.figures[kind.name] = {**figures, "failed": failed[kind]}
        times = (f"{figures[key]:.2f}" for key in ("median", "p99", "maximum"))
        chapter.rows.append((kind.name, *times, f"{len(values)}", f"{failed[kind]}"))
        if kind is BRIDGE:
            chapter.goals += [
                Goal.at_most("setup time added, p50", 1, figures["median"], "ms"),
                Goal.at_most("setup time added, p99", 4, figures["p99"], "ms"),
            ]
    return chapter
