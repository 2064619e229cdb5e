"""`agi-bridge init`: from a few questions to a first configuration."""

import getpass
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from agi_bridge import conversation
from agi_bridge.cli.exit_code import DONE, INTERRUPTED
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import DEFAULT_CONFIGS
from agi_bridge.cli.output import complain
from agi_bridge.errors import ConfigError
from agi_bridge.first_config import ALL_NUMBERS, FALLBACKS
from agi_bridge.millis.models import REGIONS

commands = new_commands()


@commands.command()
def init(
    flavor_name: Annotated[
        str, typer.Option("--flavor", metavar="NAME", help=f"The PBX's distribution: {', '.join(FALLBACKS)}.")
    ] = "",
    country: Annotated[str, typer.Option("--country", metavar="CODE", help="Where the PBX is, such as US.")] = "",
    region: Annotated[str, typer.Option("--region", metavar="REGION", help=f"{' or '.join(REGIONS)}.")] = "",
    key_from: Annotated[
        str,
        typer.Option(
            "--key-from",
            metavar="FILE",
            help="What holds the API key; - is standard input. Without it: MILLIS_API_KEY, or the key written before.",
        ),
    ] = "",
    did: Annotated[
        list[str] | None,
        typer.Option("--did", metavar="NUMBER", help=f"A number for the agent, or {ALL_NUMBERS}; repeatable."),
    ] = None,
    agent: Annotated[str, typer.Option("--agent", metavar="ID", help="The agent's id at Millis.")] = "",
    fallback: Annotated[
        str, typer.Option("--fallback", metavar="PLACE", help="context,extension,priority for whoever gets no agent.")
    ] = "",
    config_file: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            envvar="AGI_BRIDGE_CONFIG",
            help=f"Default: {DEFAULT_CONFIGS[1]} where that folder is, else {DEFAULT_CONFIGS[0]}.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there; a backup is kept.")] = False,
) -> int:
    """Write a first configuration. Asks for what no option says; without a terminal, the options must say it all."""
    path = Path(config_file or _where_to_begin())
    if problems := conversation.obstacles(path, force):
        raise ConfigError(problems)
    given = {"--flavor": flavor_name, "--country": country, "--region": region, "--did": ",".join(did or ())}
    given |= {"--agent": agent, "--fallback": fallback}
    key = conversation.key_at_hand(key_from, path, os.environ, sys.stdin)
    # A descriptor that was closed before we began is no file at all.
    if all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        terminal = conversation.Terminal(typer.echo, input, getpass.getpass)
        try:
            answers = conversation.from_person(given, key, path, terminal)
        except (EOFError, KeyboardInterrupt):
            complain("\nnothing is written")
            return INTERRUPTED
    else:
        answers = conversation.from_flags(given, key)
    for line in conversation.write(answers, path, force):
        typer.echo(line)
    named = () if str(path) in DEFAULT_CONFIGS else ("--config", str(path))
    typer.echo(f"next: {shlex.join(('agi-bridge', 'asterisk-config', '--flavor', answers.flavor, *named))}")
    return DONE


def _where_to_begin() -> str:
    """Return where a first configuration is written: where an installed bridge looks, else here."""
    here, installed = DEFAULT_CONFIGS
    return installed if Path(installed).parent.is_dir() else here
