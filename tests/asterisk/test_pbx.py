"""The manager interface of a real Asterisk: our calls followed, our actions seen by a second client, and calls that go well without it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asterisk import manager as pyst2  # type: ignore[import-untyped]  # it ships no types
from lab import Pbx

from agi_bridge import config
from agi_bridge.config import PbxSettings
from agi_bridge.errors import AmiRefused, AmiRejected, NoSuchChannel, NotPermitted, UnsafeText
from agi_bridge.pbx.action import LONGEST_LINE_BYTES, Action, Origination
from agi_bridge.pbx.ami import open_ami
from agi_bridge.pbx.channels import FollowedCall
from agi_bridge.pbx.connection import Connection
from agi_bridge.pbx.link import open_link
from agi_bridge.simulator.sip import Answered, HungUp
from tests.asterisk.stage import AGENT, AMI_SECRET, PATIENCE_SECONDS, Stage

# pyst2 uses old names of threading, also in its threads, where an error would leave it waiting for ever.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:asterisk")

TABLE = """
[[pbx]]
name = "hq"
ami_secret_env = "{secret}"
ami_port = {port}
ami_ping_seconds = 0.1
ami_action_timeout_seconds = 5
ami_connect_timeout_seconds = 4
ami_reconnect_seconds = 0.05
ami_reconnect_limit_seconds = 0.1
"""


def table(port: int, *, secret: str = "AMI_SECRET", more: str = "") -> str:
    """Return a `[[pbx]]` for the configuration of a stage."""
    return TABLE.format(port=port, secret=secret) + more


def settings(pbx: Pbx, user: str = "agi-bridge", secret: str = AMI_SECRET) -> PbxSettings:
    """Return the settings of a PBX for a manager user."""
    text = f'[[route]]\nname = "any"\nreject = true\n{table(pbx.manager_port)}\nami_user = "{user}"\n'
    [found] = config.load(text, {"AMI_SECRET": secret}, lambda name: b"").pbxs
    return found


class SecondClient:
    """pyst2's manager, which knows nothing of ours; it works in threads."""

    def __init__(self, pbx: Pbx) -> None:
        self._pbx = pbx

    async def __aenter__(self) -> "SecondClient":
        await asyncio.to_thread(self._connect)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._close)

    async def ask(self, action: str, **headers: str) -> Any:
        """Return the headers that an action is answered with."""
        answer = await asyncio.to_thread(self._manager.send_action, {"Action": action, **headers})
        return answer.headers

    async def variable(self, channel: str, name: str) -> str:
        """Return the value of a channel's variable."""
        return str((await self.ask("Getvar", Channel=channel, Variable=name)).get("Value"))

    def _connect(self) -> None:
        self._manager = pyst2.Manager()
        self._manager.connect(self._pbx.address, self._pbx.manager_port)
        self._manager.login("second-client", "the-second-clients-secret")

    def _close(self) -> None:
        try:
            self._manager.close()
        except (ValueError, pyst2.ManagerException):
            # Asterisk closed while it was logging off; closing again ends its threads.
            self._manager.close()


async def until(happened: Callable[[], Any]) -> Any:
    """Look again and again, because nothing tells when the view changes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (result := happened()):  # noqa: ASYNC110 - nothing could set an event
            await asyncio.sleep(0.01)
    return result


def hq(stage: Stage) -> Connection:
    """Return the bridge's own connection to the PBX."""
    assert stage.pbxs is not None
    return stage.pbxs.connections["hq"]


def only_call(connection: Connection) -> FollowedCall | None:
    """Return the call that is followed, if it is one."""
    calls = connection.channels.every_call()
    return calls[0] if len(calls) == 1 else None


def talking(connection: Connection) -> FollowedCall | None:
    """Return the call once its two channels are up and joined."""
    call = only_call(connection)
    joined = [channel for channel in call.up if channel.state == "Up" and channel.bridge_id] if call else []
    return call if len(joined) == 2 else None


# Our calls.


