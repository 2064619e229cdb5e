"""The agent that Millis named does not take the call: the caller reaches the rule's fallback, and the line says why."""

import pytest

from tests.asterisk.stage import RECEPTION, Stage

# SIP status -> reason, DIALSTATUS and hangup cause.
REFUSALS = {
    403: ("agent-unavailable", "CHANUNAVAIL", "21"),
    404: ("agent-unavailable", "CHANUNAVAIL", "1"),
    408: ("agent-unavailable", "CHANUNAVAIL", "18"),
    480: ("agent-no-answer", "NOANSWER", "19"),
    486: ("agent-busy", "BUSY", "17"),
    488: ("agent-unavailable", "CHANUNAVAIL", "58"),
    500: ("agent-unavailable", "CHANUNAVAIL", "38"),
    503: ("agent-congestion", "CONGESTION", "34"),
    600: ("agent-busy", "BUSY", "17"),
    603: ("agent-unavailable", "CHANUNAVAIL", "21"),
}


@pytest.mark.parametrize("status", REFUSALS)
async def test_refusal(stage: Stage, status: int):
    """After any SIP refusal the caller hears the fallback; the line keeps Asterisk's words for the agent's leg."""
    stage.agent_does(refuse_status=status)
    async with stage.bridge():
        call = await stage.call()
        ended = await stage.line("ended")

    assert call.heard_hz == (RECEPTION,)
    assert (ended["reason"], ended["dialstatus"], ended["hangup_cause"]) == REFUSALS[status]
    assert (ended["result"], ended["level"]) == ("millis", "warning")


async def test_refusal_after_ringing(stage: Stage):
    """An agent that rings and then is busy leaves the caller to the fallback too."""
    stage.agent_does(ring_seconds=0.1, refuse_status=486)
    async with stage.bridge():
        call = await stage.call()
        ended = await stage.line("ended")

    assert (call.heard_hz, ended["reason"]) == ((RECEPTION,), "agent-busy")


@pytest.mark.parametrize("user", ["s", "Local%2Fs%40lobby", "lobby"])
async def test_redirect_is_not_followed(stage: Stage, user: str):
    """An agent cannot send the call elsewhere in the PBX: a 302 is one more refusal."""
    stage.agent_does(refuse_status=302, redirect_to=f"sip:{user}@127.0.0.1:{stage.desks['lobby'].port}")
    async with stage.bridge():
        call = await stage.call()
        ended = await stage.line("ended")

    assert (call.heard_hz, stage.events["lobby"]) == ((RECEPTION,), [])
    assert (ended["reason"], ended["dialstatus"], ended["hangup_cause"]) == ("agent-unavailable", "BUSY", "0")


async def test_agent_does_not_answer(stage: Stage):
    """An agent that rings for too long is given up after the rule's ring timeout."""
    stage.agent_does(ring_seconds=10.0)
    async with stage.bridge(sales="ring_timeout_seconds = 1\nredial = false"):
        call = await stage.call()
        ended = await stage.line("ended")

    assert call.heard_hz == (RECEPTION,)
    assert 0.9 < stage.seconds_until("reception", call) < 1.5
    assert (ended["reason"], ended["dialstatus"]) == ("agent-no-answer", "NOANSWER")


async def test_agent_port_is_closed(stage: Stage):
    """A URI where nobody listens leads to the fallback."""
    stage.millis_does("uri=sip:call-1@127.0.0.1:1;transport=tcp")
    async with stage.bridge():
        call = await stage.call()
        ended = await stage.line("ended")

    assert (call.heard_hz, ended["result"]) == ((RECEPTION,), "millis")


async def test_endpoint_that_the_pbx_lacks(stage: Stage):
    """A rule that names an endpoint which does not exist leads to the fallback."""
    async with stage.bridge(sales='endpoint = "no-such-endpoint"'):
        call = await stage.call()
        ended = await stage.line("ended")

    assert (call.heard_hz, ended["reason"]) == ((RECEPTION,), "agent-unavailable")


async def test_conversation_with_the_fallback_is_not_the_agents(stage: Stage):
    """What the fallback dials does not count as the agent's: no second of its conversation is in the line."""
    stage.agent_does(refuse_status=486)
    stage.desk_does("reception", hang_up_after_seconds=1.0)
    async with stage.bridge(), stage.calling():
        ended = await stage.line("ended")

    assert (ended["reason"], ended["dialstatus"]) == ("agent-busy", "BUSY")
    assert ended.get("answered_seconds", "") in ("", "0")
