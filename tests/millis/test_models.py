"""What Millis's answers mean: the many shapes of a registration, and of a refusal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge.errors import MillisNonsense
from agi_bridge.millis.models import Registration, error_detail, parse_registration

URI = "sip:call-1@sip.millis.ai"


@pytest.mark.parametrize(
    ("answer", "registration"),
    [
        pytest.param({"call_id": "c1", "sip": URI}, ("c1", URI), id="the example of the documentation"),
        pytest.param({"call_id": "c1", "sip_uri": URI}, ("c1", URI), id="the prose of the documentation"),
        pytest.param(
            {"call_id": "c1", "sip": "sip:other@h", "sip_uri": URI}, ("c1", URI), id="both, of which sip_uri counts"
        ),
        pytest.param({"call_id": "c1", "sip_uri": None, "sip": URI}, ("c1", URI), id="one of the two null"),
        pytest.param({"call_id": "c1", "sip_uri": "", "sip": URI}, ("c1", URI), id="one of the two empty"),
        pytest.param({"call_id": "c1", "endpoint": URI}, ("c1", URI), id="another name"),
        pytest.param({"call_id": "c1", "sip": f" <{URI}> \n"}, ("c1", URI), id="angle brackets and blanks around it"),
        pytest.param({"call_id": "c1", "sip": "SIPS:a@h"}, ("c1", "SIPS:a@h"), id="capitals, and TLS"),
        pytest.param({"sip": URI}, ("call-1", URI), id="no call id, which then is the URI's user"),
        pytest.param({"call_id": None, "sip": URI}, ("call-1", URI), id="a call id that is null"),
        pytest.param({"call_id": "", "sip": URI}, ("call-1", URI), id="a call id that is empty"),
        pytest.param({"call_id": 7, "sip": URI}, ("call-1", URI), id="a call id that is a number"),
        pytest.param({"call_id": "c1", "session_id": "s", "sip": URI, "x": {"y": [1]}}, ("c1", URI), id="other keys"),
        pytest.param({"sip": "sip:a@evil.example&Local/x@y"}, None, id="a hostile URI, which is judged elsewhere"),
    ],
)
def test_registration_is_found_in_every_honest_shape(answer, registration):
    """Wherever a success names a SIP URI, it is found, and the call id with it."""
    found = parse_registration(json.dumps(answer).encode())

    assert (found.call_id, found.sip_uri) == (registration or ("a", answer["sip"]))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_registration_may_come_in_any_encoding_of_json(encoding):
    """JSON says itself how it is encoded."""
    assert parse_registration(json.dumps({"sip": URI}).encode(encoding)).sip_uri == URI


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "the answer is not JSON: empty", id="nothing"),
        pytest.param(b'{"call_id": "call-', 'the answer is not JSON: {"call_id": "call-', id="half an object"),
        pytest.param(b"<html>\r\n<h1>Hi</h1>", "the answer is not JSON: <html>  <h1>Hi</h1>", id="a web page"),
        pytest.param(b"\x1b[2J\x9b\x00", "the answer is not JSON:  [2J\ufffd ", id="commands for a terminal"),
        pytest.param(b"x" * 10_000, f"the answer is not JSON: {'x' * 200}", id="a long text"),
        pytest.param(b"[" * 100_000, f"the answer is not JSON: {'[' * 200}", id="brackets without end"),
        pytest.param(b"sip:secret@h", "the answer is not JSON: sip:…", id="the URI alone, which is a secret"),
        pytest.param(
            b'{"call_id": "c", "sip": "sip:secret@h;x=1", "y',
            'the answer is not JSON: {"call_id": "c", "sip": "sip:…", "y',
            id="half an object, with the URI",
        ),
        pytest.param(b"[]", "the answer is a JSON list, not an object", id="a list"),
        pytest.param(b'"sip:a@h"', "the answer is a JSON str, not an object", id="a text"),
        pytest.param(b"null", "the answer is a JSON NoneType, not an object", id="null"),
        pytest.param(b"{}", "the answer names no SIP URI; its keys are []", id="an empty object"),
        pytest.param(
            b'{"sip": "", "call_id": "c1"}',
            "the answer names no SIP URI; its keys are ['call_id', 'sip']",
            id="an empty URI",
        ),
        pytest.param(
            b'{"sip": "tel:+1555"}', "the answer names no SIP URI; its keys are ['sip']", id="a telephone number"
        ),
        pytest.param(
            b'{"sip": ["sip:a@h"]}', "the answer names no SIP URI; its keys are ['sip']", id="a URI in a list"
        ),
        pytest.param(
            b'{"a\\u001b": 1}',
            "the answer names no SIP URI; its keys are ['a\\x1b']",
            id="a command in the name of a key",
        ),
        pytest.param(
            b'{"sip:secret@h": 1}',
            "the answer names no SIP URI; its keys are ['sip:…']",
            id="the URI as the name of a key",
        ),
        pytest.param(
            b'{"' + b"k" * 10_000 + b'": 1}',
            f"the answer names no SIP URI; its keys are ['{'k' * 198}",
            id="the name of a key without end",
        ),
    ],
)
def test_nonsense_is_told_in_a_line_without_secrets(body, message):
    """A success without a usable URI says in one line what came instead."""
    with pytest.raises(MillisNonsense) as caught:
        parse_registration(body)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        pytest.param({"detail": "Agent not found"}, "Agent not found", id="a text"),
        pytest.param(
            {
                "detail": [
                    {"loc": ["body", "agent_config", "promt"], "msg": "Extra inputs are not permitted", "type": "x"},
                    {"loc": ["header", "authorization"], "msg": "Field required", "input": {"from_phone": "+1555"}},
                ]
            },
            "body.agent_config.promt: Extra inputs are not permitted; header.authorization: Field required",
            id="a list of mistakes, without what was sent",
        ),
        pytest.param({"detail": ["a", 7, None]}, "a; 7; None", id="a list of other things"),
        pytest.param({"detail": [{}]}, "?: ?", id="a mistake without place or words"),
        pytest.param({"detail": [{"loc": "body", "msg": "x"}] * 9}, "; ".join(["?: x"] * 5), id="many mistakes"),
        pytest.param({"detail": ""}, "", id="an empty text"),
        pytest.param({"message": "Too many requests"}, "Too many requests", id="another name"),
        pytest.param({"error": "no credit"}, "no credit", id="a third name"),
        pytest.param({"detail": None, "message": "x"}, "x", id="a detail that is null"),
        pytest.param({"detail": {"code": 7}}, "{'code': 7}", id="an object"),
        pytest.param({"x": 1}, "", id="no name we know"),
        pytest.param([], "", id="a list at the top"),
        pytest.param({"detail": "a\nb\x1b[31mc\u202ed"}, "a b [31mc d", id="line feeds and commands for a terminal"),
        pytest.param({"detail": "use sip:secret@h:5060 now"}, "use sip:… now", id="a SIP URI"),
        pytest.param({"detail": "x" * 1000}, "x" * 200, id="a long text"),
        pytest.param({"detail": [{"loc": [], "msg": "x" * 1000}]}, ": " + "x" * 198, id="a long mistake"),
    ],
)
def test_error_detail(answer, detail):
    """What an error answer says fits into one line of the log, and repeats nothing of what was sent."""
    assert error_detail(json.dumps(answer).encode()) == detail


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "empty"),
        (b"Bad Gateway\r\n", "Bad Gateway  "),
        (b"\xff", "\ufffd"),
        (b"[" * 100_000, "[" * 200),
    ],
)
def test_error_that_is_not_json_is_quoted(body, detail):
    """Of an error page the beginning is told."""
    assert error_detail(body) == detail


def test_registration_shows_its_call_id_only():
    """Whoever knows the SIP URI can take the call, so it is not shown by accident."""
    assert repr(Registration("c1", URI)) == "Registration(call_id='c1')"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.just(URI),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("detail"), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=300) | JSON.map(json.dumps).map(str.encode))
def test_any_body_is_a_registration_or_nonsense(body):
    """No bytes end in anything but a URI or our own error, and what is told is a short line without a URI."""
    try:
        assert parse_registration(body).sip_uri.lower().startswith(("sip:", "sips:"))
        told = ""
    except MillisNonsense as error:
        told = str(error)

    assert told.isprintable()
    assert error_detail(body).isprintable()
    assert len(error_detail(body)) <= 200
    assert URI not in told + error_detail(body)
