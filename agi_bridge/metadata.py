"""What Millis is told about a call, and how the parts that only Asterisk knows are asked for.

Pure. Every call carries the same documented names (`STANDARD_NAMES`), then its rule's own. Values are flat strings, the only
shape that Millis documents; "" where a thing is unknown, so that `{caller_name}` in a prompt never shows its braces.
Text that a caller controls is made printable and bounded here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from agi_bridge.errors import AgiProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from agi_bridge.call import Call
    from agi_bridge.routing import Agent

STANDARD_NAMES = (
    "bridge_call_id",
    "uniqueid",
    "linkedid",
    "did",
    "caller_number",
    "caller_name",
    "caller_withheld",
    "rdnis",
    "channel",
    "context",
    "language",
    "called_at",
    "direction",
    "answered_by",
)

# Millis flattens metadata next to names of its own (prefetch webhook) and fills two variables itself.
RESERVED_NAMES = frozenset({"session_id", "agent_id", "from", "to", "FromPhone", "ToPhone"})

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)

# By what a caller may be looked up: what Millis sends back of what it was told, and its own two.
LOOKUP_NAMES = (*STANDARD_NAMES, "session_id", "agent_id")

# Values that a lookup may add to a call.
_MOST_LOOKED_UP = 50

# What may stand for a number beside the metadata; E.164 allows 15 digits, international prefixes some more.
_PHONE = re.compile(r"\+?[0-9]{1,24}", re.ASCII)

# Not in the AGI environment, so it is asked for with whatever the rule asks.
LINKEDID = "${CHANNEL(linkedid)}"

# URIENCODE leaves only letters, digits and "-._~" as they are, so this cannot come out of a value.
_SEPARATOR = "|"


def is_expression(value: str) -> bool:
    """Return whether Asterisk has to evaluate *value*; anything with `${` in it is an expression."""
    return "${" in value


def expressions(agent: Agent) -> tuple[str, ...]:
    """Return what must be asked of Asterisk for a call to *agent*, the linkedid first."""
    return (LINKEDID, *(value for value in agent.metadata.values() if is_expression(value)))


def question(asked: Sequence[str]) -> str:
    """Return one dialplan expression that evaluates all of *asked*.

    Each value is URI-encoded by Asterisk: a raw one may hold line feeds, which would end the reply early.
    """
    return _SEPARATOR.join(f"${{URIENCODE({expression})}}" for expression in asked)


def answers(reply: str | None, asked: Sequence[str]) -> dict[str, str]:
    """Return the value of each expression in *asked* out of Asterisk's reply; raise AgiProtocolError if they differ."""
    values = (reply or _SEPARATOR * (len(asked) - 1)).split(_SEPARATOR)
    if len(values) != len(asked):
        raise AgiProtocolError(f"{len(asked)} dialplan expressions were asked, {len(values)} values came back")
    return dict(zip(asked, (unquote(value) for value in values), strict=True))


def printable(text: str, limit_characters: int) -> str:
    """Return *text* without control and formatting characters, cut to its bound."""
    if text.isprintable():
        return text[:limit_characters]
    return "".join(sign for sign in text[: limit_characters * 2] if sign.isprintable())[:limit_characters]


def build(
    call: Call, agent: Agent, values: Mapping[str, str], called_at: datetime, limit_characters: int
) -> dict[str, str]:
    """Return the metadata of *call*: the standard names, then the rule's own, whose names are others.

    *values* are the answers to the expressions of *agent*.
    """
    caller = call.caller
    metadata = {
        "bridge_call_id": call.bridge_call_id,
        "uniqueid": call.uniqueid,
        "linkedid": values.get(LINKEDID, ""),
        "did": call.did,
        "caller_number": caller.number or "",
        "caller_name": caller.name or "",
        "caller_withheld": "true" if caller.withheld else "false",
        "rdnis": call.rdnis or "",
        "channel": call.channel,
        "context": call.context,
        "language": call.language,
        "called_at": called_at.isoformat(timespec="milliseconds"),
        "direction": "outbound" if call.is_outbound else "inbound",
        "answered_by": call.answered_by,
    }
    for name, value in agent.metadata.items():
        metadata[name] = values.get(value, "") if is_expression(value) else value
    return {name: printable(value, limit_characters) for name, value in metadata.items()}


def looked_up(found: Mapping[str, Any], limit_characters: int) -> dict[str, str]:
    """Return what a lookup has found as metadata; what has no good name, is none of a text or number, or is ours is left out."""
    metadata: dict[str, str] = {}
    for name, value in found.items():
        if isinstance(value, bool):
            value = "true" if value else "false"
        if (
            isinstance(value, str | int | float)
            and NAME.fullmatch(name)
            and name not in RESERVED_NAMES
            and name not in STANDARD_NAMES
            and len(metadata) < _MOST_LOOKED_UP
        ):
            metadata[name] = printable(str(value), limit_characters)
    return metadata


def registration(call: Call, agent: Agent, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON body of `POST /register_sip_call` (Millis's schema InitAgent); what is unknown is left out.

    `from_phone` and `to_phone` stand only in Millis's OpenAPI file; the metadata repeats them under our own names. A
    caller or an extension that is no number ("alice", "s") stands in the metadata alone.
    """
    phones = {"from_phone": _phone(call.caller.number), "to_phone": _phone(call.did)}
    return _init_agent(agent, metadata) | {name: phone for name, phone in phones.items() if phone is not None}


def standby(agent: Agent, limit_characters: int) -> dict[str, Any]:
    """Return what Millis is told of the calls to come on a standby URI of *agent* (its schema InitAgent).

    The rule's literals are true of all of them; every name that only a call could fill is there and empty.
    """
    own = {name: "" if is_expression(value) else value for name, value in agent.metadata.items()}
    known = dict.fromkeys(STANDARD_NAMES, "") | own
    return _init_agent(agent, {name: printable(value, limit_characters) for name, value in known.items()})


def _init_agent(agent: Agent, metadata: Mapping[str, str]) -> dict[str, Any]:
    named = {"agent_id": agent.agent_id, "agent_config": agent.agent_config}
    return {name: value for name, value in named.items() if value is not None} | {
        "metadata": metadata,
        "include_metadata_in_prompt": agent.include_metadata_in_prompt,
    }


def _phone(number: str | None) -> str | None:
    return number if number and _PHONE.fullmatch(number) else None
