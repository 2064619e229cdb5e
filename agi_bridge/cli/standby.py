"""`agi-bridge standby`: the SIP URIs that Millis keeps for agents, to be dialled without its API."""

import shlex
from http import HTTPStatus
from typing import Annotated, Any

import typer

from agi_bridge import metadata
from agi_bridge.cli.configuration import load
from agi_bridge.cli.event_loop import run
from agi_bridge.cli.exit_code import DONE, FAILED
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import ConfigOption, JsonOption
from agi_bridge.cli.output import print_facts, print_json, print_table
from agi_bridge.config import Config
from agi_bridge.dialplan import SipUri, safe_call_id
from agi_bridge.errors import BadSipUri, MillisError, MillisRefused
from agi_bridge.millis.client import MillisClient, millis_client
from agi_bridge.millis.models import REGIONS
from agi_bridge.routing import Agent, Rule

commands = new_commands()
standby = new_commands(help="Make, show and delete what is dialled without an API.", no_args_is_help=True)
commands.add_typer(standby, name="standby")

RegionOption = Annotated[str | None, typer.Option("--region", metavar="REGION", help=f"{' or '.join(REGIONS)}.")]


@standby.command("create")
def create_standby(
    rule: Annotated[str, typer.Option("--rule", metavar="NAME", help="The rule whose agent is to answer.")],
    region: RegionOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Have Millis keep a SIP URI for a rule's agent. Prints the line for the rule, and the id to delete it by."""
    loaded = load(config_file)
    named = _named_rule(loaded, rule)
    region = _known_region(region) or named.agent.regions[0]
    return run(_create_standby(loaded, named, region, config_file, as_json))


@standby.command("list")
def list_standbys(config_file: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Show the standby URI of each rule, as configured. Millis cannot be asked which ones it keeps."""
    loaded = load(config_file, need_keys=False)
    uris = {
        rule.name: str(rule.agent.standby_uri) if rule.agent.standby_uri else None
        for rule in loaded.rules.rules
        if not rule.reject
    }
    if as_json:
        print_json([{"rule": name, "standby_uri": uri} for name, uri in uris.items()])
        return DONE
    typer.echo("from the configuration; Millis documents no way to ask for what it keeps:")
    print_table({name: uri or "none" for name, uri in uris.items()} or {"no rule has an agent": ""})
    return DONE


@standby.command("delete")
def delete_standby(
    call_id: Annotated[str, typer.Option("--id", metavar="ID", help="The id that create printed.")],
    rule: Annotated[
        str | None, typer.Option("--rule", metavar="NAME", help="Take account and region of this rule.")
    ] = None,
    account: Annotated[str | None, typer.Option("--account", metavar="NAME", help="Whose it is.")] = None,
    region: RegionOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Have Millis forget a SIP URI that it keeps. Without further options: default account, first region."""
    loaded = load(config_file)
    agent = _named_rule(loaded, rule).agent if rule else Agent(regions=(loaded.millis.region,))
    account = account or agent.account
    if account not in loaded.api_keys:
        raise typer.BadParameter(f'there is no Millis key for the account "{account}"', param_hint="--account")
    return run(_delete_standby(loaded, account, _known_region(region) or agent.regions[0], call_id, as_json))


async def _create_standby(loaded: Config, rule: Rule, region: str, config_file: str | None, as_json: bool) -> int:
    facts: dict[str, Any] = {"rule": rule.name, "account": rule.agent.account, "region": region}
    async with millis_client(loaded) as millis:
        facts |= await _made_standby(millis, loaded, rule.agent, region)
    uri = facts.get("standby_uri")
    if as_json:
        print_json(facts)
    else:
        print_table({name: value for name, value in facts.items() if name != "standby_uri"})
        if uri:
            where = ("--config", config_file) if config_file else ()
            whose = ("--account", rule.agent.account, "--region", region)
            delete = shlex.join(("agi-bridge", "standby", "delete", f"--id={facts['id']}", *whose, *where))
            typer.echo(f'\nTo delete it again:\n{delete}\n\nThe line for the rule:\nstandby_uri = "{uri}"')
    return DONE if uri else FAILED


async def _made_standby(millis: MillisClient, loaded: Config, agent: Agent, region: str) -> dict[str, str]:
    """Have Millis keep a SIP URI for *agent*, and return what has become of it."""
    init_agent = metadata.standby(agent, loaded.metadata.value_limit_characters)
    try:
        made = await millis.create_endpoint(agent.account, region, init_agent, loaded.millis.timeout_seconds)
    except MillisError as error:
        return {"status": f"{error.outcome.reason}: {error}"}
    facts = {"id": safe_call_id(made.call_id)}
    try:
        uri = SipUri.parse(made.sip_uri, loaded.millis.allowed_hosts)
    except BadSipUri as error:
        # It must not be dialled, so it is not shown, and without being shown it is of no use.
        afterwards = await _deletion(millis, loaded, agent.account, region, made.call_id)
        return facts | {"status": f"{error.outcome.reason}: {error}", "afterwards": afterwards}
    return facts | {"status": "created", "standby_uri": str(uri)}


async def _delete_standby(loaded: Config, account: str, region: str, call_id: str, as_json: bool) -> int:
    async with millis_client(loaded) as millis:
        status = await _deletion(millis, loaded, account, region, call_id)
    facts = {"account": account, "region": region, "id": call_id, "status": status}
    rules = (rule for rule in loaded.rules.rules if not rule.reject)
    if users := [rule.name for rule in rules if f":{call_id}@" in str(rule.agent.standby_uri)]:
        facts["still_named_by"] = ", ".join(users)
    print_facts(facts, as_json)
    return DONE if status == "deleted" else FAILED


async def _deletion(millis: MillisClient, loaded: Config, account: str, region: str, call_id: str) -> str:
    """Delete a SIP URI at Millis and return how that went."""
    try:
        await millis.delete_endpoint(account, region, call_id, loaded.millis.timeout_seconds)
    except MillisRefused as error:
        # A SIP URI is known in the region that made it.
        others = " or ".join(f"--region {name}" for name in REGIONS if name != region)
        hint = f"; {region} was asked, try {others}" if error.status == HTTPStatus.NOT_FOUND else ""
        return f"{error.outcome.reason}: {error}{hint}"
    except MillisError as error:
        return f"{error.outcome.reason}: {error}"
    return "deleted"


def _named_rule(loaded: Config, name: str) -> Rule:
    rule = next((rule for rule in loaded.rules.rules if rule.name == name), None)
    if rule is None:
        raise typer.BadParameter(f'there is no [[route]] with the name "{name}"', param_hint="--rule")
    if rule.reject:
        raise typer.BadParameter(f'"{name}" refuses its callers and has no agent', param_hint="--rule")
    return rule


def _known_region(region: str | None) -> str | None:
    if region is not None and region not in REGIONS:
        raise typer.BadParameter(f"must be {' or '.join(REGIONS)}", param_hint="--region")
    return region