@asynccontextmanager
async def watching(stage: Stage, over: list[FollowedCall]) -> AsyncIterator[Connection]:
    """Keep a connection beside the bridge's, which tells of the calls that are over."""
    watch = Connection(settings(stage.pbx), time.monotonic, over.append)
    task = asyncio.create_task(watch.run())
    try:
        await until(lambda: watch.connected)
        yield watch
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_call_is_followed_to_its_end(stage: Stage) -> None:
    """The caller's channel and the agent's are seen up and joined to each other, and the call is over when both are gone."""
    over: list[FollowedCall] = []
    async with stage.bridge(more=table(stage.pbx.manager_port)), watching(stage, over) as watch:
        async with stage.calling() as calling:
            call = await until(lambda: talking(hq(stage)))
            watch.channels.follow(call.bridge_call_id, call.caller.name, call.caller.uniqueid)
        await calling
        await until(lambda: not hq(stage).channels.calls)
        line = await stage.line("route")
        await until(lambda: over)
    trunk, agent = call.up
    assert re.match(r"PJSIP/trunk-", trunk.name)
    assert re.match(r"PJSIP/millis-", agent.name)
    assert (trunk.uniqueid, trunk.bridge_id, agent.linkedid) == (line["uniqueid"], agent.bridge_id, trunk.linkedid)
    assert call.bridge_call_id == line["bridge_call_id"]
    assert over[0].caller is not None
    assert over[0].caller.hangup_cause == 16
    assert stage.problems() == []


# Actions, and what the second client sees of them.


@pytest.fixture
async def second(pbx: Pbx) -> AsyncIterator[SecondClient]:
    """The second client, logged in."""
    async with SecondClient(pbx) as client:
        yield client


@asynccontextmanager
async def call_of_two(stage: Stage) -> AsyncIterator[FollowedCall]:
    """A caller and an agent who talk."""
    async with stage.bridge(more=table(stage.pbx.manager_port)), stage.calling():
        yield await until(lambda: talking(hq(stage)))


async def test_hangup_ends_the_callers_channel(stage: Stage, second: SecondClient) -> None:
    """The caller is hung up with the cause that was asked for, and the second client finds no such channel."""
    async with call_of_two(stage) as call:
        trunk = call.up[0].name
        assert (await second.ask("Getvar", Channel=trunk, Variable="CHANNEL"))["Response"] == "Success"
        await hq(stage).ami.hangup(trunk, 17)
        await stage.saw("caller", HungUp)
        await until(lambda: not hq(stage).channels.calls)
        gone = await second.ask("Getvar", Channel=trunk, Variable="CHANNEL")
        with pytest.raises(NoSuchChannel):
            await hq(stage).ami.hangup(trunk)
    assert gone["Message"] == "No such channel"


async def test_redirect_sends_the_caller_elsewhere(stage: Stage, second: SecondClient) -> None:
    """The caller goes on at another place of the dialplan, where the second client finds the channel, and the call is still ours."""
    async with call_of_two(stage) as call:
        trunk = call.up[0].name
        await hq(stage).ami.redirect(trunk, "reception,s,1")
        await stage.saw("reception", Answered)
        assert await second.variable(trunk, "CONTEXT") == "reception"
        followed = await until(lambda: talking(hq(stage)))
    assert [channel.name.rpartition("-")[0] for channel in followed.up] == ["PJSIP/trunk", "PJSIP/desk"]
    assert followed.bridge_call_id == call.bridge_call_id


async def test_variables_are_set_and_read(stage: Stage, second: SecondClient) -> None:
    """What ours sets the second client reads, and the other way round; values arrive with every sign they have."""
    value = 'Zoë; "1, 2" \\ ${EXTEN} $[1+1] (a) & 李: x'
    async with call_of_two(stage) as call:
        trunk, ami = call.up[0].name, hq(stage).ami
        await ami.setvar(trunk, "FROM_OURS", value)
        assert await second.variable(trunk, "FROM_OURS") == value
        await second.ask("Setvar", Channel=trunk, Variable="FROM_THEIRS", Value=value)
        assert await ami.getvar("FROM_THEIRS", trunk) == value
        assert await ami.getvar("CHANNEL(linkedid)", trunk) == call.up[0].linkedid
        assert await ami.getvar("NEVER_SET", trunk) == ""
        assert await ami.getvar("MILLIS_LONGEST_CALL_SECONDS") == "14400"
        with pytest.raises(NoSuchChannel):
            await ami.setvar("PJSIP/none-1", "X", "1")
        with pytest.raises(NoSuchChannel):
            await ami.redirect("PJSIP/none-1", "reception,s,1")


