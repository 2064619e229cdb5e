"""Who may ask what of the bridge over HTTP: the tokens of the configuration, which holds no more than their hashes. Pure."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Scope(StrEnum):
    """What a token opens: looking, ending and moving calls, or what Millis asks for during and after a call."""

    READ = "read"
    CONTROL = "control"
    MILLIS = "millis"


@dataclass(frozen=True, slots=True)
class Token:
    """One token by the name of who has it. `sha256` is its hash in hexadecimal digits; the token is random, so that is enough."""

    name: str
    scopes: frozenset[Scope]
    sha256: str


def digest(token: str) -> str:
    """Return the hash of a token, as the configuration holds it."""
    # A header need not be UTF-8; aiohttp keeps what is not as surrogates.
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def holder(tokens: Iterable[Token], presented: str) -> Token | None:
    """Return whose token was presented, None where it is nobody's; how long that takes tells nothing of the others."""
    given, found = digest(presented), None
    for token in tokens:
        if hmac.compare_digest(token.sha256, given):
            found = token
    return found
