"""The rungs between the first region and the fallback, where they meet each other; one at a time, they are rows of the matrix."""

from agi_bridge.simulator.sip import AudioHeard, Invited
from tests.asterisk.stage import ONELINE_DID, RECEPTION, SECOND_AGENT, Stage


async def test_standby_agent_that_does_not_answer_leads_to_the_fallback(stage: Stage):
    """The standby URI is tried once; then the caller is in the rule's fallback."""
    stage.millis_does("status=503")
    stage.agent_does(refuse_status=404)
    host, port = stage.agent.address
    async with stage.bridge(sales=f'standby_uri = "sip:standby@{host}:{port}"'):
        call = await stage.call()

    assert call.heard_hz == (RECEPTION,)
    assert len([event for event in stage.events["agent"] if isinstance(event, Invited)]) == 1


async def test_both_agent_legs_fail(stage: Stage):
    """When the other region's SIP side refuses too, the caller is in the fallback: one call, and no third attempt."""
    stage.agent_does(refuse_status=503)
    stage.second_agent_does(refuse_status=503)
    async with stage.bridge(second_region=True):
        call = await stage.call()
        redial = await stage.line_with("reason", "routed-redial")
        first = await stage.line("route")

    assert first["bridge_call_id"] == redial["bridge_call_id"]
    invited = [
        event for party in ("agent", "second_agent") for event in stage.events[party] if isinstance(event, Invited)
    ]
    assert (call.heard_hz, len(invited)) == ((RECEPTION,), 2)


async def test_redial_is_registered_anew_where_there_is_one_region(stage: Stage):
    """The first SIP URI is not dialled again, for it may be spent."""
    stage.agent_does(refuse_status=503)
    async with stage.bridge():
        call = await stage.call()

    dialled = {event.user for event in stage.events["agent"] if isinstance(event, Invited)}
    assert (call.heard_hz, len(dialled), len(stage.millis.registrations)) == ((RECEPTION,), 2, 2)


async def test_rule_without_redial_goes_to_the_fallback_at_once(stage: Stage):
    """With `redial = false` a failed agent leg is the last."""
    stage.agent_does(refuse_status=503)
    async with stage.bridge(second_region=True, sales="redial = false"):
        call = await stage.call()

    assert (call.heard_hz, list(stage.second_region.requests)) == ((RECEPTION,), [])


async def test_redial_that_finds_no_bridge_keeps_the_rules_fallback(stage: Stage):
    """A bridge that dies between the two attempts has named the rule's fallback already."""
    stage.agent_does(ring_seconds=0.3, refuse_status=503)
    async with stage.bridge_process() as bridge, stage.calling() as calling:
        await stage.saw("agent", Invited)
        bridge.kill()
        await stage.saw("caller", AudioHeard)
        stage.caller.hang_up()
        call = await calling

    assert call.heard_hz == (RECEPTION,)


async def test_bridge_that_always_wants_a_redial_gets_one(stage: Stage):
    """The dialplan itself sees to it that there is no third attempt."""

    async def wants_a_redial(reader, writer):
        variables = {
            "MILLIS_FALLBACK": "reception,s,1",
            "MILLIS_REDIAL": "us-west",
            "MILLIS_DIAL": "PJSIP/millis/sip:x@{}:{}".format(*stage.agent.address),
            "MILLIS_DIAL_TIMEOUT": "5",
            "MILLIS_DIAL_OPTIONS": "iS(60)",
            "MILLIS_STATUS": "ok",
        }
        for name, value in variables.items():
            writer.write(f"SET VARIABLE {name} {value}\n".encode())
            await reader.readline()

    stage.agent_does(refuse_status=503)
    async with stage.agi_server(wants_a_redial):
        call = await stage.call()

    assert call.heard_hz == (RECEPTION,)
    assert len([event for event in stage.events["agent"] if isinstance(event, Invited)]) == 2


async def test_one_line_dialplan_redials_too(stage: Stage):
    """With the verb `dial` the bridge itself climbs the rung."""
    stage.agent_does(refuse_status=503)
    stage.second_agent_does(hang_up_after_seconds=1.0)
    async with stage.bridge(second_region=True), stage.calling(ONELINE_DID) as calling:
        call = await calling
        dial = await stage.line("dial")

    assert call.heard_hz == (SECOND_AGENT,)
    assert (dial["region"], dial["reason"]) == ("eu-west", "answered")
