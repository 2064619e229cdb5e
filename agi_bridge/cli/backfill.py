"""`agi-bridge backfill`: asks Millis how past calls ended."""

from contextlib import closing
from typing import Annotated

import typer

from agi_bridge import app
from agi_bridge.cli.configuration import load
from agi_bridge.cli.event_loop import run
from agi_bridge.cli.exit_code import DONE
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import ConfigOption, JsonOption
from agi_bridge.cli.output import print_facts
from agi_bridge.cli.record_place import record_settings, time_option
from agi_bridge.records.place import open_store

commands = new_commands()


@commands.command()
def backfill(
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="From then on, written as for calls.")] = "24h",
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Ask Millis how past calls ended. For webhooks that never came: what is found joins the records."""
    loaded = load(config_file)
    settings, folder, _ = record_settings(config_file)
    began = time_option(since, "--since")
    assert began is not None  # noqa: S101 - it has a default
    with closing(open_store(settings, folder)) as store:
        done = run(app.backfilled(loaded, store, began))
    print_facts(done, as_json)
    return DONE
