"""The caller leaves at any moment: everybody is let go at once, and the line says whose doing it was."""

from agi_bridge.simulator.sip import Answered, AudioHeard, HungUp, Invited, Ringing
from tests.asterisk.stage import Stage

ALL_THAT_LISTEN = ("agent", "reception", "lobby", "night")


async def test_while_millis_is_asked(stage: Stage):
    """The registration is abandoned at once, nobody is dialled, and the line says that the caller hung up."""
    stage.millis_does("hang")
    async with stage.bridge(), stage.calling() as calling:
        await stage.millis.received()
        stage.caller.hang_up()
        hung_up = await stage.saw("caller", HungUp)
        abandoned_at = await stage.millis.abandoned()
        route = await stage.line("route")
        call = await calling

    assert abandoned_at - hung_up.at < 0.25
    assert (call.status, call.answered) == (487, False)
    assert (route["result"], route["reason"], route["level"]) == ("caller", "caller-hung-up", "info")
    assert [stage.events[party] for party in ALL_THAT_LISTEN] == [[], [], [], []]


async def test_while_the_agent_rings(stage: Stage):
    """The agent's phone stops ringing, no fallback is dialled, and the line says that the caller hung up."""
    stage.agent_does(ring_seconds=10.0)
    async with stage.bridge(), stage.calling() as calling:
        await stage.saw("agent", Ringing)
        stage.caller.hang_up()
        agent_leg = await stage.agent.next_report()
        ended = await stage.line("ended")
        call = await calling

    assert (call.status, agent_leg.status, agent_leg.hung_up_by) == (487, 487, "them")
    assert (ended["result"], ended["reason"], ended["dialstatus"]) == ("caller", "caller-hung-up", "CANCEL")
    assert stage.events["reception"] == []


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
    gone = []

    async def is_silent(reader, writer):
        stage.caller.hang_up()
        gone.append(await reader.read())

    async with stage.agi_server(is_silent), stage.calling() as calling:
        call = await calling
        await stage.quiet()

    assert call.status == 487
    assert gone == [b"HANGUP\nHANGUP\n"]


async def test_while_the_agent_talks(stage: Stage):
    """The agent is hung up on within a moment."""
    async with stage.bridge(), stage.calling():
        await stage.saw("caller", AudioHeard)
        stage.caller.hang_up()
        left = await stage.saw("caller", HungUp)
        told = await stage.saw("agent", HungUp)

    assert told.by == "them"
    assert told.at - left.at < 0.5


async def test_at_once(stage: Stage):
    """A caller who hangs up as soon as the PBX has said a word leaves nothing behind."""
    async with stage.bridge(), stage.calling() as calling:
        await stage.saw("caller", Invited)
        stage.caller.hang_up()
        call = await calling
        await stage.quiet()

    assert call.status in (None, 200, 487)
    assert not any(isinstance(event, Answered) for event in stage.events["reception"])
