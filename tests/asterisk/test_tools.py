"""An agent asks, over HTTP, for its caller to be sent on or for the call to be ended; the PBX does it, or says why not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agi_bridge.access import digest
from agi_bridge.simulator.sip import HungUp, Invited
from tests.asterisk.stage import AGENT, CALLER_NUMBER, LOBBY, RECEPTION, Stage
from tests.asterisk.test_pbx import hq, table, until
from tests.web.asking import ask, bearer

TOKEN = "of millis"
# The list as extensions.conf has it: the lobby is what "sales" stands for.
MORE = f"""
[[transfer]]
name = "sales"
destination = "lobby,s,1"

[[token]]
name = "millis"
scopes = ["millis", "read", "control"]
sha256 = "{digest(TOKEN)}"
"""


@asynccontextmanager
async def talking(
    stage: Stage,
    manager_port: int = 0,
    *,
    hz: int = AGENT,
    fallback: str = "reception,s,1",
    sales: str = "",
    more: str = "",
    **behaviour: Any,
) -> AsyncIterator[str]:
    """Let the caller talk with the agent, or whoever speaks *hz*, as our manager user sees; yield our id of the call.

    *more* is what the bridge's configuration has beside the rest.
    """
    port = manager_port or stage.pbx.manager_port
    async with stage.bridge(web='["127.0.0.1:0"]', more=table(port) + MORE + more, fallback=fallback, sales=sales):
        if not manager_port:
            await until(lambda: hq(stage).connected)
        async with stage.calling(**behaviour):
            await stage.heard("caller", hz)
            yield (await stage.line("route"))["bridge_call_id"]


async def tool(stage: Stage, name: str, **said: str) -> dict[str, Any]:
    """Return what a tool answers the agent."""
    status, answer = await ask(stage.web, "POST", f"/tools/{name}", said, **bearer(TOKEN))
    assert status == 200
    return answer


async def test_transfer_to_somebody_who_answers(stage: Stage):
    """The caller hears whom the agent named; that one sees who calls and why; both reports say what became of it."""
    async with talking(stage, name="Ada") as call:
        said = await tool(stage, "transfer", bridge_call_id=call, target="sales", reason="wants a refund")
        await stage.heard("caller", LOBBY)
        invited = await stage.saw("lobby", Invited)
        await stage.saw("agent", HungUp)
    ended, transferred = await stage.line("ended"), await stage.line("transferred")

    assert said == {"done": True, "message": "The caller is being connected to sales. Say nothing more."}
    assert (invited.caller_number, invited.caller_name) == (CALLER_NUMBER, "wants a refund: Ada")
    assert (ended["reason"], ended["transfer"]) == ("transferred", "sales")
    assert (transferred["reason"], transferred["bridge_call_id"]) == ("transfer-answered", call)


async def test_transfer_to_somebody_who_does_not(stage: Stage):
    """Nobody answers, and the caller comes to the rule's fallback; never to silence."""
    stage.desk_does("lobby", ring_seconds=30.0)
    async with talking(stage) as call:
        await tool(stage, "transfer", bridge_call_id=call, target="sales")
        await stage.heard("caller", RECEPTION)
    assert (await stage.line("transferred"))["reason"] == "transfer-unanswered"


async def test_transfer_to_what_is_not_on_the_list(stage: Stage):
    """The agent is told what there is, and talks on."""
    async with talking(stage) as call:
        said = await tool(stage, "transfer", bridge_call_id=call, target="00441234567890")
    ended = await stage.line("ended")

    assert said == {"done": False, "message": "Not done: there is no such destination; there are: sales."}
    assert (ended["reason"], stage.events["lobby"]) == ("answered", [])


async def test_transfer_after_the_caller_has_hung_up(stage: Stage):
    """A request that comes too late finds no call, and says so."""
    async with talking(stage) as call:
        stage.caller.hang_up()
        await stage.line("ended")
        await stage.quiet()
        said = await tool(stage, "transfer", bridge_call_id=call, target="sales")

    assert said["done"] is False
    assert stage.events["lobby"] == []


async def test_transfer_twice_at_once(stage: Stage):
    """One request moves the caller, and the other is told that they are on the way."""
    async with talking(stage) as call:
        answers = await asyncio.gather(
            *(tool(stage, "transfer", bridge_call_id=call, target="sales") for _ in range(2))
        )
        await stage.heard("caller", LOBBY)
        late = await tool(stage, "transfer", bridge_call_id=call, target="sales")

    assert sorted(answer["done"] for answer in answers) == [False, True]
    assert late == {"done": False, "message": "Not done: the caller is being sent elsewhere already."}
    assert len([event for event in stage.events["lobby"] if isinstance(event, Invited)]) == 1


async def test_transfer_again_at_once(stage: Stage):
    """Who has just been told that the caller is on the way cannot send them elsewhere."""
    async with talking(stage) as call:
        answers = [await tool(stage, "transfer", bridge_call_id=call, target="sales") for _ in range(5)]
        await stage.heard("caller", LOBBY)

    assert [answer["done"] for answer in answers] == [True, False, False, False, False]
    assert len([event for event in stage.events["lobby"] if isinstance(event, Invited)]) == 1


