"""`agi-bridge health`: how the running bridge is, every worker of it."""

from typing import Any

import typer

from agi_bridge import config
from agi_bridge.cli.exit_code import DONE, FAILED
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import ConfigOption, JsonOption
from agi_bridge.cli.output import print_json
from agi_bridge.cli.running_bridge import UrlOption, where_to_ask, workers
from agi_bridge.errors import NotRunning
from agi_bridge.web.client import ask_readiness

commands = new_commands()

# What an operator calls the state of a breaker.
_REGION_WORDS = {"open": "is down", "half-open": "is being tried again"}


@commands.command()
def health(config_file: ConfigOption = None, url: UrlOption = None, as_json: JsonOption = False) -> int:
    """Ask a running bridge whether it is ready. Asks every worker."""
    addresses = workers(url, lambda: where_to_ask(config_file))
    answers = [_readiness(address, number, len(addresses)) for number, address in enumerate(addresses, 1)]
    if as_json:
        print_json(answers)
    else:
        for answer in answers:
            typer.echo(_health_line(answer))
    return DONE if all(answer.get("ready") for answer in answers) else FAILED


def _readiness(address: config.Address, number: int, of: int) -> dict[str, Any]:
    try:
        return ask_readiness(address).content
    except NotRunning as error:
        return {"worker": number, "workers": of, "ready": False, "why_not": str(error)}


def _health_line(answer: dict[str, Any]) -> str:
    line = f"worker {answer['worker']} of {answer['workers']}: "
    line += "ready" if answer["ready"] else f"not ready: {answer.get('why_not')}"
    if "version" not in answer:
        return line
    # A closed breaker is one that lets calls through, which is nothing to tell.
    for region, state in answer.get("regions", {}).items():
        line += f"; region {region} {_REGION_WORDS[state]}" if state in _REGION_WORDS else ""
    if waiting := answer.get("needs_restart"):
        line += f"; restart pending for: {', '.join(waiting)}"
    return f"{line}; version {answer['version']}, {answer.get('config_file')} of {answer.get('config_loaded_at')}"
