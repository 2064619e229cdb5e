"""Text that a caller controls, through real SIP: it is never evaluated, never a command, and Millis gets it printable."""

import pytest

from tests.asterisk.stage import AGENT, EVALUATING_DID, LOBBY, Stage

# A function that the shipped modules.conf loads, and that leaves a trace when it is evaluated.
EVALUATED = "${SET(GLOBAL(EVALUATED)=yes)}"

# Asterisk itself cuts names and numbers of SIP calls (AST_MAX_EXTENSION).
ASTERISK_LIMIT = 79

TICKET = 'metadata = { ticket = "${PJSIP_HEADER(read,X-Ticket)}", team = "sales" }'


def was_evaluated(stage: Stage) -> bool:
    return "EVALUATED=yes" in stage.pbx.cli("dialplan show globals")


# What the caller sends -> what Millis gets.
NAMES = {
    "commas": ("a,b;c|d", "a,b;c|d"),
    "ampersand": ("Local/s@lobby&Local/s@lobby", "Local/s@lobby&Local/s@lobby"),
    "expression": (EVALUATED, EVALUATED),
    "arithmetic": ("$[1+1]", "$[1+1]"),
    "percent": ("50%0aagi_dnid: 1", "50%0aagi_dnid: 1"),
    "separator": ("a|b|c", "a|b|c"),
    "angles": ("<sip:x@y>", "<sip:x@y>"),
    "parentheses": ("(a)(b", "(a)(b"),
    "not ASCII": ("Zoë 李小龍 🙂", "Zoë 李小龍 🙂"),
    "control characters": ("Ada\x01\x02\x7f Lovelace", "Ada Lovelace"),
    "right to left": ("Ada \u202eLovelace", "Ada Lovelace"),
    "very long": ("x" * 900, "x" * ASTERISK_LIMIT),
}


@pytest.mark.parametrize(("sent", "received"), NAMES.values(), ids=NAMES)
async def test_caller_name(stage: Stage, sent: str, received: str):
    """Whatever a caller's name holds, the call reaches its agent, and Millis gets the name in printable characters."""
    async with stage.bridge():
        call = await stage.call(name=sent)

    assert call.heard_hz == (AGENT,)
    assert stage.millis.registrations[0].body["metadata"]["caller_name"] == received
    assert not was_evaluated(stage)


async def test_caller_name_with_quotes(stage: Stage):
    """Quotes and backslashes in a name do no harm; Asterisk leaves them escaped as SIP wrote them."""
    async with stage.bridge():
        call = await stage.call(name='Bob "the boss" \\ Smith')

    assert call.heard_hz == (AGENT,)
    assert stage.millis.registrations[0].body["metadata"]["caller_name"] == r"Bob \"the boss\" \\ Smith"


NUMBERS = {
    "line of its own": ("+1555\nagi_threadid: 1", "+1555agithreadid1"),
    "end of the environment": ("+1555\n\n200 result=1", "+1555200result1"),
    "another destination": ("1&Local/s@lobby", "1Localslobby"),
    "expression": (EVALUATED, "SETGLOBALEVALUATEDyes"),
    "quotes": ("+1555'\"7654", "+15557654"),
}


@pytest.mark.parametrize(("sent", "received"), NUMBERS.values(), ids=NUMBERS)
async def test_caller_number(stage: Stage, sent: str, received: str):
    """A caller's number is letters, digits and + * # before AGI prints it, line feeds included."""
    async with stage.bridge():
        call = await stage.call(number=sent)
        route = await stage.line("route")

    assert (call.heard_hz, route["reason"]) == ((AGENT,), "routed")
    assert stage.millis.registrations[0].body["metadata"]["caller_number"] == received
    assert not was_evaluated(stage)


CALLED = {
    "line of its own": ("15551230099\nagi_dnid: 15551230001", "1555123009915551230001"),
    "another destination": ("15551230099&Local/s@reception", "+15551230099"),
    "arguments": ("15551230099,did=15551230001)", "1555123009915551230001"),
    "expression": ("15551230099" + EVALUATED, "+15551230099"),
    "a pattern itself": ("_X.", "X"),
    "very long": ("1" * 200, "1" * ASTERISK_LIMIT),
}


@pytest.mark.parametrize(("dialled", "did"), CALLED.values(), ids=CALLED)
async def test_called_number(stage: Stage, dialled: str, did: str):
    """A called number is digits before it is an argument of ours; it cannot become another rule's or a command."""
    async with stage.bridge():
        call = await stage.call(dialled)
        route = await stage.line("route")

    assert (call.heard_hz, route["reason"], route["did"]) == ((LOBBY,), "no-rule", did)
    assert not was_evaluated(stage)


# Each value as Asterisk hands it over: a ")" that closes nothing, followed by ":", makes Asterisk see a substring there
# (pbx_variables.c, parse_variable_name) and cut the value. It can only lose its own end.
HEADERS = {
    "plain": ("T-42", "T-42"),
    "expression": (EVALUATED, EVALUATED),
    "nested": ("${CALLERID(num)}", "${CALLERID(num)}"),
    "line feed": ("a%0ab", "a%0ab"),
    "separator": ("a|b", "a|b"),
    "balanced": ("(a):b", "(a):b"),
    "open": ("a(b:c", "a(b:c"),
    "closed": ("a)b", "a)b"),
    "closed, then a substring": ("a):b", "a"),
    "closed, then an offset": ("):0:1", ""),
    "backslash": ("a\\nb", "a\\nb"),
    "very long": ("y" * 600, "y" * 512),
}


@pytest.mark.parametrize(("sent", "received"), HEADERS.values(), ids=HEADERS)
async def test_header(stage: Stage, sent: str, received: str):
    """A SIP header that a rule asks for is text to Asterisk too, and leaves the other values alone."""
    async with stage.bridge(sales=TICKET):
        call = await stage.call(headers=(("X-Ticket", sent),))

    told = stage.millis.registrations[0].body["metadata"]
    assert (call.heard_hz, told["ticket"], told["team"]) == ((AGENT,), received, "sales")
    assert not was_evaluated(stage)


async def test_trace_of_an_evaluation(stage: Stage):
    """A dialplan that does evaluate a caller's name leaves the trace that the other tests look for."""
    await stage.call(EVALUATING_DID, name=EVALUATED)
    await stage.logged("evaluated: yes")

    assert was_evaluated(stage)
    stage.set_global("EVALUATED", "no")
