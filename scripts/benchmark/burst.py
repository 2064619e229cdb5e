"""What becomes of calls that all arrive at the same moment: who is not let in, and how long the last one waits."""

import asyncio
from math import nan

from benchmark.asterisk import place_call
from benchmark.report import Chapter, Goal
from benchmark.run import Run
from benchmark.servers import BARE, BRIDGE, PANORAMISK, THREADS

_CONNECT_LIMIT_SECONDS = 2.0  # res_agi.c gives up an address after this


async def run(run: Run) -> Chapter:
    """Send each server the same burst."""
    chapter = Chapter(
        f"{run.calls_at_once:,} calls at once",
        ("server", "connect > 2 s", "slowest connect", "slowest after its API answer", "all done, less API", "failed"),
    )
    async with run.servers((BRIDGE, BARE, PANORAMISK, THREADS)) as servers:
        for server in servers:
            calls = await asyncio.gather(*(place_call(server.port) for _ in range(run.calls_at_once)))
            served = [call for call in calls if call.ok]
            failed = len(calls) - len(served)
            connects = [call.connected - call.started for call in calls if call.connected]
            refused = len(calls) - sum(seconds <= _CONNECT_LIMIT_SECONDS for seconds in connects)
            slowest = max((call.finished - run.stub.answered[call.number] for call in served), default=nan)
            begun, done = calls[0].started, max((call.finished for call in served), default=nan)
            seconds = [max(connects, default=nan), slowest, done - begun - run.stub.delay_seconds]
            run.stub.forget()
            name = server.kind.name
            names = ("slowest_connect_seconds", "slowest_after_answer_seconds", "all_done_seconds")
            chapter.figures[name] = {"refused": refused, "failed": failed, **dict(zip(names, seconds, strict=True))}
            chapter.rows.append((name, f"{refused}", *(f"{value * 1e3:,.0f} ms" for value in seconds), f"{failed}"))
            if server.kind is BRIDGE:
                chapter.goals += [
                    Goal.at_most("burst: calls beyond Asterisk's 2 s connect limit", 0, refused, "calls"),
                    Goal.at_most("burst: slowest call after its API answer", 1, slowest, "s"),
                ]
    return chapter
