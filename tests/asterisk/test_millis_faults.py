"""What Millis answers besides the faults of the matrix: hostile URIs, a wrong key; and the calls that it is not asked about."""

import pytest

from agi_bridge.simulator.fault import Fault
from tests.asterisk.stage import LOBBY, RECEPTION, REJECTED_DID, UNKNOWN_DID, Stage

FAULTS = [
    ("body=not-json", "millis-nonsense"),
    ("body=list", "millis-nonsense"),
    ("uri=sip:call-1@127.0.0.1&Local/s@lobby", "bad-uri"),
    ("uri=sip:call-1@127.0.0.1,30,iU(lobby)", "bad-uri"),
    ("uri=sip:call-1@127.0.0.1?X-Account=1", "bad-uri"),
    ("uri=sip:call-1@127.0.0.1)&Local/s@lobby", "bad-uri"),
    ("uri=sip:${CALLERID(num)}@127.0.0.1", "bad-uri"),
    ("uri=Local/s@lobby", "millis-nonsense"),
    ("uri=sip:call-1@127.0.0.1.example.com", "bad-uri"),
]


@pytest.mark.parametrize(("fault", "reason"), FAULTS, ids=[fault for fault, _ in FAULTS])
async def test_caller_reaches_the_fallback_of_the_rule(stage: Stage, fault: str, reason: str):
    """When Millis gives nothing to dial, the caller hears the rule's own fallback, and nobody else is called."""
    stage.millis_does(fault)
    async with stage.bridge(millis_timeout_seconds=0.3):
        call = await stage.call()
        route = await stage.line("route")

    assert call.heard_hz == (RECEPTION,)
    assert (route["result"], route["reason"], route["level"]) == ("millis", reason, "warning")
    assert stage.events["agent"] == stage.events["lobby"] == []


async def test_line_feed_in_the_uri(stage: Stage):
    """A URI that would be two AGI commands is not dialled, and neither half is executed."""
    stage.millis.fault = Fault(uri='sip:call-1@127.0.0.1"\nSET VARIABLE MILLIS_DIAL Local/s@lobby\n')
    async with stage.bridge():
        call = await stage.call()
        route = await stage.line("route")

    assert (call.heard_hz, route["reason"]) == ((RECEPTION,), "bad-uri")
    assert stage.events["lobby"] == []


async def test_refusal_names_its_status(stage: Stage):
    """The line of a refused registration holds the HTTP status and what Millis said, and not the key."""
    stage.millis_does("status=402")
    async with stage.bridge():
        await stage.call()
        route = await stage.line("route")

    assert route["detail"] == "HTTP 402: simulated fault"


async def test_wrong_key(stage: Stage):
    """With a key that Millis does not know, the caller hears the rule's fallback."""
    async with stage.bridge(key="another"):
        call = await stage.call()
        route = await stage.line("route")

    assert (call.heard_hz, route["detail"]) == ((RECEPTION,), "HTTP 401: Invalid API key")


async def test_number_without_a_rule(stage: Stage):
    """A call to a number without a rule goes to the bridge's default fallback; Millis is not asked."""
    async with stage.bridge():
        call = await stage.call(UNKNOWN_DID)
        route = await stage.line("route")

    assert call.heard_hz == (LOBBY,)
    assert (route["result"], route["reason"], route["did"]) == ("operator", "no-rule", f"+{UNKNOWN_DID}")
    assert list(stage.millis.requests) == []


async def test_rejected_caller(stage: Stage):
    """A caller whom a rule rejects is refused with 403; nobody is called, and Millis is not asked."""
    async with stage.bridge():
        call = await stage.call(REJECTED_DID)
        route = await stage.line("route")

    assert (call.status, call.answered) == (403, False)
    assert (route["reason"], route["rule"]) == ("blocked-caller", "nobody")
    assert list(stage.millis.requests) == []
    assert [party for party, events in stage.events.items() if events] == ["caller"]
