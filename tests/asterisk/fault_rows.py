"""The fault matrix: each fault, where the caller must end up, and how soon; and docs/faults.md, which is its table.

A row's `play` sets the stage, makes the call, and returns what came of it. `test_fault_matrix.py` holds that against the
row. Limits are the bridge's and the dialplan's defaults throughout: the page tells what a user gets.
"""

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from agi_bridge.call import Reason
from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.sip import AudioHeard, CallEvent, CallReport, HungUp, Invited, ReferEnded, Ringing
from tests.asterisk.stage import (
    AGENT,
    NIGHT,
    RECEPTION,
    SECOND_AGENT,
    Stage,
    closed_port,
)

Event = TypeVar("Event", bound=CallEvent)

# The reason that the dialplan gives where the bridge has given none, in Asterisk's log.
NO_BRIDGE = "no-bridge"

PAGE = Path(__file__).parents[2] / "docs/faults.md"


class Ends(StrEnum):
    """Where a caller ends up."""

    AGENT = "the agent"
    OTHER_AGENT = "the other region's agent"
    STANDBY = "the standby agent"
    FALLBACK = "the rule's fallback"
    DEFAULT = "the dialplan's fallback"
    EITHER_AGENT = "either region's agent"
    TALKS_ON = "the call goes on"
    LEFT = "nothing is left over"


# Whom the caller hears there, and whose INVITE is waited for.
HEARD = {
    Ends.AGENT: (AGENT, "agent"),
    Ends.OTHER_AGENT: (SECOND_AGENT, "second_agent"),
    Ends.STANDBY: (AGENT, "agent"),
    Ends.FALLBACK: (RECEPTION, "reception"),
    Ends.DEFAULT: (NIGHT, "night"),
}


@dataclass(frozen=True)
class Played:
    """What came of a row: the caller's call, and the *seconds* that took, where the row does not mean its usual ones."""

    call: CallReport
    seconds: float | None = None
    lines_before: int = 0


