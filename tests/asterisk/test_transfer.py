"""An agent sends its caller on, and only to where it may."""

import re

import pytest

from agi_bridge.simulator.sip import HungUp, Invited, ReferEnded
from tests.asterisk.stage import (
    AGENT,
    CALLER_NUMBER,
    DID,
    LOBBY,
    LONG_LIMIT_DID,
    NESTED_DID,
    ONELINE_DID,
    RECEPTION,
    Stage,
)
from tests.asterisk.test_dialplan import names_counting_and_is_silent

pytestmark = pytest.mark.asterisk

# As in extensions.conf: the lobby is what "sales" stands for, and it rings for a second.


def refers_to(stage: Stage, name: str) -> None:
    """Let the agent talk for a moment, then ask for its caller to be sent to *name*."""
    stage.agent_does(refer_to=f"sip:{name}@{stage.pbx.address}", refer_after_seconds=0.5)


@pytest.mark.parametrize("name", ["sales", "15551230001", "+15551230001"])
async def test_refer_to_a_listed_name_moves_the_caller(stage: Stage, name: str):
    """The caller hears the agent, then whom the list names; that one sees who calls, and the agent is gone."""
    refers_to(stage, name)
    async with stage.bridge():
        async with stage.calling():
            await stage.heard("caller", AGENT)
            await stage.heard("caller", LOBBY)
            await stage.saw("agent", HungUp)
        ended, transferred = await stage.line("ended"), await stage.line("transferred")
        route = await stage.line("route")

    assert (await stage.saw("lobby", Invited)).caller_number == CALLER_NUMBER
    assert (ended["result"], ended["reason"], ended["transfer"]) == ("completed", "transferred", "sales")
    assert (ended["dialstatus"], ended["hung_up_by"]) == ("ANSWER", "")
    assert (transferred["reason"], transferred["transfer"]) == ("transfer-answered", "sales")
    assert transferred["hung_up_by"] == "caller"
    assert route["bridge_call_id"] == ended["bridge_call_id"] == transferred["bridge_call_id"]


async def test_nobody_answers_a_transfer(stage: Stage):
    """Where the destination only rings, the caller takes the rule's fallback, and hears somebody."""
    refers_to(stage, "sales")
    stage.desk_does("lobby", ring_seconds=30.0)
    async with stage.bridge():
        async with stage.calling():
            await stage.heard("caller", RECEPTION)
        transferred = await stage.line("transferred")

    assert (transferred["result"], transferred["reason"]) == ("pbx", "transfer-unanswered")
    assert transferred["dialstatus"] == "NOANSWER"


async def test_a_busy_destination_is_nobody(stage: Stage):
    """A destination that refuses sends the caller to the fallback at once."""
    refers_to(stage, "sales")
    stage.desk_does("lobby", refuse_status=486)
    async with stage.bridge():
        async with stage.calling():
            await stage.heard("caller", RECEPTION)
        transferred = await stage.line("transferred")

    assert transferred["reason"] == "transfer-unanswered"


@pytest.mark.parametrize("name", ["lobby", "s", "15557654321", "h", "sales%2C1"])
async def test_refer_to_anything_else_moves_nobody(stage: Stage, name: str):
    """A name off the list is refused, and the agent talks on."""
    refers_to(stage, name)
    async with stage.bridge():
        async with stage.calling():
            await stage.heard("caller", AGENT)
            refused = await stage.saw("agent", ReferEnded)
        ended = await stage.line("ended")

    assert refused.status == 404
    assert ended["reason"] == "answered"
    assert not stage.events["lobby"]


async def test_caller_hangs_up_while_the_destination_rings(stage: Stage):
    """The destination stops ringing, and the report says that it was the caller."""
    refers_to(stage, "sales")
    stage.desk_does("lobby", ring_seconds=30.0)
    async with stage.bridge():
        async with stage.calling():
            await stage.saw("lobby", Invited)
        transferred = await stage.line("transferred")

    assert (transferred["result"], transferred["reason"]) == ("caller", "caller-hung-up")


async def test_caller_is_moved_out_of_the_one_line_dialplan(stage: Stage):
    """A caller whom the bridge itself has connected can be sent on just as well."""
    refers_to(stage, "sales")
    async with stage.bridge():
        async with stage.calling(ONELINE_DID):
            await stage.heard("caller", LOBBY)
        assert (await stage.line("ended"))["reason"] == "transferred"
        assert (await stage.line("transferred"))["reason"] == "transfer-answered"