async def test_channels_are_listed(stage: Stage) -> None:
    """The list has both channels of the call, with the ids and the bridge that events tell of."""
    async with call_of_two(stage) as call:
        rows = await hq(stage).ami.core_show_channels()
    assert {(row.uniqueid, row.linkedid, row.state, row.bridge_id) for row in rows} == {
        (channel.uniqueid, channel.linkedid, channel.state, channel.bridge_id) for channel in call.up
    }


async def test_call_is_originated(stage: Stage, second: SecondClient) -> None:
    """A desk is called, answers and is led into the dialplan, with the variables and the uniqueid that were given."""
    desk = "PJSIP/desk/sip:lobby@{}:{}".format(*stage.desks["lobby"].address)
    call = Origination(desk, "held,s,1", '"Zoë" <100>', 5, {"TICKET": "T-42 & co;"}, uniqueid="bridge-42")
    async with open_ami(settings(stage.pbx, "agi-bridge-originating")) as ami:
        answered = await ami.originate(call)
        assert answered.uniqueid == "bridge-42"
        assert await second.variable(answered.channel, "TICKET") == "T-42 & co;"
        assert await second.variable(answered.channel, "UNIQUEID") == "bridge-42"
        await second.ask("Hangup", Channel=answered.channel)


@pytest.mark.parametrize(
    ("status", "why"),
    [(486, "refused, or there is nobody of that name"), (404, "refused, or there is nobody of that name")],
)
async def test_originated_call_that_nobody_takes_is_told(stage: Stage, status: int, why: str) -> None:
    """Whoever started it learns that it did not come about."""
    stage.desk_does("lobby", refuse_status=status)
    desk = "PJSIP/desk/sip:lobby@{}:{}".format(*stage.desks["lobby"].address)
    async with open_ami(settings(stage.pbx, "agi-bridge-originating")) as ami:
        with pytest.raises(AmiRejected, match=f"did not answer: {why}"):
            await ami.originate(Origination(desk, "held,s,1", timeout_seconds=5))


# Rights.


async def test_shipped_user_may_do_no_more_than_it_needs(pbx: Pbx) -> None:
    """It has no console, starts no calls, and its attempts are told apart."""
    async with open_ami(settings(pbx)) as ami:
        with pytest.raises(NotPermitted):
            await ami.command("core show version")
        with pytest.raises(NotPermitted):
            await ami.originate(Origination("Local/s@reception", "reception,s,1"))
        assert await ami.core_show_channels() == []
    shown = pbx.cli("manager show user agi-bridge")
    assert re.search(r"read perm: call$", shown, re.MULTILINE)
    assert re.search(r"write perm: (call,reporting|reporting,call)$", shown, re.MULTILINE)


async def test_doctors_user_has_the_console_and_nothing_else(pbx: Pbx) -> None:
    """Commands are answered with what the console prints; the call of another is out of reach."""
    async with open_ami(settings(pbx, "agi-bridge-doctor")) as ami:
        assert (await ami.command("core show version")).startswith("Asterisk ")
        assert "[ Context 'millis-agi' created by 'pbx_config' ]" in (await ami.command("dialplan show millis-agi"))
        with pytest.raises(AmiRejected, match="No such command 'nonsense'"):
            await ami.command("nonsense")
        with pytest.raises(NotPermitted):
            await ami.hangup("PJSIP/none-1")


async def test_wrong_secret_is_refused(pbx: Pbx) -> None:
    """A real Asterisk's refusal is told as one."""
    with pytest.raises(AmiRefused, match="Authentication failed; compare ami_user"):
        async with open_ami(settings(pbx, secret="wrong")):
            pass


async def test_longest_line_is_asterisks_own(pbx: Pbx) -> None:
    """A line as long as we allow arrives, and one sign more would be discarded; so we refuse it."""
    room = LONGEST_LINE_BYTES - len("Variable: ")
    async with open_link(settings(pbx)) as link:
        await link.ask(Action("Getvar", (("Variable", "x" * room),)))
    with pytest.raises(UnsafeText):
        Action("Getvar", (("Variable", "x" * (room + 1)),))


