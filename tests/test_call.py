"""The nouns: what an AGI environment says about a call and its caller, and what an outcome means for the dialplan."""

import pytest

from agi_bridge.agi.protocol import Request
from agi_bridge.call import Call, CallerId, Outcome, Reason, Result, Status
from agi_bridge.numbers import Numbers

US = Numbers("US")


def request(**fields: str) -> Request:
    """Return the environment of an ordinary call, with other *fields* where they are given."""
    ordinary = {
        "network_script": "route",
        "channel": "PJSIP/trunk-0000001a",
        "language": "en",
        "uniqueid": "1795175545.1",
        "callerid": "+15557654321",
        "calleridname": "Alice",
        "callingpres": "0",
        "dnid": "unknown",
        "rdnis": "unknown",
        "context": "from-trunk",
        "extension": "s",
    }
    return Request({**ordinary, **fields})


def caller(**fields: str) -> CallerId:
    return CallerId.from_request(request(**fields), US)


def call(did: str | None = None, **fields: str) -> Call:
    return Call.from_request(request(**fields), US, "b-1", did)


# The caller


@pytest.mark.parametrize(
    ("sent", "number", "received"),
    [
        ("+15557654321", "+15557654321", "+15557654321"),
        ("2025550123", "+12025550123", "2025550123"),
        (" 2025550123 ", "+12025550123", "2025550123"),
        ("100", "100", "100"),
        ("alice", "alice", "alice"),
        ("unknown", None, None),
        ("Unavailable", None, None),
        ("", None, None),
        ("  ", None, None),
    ],
)
def test_caller_number_is_e164_where_it_can_be(sent, number, received):
    """A number is normalised where it is one, else kept as it came; all ways to say nothing are None."""
    assert (caller(callerid=sent).number, caller(callerid=sent).received) == (number, received)
    assert not caller(callerid=sent).withheld


@pytest.mark.parametrize("sent", ["", "unknown", "Unknown", " "])
def test_name_that_was_not_sent_is_none(sent):
    """Asterisk's word for a missing name is nobody's name."""
    assert caller(calleridname=sent).name is None


def test_name_is_kept_as_it_is():
    """A name is the caller's own text."""
    assert caller(calleridname=' Zoë "Z" <1> ').name == 'Zoë "Z" <1>'


@pytest.mark.parametrize("presentation", ["32", "33", "35", "67", "96"])
def test_restricted_presentation_withholds_number_and_name(presentation):
    """A caller who does not want to be known, or cannot be, is nobody, even if the PBX knows better."""
    assert caller(callingpres=presentation) == CallerId(number=None, name=None, withheld=True, received=None)


@pytest.mark.parametrize("sent", ["anonymous", "Anonymous", " restricted ", "WITHHELD", "private"])
def test_word_of_a_carrier_for_a_withheld_number_withholds(sent):
    """What carriers write instead of a number is not taken for one."""
    assert caller(callerid=sent) == CallerId(number=None, name=None, withheld=True, received=None)


@pytest.mark.parametrize("presentation", ["0", "1", "3", "", "-1", "x", "²", "9" * 5000])
def test_other_presentation_withholds_nothing_and_breaks_nothing(presentation):
    """Allowed presentations, and what is none at all, leave the caller known or at least the call alive."""
    assert isinstance(caller(callingpres=presentation).withheld, bool)
    if presentation != "9" * 5000:
        assert caller(callingpres=presentation).number == "+15557654321"


# The call


@pytest.mark.parametrize(
    ("did", "fields", "received"),
    [
        ("+15551230001", {"network_script": "route?did=2", "dnid": "3", "extension": "4"}, "+15551230001"),
        (None, {"network_script": "route?did=2", "dnid": "3", "extension": "4"}, "2"),
        ("", {"network_script": "route?did=2", "dnid": "3", "extension": "4"}, "2"),
        (None, {"network_script": "route", "arg_1": "did=2", "dnid": "3"}, "2"),
        (None, {"network_script": "route?did=", "dnid": "3", "extension": "4"}, "3"),
        (None, {"dnid": "3", "extension": "4"}, "3"),
        (None, {"dnid": "unknown", "extension": "4"}, "4"),
        ("unknown", {"dnid": "", "extension": ""}, ""),
    ],
)
def test_did_comes_from_the_first_place_that_has_one(did, fields, received):
    """The configured expression, the `did` argument, agi_dnid and agi_extension are asked in this order."""
    assert call(did, **fields).did_received == received


