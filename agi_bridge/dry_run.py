"""What would become of a call, without a call: for whoever writes rules. Nothing is asked, sent or dialled. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agi_bridge import metadata
from agi_bridge.agi.protocol import Request
from agi_bridge.call import Call
from agi_bridge.dialplan import SipUri, dial_options, dial_string

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from agi_bridge.config import Config
    from agi_bridge.routing import Route


def imagined_call(
    config: Config,
    bridge_call_id: str,
    did: str,
    caller: str | None,
    context: str,
    channel: str,
    arguments: Sequence[str],
) -> Call:
    """Return the call as Asterisk would introduce it; raise AgiProtocolError where an argument is given twice."""
    fields = {
        "callerid": caller or "unknown",
        "callingpres": "0" if caller else "32",
        "dnid": did,
        "context": context,
        "channel": channel,
        "language": "en",
    }
    fields |= {f"arg_{place}": text for place, text in enumerate(arguments, 1)}
    return Call.from_request(Request(fields), config.rules.numbers, bridge_call_id, did)


def route_facts(config: Config, call: Call, chosen: Route, now: datetime) -> dict[str, Any]:
    """Return what was decided and why, in the order in which a person asks."""
    facts: dict[str, Any] = {"did_received": call.did_received, "did": call.did, "caller_number": call.caller.number}
    if chosen.rule is None:
        nearest = chosen.nearest
        near = f'; nearest is "{nearest.name}" with {nearest.number}' if nearest else ""
        facts["rule"] = f"none matches{near}"
    else:
        place = config.rules.rules.index(chosen.rule) + 1
        facts["rule"] = f"{chosen.rule.name} (number {place} of {len(config.rules.rules)}, the first that matches)"
    if chosen.refusal is not None:
        facts |= {"MILLIS_STATUS": chosen.refusal.status, "MILLIS_REASON": chosen.refusal.reason}
    if chosen.answering is None:
        return facts | {"MILLIS_FALLBACK": chosen.fallback}
    agent, dialling = chosen.answering.agent_for(call), chosen.answering.dialling
    # What only Asterisk can evaluate is shown as it is written.
    values = {expression: expression for expression in metadata.expressions(agent)}
    limit = config.metadata.value_limit_characters
    placeholder = SipUri("<SIP URI from Millis>", "")
    return facts | {
        "POST": f"{config.millis.url(agent.regions[0])}/register_sip_call",
        "body": metadata.registration(call, agent, metadata.build(call, agent, values, now, limit)),
        "MILLIS_DIAL": dial_string(dialling.endpoint, placeholder),
        "MILLIS_DIAL_TIMEOUT": dialling.ring_timeout_seconds,
        "MILLIS_DIAL_OPTIONS": dial_options(dialling, chosen.answering.welcome.music),
        "MILLIS_FALLBACK": chosen.fallback,
    }