Play = Callable[[Stage], Awaitable[Played]]
Url = Callable[[Stage], AbstractContextManager[str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One fault. The limit counts from the caller's INVITE to the destination's, unless the page says otherwise; a call
    that merely goes on has none.

    *reasons* are those of the bridge's lines on the call until it gets there, in their order; or `NO_BRIDGE`.
    """

    fault: str
    ends: Ends
    within_seconds: float | None
    play: Play
    reasons: tuple[Reason | str, ...] = ()

    @property
    def takes_its_time(self) -> bool:
        """Return whether other rows may be played meanwhile: the limit is long, or there is none."""
        return self.within_seconds is None or self.within_seconds >= 1.0


# Limits. What is decided at once takes milliseconds; half a second is for busy machines, and no caller notices it.
CLOSED_PORT, KNOWN_TO_BE_DOWN, AT_ONCE = 0.05, 0.1, 0.5
# Two regions share 3.9 s; the first gets half of them while there is another to ask.
ONE_REGION, BOTH_REGIONS = 2.2, 4.0
KILLED = 3.0
# What the dialplan gives the bridge, MILLIS_BUDGET_SECONDS, and a little.
WATCHDOG = 6.5
# One and two times `ring_timeout_seconds`, and a little.
ONE_RING, TWO_RINGS = 10.5, 20.5

PATIENT = 30.0  # seconds that the caller lets it ring, which is more than any row takes


# Millis.


@asynccontextmanager
async def default_bridge(stage: Stage, west: str = "", east: str = "", **toml: Any) -> AsyncIterator[None]:
    """Run the bridge with two regions; each goes wrong, as *west* and *east* say, once the bridge has found it well."""
    async with stage.bridge(second_region=True, default_limits=True, **toml):
        for region, fault in ((stage.millis, west), (stage.second_region, east)):
            if fault:
                if not region.requests:
                    await region.any_request()
                region.fault = Fault.parse(fault)
        yield


def millis(west: str = "", east: str = "", *, earlier_calls: int = 0, **toml: Any) -> Play:
    """Call while the regions have those faults; the call that counts may come after others."""

    async def play(stage: Stage) -> Played:
        async with default_bridge(stage, west, east, **toml):
            for _ in range(earlier_calls):
                await stage.call()
                await stage.quiet()
            lines_before = len(stage.lines)
            call = await stage.call(answer_timeout_seconds=PATIENT)
        return Played(call, lines_before=lines_before)

    return play


def addresses(west: Url, east: Url | None = None, **toml: Any) -> Play:
    """Call while the regions are to be found at those addresses."""

    async def play(stage: Stage) -> Played:
        with ExitStack() as held:
            urls = {"millis_url": held.enter_context(west(stage))}
            if east:
                urls["second_url"] = held.enter_context(east(stage))
            async with default_bridge(stage, **urls, **toml):
                return Played(await stage.call(answer_timeout_seconds=PATIENT))

    return play


@contextmanager
def refuses(stage: Stage) -> Iterator[str]:
    """An address where nobody listens."""
    with closed_port() as (host, port):
        yield f"http://{host}:{port}"


@contextmanager
def does_not_accept(stage: Stage) -> Iterator[str]:
    """An address that leaves connections unanswered, as a host does that is gone."""
    with full_backlog() as (host, port):
        yield f"http://{host}:{port}"


@contextmanager
def speaks_no_tls(stage: Stage) -> Iterator[str]:
    """An address that should speak TLS and does not."""
    yield stage.millis.url.replace("http:", "https:")


@contextmanager
def has_no_address(stage: Stage) -> Iterator[str]:
    """A name that DNS does not know."""
    yield "https://api.millis.invalid"


@contextmanager
def full_backlog() -> Iterator[tuple[str, int]]:
    """Listen, with no room for anybody."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        yield listener.getsockname()


def standby(west: str, east: str) -> Play:
    """Call a rule that has a standby URI."""

    async def play(stage: Stage) -> Played:
        uri = "sip:standby@{}:{}".format(*stage.agent.address)
        played = await millis(west, east, sales=f'standby_uri = "{uri}"')(stage)
        assert [event.user for event in of(stage, "agent", Invited)] == ["standby"]
        return played

    return play


async def flaps(stage: Stage) -> Played:
    """Call six times while the first region is down for every other call, the first included; the slowest call counts."""
    worst: Played | None = None
    async with default_bridge(stage, "status=503"):
        for number in range(6):
            stage.millis.fault = Fault.parse("" if number % 2 else "status=503")
            call = await stage.call()
            [heard] = call.heard_hz
            assert heard in (AGENT, SECOND_AGENT)
            party = "agent" if heard == AGENT else "second_agent"
            played = Played(call, stage.seconds_until(party, call))
            worst = max(worst or played, played, key=lambda one: one.seconds or 0.0)
            await stage.quiet()
    assert worst is not None
    return worst


async def adds_to_the_other(stage: Stage) -> Played:
    """Call while the first region refuses and the second takes 100 ms; what is over and above those counts."""
    with refuses(stage) as url:
        async with default_bridge(stage, east="delay=0.1", millis_url=url):
            call = await stage.call()
            route = await stage.line("route")
    return Played(call, float(route["millis_ms"]) / 1000 - 0.1)


async def past_the_registration_limit(stage: Stage) -> Played:
    """Call while another call's registration, the only one that may be under way, hangs."""
    async with (
        default_bridge(stage, "hang", millis="registration_limit = 1"),
        stage.calling(),
        asyncio.TaskGroup() as calls,
    ):
        await stage.millis.received()
        calling = calls.create_task(stage.call())
        await stage.saw("caller", AudioHeard)
        stage.caller.hang_up()
    return Played(calling.result())


# The agent's SIP side.


def agent(*, both: bool = False, **behaviour: Any) -> Play:
    """Call while the agent of the first region, or of both, behaves so."""

    async def play(stage: Stage) -> Played:
        stage.agent_does(**behaviour)
        if both:
            stage.second_agent_does(**behaviour)
        async with default_bridge(stage):
            return Played(await stage.call(answer_timeout_seconds=PATIENT))

    return play


async def redirects(stage: Stage) -> Played:
    """Call an agent that sends the call to a phone in the PBX's own network, which must not ring."""
    lobby = "sip:lobby@{}:{}".format(*stage.desks["lobby"].address)
    played = await agent(refuse_status=302, redirect_to=lobby)(stage)
    assert stage.events["lobby"] == []
    return played


async def refers(stage: Stage) -> Played:
    """Call an agent that asks for the call to be moved off the list: it is refused, and the conversation goes on."""
    lobby = "sip:lobby@{}:{}".format(*stage.desks["lobby"].address)
    stage.agent_does(refer_to=lobby, refer_after_seconds=0.5, hang_up_after_seconds=1.0)
    async with default_bridge(stage), stage.calling() as calling:
        answer = await stage.saw("agent", ReferEnded)
        call = await calling
    assert answer.status == 404
    assert stage.events["lobby"] == []
    assert (call.heard_hz, call.hung_up_by) == ((AGENT,), "them")
    assert of(stage, "agent", HungUp)[0].at - answer.at > 0.9
    return Played(call)


# The bridge.


async def is_not_running(stage: Stage) -> Played:
    """Call while nobody listens where the bridge should be."""
    with closed_port() as address:
        stage.ask_bridge_at(*address)
        return Played(await stage.call())


async def accepts_no_connection(stage: Stage) -> Played:
    """Call while the bridge's backlog is full."""
    with full_backlog() as address:
        stage.ask_bridge_at(*address)
        return Played(await stage.call())


async def is_full(stage: Stage) -> Played:
    """Call while somebody else has the only session that there may be."""
    async with stage.bridge(second_region=True, default_limits=True, agi="session_limit = 1") as server:
        _, writer = await asyncio.open_connection(*server.addresses[0])
        try:
            return Played(await stage.call())
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def default_process(stage: Stage, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the bridge with two regions, as a program of its own."""
    async with stage.bridge_process(second_region=True, default_limits=True, **options) as process:
        yield process


async def is_killed_before_reading(stage: Stage) -> Played:
    """Kill a bridge whose kernel has accepted the call and which has not read a byte of it."""
    async with default_process(stage) as process, asyncio.TaskGroup() as calls:
        process.send_signal(signal.SIGSTOP)
        calling = calls.create_task(stage.call())
        await stage.shown("core show channels concise", r"!AGI!agi://")
        process.kill()
    return Played(calling.result())


async def is_killed_while_registering(stage: Stage) -> Played:
    """Kill a bridge that has named the rule's fallback, as it does as soon as it has asked Millis."""
    stage.millis_does("hang")
    async with default_process(stage) as process, asyncio.TaskGroup() as calls:
        calling = calls.create_task(stage.call())
        await stage.millis.received()
        channel = await stage.shown("core show channels concise", r"PJSIP/trunk-\w+")
        await stage.shown(f"core show channel {channel[0]}", "MILLIS_DIAL_OPTIONS=i")
        process.kill()
    return Played(calling.result())


async def is_killed_during_the_conversation(stage: Stage) -> Played:
    """Kill the bridge while caller and agent talk: they talk on, and the end of the call leads nowhere else."""
    stage.agent_does(hang_up_after_seconds=1.5)
    async with default_process(stage) as process, stage.calling() as calling:
        await stage.saw("caller", AudioHeard)
        process.kill()
        await process.wait()
        killed = asyncio.get_running_loop().time()
        call = await calling
    hung_up = of(stage, "agent", HungUp)[0]
    assert (hung_up.by, call.hung_up_by, call.heard_hz) == ("us", "them", (AGENT,))
    assert hung_up.at > killed
    assert stage.events["reception"] == stage.events["night"] == []
    return Played(call)


async def is_stopped(stage: Stage) -> Played:
    """Call while the bridge is stopped, and the kernel accepts connections for it."""
    async with default_process(stage) as process:
        process.send_signal(signal.SIGSTOP)
        return Played(await stage.call(answer_timeout_seconds=PATIENT))


async def cannot_log(stage: Stage) -> Played:
    """Call a bridge whose log goes to a disk that is full."""
    async with default_process(stage, log="/dev/full"):
        return Played(await stage.call())


# The caller.


async def hangs_up_while_registering(stage: Stage) -> Played:
    """Hang up while Millis is asked: the registration is given up at once, and nobody is called."""
    async with default_bridge(stage, "hang"), stage.calling() as calling:
        await stage.millis.received()
        stage.caller.hang_up()
        left = await stage.saw("caller", HungUp)
        given_up = await stage.millis.abandoned()
        route = await stage.line("route")
        call = await calling
    assert (call.status, route["orphaned"]) == (487, True)
    assert [party for party, events in stage.events.items() if events] == ["caller"]
    return Played(call, given_up - left.at)


async def hangs_up_while_it_rings(stage: Stage) -> Played:
    """Hang up while the agent's phone rings: it stops, and no fallback rings."""
    stage.agent_does(ring_seconds=10.0)
    async with default_bridge(stage), stage.calling() as calling:
        await stage.saw("agent", Ringing)
        stage.caller.hang_up()
        left = await stage.saw("caller", HungUp)
        told = await stage.saw("agent", HungUp)
        call = await calling
    assert (call.status, told.by) == (487, "them")
    assert stage.events["reception"] == stage.events["second_agent"] == []
    return Played(call, told.at - left.at)


async def hangs_up_while_talking(stage: Stage) -> Played:
    """Hang up in the conversation: so does the agent."""
    async with default_bridge(stage), stage.calling() as calling:
        await stage.saw("caller", AudioHeard)
        stage.caller.hang_up()
        left = await stage.saw("caller", HungUp)
        told = await stage.saw("agent", HungUp)
        call = await calling
    assert told.by == "them"
    assert stage.events["reception"] == []
    return Played(call, told.at - left.at)


def of(stage: Stage, party: str, kind: type[Event]) -> list[Event]:
    """Return the events of this *kind* that *party* has seen."""
    return [event for event in stage.events[party] if isinstance(event, kind)]


# The rows.


def row(fault: str, ends: Ends, within_seconds: float | None, play: Play, *reasons: Reason | str) -> Row:
    """Return a row, in the order of the page's columns."""
    return Row(fault=fault, ends=ends, within_seconds=within_seconds, play=play, reasons=reasons)


R = Reason
ONE_REGION_ROWS = (
    row("connection refused", Ends.OTHER_AGENT, AT_ONCE, addresses(refuses), R.ROUTED_FAILOVER),
    row(
        "connection refused: what that adds to the other region's own 100 ms",
        Ends.OTHER_AGENT,
        0.02,
        adds_to_the_other,
        R.ROUTED_FAILOVER,
    ),
    row("connection not accepted", Ends.OTHER_AGENT, 1.3, addresses(does_not_accept), R.ROUTED_FAILOVER),
    row("black hole: accepts and never answers", Ends.OTHER_AGENT, ONE_REGION, millis("hang"), R.ROUTED_FAILOVER),
    row("slow by 1 s", Ends.AGENT, 1.3, millis("delay=1"), R.ROUTED),
    row("slow by 3 s", Ends.OTHER_AGENT, ONE_REGION, millis("delay=3"), R.ROUTED_FAILOVER),
    row("slow by 10 s", Ends.OTHER_AGENT, ONE_REGION, millis("delay=10"), R.ROUTED_FAILOVER),
    row("reset", Ends.OTHER_AGENT, AT_ONCE, millis("reset"), R.ROUTED_FAILOVER),
    row("reset in mid-body", Ends.OTHER_AGENT, AT_ONCE, millis("reset-mid-body"), R.ROUTED_FAILOVER),
    row("TLS handshake fails", Ends.OTHER_AGENT, AT_ONCE, addresses(speaks_no_tls), R.ROUTED_FAILOVER),
    row("DNS knows no such name", Ends.OTHER_AGENT, AT_ONCE, addresses(has_no_address), R.ROUTED_FAILOVER),
    row("401, the key is wrong", Ends.FALLBACK, AT_ONCE, millis("status=401"), R.MILLIS_REFUSED),
    row("402, the credit is used up", Ends.FALLBACK, AT_ONCE, millis("status=402"), R.MILLIS_REFUSED),
    row("404, no such agent", Ends.FALLBACK, AT_ONCE, millis("status=404"), R.MILLIS_REFUSED),
    row("422, the request is wrong", Ends.FALLBACK, AT_ONCE, millis("status=422,detail=list"), R.MILLIS_REFUSED),
    row("429", Ends.OTHER_AGENT, AT_ONCE, millis("status=429"), R.ROUTED_FAILOVER),
    row("429 with `Retry-After: 1`", Ends.OTHER_AGENT, AT_ONCE, millis("status=429,retry-after=1"), R.ROUTED_FAILOVER),
    row(
        "429 with `Retry-After: 60`", Ends.OTHER_AGENT, AT_ONCE, millis("status=429,retry-after=60"), R.ROUTED_FAILOVER
    ),
    row("500", Ends.OTHER_AGENT, AT_ONCE, millis("status=500"), R.ROUTED_FAILOVER),
    row("503", Ends.OTHER_AGENT, AT_ONCE, millis("status=503"), R.ROUTED_FAILOVER),
    row("503 with an HTML page", Ends.OTHER_AGENT, AT_ONCE, millis("status=503,body=html"), R.ROUTED_FAILOVER),
    row("200 with an HTML page", Ends.OTHER_AGENT, AT_ONCE, millis("body=html"), R.ROUTED_FAILOVER),
    row("200 with nothing", Ends.OTHER_AGENT, AT_ONCE, millis("body=empty"), R.ROUTED_FAILOVER),
    row("200 with 100 MB", Ends.OTHER_AGENT, AT_ONCE, millis("body=huge"), R.ROUTED_FAILOVER),
    row("200 without a SIP URI", Ends.OTHER_AGENT, AT_ONCE, millis("body=no-uri"), R.ROUTED_FAILOVER),
    row("a SIP URI off the allow-list", Ends.FALLBACK, AT_ONCE, millis("uri=sip:a@sip.example.com"), R.BAD_URI),
    row(
        "503, after earlier calls",
        Ends.OTHER_AGENT,
        KNOWN_TO_BE_DOWN,
        millis("status=503", earlier_calls=2),
        R.ROUTED_FAILOVER,
    ),
    row("flapping: 503 for every other call", Ends.EITHER_AGENT, AT_ONCE, flaps, R.ROUTED_FAILOVER),
)
BOTH_REGIONS_ROWS = (
    row("connection refused", Ends.FALLBACK, AT_ONCE, addresses(refuses, refuses), R.MILLIS_UNREACHABLE),
    row(
        "connection not accepted",
        Ends.FALLBACK,
        ONE_REGION,
        addresses(does_not_accept, does_not_accept),
        R.MILLIS_UNREACHABLE,
    ),
    row("black hole", Ends.FALLBACK, BOTH_REGIONS, millis("hang", "hang"), R.MILLIS_TIMEOUT),
    row("slow by 1 s", Ends.AGENT, 1.3, millis("delay=1", "delay=1"), R.ROUTED),
    row("slow by 3 s", Ends.FALLBACK, BOTH_REGIONS, millis("delay=3", "delay=3"), R.MILLIS_TIMEOUT),
    row("slow by 10 s", Ends.FALLBACK, BOTH_REGIONS, millis("delay=10", "delay=10"), R.MILLIS_TIMEOUT),
    row("reset", Ends.FALLBACK, AT_ONCE, millis("reset", "reset"), R.MILLIS_UNREACHABLE),
    row("reset in mid-body", Ends.FALLBACK, AT_ONCE, millis("reset-mid-body", "reset-mid-body"), R.MILLIS_UNREACHABLE),
    row("TLS handshake fails", Ends.FALLBACK, AT_ONCE, addresses(speaks_no_tls, speaks_no_tls), R.MILLIS_UNREACHABLE),
    row(
        "DNS knows no such name",
        Ends.FALLBACK,
        AT_ONCE,
        addresses(has_no_address, has_no_address),
        R.MILLIS_UNREACHABLE,
    ),
    row("429", Ends.FALLBACK, AT_ONCE, millis("status=429", "status=429"), R.MILLIS_REFUSED),
    row("500", Ends.FALLBACK, AT_ONCE, millis("status=500", "status=500"), R.MILLIS_REFUSED),
    row("503", Ends.FALLBACK, AT_ONCE, millis("status=503", "status=503"), R.MILLIS_REFUSED),
    row(
        "503, and the rule has a `standby_uri`",
        Ends.STANDBY,
        AT_ONCE,
        standby("status=503", "status=503"),
        R.ROUTED_STANDBY,
    ),
    row(
        "503, after earlier calls",
        Ends.FALLBACK,
        KNOWN_TO_BE_DOWN,
        millis("status=503", "status=503", earlier_calls=2),
        R.MILLIS_DOWN,
    ),
    row("200 with an HTML page", Ends.FALLBACK, AT_ONCE, millis("body=html", "body=html"), R.MILLIS_NONSENSE),
    row("200 with nothing", Ends.FALLBACK, AT_ONCE, millis("body=empty", "body=empty"), R.MILLIS_NONSENSE),
    row("200 with 100 MB", Ends.FALLBACK, AT_ONCE, millis("body=huge", "body=huge"), R.MILLIS_NONSENSE),
    row("200 without a SIP URI", Ends.FALLBACK, AT_ONCE, millis("body=no-uri", "body=no-uri"), R.MILLIS_NONSENSE),
)

# SIP status -> what the bridge says of the agent leg.
REFUSALS = {
    403: R.AGENT_UNAVAILABLE,
    404: R.AGENT_UNAVAILABLE,
    408: R.AGENT_UNAVAILABLE,
    480: R.AGENT_NO_ANSWER,
    486: R.AGENT_BUSY,
    488: R.AGENT_UNAVAILABLE,
    500: R.AGENT_UNAVAILABLE,
    503: R.AGENT_CONGESTION,
    600: R.AGENT_BUSY,
    603: R.AGENT_UNAVAILABLE,
}
SIP_ROWS = (
    row("302, a redirect", Ends.OTHER_AGENT, AT_ONCE, redirects, R.ROUTED, R.AGENT_UNAVAILABLE, R.ROUTED_REDIAL),
    *(
        row(str(status), Ends.OTHER_AGENT, AT_ONCE, agent(refuse_status=status), R.ROUTED, reason, R.ROUTED_REDIAL)
        for status, reason in REFUSALS.items()
    ),
    row(
        "503 in both regions",
        Ends.FALLBACK,
        AT_ONCE,
        agent(both=True, refuse_status=503),
        R.ROUTED,
        R.AGENT_CONGESTION,
        R.ROUTED_REDIAL,
        R.AGENT_CONGESTION,
    ),
    row(
        "silence",
        Ends.OTHER_AGENT,
        ONE_RING,
        agent(ignore_invite=True),
        R.ROUTED,
        R.AGENT_NO_ANSWER,
        R.ROUTED_REDIAL,
    ),
    row(
        "silence in both regions",
        Ends.FALLBACK,
        TWO_RINGS,
        agent(both=True, ignore_invite=True),
        R.ROUTED,
        R.AGENT_NO_ANSWER,
        R.ROUTED_REDIAL,
        R.AGENT_NO_ANSWER,
    ),
    row(
        "answers, and hangs up at once",
        Ends.OTHER_AGENT,
        AT_ONCE,
        agent(hang_up_after_seconds=0),
        R.ROUTED,
        R.AGENT_DROPPED,
        R.ROUTED_REDIAL,
    ),
    row(
        "answers, and hangs up at once, in both regions",
        Ends.FALLBACK,
        AT_ONCE,
        agent(both=True, hang_up_after_seconds=0),
        R.ROUTED,
        R.AGENT_DROPPED,
        R.ROUTED_REDIAL,
        R.AGENT_DROPPED,
    ),
    row("REFER to a place off the list", Ends.TALKS_ON, None, refers, R.ROUTED),
)
BRIDGE_ROWS = (
    row("not running", Ends.DEFAULT, CLOSED_PORT, is_not_running, NO_BRIDGE),
    row("accepts no connection", Ends.DEFAULT, KILLED, accepts_no_connection, NO_BRIDGE),
    row("`session_limit` reached", Ends.DEFAULT, KNOWN_TO_BE_DOWN, is_full, NO_BRIDGE),
    row("`registration_limit` reached", Ends.FALLBACK, KNOWN_TO_BE_DOWN, past_the_registration_limit, R.BUSY),
    row("killed before it reads", Ends.DEFAULT, KILLED, is_killed_before_reading, NO_BRIDGE),
    row("killed while it registers", Ends.FALLBACK, KILLED, is_killed_while_registering, NO_BRIDGE),
    row("killed during the conversation", Ends.TALKS_ON, None, is_killed_during_the_conversation),
    row("stopped (SIGSTOP)", Ends.DEFAULT, WATCHDOG, is_stopped, NO_BRIDGE),
    row("the disk for its log is full", Ends.AGENT, AT_ONCE, cannot_log),
)
CALLER_ROWS = (
    row("while Millis is asked", Ends.LEFT, 0.05, hangs_up_while_registering, R.CALLER_HUNG_UP),
    row("while the agent rings", Ends.LEFT, 0.05, hangs_up_while_it_rings, R.ROUTED, R.CALLER_HUNG_UP),
    row("in the conversation", Ends.LEFT, 0.05, hangs_up_while_talking, R.ROUTED, R.ANSWERED),
)

PARTS: Mapping[str, tuple[str, tuple[Row, ...]]] = {
    "Millis, in the first region": (
        "What the API of the rule's own region does, while that of the other is well.",
        ONE_REGION_ROWS,
    ),
    "Millis, in both regions": ("The same in both.", BOTH_REGIONS_ROWS),
    "The agent": (
        "What the SIP side answers to the agent leg; where nothing is said of both regions, that of the first.",
        SIP_ROWS,
    ),
    "The bridge": ("What becomes of the bridge's process, or of the room in it.", BRIDGE_ROWS),
    "The caller hangs up": (
        "Here the limit counts from the hang-up until Millis, or the agent, is let go.",
        CALLER_ROWS,
    ),
}
ROWS = {f"{part}: {row.fault}": row for part, (_, rows) in PARTS.items() for row in rows}


# The page.

INTRODUCTION = """\
# Faults

What the caller gets when something breaks. `scripts/faults` plays each row on a real Asterisk and writes this page; the limits
are the defaults of the bridge and of the shipped dialplan.

- **Where the caller ends** is judged by what the caller hears. The way there is [the ladder](architecture.md#the-ladder).
- **Within** counts from the caller's INVITE to the INVITE of whoever takes the call.
- **Reason in the log**: those of the bridge's lines on the call until it gets there; see [dialplan.md](dialplan.md#reasons).
  `no-bridge` is the dialplan's, in Asterisk's log.
- **Measured here** is the time on one small machine with everybody on it: the caller, Asterisk, the bridge, Millis and the
  agents. A row that is late is played again, twice at most, for the machine may have been busy with something else.
  The Asterisk was 22.10.1.

**At worst** a caller waits for just under half a minute: 3.9 s for the registration (`timeout_seconds`), 10 s of ringing
(`ring_timeout_seconds`) and 1 s for the report (`MILLIS_REPORT_SECONDS`), all of it twice. A rule's `prompt` comes on top, once. A
bridge that is itself stuck costs 6 s at most (`MILLIS_BUDGET_SECONDS`), and then the caller is in the fallback.

**A region that is well again** is found by a probe: while it is down, one goes out every `breaker_seconds` / 2, which is 5 s, or
every `probe_seconds` where that is shorter. Once a probe is answered, one call at a time tries the region. If that call
succeeds, or another probe is answered, all calls do. Without probes (`probe_seconds = 0`) a call tries it `breaker_seconds` after its last failure.

**The standby URI** is dialled when the API is down: no connection, no answer in time, 429, 5xx, an answer that makes no sense, or
every region known to be down. It is not dialled after another refusal (401, 402, 404, 422), `bad-uri`, or a limit of our own
(`busy`): those say that something is to be mended. If the standby's leg fails, the caller takes the fallback at once; there is no
redial.

**A PBX that has lost its network, or its bridge's machine,** sees a bridge that accepts no connection: each caller waits for up to
2 s, then takes the dialplan's fallback. That cannot happen to a bridge on the PBX itself, where Millis is what cannot be had.

**A region whose SIP side is silent** while its API is well costs every caller `ring_timeout_seconds` before the redial, call after
call: only the health of the API is watched. The log has `agent-no-answer` and then `routed-redial` for each. Set `region` to the
other one, lower `ring_timeout_seconds`, and [reload](operations.md#reload).
"""

CONCLUSION = """\
Where the call goes on after the agent has hung up, what follows `Gosub(millis,…)` in the trunk's context takes it; the shipped
one hangs up.
"""

NONE = "–"
HEADING = "| fault | where the caller ends | within | reason in the log | measured here |"


def page(measured: Mapping[Row, float | None] | None = None) -> str:
    """Return docs/faults.md, with the seconds that the rows took, or dots where they are not given."""
    parts = [INTRODUCTION]
    for heading, (introduction, rows) in PARTS.items():
        lines = [line(row, shown(measured[row]) if measured else "…") for row in rows]
        parts.append("\n".join([f"## {heading}\n\n{introduction}\n", HEADING, "| --- " * 5 + "|", *lines, ""]))
    return "\n".join([*parts, CONCLUSION])


def line(row: Row, measured: str) -> str:
    reasons = ", ".join(f"`{reason}`" for reason in row.reasons) or NONE
    return f"| {row.fault} | {row.ends} | {shown(row.within_seconds)} | {reasons} | {measured} |"


def shown(seconds: float | None) -> str:
    """Return a time as a person reads it."""
    if seconds is None:
        return NONE
    return f"{round(seconds * 1000)} ms" if seconds < 1 else f"{round(seconds, 2):g} s"


def without_measurements(page: str) -> str:
    """Return the page as it would be had nothing been measured."""
    return re.sub(r"\| (?:[\d.]+ m?s|–) \|$", "| … |", page, flags=re.MULTILINE)
