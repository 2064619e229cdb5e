"""`[[transfer]]`: the places in the PBX where agents may send their callers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from agi_bridge import transfer
from agi_bridge.config.table import OneOrMany, Place, Table
from agi_bridge.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agi_bridge.config.reading import Reading


class TransferSettings(Table):
    """`[[transfer]]`: one place in the PBX where agents may send their callers."""

    name: Annotated[str, AfterValidator(transfer.check_name)]
    destination: Place
    ring_timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    numbers: OneOrMany[Annotated[str, AfterValidator(transfer.check_number)]] = []
    description: Annotated[str, Field(max_length=500)] = ""


def transfers(written: Sequence[TransferSettings], reading: Reading) -> tuple[Transfer, ...]:
    """Return the destinations; of a name or number that stands twice, the dialplan would keep the first place only."""
    taken: set[str] = set()
    for settings in written:
        for called in (settings.name, *(number.lstrip("+") for number in settings.numbers)):
            if called in taken:
                reading.refuse(f'transfer "{settings.name}"', f"{called} stands there twice", "keep one of them")
            taken.add(called)
    return tuple(
        Transfer(**settings.model_dump(exclude={"numbers"}), numbers=tuple(settings.numbers)) for settings in written
    )
