"""`agi-bridge check`: all that is wrong with the configuration."""

from collections.abc import Sequence

import typer

from agi_bridge.cli.configuration import load
from agi_bridge.cli.exit_code import DONE, MISUSED
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import ConfigOption, JsonOption
from agi_bridge.cli.output import as_dict, complain, print_json
from agi_bridge.errors import ConfigError, Problem

commands = new_commands()


@commands.command()
def check(config_file: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Name all that is wrong with the configuration. Warnings stop nothing."""
    problems: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    rules = 0
    try:
        loaded = load(config_file)
        warnings, rules = loaded.warnings, len(loaded.rules.rules)
    except ConfigError as error:
        problems = error.problems
    if as_json:
        print_json({"problems": [as_dict(p) for p in problems], "warnings": [as_dict(w) for w in warnings]})
        return MISUSED if problems else DONE
    for problem in problems:
        complain(str(problem))
    for warning in warnings:
        complain(f"warning: {warning}")
    if problems:
        return MISUSED
    typer.echo(f"the configuration is good: {rules} {'rule' if rules == 1 else 'rules'}")
    return DONE
