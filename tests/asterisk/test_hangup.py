"""The caller leaves at a moment that is no row of the matrix: everybody is let go at once, and the line says whose doing it was."""

import asyncio
from collections import Counter

from agi_bridge.simulator.sip import Answered, Invited, Ringing
from tests.asterisk.stage import PATIENCE_SECONDS, Stage


async def test_while_the_fallback_rings(stage: Stage):
    """The line tells why the agent did not get the call; that leg was over before anybody hung up."""
    stage.agent_does(refuse_status=486)
    stage.desk_does("reception", ring_seconds=10.0)
    async with stage.bridge(), stage.calling():
        await stage.saw("reception", Ringing)
        stage.caller.hang_up()
        ended = await stage.line("ended")

    assert (ended["reason"], ended["dialstatus"], ended["hung_up_by"]) == ("agent-busy", "BUSY", "")


async def test_while_the_bridge_is_silent(stage: Stage):
    """Asterisk lets go of a silent bridge as soon as the caller has hung up, and nothing of the call is left."""
    gone: asyncio.Queue[bytes] = asyncio.Queue()

    async def is_silent(reader, writer):
        stage.caller.hang_up()
        gone.put_nowait(await reader.read())

    async with stage.agi_server(is_silent), stage.calling() as calling:
        call = await calling
        async with asyncio.timeout(PATIENCE_SECONDS):
            said = await gone.get()

    assert (call.status, said) == (487, b"HANGUP\nHANGUP\n")


async def test_in_the_very_moment_in_which_the_agent_does(stage: Stage):
    """Whichever line of the dialplan it falls on: each call that was dialled is reported once, neither never nor twice."""
    calls, at_once = 200, 20
    stage.agent_does(hang_up_after_seconds=0.3, speaks_hz=None)
    free = asyncio.Semaphore(at_once)

    async def call(number: int) -> None:
        async with free:
            await stage.call(talk_seconds=0.3 + (number % 20 - 10) * 0.0003, speaks_hz=None)

    async with stage.bridge():
        async with asyncio.TaskGroup() as callers:
            for number in range(calls):
                callers.create_task(call(number))
        await stage.quiet()

    dialled, ended = Counter[str](), Counter[str]()
    for line in stage.lines:
        if line.get("verb") == "route" and line["result"] == "completed":
            dialled[line["bridge_call_id"]] += 1
        elif line.get("verb") == "ended":
            ended[line["bridge_call_id"]] += 1
    assert len(dialled) > calls / 10  # on a slow machine, Millis is too late for many
    assert ended == dialled


async def test_at_once(stage: Stage):
    """A caller who hangs up as soon as the PBX has said a word leaves nothing behind."""
    async with stage.bridge(), stage.calling() as calling:
        await stage.saw("caller", Invited)
        stage.caller.hang_up()
        call = await calling
        await stage.quiet()

    assert call.status in (None, 200, 487)
    assert not any(isinstance(event, Answered) for event in stage.events["reception"])
