"""Everyone whom a call through the real Asterisk meets: the caller, the agent, Millis, the bridge, and the fallbacks.

What a test looks at is what the caller hears. The agent and each fallback speak a tone of their own, so the tone tells
where the call ended up, whatever the PBX or the bridge says of it. The PBX is the same for all tests; a test's own
addresses are told to it as globals. Nothing here knows what is right: the tests do.
"""

import asyncio
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import structlog
from lab import Pbx

from agi_bridge import app
from agi_bridge.agi.server import AgiServer
from agi_bridge.config import load
from agi_bridge.pbx.pbxs import Pbxs
from agi_bridge.simulator.millis import Fault, SimulatedMillis
from agi_bridge.simulator.sip import (
    AgentBehaviour,
    AudioHeard,
    CallerBehaviour,
    CallEvent,
    CallReport,
    Invited,
    SipAgent,
    SipCaller,
)

T = TypeVar("T")
Event = TypeVar("Event", bound=CallEvent)
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# What each party speaks; the caller's own tone is the simulator's.
AGENT, SECOND_AGENT, RECEPTION, LOBBY, NIGHT = 440, 520, 600, 700, 800
DESKS = {"reception": RECEPTION, "lobby": LOBBY, "night": NIGHT}

# The called numbers; where those from ONELINE_DID on lead is said in extensions.conf.
DID, REJECTED_DID, UNKNOWN_DID = "15551230001", "15551230002", "15551230099"
ONELINE_DID, ONELINE_REJECTED_DID = "15551230010", "15551230011"
LIMITED_DID, NESTED_DID, OTHER_SITE_DID = "15551230012", "15551230013", "15551230014"
AGISTATUS_DID, EVALUATING_DID, LONG_LIMIT_DID = "15551230015", "15551230016", "15551230017"

CALLER_NUMBER = "+15557654321"
TRUNK = "127.0.0.2"
KEY = "k3y"
# As in manager.conf beside this file.
AMI_SECRET = "the-bridges-own-secret"

BRIDGE_TOML = """
[agi]
listen = "{listen}"
{agi}

[web]
listen = {web}

[millis]
base_url = {millis_url}
allowed_hosts = ["127.0.0.1"]
{limits}
{millis}

[numbers]
default_country = "US"

[log]
format = "json"

[defaults]
fallback = "lobby,s,1"

[[route]]
name = "sales"
did = ["+15551230001"]
agent_id = "-Nsales"
fallback = "{fallback}"
{sales}

[[route]]
name = "nobody"
did = ["+15551230002"]
reject = true
{more}
"""

# What most tests need of Millis: failures that do not take long, and no request that they did not cause.
SHORT_LIMITS = """
timeout_seconds = {timeout_seconds}
connect_timeout_seconds = 0.3
probe_seconds = 0
"""

# Enough for a machine that does other things besides. Nobody waits so long for what happens.
PATIENCE_SECONDS = 20.0
# How long a caller stays on the line who does not hear what would make them hang up.
_LONGEST_TALK_SECONDS = 5.0
_POLL_SECONDS = 0.01

# The stage whose bridge runs in this task; several may be on at once, each with a PBX of its own.
_now_on: ContextVar["Stage"] = ContextVar("_now_on")


