"""`agi-bridge doctor`: looks at Millis, the bridge and the PBX, and says what to do."""

import os
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from agi_bridge import __version__, config
from agi_bridge.cli.configuration import config_path, load
from agi_bridge.cli.exit_code import DONE, FAILED, WARNED
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import ConfigOption, JsonOption
from agi_bridge.cli.output import print_json
from agi_bridge.doctor import report
from agi_bridge.doctor.examination import Patient, examine
from agi_bridge.doctor.finding import Part, Severity, worst
from agi_bridge.errors import ConfigError

commands = new_commands()

_SEVERITY_CODES = {Severity.OK: DONE, Severity.INFO: DONE, Severity.WARNING: WARNED, Severity.ERROR: FAILED}


@commands.command()
def doctor(
    config_file: ConfigOption = None,
    only: Annotated[
        list[Part] | None,
        typer.Option("--only", metavar="PART", help=f"{', '.join(Part)}; repeatable. Default: all."),
    ] = None,
    console: Annotated[
        Path | None,
        typer.Option(
            "--console", metavar="SOCKET", help="The control socket of an Asterisk here, if it is not the usual."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Leave out notes and what is fine.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Look at both ends, and say what to do. At Millis, the bridge and the PBX; the worst first, within 5 s; changes nothing."""
    began = time.monotonic()
    findings = examine(_patient(config_file, frozenset(only or Part), console))
    seconds = time.monotonic() - began
    if as_json:
        print_json(report.as_json(findings, seconds, __version__))
    else:
        typer.echo(report.as_text(findings, seconds, width=shutil.get_terminal_size().columns, quiet=quiet))
    return _SEVERITY_CODES[worst(findings)]


def _patient(config_file: str | None, parts: frozenset[Part], console: Path | None) -> Patient:
    """Return what is to be examined, as far as the configuration can be read."""
    path = str(config_path(config_file))
    try:
        return Patient(path, load(config_file), parts=parts, console=console)
    except ConfigError as error:
        problems = error.problems
    # The key may be in the environment of the service alone; all the rest can be looked at, other secrets included.
    with suppress(ConfigError):
        loaded = load(config_file, environ={**os.environ, "MILLIS_API_KEY": "not-known-here"})
        others = {name: key for name, key in loaded.api_keys.items() if name != config.DEFAULT_ACCOUNT}
        return Patient(path, replace(loaded, api_keys=others), problems, parts=parts, console=console)
    with suppress(ConfigError):
        loaded = load(config_file, need_keys=False)
        return Patient(path, loaded, problems, has_secrets=False, parts=parts, console=console)
    return Patient(path, None, problems, parts=parts, console=console)
