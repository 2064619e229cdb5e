"""An address and a port, as an option says them."""

import typer

from agi_bridge.config import Address, parse_address


def address_option(text: str, option: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
