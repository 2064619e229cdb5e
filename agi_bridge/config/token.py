"""`[[token]]`: who may ask things of the bridge over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from agi_bridge.config.table import Table, one_or_many


class TokenSettings(Table):
    """`[[token]]`: somebody who may ask things of the bridge over HTTP."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]{0,63}$")]
    scopes: Annotated[list[Literal["read", "control", "millis"]], BeforeValidator(one_or_many), Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
