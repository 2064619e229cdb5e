"""How long the choice of a rule takes among 1,000 rules and 10,000 DIDs, in this process and without any I/O.

The only module here that imports the bridge: it calls what `bridge.py` calls for each call.
"""

from time import perf_counter_ns
from urllib.parse import unquote

from agi_bridge import config
from agi_bridge.agi.protocol import Request
from agi_bridge.call import Call
from agi_bridge.routing import choose_route
from benchmark import bridge_config
from benchmark.conversation import API_KEY, DIDS, environment
from benchmark.report import Chapter, Goal, spread
from benchmark.run import Run
from benchmark.servers import BRIDGE

_CALLS = 20_000


def _request(number: int) -> Request:
    lines = environment(number, "route").decode().splitlines()
    return Request(dict(line.removeprefix("agi_").split(": ", 1) for line in lines if line))


async def run(run: Run) -> Chapter:
    """Make calls out of environments and choose their rules."""
    chapter = Chapter(
        f"Choosing among {bridge_config.RULES:,} rules and {len(DIDS):,} DIDs",
        ("step", "median µs", "p99 µs", "max µs"),
    )
    if BRIDGE not in run.kinds:
        return chapter
    text = bridge_config.text(4573, "http://127.0.0.1:1")
    book = config.load(text, {"MILLIS_API_KEY": API_KEY}, lambda _: b"").rules
    reading, choosing = [], []
    for number in range(_CALLS):
        request = _request(number)
        began = perf_counter_ns()
        call = Call.from_request(request, book.numbers, "id")
        read = perf_counter_ns()
        route = choose_route(book, call)
        chosen = perf_counter_ns()
        reading.append((read - began) / 1e3)
        choosing.append((chosen - read) / 1e3)
        did = unquote(request.arguments["did"])
        if route.rule_name != f"rule-{DIDS.index(did) // 10}":
            chapter.warnings.append(f"{did} went to {route.rule_name!r}")
            break
    for step, values in (("reading the numbers", reading), ("choosing the rule", choosing)):
        figures = spread(values)
        chapter.figures[step] = figures
        chapter.rows.append((step, *(f"{figures[key]:.1f}" for key in ("median", "p99", "maximum"))))
    chapter.goals.append(Goal.at_most("choosing a rule, median", 50, spread(choosing)["median"], "µs"))
    return chapter
