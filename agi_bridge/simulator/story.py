"""What the two ends of a simulated call did and heard, in words: for the demo, and for whoever plays one of the ends.

Pure: an event in, a step and a sentence out. When it happened, and what else was seen of the call, is for others to tell.
"""

from collections.abc import Callable
from typing import NamedTuple

from agi_bridge.simulator.sip_leg import (
    Answered,
    AudioHeard,
    CallEvent,
    CallReport,
    HungUp,
    Invited,
    ReferAnswered,
    Refused,
    Ringing,
)
from agi_bridge.simulator.tone import AGENT_TONE_HZ, HEARD_TONE_HZ

_NOT_THE_TRUNK = (401, 403, 404)


class Step(NamedTuple):
    """One thing that happened: a name that stays the same, and a sentence for a person."""

    name: str
    sentence: str


def story_teller(tell: Callable[[str], None], began: float) -> Callable[[CallEvent], None]:
    """Return what tells a caller's story as it happens: each step once, with the milliseconds since *began*."""
    told: set[str] = set()

    def hear(event: CallEvent) -> None:
        step = caller_step(event)
        if step.name not in told:
            told.add(step.name)
            tell(f"{(event.at - began) * 1000:7.0f} ms  {step.sentence}")

    return hear


def caller_step(event: CallEvent) -> Step:
    """Return what the caller's phone did or heard."""
    match event:
        case Invited():
            who = f"{event.caller_name} {event.caller_number}".strip() or "a caller who withholds the number"
            return Step("dialled", f"{who} dials {event.user} on the trunk")
        case Ringing():
            return Step("caller ringing", "the caller hears ringing")
        case Answered():
            return Step("caller connected", "the caller is connected")
        case AudioHeard() if event.hz == HEARD_TONE_HZ:
            return Step("caller is heard", f"the agent has heard the caller, and says so: a tone of {event.hz} Hz")
        case AudioHeard():
            return Step("caller hears", f"the caller hears the agent: a tone of {event.hz} Hz")
        case HungUp():
            return Step("hung up", f"{'the caller' if event.by == 'us' else 'the PBX'} hangs up")
        case Refused():
            return Step("refused", f"the PBX refuses the call with {event.status}")
    return _unforeseen(event)


def agent_step(event: CallEvent) -> Step:
    """Return what the agent did or heard."""
    match event:
        case Invited():
            return Step("agent called", f"the PBX calls the agent: INVITE sip:{event.user}@…")
        case Ringing():
            return Step("agent rings", "the agent rings")
        case Answered():
            return Step("agent answers", "the agent answers")
        case AudioHeard():
            return Step("agent hears", f"the agent hears the caller: a tone of {event.hz} Hz")
        case HungUp():
            return Step("agent told", f"{'the agent' if event.by == 'us' else 'the PBX'} ends the agent's leg")
        case Refused():
            return Step("agent refuses", f"the agent refuses with {event.status}")
        case ReferAnswered():
            return Step("agent's wish", f"the PBX answers the agent's REFER with {event.status or 'nothing'}")
    return _unforeseen(event)


def _unforeseen(event: CallEvent) -> Step:
    return Step("something else", str(event))


def audio_fault(report: CallReport, pbx: str) -> str:
    """Return why a caller's *report* does not prove that audio went both ways, and where to look; "" where it does.

    Sound only for an agent that speaks HEARD_TONE_HZ once it has heard the caller.
    """
    if not report.answered:
        return _unanswered(report, pbx)
    if HEARD_TONE_HZ in report.heard_hz:
        return ""
    if AGENT_TONE_HZ in report.heard_hz:
        return "one-way audio: the caller hears the agent, but the agent does not hear the caller. Look at the PBX's RTP ports"
    if report.packets_received:
        return (
            "somebody answered, but not the simulated agent: perhaps the call took its fallback. "
            "The bridge's line of this call has the reason"
        )
    return "the call was answered, and then silence: no audio came. Look at the PBX's RTP ports and its NAT settings"


def _unanswered(report: CallReport, pbx: str) -> str:
    if report.status is None:
        if report.provisional:
            return "nobody answered in time"
        return f"nothing answers SIP over UDP at {pbx}. Is the PBX running, and is this its address?"
    if report.status in _NOT_THE_TRUNK:
        return (
            f"the PBX refused the call with {report.status}: it does not know the caller's address as its trunk, or has no "
            "such number. Look at match in site/pjsip.conf"
        )
    return f"the PBX refused the call with {report.status}. The bridge's line of this call has the reason"
