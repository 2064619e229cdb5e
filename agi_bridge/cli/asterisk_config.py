"""`agi-bridge asterisk-config`: prints or writes what stands in Asterisk's files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from agi_bridge import asterisk_conf, flavor
from agi_bridge.cli.address import address_option
from agi_bridge.cli.configuration import load
from agi_bridge.cli.exit_code import DONE
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import ConfigOption

commands = new_commands()

FlavorName = Literal["plain", "freepbx", "issabel", "vitalpbx"]


@commands.command("asterisk-config")
def asterisk_config(
    flavor_name: Annotated[FlavorName, typer.Option("--flavor", metavar="NAME", help=f"One of: {flavor.NAMES}.")],
    write: Annotated[bool, typer.Option("--write", help="Write the files instead of printing them.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take out again what --write has written.")] = False,
    directory: Annotated[
        str | None,
        typer.Option("--directory", metavar="FOLDER", help="Asterisk's configuration; default: /etc/asterisk."),
    ] = None,
    bridge: Annotated[
        str,
        typer.Option(
            "--bridge", metavar="HOST:PORT", help="Where Asterisk reaches the bridge; default: where it listens."
        ),
    ] = "",
    config_file: ConfigOption = None,
) -> int:
    """Print or write what Asterisk needs for this bridge. In the files that the distribution leaves alone."""
    chosen = flavor.FLAVORS[flavor_name]
    folder = Path(directory or "/etc/asterisk")
    if remove:
        return _put(folder, flavor.removal(chosen, asterisk_conf.there(folder, chosen)))
    loaded = load(config_file, need_keys=False, need_secret=True)
    found = asterisk_conf.there(folder, chosen) if write or directory else {}
    planned = flavor.plan(
        loaded, chosen, asterisk_conf.shipped(), found, bridge and str(address_option(bridge, "--bridge"))
    )
    if write:
        return _put(folder, planned)
    for file in planned.files:
        # With our two lines, so that what is pasted is found by a later --write.
        typer.echo(f"# {folder / file.path}\n\n{flavor.placed(file.path, '', file.ours)}")
    _print_steps(planned.steps)
    return DONE


def _put(folder: Path, planned: flavor.Plan) -> int:
    for line in asterisk_conf.write(folder, planned.files):
        typer.echo(line)
    _print_steps(planned.steps)
    return DONE


def _print_steps(steps: Sequence[str]) -> None:
    typer.echo("\nWhat is left to do:")
    for number, step in enumerate(steps, 1):
        first, *more = step.splitlines()
        typer.echo(f"{number}. {first}")
        for line in more:
            typer.echo(f"   {line}")
