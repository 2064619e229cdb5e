"""The one-line variant, `Gosub(millis-oneline…)`: the bridge dials, and a call outlives it."""

from agi_bridge.simulator.sip import Answered, AudioHeard, HungUp, Ringing
from agi_bridge.simulator.tone import CALLER_TONE_HZ
from tests.asterisk.stage import AGENT, NIGHT, ONELINE_DID, ONELINE_REJECTED_DID, RECEPTION, Stage, closed_port


async def test_caller_and_agent_hear_each_other(stage: Stage):
    """The bridge dials the agent, and Asterisk finds nothing to complain of."""
    async with stage.bridge():
        call = await stage.call(ONELINE_DID)
        agent_leg = await stage.agent.next_report()

    assert (call.heard_hz, agent_leg.heard_hz) == ((AGENT,), (CALLER_TONE_HZ,))
    assert stage.problems() == []


async def test_caller_hangs_up(stage: Stage):
    """After a conversation that the caller ended, a line of the bridge says answered, and that it was the caller."""
    async with stage.bridge():
        await stage.call(ONELINE_DID)
        line = await stage.line_with("dialstatus")

    assert (line["result"], line["reason"], line["hung_up_by"]) == ("completed", "answered", "caller")


async def test_agent_hangs_up(stage: Stage):
    """When the agent hangs up, the dialplan goes on after Gosub(millis-oneline…), and not in the fallback."""
    stage.agent_does(hang_up_after_seconds=1.1)
    async with stage.bridge(), stage.calling(ONELINE_DID):
        await stage.logged("the trunk goes on")
        dial = await stage.line("dial")

    assert (dial["reason"], dial["hung_up_by"]) == ("answered", "agent")
    assert stage.events["reception"] == []


async def test_agent_refuses(stage: Stage):
    """When the agent is busy, the caller hears the rule's fallback."""
    stage.agent_does(refuse_status=486)
    async with stage.bridge():
        call = await stage.call(ONELINE_DID)
        dial = await stage.line("dial")

    assert (call.heard_hz, dial["reason"]) == ((RECEPTION,), "agent-busy")


async def test_agent_does_not_answer(stage: Stage):
    """When the agent rings for too long, the caller hears the rule's fallback."""
    stage.agent_does(ring_seconds=10.0)
    async with stage.bridge(sales="ring_timeout_seconds = 1"):
        call = await stage.call(ONELINE_DID)
        dial = await stage.line("dial")

    assert (call.heard_hz, dial["reason"]) == ((RECEPTION,), "agent-no-answer")


async def test_millis_refuses(stage: Stage):
    """When Millis refuses the call, the caller hears the rule's fallback."""
    stage.millis_does("status=500")
    async with stage.bridge():
        call = await stage.call(ONELINE_DID)
        dial = await stage.line("dial")

    assert (call.heard_hz, dial["reason"]) == ((RECEPTION,), "millis-refused")


async def test_rejected_caller(stage: Stage):
    """A caller whom a rule rejects is refused with 403."""
    async with stage.bridge():
        call = await stage.call(ONELINE_REJECTED_DID)

    assert (call.status, call.answered) == (403, False)


async def test_bridge_is_not_running(stage: Stage):
    """Where nobody listens, the caller hears the dialplan's default fallback."""
    with closed_port() as address:
        stage.ask_bridge_at(*address)
        call = await stage.call(ONELINE_DID)
        await stage.logged(r"MILLIS_REASON.*no-bridge")

    assert call.heard_hz == (NIGHT,)


async def test_bridge_is_silent(stage: Stage):
    """A silent bridge costs the caller the budget and no more."""

    async def is_silent(reader, writer):
        await reader.read()

    stage.set_global("MILLIS_BUDGET_SECONDS", "0.5")
    async with stage.agi_server(is_silent):
        call = await stage.call(ONELINE_DID)

    assert call.heard_hz == (NIGHT,)


async def test_conversation_outlasts_the_watchdog(stage: Stage):
    """The time that a caller may wait for the bridge does not limit the conversation."""
    stage.set_global("MILLIS_BUDGET_SECONDS", "0.5")
    stage.agent_does(hang_up_after_seconds=1.0)
    async with stage.bridge(), stage.calling(ONELINE_DID) as calling:
        hung_up = await stage.saw("agent", HungUp)
        call = await calling

    assert (hung_up.by, call.hung_up_by) == ("us", "them")


async def test_bridge_killed_during_the_conversation(stage: Stage):
    """The conversation goes on without the bridge, and its end leads nowhere else."""
    stage.agent_does(hang_up_after_seconds=1.0)
    async with stage.bridge_process() as process, stage.calling(ONELINE_DID) as calling:
        answered = await stage.saw("caller", Answered)
        process.kill()
        await process.wait()
        await stage.saw("caller", AudioHeard)
        hung_up = await stage.saw("agent", HungUp)
        await stage.logged("the trunk goes on")
        call = await calling

    assert (hung_up.by, call.hung_up_by, call.heard_hz) == ("us", "them", (AGENT,))
    assert hung_up.at - answered.at > 0.9
    assert stage.events["reception"] == stage.events["night"] == []


async def test_bridge_killed_while_the_agent_rings(stage: Stage):
    """The agent can still answer when the bridge has died; if it does not, the caller hears the rule's fallback."""
    stage.agent_does(ring_seconds=0.5, refuse_status=486)
    async with stage.bridge_process() as process, stage.calling(ONELINE_DID):
        await stage.saw("agent", Ringing)
        process.kill()
        await process.wait()
        await stage.saw("reception", Answered)

    assert stage.events["night"] == []


async def test_caller_hangs_up_while_the_agent_rings(stage: Stage):
    """The agent's phone stops ringing, and the line says that the caller hung up."""
    stage.agent_does(ring_seconds=10.0)
    async with stage.bridge(), stage.calling(ONELINE_DID):
        await stage.saw("agent", Ringing)
        stage.caller.hang_up()
        agent_leg = await stage.agent.next_report()
        dial = await stage.line("dial")

    assert (agent_leg.status, agent_leg.hung_up_by) == (487, "them")
    assert (dial["result"], dial["reason"]) == ("caller", "left-during-dial")
    assert stage.events["reception"] == []


async def test_caller_hangs_up_while_millis_is_asked(stage: Stage):
    """The registration is abandoned, and the line says that the caller hung up."""
    stage.millis_does("hang")
    async with stage.bridge(), stage.calling(ONELINE_DID):
        await stage.millis.received()
        stage.caller.hang_up()
        await stage.millis.abandoned()
        dial = await stage.line("dial")

    assert (dial["result"], dial["reason"]) == ("caller", "caller-hung-up")


async def test_drain_leaves_conversations_alone(stage: Stage):
    """A bridge that is told to stop ends at once, though it has dialled calls that go on."""
    stage.agent_does(hang_up_after_seconds=1.0)
    async with stage.bridge_process() as process, stage.calling(ONELINE_DID) as calling:
        await stage.saw("caller", Answered)
        process.terminate()
        code = await process.wait()
        still_talking = not calling.done()
        call = await calling

    assert (code, still_talking, call.hung_up_by, call.heard_hz) == (0, True, "them", (AGENT,))
