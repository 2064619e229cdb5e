"""What Millis is told about a call, and what Asterisk is asked for it."""

from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge.call import Call, CallerId
from agi_bridge.errors import AgiProtocolError
from agi_bridge.metadata import (
    LINKEDID,
    NAME,
    RESERVED_NAMES,
    STANDARD_NAMES,
    answers,
    build,
    expressions,
    is_expression,
    printable,
    question,
    registration,
    standby,
)
from agi_bridge.routing import Agent

CALLED_AT = datetime(2026, 5, 4, 13, 7, 8, 123456, tzinfo=UTC)

CALL = Call(
    bridge_call_id="b1",
    did="+15551230001",
    did_received="5551230001",
    caller=CallerId("+15557654321", "Ann Example", False, "5557654321"),
    rdnis="+15550000000",
    channel="PJSIP/trunk-00000001",
    uniqueid="1700000000.1",
    context="from-trunk",
    language="en",
    arguments={},
)
UNKNOWN_CALL = Call("b2", "", "", CallerId(None, None, True, None), None, "Local/1@x-1;1", "1.2", "from-trunk", "", {})


def test_every_call_is_told_under_the_standard_names():
    """Each fact of a call stands under its documented name, as a flat text."""
    metadata = build(CALL, Agent(), {LINKEDID: "1700000000.0"}, CALLED_AT, 512)

    assert metadata == {
        "bridge_call_id": "b1",
        "uniqueid": "1700000000.1",
        "linkedid": "1700000000.0",
        "did": "+15551230001",
        "caller_number": "+15557654321",
        "caller_name": "Ann Example",
        "caller_withheld": "false",
        "rdnis": "+15550000000",
        "channel": "PJSIP/trunk-00000001",
        "context": "from-trunk",
        "language": "en",
        "called_at": "2026-05-04T13:07:08.123+00:00",
        "direction": "inbound",
        "answered_by": "",
    }
    assert tuple(metadata) == STANDARD_NAMES


def test_standard_names_are_there_even_where_nothing_is_known():
    """What is unknown is an empty text, never a missing name, so that no prompt shows its braces."""
    metadata = build(UNKNOWN_CALL, Agent(), {}, CALLED_AT, 512)

    assert tuple(metadata) == STANDARD_NAMES
    assert metadata["caller_withheld"] == "true"
    assert {name for name, value in metadata.items() if not value} == {
        *("linkedid", "did", "caller_number", "caller_name", "rdnis", "language", "answered_by")
    }


def test_keys_of_a_rule_are_literals_or_what_asterisk_answered():
    """A rule's own names follow the standard ones; an expression becomes its answer, a literal stays."""
    agent = Agent(metadata={"team": "sales", "tier": "${DB(crm/1)}", "both": "${A}-${B}", "lost": "${GONE}"})
    metadata = build(CALL, agent, {"${DB(crm/1)}": "gold", "${A}-${B}": "a-b"}, CALLED_AT, 512)

    assert {name: metadata[name] for name in agent.metadata} == {
        "team": "sales",
        "tier": "gold",
        "both": "a-b",
        "lost": "",
    }
    assert tuple(metadata) == (*STANDARD_NAMES, "team", "tier", "both", "lost")


