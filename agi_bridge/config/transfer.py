"""`[[transfer]]`: the places in the PBX where agents may send their callers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from agi_bridge import transfer
from agi_bridge.config.table import Place, Table, one_or_many


class TransferSettings(Table):
    """`[[transfer]]`: one place in the PBX where agents may send their callers."""

    name: Annotated[str, AfterValidator(transfer.check_name)]
    destination: Place
    ring_timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    numbers: Annotated[list[Annotated[str, AfterValidator(transfer.check_number)]], BeforeValidator(one_or_many)] = []
    description: Annotated[str, Field(max_length=500)] = ""
