"""Where an agent may send its caller: the list of the configuration, and the same list as Asterisk's dialplan.

Asterisk is asked for a name of this list, by the bridge or in a SIP REFER, and knows by itself where that leads; so there is
no way to name any other place. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# An extension of one letter may be one of Asterisk's own, such as h or T; and it reads over hyphens in extensions.
_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")
_NUMBER = re.compile(r"\+?[0-9]{2,20}")
# What a phone can show, and the dialplan can carry without a thought for its own syntax.
_UNSHOWN = re.compile(r"[^\w .:;!?@+*/#&'-]+")


@dataclass(frozen=True, slots=True)
class Transfer:
    """One destination. `destination` is `context,exten,priority`; `numbers` are further names for it, for an agent that can
    only send its caller to a phone number; `description` tells the agent when to choose it.
    """

    name: str
    destination: str
    ring_timeout_seconds: int
    numbers: tuple[str, ...] = ()
    description: str = ""


def check_name(text: str) -> str:
    """Return *text* if a transfer can be called so; raise ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError("must be 2 to 40 small letters, digits and '_', and begin with a letter")
    return text


def check_number(text: str) -> str:
    """Return *text* if a transfer can have it for a phone number; raise ValueError."""
    if not _NUMBER.fullmatch(text):
        raise ValueError('must be a phone number in digits, such as "+15551230001"')
    return text


def dialplan(transfers: Iterable[Transfer]) -> str:
    """Return the contexts `millis-transfer` and `millis-transfer-to` for site/extensions.conf; "" for an empty list."""
    transfers = list(transfers)
    if not transfers:
        return ""
    entries = (line for transfer in transfers for line in _entries(transfer))
    places = (f"exten => {each.name},1,Goto({each.destination})" for each in transfers)
    return "\n".join(["[millis-transfer](+)", *entries, "", "[millis-transfer-to]", *places, ""])


def _entries(transfer: Transfer) -> Iterator[str]:
    seconds = transfer.ring_timeout_seconds
    yield f"exten => {transfer.name},1,MSet(MILLIS_TRANSFER={transfer.name},MILLIS_TRANSFER_SECONDS={seconds})"
    yield " same => n,Goto(millis-hand-over,s,1)"
    # Whoever sends a REFER may write the plus sign, or not.
    written = (each for number in transfer.numbers for each in (number, number.lstrip("+")))
    for number in dict.fromkeys(written):
        yield f"exten => {number},1,Goto({transfer.name},1)"


def shown(text: str, longest: int = 60) -> str:
    """Return *text*, which an agent has made up, as a phone may show it: one line of harmless characters."""
    return " ".join(_UNSHOWN.sub(" ", text).split())[:longest].rstrip()