class Stage:
    """One test's cast around the PBX; valid inside `async with set_stage(pbx)`."""

    def __init__(self, pbx: Pbx) -> None:
        self.pbx = pbx
        self.events: dict[str, list[CallEvent]] = {name: [] for name in ("caller", "agent", "second_agent", *DESKS)}
        self.lines: list[dict[str, Any]] = []  # of the bridge's log
        self.agent = SipAgent(on_event=self._agent_saw)
        self.second_agent = SipAgent(
            behaviour=AgentBehaviour(speaks_hz=SECOND_AGENT), on_event=self.seen_by("second_agent")
        )
        self.desks = {
            name: SipAgent(behaviour=AgentBehaviour(speaks_hz=hz), on_event=self.seen_by(name))
            for name, hz in DESKS.items()
        }
        self.caller = SipCaller(TRUNK, on_event=self.seen_by("caller"))
        self.millis = SimulatedMillis(key=KEY)
        self.second_region = SimulatedMillis(key=KEY)
        self.pbxs: Pbxs | None = None  # of the bridge that runs in this task
        self._hangs_up_when_heard = True
        self._began = 0.0  # the latest call
        self._news = asyncio.Event()
        self._log_began = len(pbx.log_text())

    # Who takes part.

    def bridge_toml(
        self,
        *,
        fallback: str = "reception,s,1",
        sales: str = "",
        millis: str = "",
        more: str = "",
        agi: str = "",
        listen: str = "127.0.0.1:0",
        web: str = "[]",
        millis_url: str = "",
        second_url: str = "",
        second_region: bool = False,
        default_limits: bool = False,
        millis_timeout_seconds: float = 2.0,
    ) -> str:
        """Return a configuration: *sales* goes to the rule for `DID`, *agi* and *millis* to their tables, *more* to the end.

        With *default_limits* the times are those that hold where an operator says nothing of them.
        """
        url = millis_url or self.millis.url
        return BRIDGE_TOML.format(
            listen=listen,
            web=web,
            agi=agi,
            millis_url=f'{{ us-west = "{url}", eu-west = "{second_url or self.second_region.url}" }}'
            if second_region
            else f'"{url}"',
            limits="" if default_limits else SHORT_LIMITS.format(timeout_seconds=millis_timeout_seconds),
            millis=millis,
            fallback=fallback,
            sales=sales,
            more=more,
        )

    @asynccontextmanager
    async def bridge(self, *, key: str = KEY, secret: str = "", **toml: Any) -> AsyncIterator[AgiServer]:
        """Run the bridge with `bridge_toml(**toml)`, and send the PBX there."""
        environ = {"MILLIS_API_KEY": key, "AGI_BRIDGE_SECRET": secret, "AMI_SECRET": AMI_SECRET}
        config = load(self.bridge_toml(**toml), environ, lambda name: b"")
        earlier = _now_on.set(self)
        try:
            async with app.Service(config, lambda: config) as service:
                self.service, self.pbxs, self.web = service, service.pbxs, service.web
                self.ask_bridge_at(*service.agi.addresses[0])
                yield service.agi
                await self.quiet()
        finally:
            _now_on.reset(earlier)

    @asynccontextmanager
    async def bridge_process(self, *, log: str = "", **toml: Any) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the bridge as a program of its own, which a test can stop or kill, and send the PBX there.

        Its log goes to the file *log*, if one is named.
        """
        with tempfile.TemporaryDirectory() as folder, ExitStack() as files:
            path = Path(folder, "bridge.toml")
            address = self.pbx.address, self.pbx.slot.bridge_port
            toml["listen"] = "{}:{}".format(*address)
            path.write_text(self.bridge_toml(**toml))  # noqa: ASYNC240 - a few bytes, and no call is under way
            process = await asyncio.create_subprocess_exec(
                *(Path(sys.executable).with_name("agi-bridge"), "serve", "--config", path),
                env={**os.environ, "MILLIS_API_KEY": KEY, "AMI_SECRET": AMI_SECRET},
                stderr=files.enter_context(open(log or os.devnull, "w")),  # noqa: ASYNC230 - a device, or as good as one
            )
            try:
                await _listening(*address)
                self.ask_bridge_at(*address)
                yield process
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()

    @asynccontextmanager
    async def agi_server(self, talk: Talk) -> AsyncIterator[None]:
        """Run another bridge: *talk* gets each connection once its environment has been read; then it is closed."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\n\n")
            await talk(reader, writer)
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1") as server:
            self.ask_bridge_at(*server.sockets[0].getsockname())
            yield
            await self.quiet()

    def ask_bridge_at(self, host: str, port: int) -> None:
        """Tell the PBX where the bridge is."""
        self.set_global("MILLIS_BRIDGE", f"{host}:{port}")

    def set_global(self, name: str, value: str) -> None:
        """Change what site/extensions.conf says, for this test."""
        self.pbx.cli(f"dialplan set global {name} {value}")

    def agent_does(self, **behaviour: Any) -> None:
        """Change how the agent takes the calls to come; the words are those of `AgentBehaviour`."""
        self.agent.behaviour = replace(self.agent.behaviour, **behaviour)

    def second_agent_does(self, **behaviour: Any) -> None:
        """Change how the agent of the second region takes the calls to come, likewise."""
        self.second_agent.behaviour = replace(self.second_agent.behaviour, **behaviour)

    def desk_does(self, name: str, **behaviour: Any) -> None:
        """Change how a fallback takes the calls to come, likewise."""
        desk = self.desks[name]
        desk.behaviour = replace(desk.behaviour, **behaviour)

    def millis_does(self, fault: str) -> None:
        """Change how Millis answers; the words are those of `Fault.parse`."""
        self.millis.fault = Fault.parse(fault)

    # What happens.

    async def call(
        self, did: str = DID, *, number: str | None = CALLER_NUMBER, name: str = "Ada Lovelace", **behaviour: Any
    ) -> CallReport:
        """Call through the PBX. The caller hangs up when both sides have heard each other, or after 5 s."""
        behaviour = {"answer_timeout_seconds": PATIENCE_SECONDS, "talk_seconds": _LONGEST_TALK_SECONDS, **behaviour}
        self._began = time.monotonic()
        return await self.caller.call(
            (self.pbx.address, self.pbx.sip_port),
            did,
            caller_number=number,
            caller_name=name,
            behaviour=CallerBehaviour(**{"listens_for_hz": (AGENT, SECOND_AGENT, *DESKS.values())} | behaviour),
        )

    @asynccontextmanager
    async def calling(self, did: str = DID, **behaviour: Any) -> AsyncIterator[asyncio.Task[CallReport]]:
        """Call while the block runs, and hang up at its end; the task returns the call's report."""
        self._hangs_up_when_heard = False
        async with asyncio.TaskGroup() as calls:
            # No test takes so long.
            call = calls.create_task(self.call(did, **{"talk_seconds": 10 * PATIENCE_SECONDS, **behaviour}))
            yield call
            self.caller.hang_up()

    async def line(self, verb: str) -> dict[str, Any]:
        """Wait for the bridge's line on the call that asked with *verb*, and return it."""
        return await self._until(lambda: next((line for line in self.lines if line.get("verb") == verb), None))

    async def line_with(self, name: str, value: object = None) -> dict[str, Any]:
        """Wait for a line of the bridge that has the field *name*, with *value* if one is given, and return it."""

        def found() -> dict[str, Any] | None:
            return next((line for line in self.lines if name in line and value in (None, line[name])), None)

        return await self._until(found)

    async def saw(self, party: str, kind: type[Event]) -> Event:
        """Wait until *party* (caller, agent or a desk) has seen an event of this *kind*, and return it."""
        return await self._until(lambda: next((event for event in self.events[party] if isinstance(event, kind)), None))

    async def heard(self, party: str, hz: int) -> AudioHeard:
        """Wait until *party* has heard a tone, and return the event."""

        def found() -> AudioHeard | None:
            heard = (event for event in self.events[party] if isinstance(event, AudioHeard))
            return next((event for event in heard if event.hz == hz), None)

        return await self._until(found)

    async def quiet(self) -> None:
        """Wait until the PBX has no call left, nor anything of it to tell the bridge."""
        await self.shown("core show channels count", "^0 active channels")

    async def shown(self, command: str, pattern: str) -> re.Match[str]:
        """Wait until what Asterisk's console prints for *command* has a match for *pattern*, and return it."""
        return await self._polled(lambda: self.pbx.cli(command), pattern)

    async def logged(self, pattern: str) -> re.Match[str]:
        """Wait until Asterisk's log of this test has a match for *pattern*, and return it."""
        return await self._polled(self.log_text, pattern)

    def log_text(self) -> str:
        """Return what Asterisk has logged since the test began."""
        return self.pbx.log_text()[self._log_began :]

    def problems(self) -> list[str]:
        """Return the warnings and errors among it."""
        return re.findall(r".*\] (?:WARNING|ERROR)\[.*", self.log_text())

    def seconds_until(self, party: str, call: CallReport) -> float:
        """Return the time from the INVITE of *call* to the first that *party* got after it."""
        began = call.events[0].at
        return next(event.at for event in self.events[party] if isinstance(event, Invited) and event.at > began) - began

    # How it is seen.

    def _agent_saw(self, event: CallEvent) -> None:
        self.seen_by("agent")(event)
        self.millis.sessions.hear(event)

    async def _until(self, happened: Callable[[], T | None]) -> T:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (result := happened()) is None:
                self._news.clear()
                await self._news.wait()
        return result

    async def _polled(self, text: Callable[[], str], pattern: str) -> re.Match[str]:
        """Look again and again, because Asterisk tells nobody when its log or its state changes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (match := re.search(pattern, text())):  # noqa: ASYNC110 - nothing could set an event
                await asyncio.sleep(_POLL_SECONDS)
        return match

    def seen_by(self, party: str) -> Callable[[CallEvent], None]:
        """Return what takes the events of a party."""

        def see(event: CallEvent) -> None:
            self.events[party].append(event)
            self._news.set()
            if self._hangs_up_when_heard and isinstance(event, AudioHeard) and self._have_heard_each_other():
                self.caller.hang_up()

        return see

    def _have_heard_each_other(self) -> bool:
        heard = {
            party
            for party, events in self.events.items()
            for event in events
            if isinstance(event, AudioHeard) and event.at > self._began
        }
        return "caller" in heard and len(heard) > 1

    def read_line(self, line: dict[str, Any]) -> None:
        """Take a line of the bridge's log."""
        self.lines.append(line)
        self._news.set()


