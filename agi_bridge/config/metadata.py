"""`[metadata]`, and the metadata that a rule sends: which names it may use, and what its values may say."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from agi_bridge import metadata
from agi_bridge.config.table import Table, check_expression


def _metadata_name(name: str) -> str:
    if name in metadata.RESERVED_NAMES:
        raise ValueError("is a name of Millis's own; choose another")
    if name in metadata.STANDARD_NAMES:
        raise ValueError("is sent with every call already; choose another name")
    if not metadata.NAME.fullmatch(name):
        raise ValueError("must be letters, digits and '_', at most 64, and not begin with a digit")
    return name


def _metadata_value(value: str) -> str:
    return check_expression(value) if metadata.is_expression(value) else value


Metadata = dict[Annotated[str, AfterValidator(_metadata_name)], Annotated[str, AfterValidator(_metadata_value)]]


class MetadataSettings(Table):
    """`[metadata]`: the bound on each value that is sent to Millis."""

    value_limit_characters: Annotated[int, Field(ge=16, le=8192)] = 512
