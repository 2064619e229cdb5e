"""What may be done with calls of a running bridge: `live`, `hangup`, `transfer`, `originate`. All over its HTTP API."""

from typing import Annotated

import typer

from agi_bridge.cli.call_line import listed_live
from agi_bridge.cli.exit_code import DONE
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import ConfigOption, JsonOption
from agi_bridge.cli.output import print_json
from agi_bridge.cli.running_bridge import TokenFileOption, UrlOption, over_api
from agi_bridge.web.client import ask_api
from agi_bridge.web.live import ask_about_call, live_calls

commands = new_commands()

CallIdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its bridge_call_id, or the beginning of it.")]


@commands.command()
def live(
    token_file: TokenFileOption = None,
    config_file: ConfigOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the calls that are up. Over the HTTP API; wants a token with the scope read."""
    calls = live_calls(*over_api(token_file, config_file, url))
    if as_json:
        print_json(calls)
        return DONE
    for call in calls:
        typer.echo(listed_live(call))
    if not calls:
        typer.echo("no call is up")
    return DONE


@commands.command()
def hangup(
    call_id: CallIdArgument,
    token_file: TokenFileOption = None,
    config_file: ConfigOption = None,
    url: UrlOption = None,
) -> int:
    """End a call. Over the HTTP API; wants a token with the scope control."""
    addresses, token = over_api(token_file, config_file, url)
    typer.echo(f"{ask_about_call(addresses, token, call_id, 'hangup')} is ended")
    return DONE


@commands.command()
def transfer(
    call_id: CallIdArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of a [[transfer]].")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Shown before the caller's name.")] = "",
    summary: Annotated[str, typer.Option("--summary", metavar="TEXT", help="For whoever answers.")] = "",
    token_file: TokenFileOption = None,
    config_file: ConfigOption = None,
    url: UrlOption = None,
) -> int:
    """Send the caller on. Over the HTTP API; wants a token with the scope control."""
    addresses, token = over_api(token_file, config_file, url)
    body = {"to": name, "reason": reason, "summary": summary}
    done = ask_about_call(addresses, token, call_id, "transfer", body)
    typer.echo(f"{done} is on its way to {name}")
    return DONE


@commands.command()
def originate(
    to: Annotated[str, typer.Option("--to", metavar="NUMBER", help="Whom to call, such as +15551230001.")],
    rule: Annotated[str, typer.Option("--rule", metavar="NAME", help="The outbound rule whose agent is to speak.")],
    agent: Annotated[
        str, typer.Option("--agent", metavar="ID", help="Another agent, of those that the rule allows.")
    ] = "",
    token_file: TokenFileOption = None,
    config_file: ConfigOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Call a number, and connect whoever answers with an agent. Over the HTTP API; wants a token with the scope control.

    Prints the id of the call once the PBX dials.
    """
    addresses, token = over_api(token_file, config_file, url)
    body = {"to": to, "rule": rule, "agent": agent}
    started = ask_api(addresses[0], "POST", "/api/v1/originate", token, body)
    if as_json:
        print_json(started)
    else:
        typer.echo(f"{started['bridge_call_id']} is dialling {started['to']}")
    return DONE
