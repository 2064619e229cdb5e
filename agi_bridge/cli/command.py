"""The command `agi-bridge`: which subcommand is in which module, and what becomes of whatever goes wrong in one.

Each subcommand is one function that parses, calls, prints, and returns its exit code. This module imports none of them, and
nothing of ours that is slow to load.
"""

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, NoReturn

import typer

from agi_bridge import __version__
from agi_bridge.cli.exit_code import DONE, EXIT_CODES, FAILED, INTERRUPTED, MISUSED
from agi_bridge.cli.group import LazyGroup, Listed, new_commands
from agi_bridge.cli.output import complain
from agi_bridge.errors import BridgeError, ConfigError


class _Subcommands(LazyGroup):
    """All that `agi-bridge` can do."""

    listed: ClassVar[Mapping[str, Listed]] = {
        "init": Listed("init", "Write a first configuration."),
        "serve": Listed("serve", "Take calls until stopped."),
        "health": Listed("health", "Ask a running bridge whether it is ready."),
        "reload": Listed("reload", "Make the running bridge read its configuration anew."),
        "live": Listed("live_call", "Show the calls that are up."),
        "hangup": Listed("live_call", "End a call."),
        "transfer": Listed("live_call", "Send the caller on."),
        "originate": Listed("live_call", "Call a number, and connect whoever answers with an agent."),
        "check": Listed("check", "Name all that is wrong with the configuration."),
        "doctor": Listed("doctor", "Look at both ends, and say what to do."),
        "route": Listed("route", "Show which rule would answer a call."),
        "register": Listed("register", "Register one call with Millis, and dial nothing."),
        "migrate": Listed("record", "Bring the database of records up to date."),
        "calls": Listed("record", "Show the latest calls."),
        "backfill": Listed("backfill", "Ask Millis how past calls ended."),
        "export": Listed("record", "Print the records of calls."),
        "asterisk-config": Listed("asterisk_config", "Print or write what Asterisk needs for this bridge."),
        "token": Listed("token", "Make a token for the HTTP API."),
        "millis-tools": Listed("millis_tools", "Print an agent's tools and webhooks, as JSON."),
        "simulate": Listed("simulate", "Play Millis or Asterisk."),
        "standby": Listed("standby", "Make, show and delete what is dialled without an API."),
    }


def _exit(code: int, **_: object) -> NoReturn:
    raise typer.Exit(code)


commands = new_commands(
    _Subcommands,
    name="agi-bridge",
    help="Answers FastAGI calls from Asterisk and sends each one to its Millis voice agent.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    result_callback=_exit,
)


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; problems are told in words, never as a traceback."""
    try:
        commands(args=list(arguments), prog_name="agi-bridge")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else FAILED
    except ConfigError as error:
        for problem in error.problems:
            complain(str(problem))
        return MISUSED
    except (BridgeError, OSError) as error:
        complain(f"agi-bridge: {_in_words(error)}")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return DONE


def _in_words(error: Exception) -> str:
    """Say what went wrong; where a file may not be written, also what to do."""
    match error:
        case PermissionError(filename=str() as name):
            return f"{name}: {error.strerror}; let uid {os.geteuid()} write there"
        case OSError(errno=errno.EROFS, filename=str() as name):
            return f"{name}: {error.strerror}; name a place that can be written"
    return str(error)


def main_entry() -> None:
    """Run as a program."""
    sys.exit(main(sys.argv[1:]))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"agi-bridge {__version__}")
        raise typer.Exit


@commands.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a subcommand."""
