"""What Millis says of a session, however it says it, as a report for the call's record."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge.millis.session_report import LONGEST_TRANSCRIPT, report_of_end, report_of_start
from agi_bridge.records.report_line import from_line, to_line

BEGAN = datetime(2026, 7, 1, 12, 0, 0, 500_000, tzinfo=UTC)

# The body as the vendor documents it.
END = {
    "session_id": "s1",
    "call_id": "call-1",
    "agent_id": "-Nagent",
    "ts": BEGAN.timestamp(),
    "duration": 31,
    "chat": json.dumps([{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "I want\na refund."}]),
    "function_calls": [],
    "agent_config": {},
    "chars_used": 64,
    "cost_breakdown": [
        {"type": "llm", "provider": "openai", "credit": 0.01, "prompt_tokens": 12},
        {"type": "tts", "provider": "elevenlabs", "credit": 0.02},
    ],
    "voip": {"provider": "sip", "from": "+15557654321", "to": "+15551230001"},
    "recording": {"recording_url": "https://r.example/1.mp3"},
    "metadata": {"bridge_call_id": "abc", "caller_number": "+15557654321"},
    "call_status": "user-ended",
    "error_message": None,
}


def test_end_of_a_call_as_documented():
    """Every documented field that a record has a place for gets there; the report is as late as the session."""
    report = report_of_end(END)

    assert (report.bridge_call_id, report.at, report.of_millis) == ("abc", BEGAN, True)
    assert report.facts == {
        "millis_session_id": "s1",
        "millis_call_id": "call-1",
        "millis_duration_seconds": 31.0,
        "millis_cost": 0.03,
        "millis_cost_breakdown": '[{"type": "llm", "provider": "openai", "credit": 0.01}, '
        '{"type": "tts", "provider": "elevenlabs", "credit": 0.02}]',
        "millis_status": "user-ended",
        "millis_error": None,
        "transcript": "assistant: Hello.\nuser: I want a refund.",
        "recording_url": "https://r.example/1.mp3",
    }


@pytest.mark.parametrize(
    ("said", "name", "fact"),
    [
        ({"duration": 31.5}, "millis_duration_seconds", 31.5),
        ({"duration": "31"}, "millis_duration_seconds", 31.0),
        ({"duration": -1}, "millis_duration_seconds", None),
        ({"duration": True}, "millis_duration_seconds", None),
        ({"duration": "nan"}, "millis_duration_seconds", None),
        ({"duration": 10**400}, "millis_duration_seconds", None),
        ({"chat": [{"role": "user", "content": "Hi."}]}, "transcript", "user: Hi."),
        ({"chat": [{"content": "Hi."}, {"role": "tool", "content": None}, 7]}, "transcript", "unknown: Hi."),
        ({"chat": "no JSON at all"}, "transcript", "no JSON at all"),
        ({"chat": "["}, "transcript", "["),
        ({"chat": "[]"}, "transcript", None),
        ({"chat": {"role": "user"}}, "transcript", None),
        ({"recording": "https://r.example/2"}, "recording_url", "https://r.example/2"),
        ({"recording": {"recording_url": "javascript:alert(1)"}}, "recording_url", None),
        ({"recording": None}, "recording_url", None),
        ({"cost_breakdown": json.dumps([{"credit": "0.5"}])}, "millis_cost", 0.5),
        ({"cost_breakdown": [{"type": "llm"}, 3]}, "millis_cost", None),
        ({"call_status": 7}, "millis_status", "7"),
        ({"call_status": ["x"]}, "millis_status", None),
        ({"error_message": "out of\x1b credit"}, "millis_error", "out of credit"),
    ],
)
def test_types_are_read_as_they_come(said: dict[str, Any], name: str, fact: object):
    """An integer, a float, a number in a text, a list or a list in a text: what makes sense counts, the rest is left out."""
    assert report_of_end(END | said).facts[name] == fact


@pytest.mark.parametrize("ts", [BEGAN.timestamp(), BEGAN.timestamp() * 1000, str(BEGAN.timestamp()), BEGAN.isoformat()])
def test_time_is_read_as_it_comes(ts: object):
    """Seconds, milliseconds or text."""
    assert report_of_end(END | {"ts": ts}).at == BEGAN


def test_what_is_not_dated_counts_least():
    """Without a time of its own, a report changes nothing that one with a time has said; and a second one nothing at all."""
    undated = report_of_end({name: END[name] for name in END if name != "ts"})

    assert undated.at < BEGAN
    assert undated == report_of_end({name: END[name] for name in END if name != "ts"})


@pytest.mark.parametrize("metadata", [None, [], "x", {"bridge_call_id": 7}, {"bridge_call_id": "no/id"}])
def test_call_is_named_by_millis_alone(metadata: object):
    """Where our id does not come back, Millis's own are what is left."""
    report = report_of_end(END | {"metadata": metadata})

    assert (report.bridge_call_id, report.facts["millis_session_id"]) == ("", "s1")


def test_metadata_may_be_json_in_a_text():
    """As the transcript is."""
    assert report_of_end(END | {"metadata": '{"bridge_call_id": "abc"}'}).bridge_call_id == "abc"


@pytest.mark.parametrize("said", [{}, {"duration": 3}, {"session_id": None, "call_id": "", "metadata": {}}])
def test_nothing_says_which_call(said: dict[str, Any]):
    """Then it can never be joined, and is refused."""
    with pytest.raises(ValueError, match="which call it is"):
        report_of_end(said)


def test_what_is_said_is_bounded():
    """However long a call was, its report stays within what a record holds, cut between words."""
    chat = [{"role": "user", "content": "word " * 5_000}] * 40
    costs = [{"type": "x" * 500, "credit": 1}] * 500
    facts = report_of_end(END | {"chat": chat, "cost_breakdown": costs, "error_message": "e" * 5_000}).facts

    assert len(str(facts["transcript"])) <= LONGEST_TRANSCRIPT
    assert len(json.loads(str(facts["millis_cost_breakdown"]))) < 100
    assert (facts["millis_cost"], len(str(facts["millis_error"]))) == (500, 1000)


def test_beginning_of_a_call():
    """The query has our metadata beside Millis's own ids; it is as late as the call, so that it counts once."""
    query = {"session_id": "s1", "agent_id": "-N", "from": "1", "to": "2", "bridge_call_id": "abc"}
    report = report_of_start(query | {"called_at": BEGAN.isoformat(timespec="milliseconds")})

    assert (report.bridge_call_id, report.at, report.facts) == ("abc", BEGAN, {"millis_session_id": "s1"})


def test_numbers_name_no_call():
    """Which of from and to is the caller's is not certain, and two calls may have the same two."""
    with pytest.raises(ValueError, match="which call it is"):
        report_of_start({"from": "+15557654321", "to": "+15551230001", "agent_id": "-N"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(END)), inner, max_size=4),
    max_leaves=10,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*END, "content", "role"), JSON)))
def test_hostile_bodies_are_read_or_refused(said: dict[str, Any]):
    """Whatever comes, it is a report that the spool can hold, or one ValueError."""
    for read in (report_of_end, report_of_start):
        try:
            report = read(said)
        except ValueError:
            continue
        assert from_line(to_line(report).rstrip(b"\n")).bridge_call_id == report.bridge_call_id
