"""`agi-bridge register`: one registration with the live Millis, and no call."""

import time
import uuid
from datetime import UTC, datetime
from typing import Any

from agi_bridge import metadata
from agi_bridge.call import Call
from agi_bridge.cli.configuration import load
from agi_bridge.cli.event_loop import run
from agi_bridge.cli.exit_code import DONE, FAILED
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.imagined_call import ArgumentOption, ChannelOption, ContextOption, imagined
from agi_bridge.cli.option import CallerOption, ConfigOption, DidOption, JsonOption
from agi_bridge.cli.output import print_facts
from agi_bridge.config import Config
from agi_bridge.dialplan import SipUri, safe_call_id
from agi_bridge.dry_run import route_facts
from agi_bridge.errors import MillisError
from agi_bridge.millis.client import millis_client
from agi_bridge.millis.regions import Regions
from agi_bridge.routing import Rule, choose_route

commands = new_commands()


@commands.command()
def register(
    did: DidOption,
    caller: CallerOption = None,
    context: ContextOption = "from-trunk",
    channel: ChannelOption = "PJSIP/trunk-00000001",
    argument: ArgumentOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Register one call with Millis, and dial nothing. The first contact with a live account."""
    loaded = load(config_file)
    call = imagined(loaded, uuid.uuid4().hex, did, caller, context, channel, argument or [])
    chosen = choose_route(loaded.rules, call)
    if chosen.answering is None:
        print_facts(route_facts(loaded, call, chosen, datetime.now(UTC)), as_json)
        return FAILED
    return run(_register(loaded, call, chosen.answering, as_json))


async def _register(loaded: Config, call: Call, rule: Rule, as_json: bool) -> int:
    agent = rule.agent
    values = dict.fromkeys(metadata.expressions(agent), "")
    body = metadata.registration(
        call, agent, metadata.build(call, agent, values, datetime.now(UTC), loaded.metadata.value_limit_characters)
    )
    facts: dict[str, Any] = {"rule": rule.name, "account": agent.account}
    async with millis_client(loaded) as client:
        millis = Regions(client, loaded.millis, time.monotonic)
        began = time.monotonic()
        try:
            registration = await millis.register(agent.account, agent.regions, body)
            facts["status"] = "registered"
            facts["region"] = registration.region
            facts |= {"earlier": "; ".join(registration.earlier)} if registration.earlier else {}
            facts["millis_call_id"] = safe_call_id(registration.call_id)
            facts["sip_host"] = SipUri.parse(registration.sip_uri, loaded.millis.allowed_hosts).host
        except MillisError as error:
            facts["status"] = f"{error.outcome.reason}: {error}"
        facts["millis_ms"] = round((time.monotonic() - began) * 1000, 1)
    print_facts(facts, as_json)
    return DONE if facts["status"] == "registered" else FAILED
