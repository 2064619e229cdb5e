"""`agi-bridge simulate`: what plays the other ends of the bridge."""

from collections.abc import Mapping
from typing import ClassVar

from agi_bridge.cli.group import LazyGroup, Listed, new_commands


class _Simulators(LazyGroup):
    """What can be played."""

    listed: ClassVar[Mapping[str, Listed]] = {
        "millis": Listed("simulate_millis", "Play the Millis API, and print what it is asked."),
        "caller": Listed("simulate_caller", "Play a caller: one SIP call to a PBX."),
        "call": Listed("simulate_call", "Play Asterisk: one call to a running bridge."),
    }


commands = new_commands()
simulate = new_commands(
    _Simulators,
    help="Play Millis or Asterisk. For trying things without an account or a PBX.",
    no_args_is_help=True,
)
commands.add_typer(simulate, name="simulate")