@pytest.mark.parametrize(("sent", "did"), [("2025550123", "+12025550123"), ("s", "s"), ("100", "100")])
def test_did_is_e164_where_it_can_be(sent, did):
    """The called number is normalised where it is a number; how it came is kept beside it."""
    assert (call(dnid=sent).did, call(dnid=sent).did_received) == (did, sent)


def test_call_is_what_the_environment_says():
    """Channel, uniqueid, context, language and redirecting number are taken over, arguments decoded."""
    arrived = call(network_script="route?team=sales", arg_1="name=%22a%22", rdnis="+15550009999", dnid="1")
    assert arrived == Call(
        bridge_call_id="b-1",
        did="1",
        did_received="1",
        caller=CallerId("+15557654321", "Alice", False, "+15557654321"),
        rdnis="+15550009999",
        channel="PJSIP/trunk-0000001a",
        uniqueid="1795175545.1",
        context="from-trunk",
        language="en",
        arguments={"team": "sales", "name": '"a"'},
    )


def test_context_argument_outranks_the_place_of_agi():
    """Where AGI() is called from a subroutine, the dialplan says in which context the call arrived."""
    assert call(network_script="route?context=from-carrier", context="millis").context == "from-carrier"
    assert call(network_script="route?context=", context="millis").context == "millis"


def test_missing_redirecting_number_is_none():
    """Asterisk's word for no redirecting number is no number."""
    assert call().rdnis is None


# The outcome


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome(Result.COMPLETED, Reason.ROUTED), Status.OK),
        (Outcome(Result.COMPLETED, Reason.ANSWERED), Status.OK),
        (Outcome(Result.COMPLETED, Reason.PONG), Status.OK),
        (Outcome(Result.OPERATOR, Reason.BLOCKED_CALLER), Status.REJECT),
        (Outcome(Result.CALLER, Reason.ANSWERED_BY_MACHINE), Status.REJECT),
        (Outcome(Result.OPERATOR, Reason.NO_RULE), Status.FALLBACK),
        (Outcome(Result.OPERATOR, Reason.UNKNOWN_VERB), Status.FALLBACK),
        (Outcome(Result.CALLER, Reason.CALLER_HUNG_UP), Status.FALLBACK),
        (Outcome(Result.BRIDGE, Reason.BUSY), Status.FALLBACK),
    ],
)
def test_outcome_tells_the_dialplan_what_to_do(outcome, status):
    """Success is dialled, a blocked caller or an unwanted machine is refused, and everything else takes the fallback."""
    assert outcome.status is status


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.BLOCKED_CALLER, Reason.ANSWERED_BY_MACHINE}))
@pytest.mark.parametrize("result", [result for result in Result if result is not Result.COMPLETED])
def test_no_failure_loses_the_call(result, reason):
    """Whatever goes wrong, whoever is to blame, the dialplan is sent to the fallback."""
    assert Outcome(result, reason).status is Status.FALLBACK


def test_words_of_the_dialplan_are_plain():
    """Results, reasons and statuses are slugs that a dialplan can compare."""
    words = [*Result, *Reason, *Status]
    assert all(word.replace("-", "").isalpha() and word.islower() for word in words)


@pytest.mark.parametrize(
    ("arguments", "is_outbound", "answered_by"),
    [
        ({}, False, ""),
        ({"arg_1": "answered_by=machine"}, False, ""),
        ({"arg_1": "direction=outbound"}, True, ""),
        ({"arg_1": "direction=outbound", "arg_2": "answered_by=human"}, True, "human"),
        ({"arg_1": "direction=outbound", "arg_2": "answered_by=${X}"}, True, ""),
    ],
)
def test_call_knows_which_way_it_went(arguments, is_outbound, answered_by):
    """A call came in unless the dialplan says that we made it; what answered it is one of three words."""
    made = call("+15551230001", **arguments)
    assert (made.is_outbound, made.answered_by) == (is_outbound, answered_by)
