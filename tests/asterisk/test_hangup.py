"""The caller leaves at a moment that is no row of the matrix: everybody is let go at once, and the line says whose doing it was."""

import asyncio

from agi_bridge.simulator.sip import Answered, Invited, Ringing
from tests.asterisk.stage import Stage


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
        async with asyncio.timeout(5):
            said = await gone.get()

    assert (call.status, said) == (487, b"HANGUP\nHANGUP\n")


async def test_at_once(stage: Stage):
    """A caller who hangs up as soon as the PBX has said a word leaves nothing behind."""
    async with stage.bridge(), stage.calling() as calling:
        await stage.saw("caller", Invited)
        stage.caller.hang_up()
        call = await calling
        await stage.quiet()

    assert call.status in (None, 200, 487)
    assert not any(isinstance(event, Answered) for event in stage.events["reception"])
