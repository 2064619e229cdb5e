"""`agi-bridge serve`: the bridge itself. The one command that imports all that takes calls."""

from typing import Annotated

import typer

from agi_bridge import app, config, log
from agi_bridge.cli.configuration import config_path, load
from agi_bridge.cli.event_loop import run
from agi_bridge.cli.exit_code import DONE
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import ConfigOption

commands = new_commands()


@commands.command()
def serve(
    config_file: ConfigOption = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="NUMBER", min=1, max=64, help="Processes; default: workers under [agi]."),
    ] = None,
) -> int:
    """Take calls until stopped. SIGTERM finishes the calls being set up first; a second one does not wait.

    SIGHUP reads the configuration anew.
    """
    path = str(config_path(config_file).absolute())

    def read() -> config.Config:
        loaded = load(path)
        return loaded if workers is None else loaded.with_workers(workers)

    loaded = read()
    log.configure(loaded.log, for_good=True)
    run(app.serve(loaded, read, path))
    return DONE
