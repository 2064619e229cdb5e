"""The command line of `scripts/bench`.

Exit status: 0 all goals met, 1 one missed or a server failed, 2 bad arguments, 130 interrupted.
"""

import argparse
import gc
import json
import os
import platform
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import uvloop
from rich.console import Console

from benchmark import burst, idle, latency, records, report, rules, sessions, throughput
from benchmark.millis import MillisStub
from benchmark.run import Run
from benchmark.servers import KINDS, ServerFailedError

_SCENARIOS: dict[str, Callable[[Run], Awaitable[report.Chapter]]] = {
    "throughput": throughput.run,
    "latency": latency.run,
    "burst": burst.run,
    "sessions": sessions.run,
    "rules": rules.run,
    "idle": idle.run,
    "records": records.run,
}
# Most of its time the one waits, and the other fills tables.
_ON_REQUEST = ("idle", "records")


def _arguments() -> argparse.Namespace:
    names = [kind.name.replace(" ", "-") for kind in KINDS]
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure the bridge beside other FastAGI servers."
    )
    parser.add_argument(
        "scenario", nargs="*", help=f"any of {', '.join(_SCENARIOS)}; without, all but {' and '.join(_ON_REQUEST)}"
    )
    parser.add_argument("--servers", help=f"measure only these, separated by commas: {', '.join(names)}")
    parser.add_argument("--seconds", type=float, default=2, help="length of each turn (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server (default 5)")
    parser.add_argument("--concurrency", type=int, default=400, help="calls at a time in throughput (default 400)")
    parser.add_argument("--calls-at-once", type=int, default=2_000, help="size of the burst (default 2,000)")
    parser.add_argument("--sessions", type=int, default=10_000, help="open dial sessions (default 10,000)")
    parser.add_argument(
        "--records", type=int, default=1_000_000, help="size of the tables in records (default 1,000,000)"
    )
    parser.add_argument("--idle-minutes", type=float, default=10, help="time without a call in idle (default 10)")
    parser.add_argument("--api-milliseconds", type=float, default=50, help="time that the API takes (default 50)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    given = parser.parse_args()
    for scenario in given.scenario:
        if scenario not in _SCENARIOS:
            parser.error(f"no scenario {scenario!r}; there are {', '.join(_SCENARIOS)}")
    given.kinds = KINDS
    if given.servers:
        unknown = set(given.servers.split(",")) - set(names)
        if unknown:
            parser.error(f"no server {', '.join(sorted(unknown))}; there are {', '.join(names)}")
        given.kinds = tuple(kind for kind, name in zip(KINDS, names, strict=True) if name in given.servers.split(","))
    return given


def _settle(open_sessions: int) -> int:
    """Take the second core, leave the first for the servers (returned), and make room for every socket."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("scripts/bench needs two cores: one for the server, one for Asterisk's and the API's side")
    os.sched_setaffinity(0, {cores[1]})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < open_sessions + 1_000:
        sys.exit(f"{open_sessions} sessions need more than the {most} open files that `ulimit -Hn` allows")
    gc.disable()  # our own pauses would be taken for the server's; the run is short
    return cores[0]


async def _measure(given: argparse.Namespace, core: int, console: Console) -> dict[str, report.Chapter]:
    stub = MillisStub(given.api_milliseconds / 1e3)
    run = Run(
        stub=stub,
        kinds=given.kinds,
        core=core,
        seconds=given.seconds,
        rounds=given.rounds,
        concurrency=given.concurrency,
        calls_at_once=given.calls_at_once,
        open_sessions=given.sessions,
        idle_minutes=given.idle_minutes,
        records=given.records,
    )
    chapters = {}
    with closing(await stub.start()):
        for name in given.scenario or [name for name in _SCENARIOS if name not in _ON_REQUEST]:
            console.print(f"[dim]{name} …[/dim]")
            chapters[name] = await _SCENARIOS[name](run)
            report.show(console, chapters[name])
    return chapters


def main() -> int:
    """Run what was asked for."""
    given = _arguments()
    core = _settle(given.sessions)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped on this way out too
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        chapters = uvloop.run(_measure(given, core, console))
    except ServerFailedError as error:
        console.print(f"[red]{error}[/red]")
        return 1
    except KeyboardInterrupt:
        return 130
    goals = [goal for chapter in chapters.values() for goal in chapter.goals]
    report.show_goals(console, goals)
    if given.json:
        document = {
            "python": platform.python_version(),
            "machine": platform.platform(),
            "settings": {name: value for name, value in vars(given).items() if name not in ("json", "kinds")},
            "goals": [asdict(goal) for goal in goals],
            "figures": {name: chapter.figures for name, chapter in chapters.items()},
            "warnings": {name: chapter.warnings for name, chapter in chapters.items()},
        }
        given.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return 0 if all(goal.met for goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