def test_every_value_is_printable_and_bounded():
    """Names, headers and literals alike lose their control signs, and what is beyond the bound."""
    hostile = CallerId("\x1b[2J12", "A\nb\u202e" + "c" * 40, False, "x")
    call = Call("b1", "d" * 40, "d", hostile, "\0", "ch\u2028an", "1.1", "ctx", "en", {})
    metadata = build(
        call, Agent(metadata={"h": "${PJSIP_HEADER(read,X)}"}), {"${PJSIP_HEADER(read,X)}": "\tx\x7f"}, CALLED_AT, 16
    )

    assert metadata["caller_name"] == "Ab" + "c" * 14
    assert (metadata["caller_number"], metadata["did"], metadata["rdnis"]) == ("[2J12", "d" * 16, "")
    assert (metadata["channel"], metadata["h"]) == ("chan", "x")


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        pytest.param("Ann Example", 512, "Ann Example", id="an ordinary name"),
        pytest.param("Zoë Ångström 王", 512, "Zoë Ångström 王", id="letters of any language"),
        pytest.param("a\nb\rc\td\0e", 512, "abcde", id="control signs"),
        pytest.param("a\x1b[31mb", 512, "a[31mb", id="the beginning of a terminal's command"),
        pytest.param("a\x80\x9fb", 512, "ab", id="control signs beyond ASCII"),
        pytest.param("\u202eevil\u202c", 512, "evil", id="overrides of the direction of writing"),
        pytest.param("a\u2066b\u2069", 512, "ab", id="isolates of the direction of writing"),
        pytest.param("a\u200bb\ufeffc\u00add", 512, "abcd", id="signs that nobody sees"),
        pytest.param("a\u2028b\u2029c", 512, "abc", id="line and paragraph separators"),
        pytest.param("a\U000e0041b", 512, "ab", id="tags that hide a text"),
        pytest.param("a\ue000b", 512, "ab", id="private signs"),
        pytest.param("a\ud800b", 512, "ab", id="half a sign"),
        pytest.param("a\u00a0b", 512, "ab", id="a blank that is none"),
        pytest.param("abcdef", 3, "abc", id="too long"),
        pytest.param("a\nb\nc\nd\n", 3, "abc", id="too long once it is printable"),
        pytest.param("\n" * 10_000 + "a", 3, "", id="nothing but control signs for long enough"),
        pytest.param("", 3, "", id="nothing"),
    ],
)
def test_printable(text, limit, cut):
    """Control and formatting signs go, whatever is printable stays, up to the bound."""
    assert printable(text, limit) == cut


@given(st.text(), st.integers(0, 20))
def test_any_text_becomes_printable_and_bounded(text, limit):
    """No text keeps a control sign or exceeds its bound, and doing it twice changes nothing."""
    cut = printable(text, limit)

    assert cut.isprintable()
    assert len(cut) <= limit
    assert printable(cut, limit) == cut


@pytest.mark.parametrize(
    ("value", "expression"),
    [
        ("sales", False),
        ("", False),
        ("{caller_name}", False),
        ("$5", False),
        ("${CHANNEL(language)}", True),
        ("hello ${X}", True),
    ],
)
def test_value_with_a_dollar_and_brace_is_an_expression(value, expression):
    """Asterisk evaluates a value where `${` stands in it; any other is a literal."""
    assert is_expression(value) is expression


def test_one_question_asks_for_everything():
    """All expressions of a rule, and the linkedid before them, go into one question, each URI-encoded."""
    agent = Agent(metadata={"team": "sales", "lang": "${CHANNEL(language)}", "tier": "${DB(crm/${CALLERID(num)})}"})
    asked = expressions(agent)

    assert asked == ("${CHANNEL(linkedid)}", "${CHANNEL(language)}", "${DB(crm/${CALLERID(num)})}")
    assert question(asked) == (
        "${URIENCODE(${CHANNEL(linkedid)})}|${URIENCODE(${CHANNEL(language)})}|${URIENCODE(${DB(crm/${CALLERID(num)})})}"
    )


@pytest.mark.parametrize(
    ("reply", "values"),
    [
        pytest.param("1.2|en|gold", ["1.2", "en", "gold"], id="three values"),
        pytest.param("1.2||", ["1.2", "", ""], id="empty values"),
        pytest.param("||", ["", "", ""], id="nothing but empty values"),
        pytest.param(None, ["", "", ""], id="no value at all"),
        pytest.param("", ["", "", ""], id="an empty answer"),
        pytest.param(
            "1.2|a%20b%7Cc%0Ad|%C3%A9", ["1.2", "a b|c\nd", "é"], id="encoded signs, the separator among them"
        ),
        pytest.param("1.2|a+b|%", ["1.2", "a+b", "%"], id="a plus sign, and a percent sign that encodes nothing"),
        pytest.param("%E9|%ff%fe|%C3", ["\ufffd", "\ufffd\ufffd", "\ufffd"], id="bytes that are no UTF-8"),
    ],
)
def test_answers_are_decoded(reply, values):
    """The answer is taken apart into one decoded value for each expression."""
    assert list(answers(reply, ("${A}", "${B}", "${C}")).values()) == values


