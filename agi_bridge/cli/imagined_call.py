"""The call that an operator describes on the command line, for what would become of it."""

from typing import Annotated, Any

import typer

from agi_bridge.call import Call
from agi_bridge.config import Config
from agi_bridge.dry_run import imagined_call
from agi_bridge.errors import AgiProtocolError

ContextOption = Annotated[str, typer.Option("--context", metavar="NAME", help="The dialplan context that asks.")]
ChannelOption = Annotated[str, typer.Option("--channel", metavar="NAME", help="The caller's channel.")]
ArgumentOption = Annotated[
    list[str] | None, typer.Option("--arg", metavar="NAME=VALUE", help="An AGI argument; repeatable.")
]


def imagined(loaded: Config, bridge_call_id: str, *told: Any) -> Call:
    try:
        return imagined_call(loaded, bridge_call_id, *told)
    except AgiProtocolError as error:
        raise typer.BadParameter(str(error), param_hint="--arg") from None
