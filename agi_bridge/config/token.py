"""`[[token]]`: who may ask things of the bridge over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from agi_bridge.access import Scope, Token
from agi_bridge.config.table import OneOrMany, Table, matching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agi_bridge.config.reading import Reading


# Told as pydantic tells it, but checked by us: its pattern takes 20 ms to build, for \w is every letter of Unicode.
_Name = Annotated[str, matching(r"[A-Za-z0-9][\w.-]{0,63}", r"string should match pattern '^[A-Za-z0-9][\w.-]{0,63}$'")]


class TokenSettings(Table):
    """`[[token]]`: somebody who may ask things of the bridge over HTTP."""

    name: _Name
    scopes: Annotated[OneOrMany[Literal["read", "control", "millis"]], Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def tokens(written: Sequence[TokenSettings], reading: Reading) -> tuple[Token, ...]:
    """Return who may ask over HTTP, after a look for a name or a hash that stands twice."""
    seen: set[str] = set()
    for each in written:
        if twice := {each.name, each.sha256} & seen:
            what = "name" if each.name in twice else "hash"
            reading.refuse(f'token "{each.name}"', f"the {what} stands there twice", "keep one of them")
        seen |= {each.name, each.sha256}
    return tuple(Token(each.name, frozenset(map(Scope, each.scopes)), each.sha256) for each in written)