@pytest.mark.parametrize(
    ("reply", "count"),
    [("a", 1), ("a|b", 2), ("a|b|c|d", 4), ("|||", 4)],
)
def test_wrong_number_of_answers_is_refused(reply, count):
    """An answer that cannot be assigned to its questions is an error of the conversation, not a guess."""
    with pytest.raises(AgiProtocolError) as caught:
        answers(reply, ("${A}", "${B}", "${C}"))

    assert str(caught.value) == f"3 dialplan expressions were asked, {count} values came back"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_any_values_come_through_question_and_answer(values):
    """Whatever a channel holds, separators and line feeds included, is understood as it was."""
    asked = tuple(f"${{V{place}}}" for place in range(len(values)))
    reply = "|".join(quote(value, safe="") for value in values)

    assert list(answers(reply, asked).values()) == values


def test_the_same_expression_may_stand_twice():
    """Two names with one expression both get its value."""
    agent = Agent(metadata={"a": "${X}", "b": "${X}", "c": LINKEDID})
    values = answers("7|x|x|7", expressions(agent))
    metadata = build(CALL, agent, values, CALLED_AT, 512)

    assert (metadata["a"], metadata["b"], metadata["c"], metadata["linkedid"]) == ("x", "x", "7", "7")


def test_registration_names_agent_metadata_and_both_numbers():
    """The body of a registration has the fields of Millis's InitAgent."""
    agent = Agent("-Nabc", {"language": "de"}, include_metadata_in_prompt=True)

    assert registration(CALL, agent, {"did": "x"}) == {
        "agent_id": "-Nabc",
        "agent_config": {"language": "de"},
        "metadata": {"did": "x"},
        "include_metadata_in_prompt": True,
        "from_phone": "+15557654321",
        "to_phone": "+15551230001",
    }


def test_what_is_unknown_is_left_out_of_a_registration():
    """No field is sent as null."""
    assert registration(UNKNOWN_CALL, Agent("-Nabc"), {}) == {
        "agent_id": "-Nabc",
        "metadata": {},
        "include_metadata_in_prompt": False,
    }


@pytest.mark.parametrize(
    ("number", "sent"),
    [
        pytest.param("+15557654321", True, id="E.164"),
        pytest.param("15557654321", True, id="without its plus sign"),
        pytest.param("100", True, id="an extension"),
        pytest.param("alice", False, id="the user of a SIP phone"),
        pytest.param("s", False, id="the extension s"),
        pytest.param("+1555\n", False, id="a line feed"),
        pytest.param("1" * 25, False, id="more digits than any number has"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_only_a_number_is_sent_as_a_phone(number, sent):
    """What is no number stands in the metadata alone, where nobody takes it for one."""
    call = Call("b", number, number, CallerId(number, None, False, number), None, "ch", "1.1", "ctx", "en", {})
    body = registration(call, Agent("-Nabc"), {})

    assert (body.get("from_phone"), body.get("to_phone")) == ((number, number) if sent else (None, None))


def test_standby_is_told_what_is_true_of_every_call():
    """Literals stand as they are, cleaned; expressions and what only a call could say are empty, and there are no phones."""
    agent = Agent("-Nabc", {"language": "en-GB"}, {"team": "sales\n", "tier": "${DB(tier/1)}"}, True)

    assert standby(agent, 16) == {
        "agent_id": "-Nabc",
        "agent_config": {"language": "en-GB"},
        "metadata": {**dict.fromkeys(STANDARD_NAMES, ""), "team": "sales", "tier": ""},
        "include_metadata_in_prompt": True,
    }


def test_names_of_millis_are_reserved():
    """Our standard names are none of Millis's own, and can all be variables in a prompt."""
    assert {"session_id", "agent_id", "from", "to", "FromPhone", "ToPhone"} == RESERVED_NAMES
    assert not RESERVED_NAMES & set(STANDARD_NAMES)
    assert all(map(NAME.fullmatch, STANDARD_NAMES))
