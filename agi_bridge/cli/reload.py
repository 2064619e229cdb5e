"""`agi-bridge reload`: has the running bridge read its configuration anew, every worker of it."""

from typing import Any

import typer

from agi_bridge import config
from agi_bridge.cli.configuration import config_path, load
from agi_bridge.cli.exit_code import DONE, FAILED, MISUSED
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import ConfigOption, JsonOption
from agi_bridge.cli.output import as_dict, complain, print_json
from agi_bridge.cli.running_bridge import UrlOption, workers
from agi_bridge.errors import ConfigError, NotRunning, Problem
from agi_bridge.web.client import ask_reload

commands = new_commands()


@commands.command()
def reload(config_file: ConfigOption = None, url: UrlOption = None, as_json: JsonOption = False) -> int:
    """Make the running bridge read its configuration anew. A bad file is refused, here and there, and changes nothing."""

    def read() -> tuple[config.WebSettings, int]:
        # The keys may be in the environment of the service alone.
        loaded = load(config_file, need_keys=False)
        return loaded.web, loaded.agi.workers

    try:
        addresses = workers(url, read)
    except ConfigError as error:
        if not as_json:
            raise
        file = str(config_path(config_file).absolute())
        print_json([{"config_file": file, "problems": [as_dict(each) for each in error.problems]}])
        return MISUSED
    answers = [_reloaded(address) for address in addresses]
    if as_json:
        print_json(answers)
    else:
        for number, answer in enumerate(answers, 1):
            _print_reloaded(f"worker {number} of {len(answers)}: " if len(answers) > 1 else "", answer)
    if any("problems" in answer for answer in answers):
        return MISUSED
    return DONE if all("changed" in answer for answer in answers) else FAILED


def _reloaded(address: config.Address) -> dict[str, Any]:
    try:
        return ask_reload(address).content
    except NotRunning as error:
        return {"why": str(error)}


def _print_reloaded(worker: str, answer: dict[str, Any]) -> None:
    if "problems" in answer:
        for problem in answer["problems"]:
            complain(f"{worker}{Problem(**problem)}")
        complain(f"{worker}{answer['config_file']} is refused; the old configuration stays")
        return
    if "changed" not in answer:
        complain(f"{worker}not reloaded: {answer.get('why')}")
        return
    changed = answer["changed"]
    typer.echo(f"{worker}reloaded {answer['config_file']}: {', '.join(changed) or 'nothing has changed'}")
    if answer["needs_restart"]:
        typer.echo(f"{worker}restart the bridge for: {', '.join(answer['needs_restart'])}")
