"""Which faults come when: drawn from one chance, so that a seed says it all. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

HONEST = ""

# How Millis misbehaves, in the words of `simulator/fault.py`.
MILLIS_FAULTS = (
    *("delay=0.2", "delay=0.8", "hang", "reset", "reset-mid-body"),
    *("status=401", "status=402", "status=404", "status=422,detail=list", "status=429", "status=429,retry-after=1"),
    *("status=500", "status=502", "status=503", "body=html", "body=empty", "body=no-uri", "body=not-json", "body=huge"),
    *("uri=sip:call-1@127.0.0.1&Local/s@desk", "uri=sip:call-1@sip.example.com", "uri=sip:nobody@127.0.0.1:9"),
)

# How the SIP agent does, in the words of `AgentBehaviour`.
AGENT_FAULTS: tuple[dict[str, Any], ...] = (
    *({"refuse_status": status} for status in (403, 404, 408, 480, 486, 488, 500, 503, 603)),
    {"refuse_status": 302, "redirect_to": "sip:elsewhere@127.0.0.1:9"},
    {"ignore_invite": True},
    {"ring_seconds": 0.5},
    {"hang_up_after_seconds": 0.0},
    {"hang_up_after_seconds": 0.4},
)

_HONEST_SHARE = 0.5
_SPELL_SECONDS = (0.5, 4.0)


@dataclass(frozen=True)
class Spell:
    """What holds for some seconds: a fault of each Millis ("" is honest), and the agent's behaviour."""

    seconds: float
    millis: tuple[str, ...]
    agent: dict[str, Any]


def spells(chance: Random, regions: int) -> Iterator[Spell]:
    """Yield spells without end; half of the time each party is honest."""
    while True:
        millis = tuple(_or_honest(chance, HONEST, MILLIS_FAULTS) for _ in range(regions))
        yield Spell(chance.uniform(*_SPELL_SECONDS), millis, _or_honest(chance, {}, AGENT_FAULTS))


def _or_honest(chance: Random, honest: Any, faults: tuple[Any, ...]) -> Any:
    return honest if chance.random() < _HONEST_SHARE else chance.choice(faults)
