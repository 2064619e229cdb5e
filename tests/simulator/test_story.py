"""What the ends of a call did, in words, and what a caller's report proves."""

from dataclasses import replace

import pytest

from agi_bridge.simulator.sip_leg import (
    Answered,
    AudioHeard,
    CallReport,
    HungUp,
    Invited,
    ReferAnswered,
    Refused,
    Ringing,
)
from agi_bridge.simulator.story import agent_step, audio_fault, caller_step, story_teller
from agi_bridge.simulator.tone import AGENT_TONE_HZ, CALLER_TONE_HZ, HEARD_TONE_HZ

INVITED = Invited(call_id="c", at=1.0, user="15551230001", caller_number="+15557654321", caller_name="Ada")
ANSWERED = Answered(call_id="c", at=1.5)
REPORT = CallReport(
    call_id="c",
    user="15551230001",
    caller_number="+15557654321",
    caller_name="Ada",
    status=200,
    hung_up_by="us",
    heard_hz=(AGENT_TONE_HZ, HEARD_TONE_HZ),
    packets_sent=100,
    packets_received=100,
    packets_malformed=0,
    events=(INVITED, ANSWERED),
)
RANG = (INVITED, Ringing(call_id="c", status=180))


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (INVITED, "Ada +15557654321 dials 15551230001 on the trunk"),
        (
            replace(INVITED, caller_number="", caller_name=""),
            "a caller who withholds the number dials 15551230001 on the trunk",
        ),
        (Ringing(call_id="c", status=180), "the caller hears ringing"),
        (ANSWERED, "the caller is connected"),
        (AudioHeard(call_id="c", hz=AGENT_TONE_HZ, packets=15), "the caller hears the agent: a tone of 440 Hz"),
        (
            AudioHeard(call_id="c", hz=HEARD_TONE_HZ, packets=60),
            "the agent has heard the caller, and says so: a tone of 660 Hz",
        ),
        (HungUp(call_id="c", by="us"), "the caller hangs up"),
        (HungUp(call_id="c", by="them"), "the PBX hangs up"),
        (Refused(call_id="c", status=503), "the PBX refuses the call with 503"),
    ],
)
def test_caller_is_told_of(event, sentence):
    """Each thing that happens to a caller has its sentence."""
    assert caller_step(event).sentence == sentence


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (replace(INVITED, user="call-1"), "the PBX calls the agent: INVITE sip:call-1@…"),
        (Ringing(call_id="c", status=180), "the agent rings"),
        (ANSWERED, "the agent answers"),
        (AudioHeard(call_id="c", hz=CALLER_TONE_HZ, packets=15), "the agent hears the caller: a tone of 1000 Hz"),
        (HungUp(call_id="c", by="us"), "the agent ends the agent's leg"),
        (HungUp(call_id="c", by="them"), "the PBX ends the agent's leg"),
        (Refused(call_id="c", status=404), "the agent refuses with 404"),
        (ReferAnswered(call_id="c", status=None), "the PBX answers the agent's REFER with nothing"),
    ],
)
def test_agent_is_told_of(event, sentence):
    """Each thing that happens to an agent has its sentence."""
    assert agent_step(event).sentence == sentence


def test_story_tells_each_step_once_with_its_time():
    """A caller who hears ringing twice is told of once, in milliseconds since the beginning."""
    told: list[str] = []
    hear = story_teller(told.append, began=1.0)
    for event in (INVITED, Ringing(call_id="c", status=180, at=1.012), Ringing(call_id="c", status=180, at=1.02)):
        hear(event)

    assert told == [
        "      0 ms  Ada +15557654321 dials 15551230001 on the trunk",
        "     12 ms  the caller hears ringing",
    ]


@pytest.mark.parametrize(
    ("report", "fault"),
    [
        pytest.param(REPORT, "", id="both heard"),
        pytest.param(replace(REPORT, heard_hz=(HEARD_TONE_HZ,)), "", id="the agent was quick to say so"),
        pytest.param(replace(REPORT, heard_hz=(AGENT_TONE_HZ,)), "one-way audio", id="the agent heard nothing"),
        pytest.param(replace(REPORT, heard_hz=()), "not the simulated agent", id="an announcement"),
        pytest.param(replace(REPORT, heard_hz=(), packets_received=0), "and then silence", id="nothing came"),
        pytest.param(replace(REPORT, events=RANG, status=None), "nobody answered in time", id="it rang"),
        pytest.param(
            replace(REPORT, events=(INVITED,), status=None), "nothing answers SIP over UDP at pbx:5060", id="no PBX"
        ),
        pytest.param(replace(REPORT, events=RANG, status=401), "as its trunk", id="a stranger"),
        pytest.param(replace(REPORT, events=RANG, status=503), "refused the call with 503", id="congestion"),
    ],
)
def test_report_proves_audio_both_ways_or_says_why_not(report, fault):
    """Only the tone that an agent speaks once it has heard the caller is a proof; else the message says where to look."""
    said = audio_fault(report, "pbx:5060")

    assert fault in said
    assert bool(said) == bool(fault)
