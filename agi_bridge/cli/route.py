"""`agi-bridge route`: which rule would answer a call. Sends nothing."""

from datetime import UTC, datetime

from agi_bridge.cli.configuration import load
from agi_bridge.cli.exit_code import DONE, FAILED
from agi_bridge.cli.group import new_commands
from agi_bridge.cli.imagined_call import ArgumentOption, ChannelOption, ContextOption, imagined
from agi_bridge.cli.option import CallerOption, ConfigOption, DidOption, JsonOption
from agi_bridge.cli.output import print_facts
from agi_bridge.dry_run import route_facts
from agi_bridge.routing import choose_route

commands = new_commands()


@commands.command()
def route(
    did: DidOption,
    caller: CallerOption = None,
    context: ContextOption = "from-trunk",
    channel: ChannelOption = "PJSIP/trunk-00000001",
    argument: ArgumentOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show which rule would answer a call. Also why, what Millis would be told and what dialled; nothing is sent."""
    loaded = load(config_file, need_keys=False)
    call = imagined(loaded, "(given to each call)", did, caller, context, channel, argument or [])
    chosen = choose_route(loaded.rules, call)
    print_facts(route_facts(loaded, call, chosen, datetime.now(UTC)), as_json)
    return DONE if chosen.refusal is None else FAILED