def without_agent(stage: Stage, why: str) -> None:
    """Have the calls to come end in the fallback."""
    if why == "busy":
        stage.agent_does(refuse_status=486)
    else:
        stage.millis_does("status=500")


@pytest.mark.parametrize("why", ["busy", "Millis down"])
async def test_agent_is_too_late(stage: Stage, why: str):
    """A caller in the fallback is sent nowhere by an agent, nor hung up on."""
    without_agent(stage, why)
    async with talking(stage, hz=RECEPTION) as call:
        answers = [
            await tool(stage, name, bridge_call_id=call, **said)
            for name, said in (("transfer", {"target": "sales"}), ("hangup", {}))
        ]
        assert (await stage.shown("core show channels count", r"(\d+) active channels"))[1] == "2"

    assert answers == [{"done": False, "message": "Not done: the caller is with somebody else now."}] * 2
    assert stage.events["lobby"] == []


async def send_on(stage: Stage, call: str, **said: str) -> tuple[int, Any]:
    """Send a caller on as an operator does; return status and answer."""
    return await ask(stage.web, "POST", f"/api/v1/calls/{call}/transfer", {"to": "sales", **said}, **bearer(TOKEN))


def reported(stage: Stage, verb: str) -> list[str]:
    """Return the reasons of all reports with *verb*."""
    return [line["reason"] for line in stage.lines if line.get("verb") == verb and "reason" in line]


@pytest.mark.parametrize(("why", "ended"), [("busy", ["agent-busy"]), ("Millis down", [])])
async def test_operator_sends_on_a_caller_of_the_fallback(stage: Stage, why: str, ended: list[str]):
    """The agent's leg is reported once, if there was one; the transfer once; and the fallback's own handler is left alone."""
    without_agent(stage, why)
    async with talking(stage, hz=RECEPTION, fallback="handled,s,1", sales="redial = false") as call:
        done = await send_on(stage, call, reason="waited long")
        await stage.heard("caller", LOBBY)
        again = await send_on(stage, call)
    await stage.logged("the handler of the fallback")

    assert done == (200, {"done": True, "to": "sales"})
    assert (again[0], again[1]["error"]["code"]) == (409, "already-transferred")
    assert reported(stage, "ended") == ended
    assert reported(stage, "transferred") == ["transfer-answered"]
    assert {line["bridge_call_id"] for line in stage.lines if line.get("verb") == "transferred"} == {call}


async def test_transfer_after_one_that_nobody_answered(stage: Stage):
    """Nobody was there, the caller is in the fallback, and an operator may try again; the agent may not."""
    stage.desk_does("lobby", refuse_status=486)
    async with talking(stage) as call:
        await tool(stage, "transfer", bridge_call_id=call, target="sales")
        await stage.heard("caller", RECEPTION)
        stage.desk_does("lobby", refuse_status=None)
        late = await tool(stage, "transfer", bridge_call_id=call, target="sales")
        done = await send_on(stage, call)
        await stage.heard("caller", LOBBY)

    assert late == {"done": False, "message": "Not done: the caller is with somebody else now."}
    assert done[0] == 200
    assert reported(stage, "ended") == ["transferred"]
    assert reported(stage, "transferred") == ["transfer-unanswered", "transfer-answered"]


async def test_agent_ends_the_call(stage: Stage):
    """Both legs are let go, and the call is reported."""
    async with talking(stage) as call:
        said = await tool(stage, "hangup", bridge_call_id=call)
        hung_up = await stage.saw("caller", HungUp)
        await stage.saw("agent", HungUp)
        ended = await stage.line("ended")

    assert (said["done"], hung_up.by, ended["dialstatus"]) == (True, "them", "ANSWER")


async def test_pbx_that_cannot_be_asked(stage: Stage):
    """Without a manager interface no call is known there; the agent is told that it did not work, and talks on."""
    async with talking(stage, manager_port=1) as call:
        said = await tool(stage, "transfer", bridge_call_id=call, target="sales")
    ended = await stage.line("ended")

    assert said == {
        "done": False,
        "message": "The telephone system does not answer. Tell the caller that it did not work.",
    }
    assert ended["reason"] == "answered"


async def test_live_call_is_shown(stage: Stage):
    """Who looks while somebody talks sees the call with both its channels, and nothing of it afterwards."""
    async with talking(stage) as call:
        _, during = await ask(stage.web, "GET", "/api/v1/live", **bearer(TOKEN))
        stage.caller.hang_up()
        await until(lambda: not hq(stage).channels.calls)
        _, after = await ask(stage.web, "GET", "/api/v1/live", **bearer(TOKEN))

    assert after == {"calls": [], "complete": True}
    [shown] = during["calls"]
    assert (shown["bridge_call_id"], shown["pbx"]) == (call, "hq")
    assert sorted(channel["name"].rpartition("-")[0] for channel in shown["channels"]) == [
        "PJSIP/millis",
        "PJSIP/trunk",
    ]
    assert all(channel["state"] == "Up" for channel in shown["channels"])
