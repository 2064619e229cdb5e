"""What the shipped subroutine leaves as it was for whoever sends calls there: limits, the stack, the context of origin."""

from agi_bridge.simulator.sip import Answered, HungUp
from tests.asterisk.stage import AGENT, DID, LIMITED_DID, NESTED_DID, OTHER_SITE_DID, RECEPTION, Stage


async def names_counting_and_is_silent(reader, writer):
    """Name the fallback that looks at the stack, and hang."""
    writer.write(b"SET VARIABLE MILLIS_FALLBACK counting,s,1\n")
    await reader.read()


async def test_conversation_outlasts_the_watchdog(stage: Stage):
    """The time that a caller may wait for the bridge does not limit the conversation."""
    stage.set_global("MILLIS_BUDGET_SECONDS", "0.5")
    stage.agent_does(hang_up_after_seconds=1.0)
    async with stage.bridge(), stage.calling() as calling:
        hung_up = await stage.saw("agent", HungUp)
        call = await calling

    assert (hung_up.by, call.hung_up_by, call.heard_hz) == ("us", "them", (AGENT,))


async def test_fallback_outlasts_the_watchdog(stage: Stage):
    """Nor does it limit the conversation with the fallback, after the watchdog has bitten."""
    stage.set_global("MILLIS_BUDGET_SECONDS", "0.3")
    stage.desk_does("reception", hang_up_after_seconds=1.0)
    async with stage.agi_server(names_counting_and_is_silent), stage.calling() as calling:
        hung_up = await stage.saw("reception", HungUp)
        call = await calling

    assert (hung_up.by, call.hung_up_by, call.heard_hz) == ("us", "them", (RECEPTION,))


async def test_limit_of_the_operator_survives(stage: Stage):
    """TIMEOUT(absolute) that was set before Gosub(millis…) ends the conversation when it is up."""
    async with stage.bridge(), stage.calling(LIMITED_DID):
        answered = await stage.saw("caller", Answered)
        hung_up = await stage.saw("caller", HungUp)

    assert hung_up.by == "them"
    assert 0.5 < hung_up.at - answered.at < 2.0


async def test_limit_of_the_operator_survives_the_watchdog(stage: Stage):
    """What is left of the operator's limit after a silent bridge still holds for the fallback."""
    stage.set_global("MILLIS_BUDGET_SECONDS", "0.3")
    async with stage.agi_server(names_counting_and_is_silent), stage.calling(LIMITED_DID):
        answered = await stage.saw("caller", Answered)
        hung_up = await stage.saw("caller", HungUp)

    assert hung_up.by == "them"
    assert hung_up.at - answered.at < 2.0


async def test_limit_of_the_operator_runs_out_at_the_bridge(stage: Stage):
    """If the operator's limit is up before a silent bridge is given up, the call ends then, though a fallback took it."""
    stage.set_global("MILLIS_BUDGET_SECONDS", "1.5")
    async with stage.agi_server(names_counting_and_is_silent), stage.calling(LIMITED_DID) as calling:
        call = await calling

    assert (call.hung_up_by, call.heard_hz) == ("them", ())


async def test_call_comes_back_after_an_agent(stage: Stage):
    """With Dial's option g, the dialplan goes on after Gosub(millis…), and the stack is as it was."""
    stage.agent_does(hang_up_after_seconds=1.1)
    async with stage.bridge(sales='dial_options = "g"'), stage.calling(NESTED_DID):
        await stage.logged("outer goes on(?s:.*)the trunk goes on")
        ended = await stage.line("ended")

    assert (ended["reason"], ended["hung_up_by"]) == ("answered", "agent")
    assert stage.events["reception"] == []


async def test_nobody_is_left_on_the_stack(stage: Stage):
    """A fallback finds on the stack whoever called the subroutine that called ours, and nobody else."""
    stage.millis_does("status=500")
    async with stage.bridge(fallback="counting,s,1"):
        call = await stage.call(NESTED_DID)
        stack = await stage.logged("on the stack: (.*) end")

    assert (stack[1].split(), call.heard_hz) == (["from-trunk"], (RECEPTION,))


async def test_nobody_is_left_on_the_stack_by_the_watchdog(stage: Stage):
    """The same holds when the watchdog has thrown the call out of AGI."""
    stage.set_global("MILLIS_BUDGET_SECONDS", "0.3")
    async with stage.agi_server(names_counting_and_is_silent):
        call = await stage.call(NESTED_DID)
        stack = await stage.logged("on the stack: (.*) end")

    assert (stack[1].split(), call.heard_hz) == (["from-trunk"], (RECEPTION,))


async def test_nobody_is_left_on_the_stack_of_the_trunk(stage: Stage):
    """A call straight from the trunk has an empty stack in its fallback."""
    stage.millis_does("status=500")
    async with stage.bridge(fallback="counting,s,1"):
        await stage.call(DID)
        stack = await stage.logged("on the stack: (.*) end")

    assert stack[1].split() == []


async def test_rules_can_tell_the_contexts_of_origin(stage: Stage):
    """A rule's `context` is the one that called Gosub(millis…), not a subroutine of ours."""
    other = '[[route]]\nname = "other"\ndid = ["+15551230001"]\ncontext = "other-site"\nagent_id = "-Nother"'
    async with stage.bridge(sales='context = "from-trunk"', more=other):
        await stage.call(DID)
        await stage.call(OTHER_SITE_DID)

    first, second = (received.body for received in stage.millis.registrations)
    assert (first["agent_id"], first["metadata"]["context"]) == ("-Nsales", "from-trunk")
    assert (second["agent_id"], second["metadata"]["context"]) == ("-Nother", "other-site")
