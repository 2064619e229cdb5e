"""`[numbers]`: how numbers are read, and where the called one is found."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from agi_bridge.config.table import Expression, Table
from agi_bridge.numbers import known_country


def _country(text: str) -> str:
    if not known_country(text):
        raise ValueError("must be a two-letter country code in capitals, such as US or DE")
    return text


class NumberSettings(Table):
    """`[numbers]`: how numbers are read, and where the called one is found."""

    default_country: Annotated[str, AfterValidator(_country)] | None = None
    did_expression: Expression | None = None
