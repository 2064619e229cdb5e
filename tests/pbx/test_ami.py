"""What can be asked of a PBX, each with the answer that it becomes. What it does to a real Asterisk: tests/asterisk/test_pbx.py."""

import pytest

from agi_bridge.errors import AmiRejected, NotPermitted, UnsafeText
from agi_bridge.pbx.action import ChannelRow, Originated, Origination
from agi_bridge.pbx.ami import open_ami
from tests.pbx.ami_server import error, listing, said, success

PLACE = "ext-queues,600,1"


async def test_command_returns_what_the_console_prints(server):
    """Every line of the output, in its order, the blank ones too."""
    server.answers["Command"] = success("Message: Command output follows", "Output: a: b", "Output: ", "Output: c")
    async with open_ami(server.settings()) as ami:
        assert await ami.command("core show version") == "a: b\n\nc"
        assert server.actions[-1]["Command"] == "core show version"


async def test_command_that_fails_says_what_the_console_said(server):
    """Asterisk answers a bad command with an error that has the output."""
    server.answers["Command"] = lambda asked: said(
        *(
            "Response: Error",
            f"ActionID: {asked['ActionID']}",
            "Message: Command output follows",
            "Output: No such command",
        )
    )
    async with open_ami(server.settings()) as ami:
        with pytest.raises(AmiRejected, match="Command output follows; No such command"):
            await ami.command("nonsense")


async def test_command_without_its_class(server):
    """A manager user who may run no commands is told apart."""
    server.answers["Command"] = error("Permission denied")
    async with open_ami(server.settings()) as ami:
        with pytest.raises(NotPermitted):
            await ami.command("core show version")


async def test_variable_is_asked_and_set(server):
    """A value is text, and "" where there is none."""
    server.answers["Getvar"] = success("Variable: X", "Value: 1: 2")
    async with open_ami(server.settings()) as ami:
        assert await ami.getvar("X", "PJSIP/a-1") == "1: 2"
        server.answers["Getvar"] = success("Variable: X", "Value: ")
        assert await ami.getvar("X") == ""
        await ami.setvar("PJSIP/a-1", "X", "1: 2")
    assert [action.get("Channel") for action in server.actions[1:]] == ["PJSIP/a-1", None, "PJSIP/a-1"]
    assert server.actions[-1]["Value"] == "1: 2"


async def test_channel_is_sent_elsewhere_and_hung_up(server):
    """Redirect and Hangup name the channel, and what becomes of it."""
    async with open_ami(server.settings()) as ami:
        await ami.redirect("PJSIP/a-1", PLACE)
        await ami.hangup("PJSIP/a-1", 17)
        await ami.ping()
    redirect, hangup, _ = server.actions[1:]
    assert [redirect[key] for key in ("Channel", "Context", "Exten", "Priority")] == [
        "PJSIP/a-1",
        "ext-queues",
        "600",
        "1",
    ]
    assert [hangup[key] for key in ("Channel", "Cause")] == ["PJSIP/a-1", "17"]


async def test_nothing_is_sent_of_an_action_that_is_unsafe(server):
    """A text that would begin a line of its own is refused here; the PBX sees nothing of it."""
    async with open_ami(server.settings()) as ami:
        with pytest.raises(UnsafeText):
            await ami.hangup("PJSIP/a-1\r\n\r\nAction: Command\r\nCommand: core stop now")
        await ami.ping()
    assert [action["Action"] for action in server.actions] == ["Login", "Ping"]


async def test_all_channels_are_listed(server):
    """Each channel with its ids, its state, its bridge and where it is in the dialplan."""
    server.answers["CoreShowChannels"] = listing(
        {
            "Channel": "PJSIP/a-1",
            "ChannelStateDesc": "Up",
            "Context": "millis",
            "Exten": "s",
            "Uniqueid": "1.2",
            "Linkedid": "1.1",
            "Application": "Dial",
            "BridgeId": "b-1",
        }
    )
    async with open_ami(server.settings()) as ami:
        assert await ami.core_show_channels() == [
            ChannelRow("PJSIP/a-1", "1.2", "1.1", "Up", "b-1", "Dial", "millis", "s")
        ]


def originated(result, reason):
    """Return the two answers to Originate."""

    def answer(asked):
        number = f"ActionID: {asked['ActionID']}"
        return said("Response: Success", number, "Message: Originate successfully queued") + said(
            *("Event: OriginateResponse", "Privilege: call,all", number, f"Response: {result}"),
            *("Channel: PJSIP/1-5", f"Reason: {reason}", "Uniqueid: 1.5"),
        )

    return answer


async def test_originated_call_is_answered(server):
    """Whoever starts a call gets its channel once somebody has answered."""
    server.answers["Originate"] = originated("Success", 4)
    async with open_ami(server.settings()) as ami:
        call = await ami.originate(Origination("PJSIP/1", PLACE, variables={"A": "1", "B": "2"}))
    assert call == Originated("PJSIP/1-5", "1.5")
    assert (server.actions[-1]["Async"], server.actions[-1]["Variable"]) == ("true", "A=1|B=2")


@pytest.mark.parametrize(
    ("reason", "why"),
    [(0, "refused, or there is nobody of that name"), (3, "no answer"), (5, "busy"), (8, "congestion"), (99, "99")],
)
async def test_originated_call_is_not_answered(server, reason, why):
    """Why nobody answered is told in words."""
    server.answers["Originate"] = originated("Failure", reason)
    async with open_ami(server.settings()) as ami:
        with pytest.raises(AmiRejected, match=f"^PJSIP/1 did not answer: {why}$"):
            await ami.originate(Origination("PJSIP/1", PLACE))
