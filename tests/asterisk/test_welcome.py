"""What the caller hears before the agent, and how a call is kept from lasting for ever."""

import re
from pathlib import Path

import pytest
from lab import Pbx

from agi_bridge.simulator import tone
from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.sip import Answered, AudioHeard, HungUp, Invited
from tests.asterisk.stage import AGENT, DID, ONELINE_DID, RECEPTION, SECOND_AGENT, Stage

# Each a tone that nobody else speaks, for the caller to recognise.
PROMPT, MUSIC = 1200, 1400


@pytest.fixture(scope="module")
def sounds(pbx: Pbx) -> str:
    """The folder, as Asterisk sees it, of a prompt of half a second; and a class of music on hold, "tune"."""
    (seen,) = map(Path, re.findall(r"Configuration directory:\s*(\S+)", pbx.cli("core show settings")))
    (pbx.conf_dir / "sounds").mkdir()
    (pbx.conf_dir / "moh").mkdir()
    (pbx.conf_dir / "sounds/hello.ulaw").write_bytes(tone.one_second_of(PROMPT, tone.PCMU)[:4000])
    (pbx.conf_dir / "moh/tune.ulaw").write_bytes(tone.one_second_of(MUSIC, tone.PCMU) * 5)
    (pbx.conf_dir / "musiconhold.conf").write_text(f"[tune]\nmode = files\ndirectory = {seen}/moh\n")
    pbx.cli("moh reload")
    return str(seen / "sounds")


def first_heard(stage: Stage) -> list[int]:
    """Return the tones that the caller heard, in their order."""
    return list(dict.fromkeys(event.hz for event in stage.events["caller"] if isinstance(event, AudioHeard)))


async def test_prompt_is_heard_to_its_end_before_millis_is_asked(stage: Stage, sounds: str):
    """The caller is answered, hears the prompt, and then the agent."""
    async with stage.bridge(sales=f'prompt = "{sounds}/hello"'), stage.calling(listens_for_hz=HEARD):
        answered = await stage.saw("caller", Answered)
        asked = await stage.millis.received()
        await stage.heard("caller", AGENT)

    assert first_heard(stage) == [PROMPT, AGENT]
    assert asked.at - answered.at > 0.45


HEARD = (PROMPT, MUSIC, AGENT, RECEPTION)


async def test_music_plays_until_the_agent_answers(stage: Stage, sounds: str):
    """While Millis thinks and the agent rings the caller hears the rule's music, and no ringing."""
    stage.millis_does("delay=0.5")
    stage.agent_does(ring_seconds=0.5)
    async with stage.bridge(sales='music = "tune"'), stage.calling(listens_for_hz=HEARD):
        await stage.saw("agent", Answered)
        await stage.heard("caller", AGENT)

    assert first_heard(stage) == [MUSIC, AGENT]


async def test_music_ends_where_the_fallback_begins(stage: Stage, sounds: str):
    """A caller who cannot have the agent hears the fallback, and not the music below it."""
    stage.millis_does("status=402,delay=0.5")
    async with stage.bridge(sales='music = "tune"'), stage.calling(listens_for_hz=HEARD):
        await stage.heard("caller", RECEPTION)

    assert first_heard(stage) == [MUSIC, RECEPTION]


# Fifty packets are a second of audio; to recognise the agent's tone takes fifteen more.
A_SECOND_OF_PACKETS = 50


async def test_answer_alone_lets_the_caller_hear_ringing(stage: Stage):
    """A caller who has been answered hears ringing as audio while Millis thinks: a 180 would say nothing any more."""
    stage.millis_does("delay=1")
    async with stage.bridge(sales="answer = true"), stage.calling():
        heard = await stage.heard("caller", AGENT)

    assert heard.packets > A_SECOND_OF_PACKETS


@pytest.mark.parametrize("did", [DID, ONELINE_DID])
async def test_music_goes_on_while_the_call_is_registered_once_more(stage: Stage, sounds: str, did: str):
    """Between an agent leg that failed and the next one the caller is not left in silence."""
    stage.agent_does(refuse_status=503)
    stage.second_region.fault = Fault(delay_seconds=1.0)
    async with (
        stage.bridge(sales='music = "tune"', second_region=True),
        stage.calling(did, listens_for_hz=(MUSIC, SECOND_AGENT)),
    ):
        heard = await stage.heard("caller", SECOND_AGENT)

    assert first_heard(stage) == [MUSIC, SECOND_AGENT]
    assert heard.packets > A_SECOND_OF_PACKETS


async def test_music_that_the_pbx_lacks_loses_no_call(stage: Stage):
    """A class that does not exist leaves the caller in silence for a moment, and the agent answers all the same."""
    async with stage.bridge(sales='music = "no-such-class"'):
        call = await stage.call()

    assert call.heard_hz == (AGENT,)


async def test_prompt_that_the_pbx_lacks_loses_no_call(stage: Stage):
    """A prompt that does not exist is left out."""
    async with stage.bridge(sales='prompt = "no-such-prompt"'):
        call = await stage.call()

    assert call.heard_hz == (AGENT,)


async def test_prompt_longer_than_its_time_leads_to_the_fallback(stage: Stage, sounds: str):
    """A prompt is cut off by the watchdog when `prompt_timeout_seconds` are over."""
    async with stage.bridge(sales=f'prompt = "{"&".join([f"{sounds}/hello"] * 9)}"', agi="prompt_timeout_seconds = 1"):
        call = await stage.call()

    assert call.heard_hz == (RECEPTION,)


async def test_call_ends_at_its_longest_duration(stage: Stage):
    """Dial's own limit ends the conversation, from the answer on."""
    async with stage.bridge(sales="max_duration_seconds = 1"), stage.calling() as calling:
        answered = await stage.saw("caller", Answered)
        call = await calling
        hung_up = await stage.saw("caller", HungUp)

    assert call.hung_up_by == "them"
    assert 0.8 < hung_up.at - answered.at < 2.0


async def test_caller_is_warned_before_the_end(stage: Stage):
    """A beep, to the caller alone, so many seconds before the longest duration is over."""
    async with stage.bridge(sales="max_duration_seconds = 3\nwarning_seconds = 2"), stage.calling() as calling:
        await stage.logged(r"<PJSIP/trunk-\w+> Playing 'beep")
        call = await calling

    assert call.hung_up_by == "them"
    assert not re.search(r"<PJSIP/millis-\w+> Playing", stage.log_text())


async def test_dialplan_limits_what_the_bridge_does_not(stage: Stage):
    """Where Dial is given no limit, or cannot keep it, the dialplan ends the call."""

    async def gives_no_limit(reader, writer):
        variables = {
            "MILLIS_DIAL": "PJSIP/millis/sip:x@{}:{}".format(*stage.agent.address),
            "MILLIS_DIAL_TIMEOUT": "5",
            "MILLIS_DIAL_OPTIONS": "i",
            "MILLIS_STATUS": "ok",
        }
        for name, value in variables.items():
            writer.write(f"SET VARIABLE {name} {value}\n".encode())
            await reader.readline()

    stage.set_global("MILLIS_LONGEST_CALL_SECONDS", "1")
    async with stage.agi_server(gives_no_limit), stage.calling() as calling:
        invited = await stage.saw("agent", Invited)
        call = await calling
        hung_up = await stage.saw("caller", HungUp)

    assert call.hung_up_by == "them"
    assert hung_up.at - invited.at < 2.0
