"""A call that goes well: who hears whom, what Millis was told, who hung up, and how long it may last."""

import pytest

from agi_bridge.simulator.sip import Answered, HungUp, place_call
from agi_bridge.simulator.tone import CALLER_TONE_HZ
from tests.asterisk.stage import AGENT, CALLER_NUMBER, DID, Stage

ASKING = """
metadata = { \
team = "sales", \
account = "${DB(crm/${CALLERID(num)})}", \
ticket = "${PJSIP_HEADER(read,X-Ticket)}", \
tongue = "${CHANNEL(language)}", \
missing = "${PJSIP_HEADER(read,X-Missing)}" }
"""


async def test_caller_and_agent_hear_each_other(stage: Stage):
    """The caller hears the agent that Millis named, the agent hears the caller, and Asterisk finds nothing to complain of."""
    async with stage.bridge():
        call = await stage.call()
        await stage.line("ended")
        agent_leg = await stage.agent.next_report()

    assert (call.status, call.heard_hz, agent_leg.heard_hz) == (200, (AGENT,), (CALLER_TONE_HZ,))
    assert agent_leg.user == stage.millis.issued[0]["call_id"]
    assert stage.problems() == []


@pytest.mark.parametrize("did", [DID, f"+{DID}"])
async def test_millis_is_told_the_called_number_in_one_way(stage: Stage, did: str):
    """A trunk may send the called number with its plus or without; Millis gets E.164."""
    async with stage.bridge():
        await stage.call(did)

    body = stage.millis.registrations[0].body
    assert (body["to_phone"], body["metadata"]["did"]) == ("+15551230001", "+15551230001")


async def test_caller_hears_ringing_until_the_agent_answers(stage: Stage):
    """The caller is told that it rings before Millis has answered."""
    stage.millis_does("delay=0.2")
    async with stage.bridge():
        call = await stage.call()

    ringing = next(event for event in call.events if getattr(event, "status", 0) == 180)
    assert ringing.at < stage.millis.registrations[0].at + 0.2
    assert call.provisional[0] == 180


async def test_metadata_is_evaluated_by_asterisk(stage: Stage):
    """A rule's expressions are evaluated on the caller's channel: the database, a SIP header, the language, a literal."""
    stage.pbx.cli(f"database put crm {CALLER_NUMBER} gold")
    async with stage.bridge(sales=ASKING):
        await stage.call(headers=(("X-Ticket", "T-42 & co; 100%"),))
        route = await stage.line("route")

    told = stage.millis.registrations[0].body["metadata"]
    assert {name: told[name] for name in ("team", "account", "ticket", "tongue", "missing")} == {
        "team": "sales",
        "account": "gold",
        "ticket": "T-42 & co; 100%",
        "tongue": "en",
        "missing": "",
    }
    assert told["linkedid"] == told["uniqueid"] == route["uniqueid"]
    assert told["channel"].startswith("PJSIP/trunk-")


async def test_caller_is_introduced_to_millis(stage: Stage):
    """Millis gets the caller's number as E.164 and the name in all its letters."""
    async with stage.bridge():
        await stage.call(number="15557654321", name="Zoë Müller 李")

    body = stage.millis.registrations[0].body
    assert body["from_phone"] == CALLER_NUMBER
    assert body["metadata"]["caller_name"] == "Zoë Müller 李"
    assert body["metadata"]["caller_withheld"] == "false"


WITHHELD = {
    "anonymous": (),
    "private": (("P-Asserted-Identity", f'"Ada" <sip:{CALLER_NUMBER}@127.0.0.2>'), ("Privacy", "id")),
}


@pytest.mark.parametrize("headers", WITHHELD.values(), ids=WITHHELD)
async def test_withheld_number_stays_withheld(stage: Stage, headers):
    """Who withholds the number reaches the agent, and Millis is told neither number nor name, even if the trunk knows."""
    async with stage.bridge():
        call = await stage.call(number=None, name="", headers=headers)

    body = stage.millis.registrations[0].body
    assert call.heard_hz == (AGENT,)
    assert "from_phone" not in body
    assert {name: body["metadata"][name] for name in ("caller_number", "caller_name", "caller_withheld")} == {
        "caller_number": "",
        "caller_name": "",
        "caller_withheld": "true",
    }


async def test_trunk_knows_the_caller(stage: Stage):
    """The trunk's P-Asserted-Identity counts, not an anonymous From."""
    identity = ("P-Asserted-Identity", f'"Ada" <sip:{CALLER_NUMBER}@127.0.0.2>')
    async with stage.bridge():
        await stage.call(number=None, headers=(identity,))

    body = stage.millis.registrations[0].body
    assert (body["from_phone"], body["metadata"]["caller_withheld"]) == (CALLER_NUMBER, "false")


async def test_redirecting_number(stage: Stage):
    """Millis is told who has redirected the call here."""
    async with stage.bridge():
        await stage.call(headers=(("Diversion", "<sip:+15550009999@127.0.0.2>;reason=unconditional"),))

    assert stage.millis.registrations[0].body["metadata"]["rdnis"] == "+15550009999"


async def test_caller_who_hangs_up_is_named(stage: Stage):
    """After a conversation that the caller ended, the bridge's line says answered, and that it was the caller."""
    async with stage.bridge():
        await stage.call()
        route, ended = await stage.line("route"), await stage.line("ended")

    assert (ended["result"], ended["reason"], ended["hung_up_by"]) == ("completed", "answered", "caller")
    assert (ended["dialstatus"], ended["hangup_cause"]) == ("ANSWER", "16")
    assert ended["bridge_call_id"] == route["bridge_call_id"]
    assert ended["millis_call_id"] == stage.millis.issued[0]["call_id"]


async def test_agent_who_hangs_up_is_named(stage: Stage):
    """When the agent hangs up, the caller's call ends too, without a fallback, and the line says that it was the agent."""
    stage.agent_does(hang_up_after_seconds=1.1)
    async with stage.bridge(), stage.calling():
        hung_up = await stage.saw("caller", HungUp)
        ended = await stage.line("ended")

    assert hung_up.by == "them"
    assert (ended["reason"], ended["hung_up_by"], ended["dialstatus"]) == ("answered", "agent", "ANSWER")
    assert stage.events["reception"] == []


async def test_answered_seconds_are_counted(stage: Stage):
    """The line says how long the conversation was."""
    stage.agent_does(hang_up_after_seconds=1.0)
    async with stage.bridge(), stage.calling():
        ended = await stage.line("ended")

    assert ended["answered_seconds"] == "1"


async def test_longest_duration_ends_the_call(stage: Stage):
    """A conversation ends after the rule's longest duration, for both sides, and not in the fallback."""
    async with stage.bridge(sales="max_duration_seconds = 1"), stage.calling():
        answered = await stage.saw("caller", Answered)
        hung_up = await stage.saw("caller", HungUp)
        agent_leg = await stage.agent.next_report()
        ended = await stage.line("ended")

    assert 0.9 < hung_up.at - answered.at < 1.5
    assert (hung_up.by, agent_leg.hung_up_by) == ("them", "them")
    assert (ended["reason"], ended["hung_up_by"]) == ("answered", "pbx")
    assert stage.events["reception"] == []


async def test_stranger_cannot_call_in(stage: Stage):
    """Who does not call from the trunk's address is refused, and nobody is asked."""
    async with stage.bridge():
        call = await place_call((stage.pbx.address, stage.pbx.sip_port), DID, caller_number=CALLER_NUMBER)

    assert (call.status, len(stage.millis.requests)) == (401, 0)
