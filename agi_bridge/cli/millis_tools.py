"""`agi-bridge millis-tools`: what to give an agent at Millis."""

from agi_bridge.cli.configuration import load
from agi_bridge.cli.exit_code import DONE
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.option import ConfigOption
from agi_bridge.cli.output import print_json
from agi_bridge.errors import ConfigError, Problem
from agi_bridge.tool_definition import tool_definitions, webhook_definitions

commands = new_commands()


@commands.command()
def millis_tools(config_file: ConfigOption = None) -> int:
    """Print an agent's tools and webhooks, as JSON. To send its caller on, to end the call, and to tell us of it."""
    loaded = load(config_file, need_keys=False)
    if not loaded.web.public_url:
        raise ConfigError([Problem("web.public_url", "is missing", "the address at which Millis reaches the web port")])
    url = loaded.web.public_url
    print_json({"tools": tool_definitions(url, loaded.transfers)} | webhook_definitions(url))
    return DONE
