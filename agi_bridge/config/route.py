"""`[[route]]` and `[defaults]`: what the operator wrote. `rule.py` makes rules of it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from agi_bridge import dialplan
from agi_bridge.call import NOT_SENT_WORDS, WITHHELD_WORDS
from agi_bridge.config.metadata import Metadata
from agi_bridge.config.table import OneOrMany, Place, Region, Table, matching
from agi_bridge.numbers import Pattern
from agi_bridge.routing import WITHHELD

# What phones show for a caller without a number; in a Call each of them is None.
_WORDS_FOR_WITHHELD = WITHHELD_WORDS | NOT_SENT_WORDS

# Digits and pattern signs only, with at least one sign that no number has.
_FORGOTTEN_UNDERSCORE = re.compile(r"(?=.*[XZN.!\[\]])[+*#0-9XZN.!\[\]-]+")


def _pattern(text: str) -> str:
    Pattern.compile(text)
    return text


def _number(text: str) -> str:
    if _FORGOTTEN_UNDERSCORE.fullmatch(text):
        raise ValueError(f'looks like a pattern, and patterns begin with "_"; write "_{text}"')
    return _pattern(text)


def _caller(text: str) -> str:
    if text != WITHHELD and text.lower() in _WORDS_FOR_WITHHELD:
        raise ValueError(f'is no number; for callers who withhold theirs, write "{WITHHELD}"')
    return _number(text)


Patterns = OneOrMany[Annotated[str, AfterValidator(_pattern)]]
Dids = OneOrMany[Annotated[str, AfterValidator(_number)]]
Callers = OneOrMany[Annotated[str, AfterValidator(_caller)]]
AgentIds = OneOrMany[
    Annotated[
        str,
        matching("[A-Za-z0-9_.-]{1,200}", "must be the id of an agent: letters, digits, '_', '.' and '-'"),
    ]
]

Sound = Annotated[str, AfterValidator(dialplan.check_sound)]
Music = Annotated[str, AfterValidator(dialplan.check_music)]
Endpoint = Annotated[str, AfterValidator(dialplan.check_endpoint)]


class _RouteKeys(Table):
    """What a `[[route]]` may say besides its conditions, and `[defaults]` for all of them."""

    agent_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    agent_config: dict[str, Any] | None = None
    agent_config_file: str | None = None
    metadata: Metadata = {}
    include_metadata_in_prompt: bool | None = None
    account: str | None = None
    region: Region | None = None
    failover: bool | None = None
    standby_uri: str | None = None
    endpoint: Endpoint | None = None
    ring_timeout_seconds: Annotated[int, Field(ge=1, le=600)] | None = None
    redial: bool | None = None
    max_duration_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    warning_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    answer: bool | None = None
    prompt: Sound | None = None
    music: Music | None = None
    dial_options: Annotated[str, Field(max_length=200)] | None = None
    allow_feature_keys: bool | None = None
    fallback: Place | None = None


class DefaultSettings(_RouteKeys):
    """`[defaults]`: what holds for every route that does not say otherwise."""


class RouteSettings(_RouteKeys):
    """`[[route]]`: conditions, then what happens to a call that meets them all."""

    name: str = ""
    did: Dids = []
    caller: Callers = []
    context: Patterns = []
    channel: Patterns = []
    arguments: dict[str, Patterns] = {}
    reject: bool = False
    direction: Literal["inbound", "outbound"] = "inbound"
    agents: AgentIds = []