async def _listening(host: str, port: int) -> None:
    """Look again and again, because a program that is starting tells nobody when it has begun to listen."""
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, port)
                break
            await asyncio.sleep(_POLL_SECONDS)
    writer.close()
    await writer.wait_closed()


@contextmanager
def lines_read() -> Iterator[None]:
    """Let each bridge's log go to the stage that it is on."""

    def read(logger: Any, method: str, line: Any) -> Any:
        _now_on.get().read_line({**line, "level": method})
        raise structlog.DropEvent

    structlog.configure(processors=[read])
    yield
    structlog.reset_defaults()


@asynccontextmanager
async def set_stage(pbx: Pbx) -> AsyncIterator[Stage]:
    """Set the stage for one test; in the end, wait until the PBX has no call left."""
    stage = Stage(pbx)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(stage.caller)
        await stack.enter_async_context(stage.agent)
        await stack.enter_async_context(stage.second_agent)
        await stack.enter_async_context(stage.millis)
        await stack.enter_async_context(stage.second_region)
        for desk in stage.desks.values():
            await stack.enter_async_context(desk)
        stage.millis.sip_host = "{}:{}".format(*stage.agent.address)
        stage.second_region.sip_host = "{}:{}".format(*stage.second_agent.address)
        for name, desk in stage.desks.items():
            stage.set_global(name.upper(), "{}:{}".format(*desk.address))
        stage.set_global("MILLIS_BUDGET_SECONDS", "6")
        stage.set_global("MILLIS_DEFAULT_FALLBACK", "night,s,1")
        stage.set_global("MILLIS_SECRET", '""')
        stage.set_global("MILLIS_LONGEST_CALL_SECONDS", "14400")
        yield stage
        await stage.quiet()


@contextmanager
def closed_port() -> Iterator[tuple[str, int]]:
    """Hold a port on which nobody listens, so that connections to it are refused."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()