async def test_text_with_line_ends_does_not_reach_other_calls(stage: Stage) -> None:
    """Asterisk writes a number with line ends as it is; a hang-up that is forged so is not believed."""
    async with call_of_two(stage) as call:
        connection = hq(stage)
        stage.set_global("VICTIM", call.up[0].uniqueid)
        async with open_ami(settings(stage.pbx, "agi-bridge-originating")) as ami:
            await ami.originate(Origination("Local/s@torn", "held,s,1"))
        await until(lambda: connection.left_out)
        await stage.shown("core show channels count", "^2 active channels")
        await connection.ami.ping()
        assert talking(connection) is not None


# Without it.


@asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """Accept connections and say nothing."""
    held: list[asyncio.StreamWriter] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1") as server:
        yield server.sockets[0].getsockname()[1]
        for writer in held:
            writer.close()


class Relay:
    """Stands between the bridge and the PBX's manager interface, and can be cut.

    What the bridge sends that has *holds* in it goes no further, and neither does what comes after; then `held` is set.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.is_open = True
        self.holds = b""
        self.held = asyncio.Event()
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Relay":
        self._server = await asyncio.start_server(self._join, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await until(lambda: not self._writers)

    def cut(self) -> None:
        """Break every connection; new ones end at once until `is_open` is true again."""
        self.is_open = False
        for writer in self._writers:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pass(reader, far_writer, outward=True), self._pass(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, outward: bool = False) -> None:
        try:
            while data := await reader.read(65536):
                if outward and self.holds and self.holds in data:
                    self.held.set()
                    await reader.read()
                    break
                writer.write(data)
        except OSError:
            pass
        writer.close()


# What the connection is counted as; a black hole is given up long after the call.
EXPECTED = {
    "unreachable": ["unreachable"],
    "wrong secret": ["refused"],
    "black hole": [],
    "no manager interface": ["unreachable"],
}


@pytest.mark.parametrize("fault", EXPECTED)
async def test_call_needs_no_manager_interface(stage: Stage, fault: str) -> None:
    """A caller reaches the agent as ever while the manager interface cannot be had."""
    async with black_hole() as port:
        to = {
            "unreachable": table(1),
            "wrong secret": table(stage.pbx.manager_port, secret="MILLIS_API_KEY"),
            "black hole": table(port),
            "no manager interface": table(stage.pbx.sip_port),
        }[fault]
        async with stage.bridge(more=to):
            call = await stage.call()
            await stage.line("ended")
            line = await stage.line("route")
            failed = await until(lambda: dict(hq(stage).failures)) if fault != "black hole" else {}
    assert (call.status, call.heard_hz) == (200, (AGENT,))
    assert (line["result"], line["reason"]) == ("completed", "routed")
    assert list(failed) == EXPECTED[fault]
    assert [line for line in stage.problems() if "manager.c" not in line] == []


async def test_call_goes_on_while_the_manager_interface_is_cut(stage: Stage) -> None:
    """A cut in the middle of a call is heard by nobody, and afterwards the call is followed as before."""
    async with Relay(stage.pbx.manager_port) as relay, stage.bridge(more=table(relay.port)):
        async with stage.calling() as calling:
            before = await until(lambda: talking(hq(stage)))
            relay.cut()
            await until(lambda: not hq(stage).connected)
            await until(lambda: hq(stage).failures["unreachable"] > 2)
            relay.is_open = True
            await until(lambda: hq(stage).logins == 2 and hq(stage).actions["CoreShowChannels", "done"] == 2)
            after = talking(hq(stage))
        report = await calling
        await until(lambda: not hq(stage).channels.calls)
    assert after == before
    assert report.status == 200
    assert stage.problems() == []


async def test_call_that_ends_during_a_cut_is_found_to_be_over(stage: Stage) -> None:
    """What happened meanwhile is learnt from the PBX's list."""
    async with Relay(stage.pbx.manager_port) as relay, stage.bridge(more=table(relay.port)):
        async with stage.calling():
            await until(lambda: talking(hq(stage)))
            relay.cut()
            await until(lambda: not hq(stage).connected)
        await stage.quiet()
        assert hq(stage).channels.calls == 1
        relay.is_open = True
        await until(lambda: not hq(stage).channels.calls)