async def test_transfer_needs_no_bridge(stage: Stage):
    """A bridge that has gone away during the conversation is missed by nobody."""
    refers_to(stage, "sales")
    async with stage.bridge_process() as process, stage.calling():
        await stage.heard("caller", AGENT)
        process.kill()
        await stage.heard("caller", LOBBY)


async def test_reason_stands_before_the_caller_s_name(stage: Stage):
    """Whoever answers reads why the caller was sent, and who it is."""
    async with stage.bridge(), stage.calling(name="Ada"):
        await stage.heard("caller", AGENT)
        channel = (await stage.shown("core show channels concise", r"(PJSIP/trunk-[0-9a-f]+)!"))[1]
        stage.pbx.cli("module load res_clioriginate.so")  # it has the command to redirect
        stage.pbx.cli(f"dialplan set chanvar {channel} MILLIS_TRANSFER_REASON refund")
        stage.pbx.cli(f"channel redirect {channel} millis-transfer,sales,1")
        invited = await stage.saw("lobby", Invited)

    assert invited.caller_name == "refund: Ada"


@pytest.mark.parametrize(
    ("did", "seconds_left"), [(DID, r"0(\.0+)?$"), (LONG_LIMIT_DID, r"59\d\.")], ids=["no limit", "an operator's limit"]
)
async def test_caller_is_moved_while_the_bridge_is_asked(stage: Stage, did: str, seconds_left: str):
    """Whoever is sent on before there is an agent loses the watchdog, keeps the operator's limit, and can return to nothing of ours."""
    stage.desk_does("lobby", refuse_status=486)
    stage.set_global("MILLIS_DEFAULT_FALLBACK", "counting,s,1")
    async with stage.agi_server(names_counting_and_is_silent), stage.calling(did):
        channel = (await stage.shown("core show channels concise", r"(PJSIP/trunk-[0-9a-f]+)!.*!AGI!"))[1]
        stage.pbx.cli("module load res_clioriginate.so")  # it has the command to redirect
        stage.pbx.cli(f"channel redirect {channel} millis-transfer,sales,1")
        await stage.heard("caller", RECEPTION)

    assert "on the stack:   end" in stage.log_text()
    await stage.logged(f"(?m)seconds left: {seconds_left}")


@pytest.mark.parametrize(
    ("did", "stack", "seconds_left"),
    [(LONG_LIMIT_DID, "end", r"59\d\."), (NESTED_DID, "from-trunk  end", r"0(\.0+)?$")],
    ids=["an operator's limit", "a subroutine"],
)
async def test_caller_of_a_fallback_keeps_what_is_not_ours(stage: Stage, did: str, stack: str, seconds_left: str):
    """Moved out of a fallback and back again, a call has the stack and the limit that whoever sent it gave it."""
    stage.millis_does("status=500")
    stage.desk_does("lobby", refuse_status=486)
    async with stage.bridge(fallback="counting,s,1"), stage.calling(did):
        await stage.heard("caller", RECEPTION)
        channel = (await stage.shown("core show channels concise", r"(PJSIP/trunk-[0-9a-f]+)!"))[1]
        stage.pbx.cli("module load res_clioriginate.so")
        stage.pbx.cli(f"channel redirect {channel} millis-transfer,sales,1")
        await stage.logged(r"(?s)Ext\. s: seconds left.*Ext\. s: seconds left")

    assert re.findall(r"Ext\. s: on the stack: +(.*)", stage.log_text()) == [stack, stack]
    assert len(re.findall(rf"(?m)Ext\. s: seconds left: {seconds_left}", stage.log_text())) == 2


async def test_caller_of_a_fallback_is_moved(stage: Stage):
    """Somebody may send on a caller for whom there was no agent; the call ends when whoever was reached hangs up."""
    stage.millis_does("status=500")
    stage.desk_does("lobby", hang_up_after_seconds=0.5)
    async with stage.bridge(), stage.calling():
        await stage.heard("caller", RECEPTION)
        channel = (await stage.shown("core show channels concise", r"(PJSIP/trunk-[0-9a-f]+)!"))[1]
        stage.pbx.cli("module load res_clioriginate.so")
        stage.pbx.cli(f"channel redirect {channel} millis-transfer,sales,1")
        await stage.heard("caller", LOBBY)
        await stage.saw("caller", HungUp)
    assert len([event for event in stage.events["reception"] if isinstance(event, Invited)]) == 1
