"""`agi-bridge simulate call`: plays Asterisk, one call to a running bridge."""

import re
from typing import Annotated
from urllib.parse import quote

import typer

from agi_bridge.cli.address import address_option
from agi_bridge.cli.event_loop import run
from agi_bridge.cli.exit_code import DONE, FAILED
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import CallerOption, DidOption, JsonOption
from agi_bridge.cli.output import complain, print_facts
from agi_bridge.simulator.asterisk import play_call
from agi_bridge.simulator.channel import SimulatedChannel

commands = new_commands()


@commands.command("call")
def simulate_call(
    did: DidOption,
    caller: CallerOption = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="The caller's name.")] = None,
    bridge: Annotated[
        str, typer.Option("--bridge", metavar="HOST:PORT", help="Where the bridge listens.")
    ] = "127.0.0.1:4573",
    verb: Annotated[str, typer.Option("--verb", metavar="VERB", help="route, dial, ended or ping.")] = "route",
    secret: Annotated[
        str,
        typer.Option(
            "--secret",
            metavar="TEXT",
            envvar="AGI_BRIDGE_SECRET",
            help="What the bridge wants to be told, if anything.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> int:
    """Play Asterisk: one call to a running bridge. Prints the conversation, and the variables that the dialplan gets."""
    address = address_option(bridge, "--bridge")
    presentation = 0 if caller else 32
    channel = SimulatedChannel(did=did, caller_number=caller, caller_name=name, callingpres=presentation)
    # As the dialplan does it: did=${URIENCODE(…)}.
    arguments = (f"did={quote(did)}", f"secret={quote(secret)}")
    on_line = None if as_json else _print_line
    played = run(
        play_call(address.host, address.port, script=verb, arguments=arguments, channel=channel, on_line=on_line)
    )
    variables = {name: value for name, value in played.variables.items() if name.startswith("MILLIS_")}
    if played.trouble:
        complain(f"agi-bridge: {played.trouble}")
    print_facts({"AGISTATUS": played.agistatus, **variables, "total_ms": round(played.seconds * 1000, 1)}, as_json)
    # A bridge that is told how a call ended answers nothing.
    went_well = (
        played.agistatus == "SUCCESS" if verb in ("ended", "transferred") else variables.get("MILLIS_STATUS") == "ok"
    )
    return DONE if went_well else FAILED


def _print_line(sender: str, line: str) -> None:
    line = re.sub("(?<=: secret=).+", "*****", line)
    typer.echo(f"{'<' if sender == 'bridge' else '>'} {line}".rstrip())
