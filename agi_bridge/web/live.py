"""What the commands ask about live calls: every worker of a running bridge, until one knows the call.

A shell, over `client`. An id may be shortened, as long as it is the beginning of one live call and no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from agi_bridge.errors import ApiRefused, NoSuchCall, NotRunning
from agi_bridge.web.client import ask_api

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agi_bridge.config import Address

# Less would be a slip more often than an abbreviation.
_SHORTEST_BEGINNING = 4


def live_calls(addresses: Sequence[Address], token: str) -> list[dict[str, Any]]:
    """Return the calls that are up, as all workers know them; raise ApiRefused or NotRunning."""
    known: dict[str, dict[str, Any]] = {}
    for address in addresses:
        for call in ask_api(address, "GET", "/api/v1/live", token).get("calls", ()):
            known.setdefault(call["bridge_call_id"], call)
    return list(known.values())


def ask_about_call(
    addresses: Sequence[Address], token: str, given: str, verb: str, body: Mapping[str, object] | None = None
) -> str:
    """Have *verb* done to the call that *given* is the id of, or the beginning of it; return its id.

    Raise ApiRefused or NotRunning where it did not happen, or where nobody knows.
    """
    try:
        return _done(addresses, token, given, verb, body)
    except ApiRefused as error:
        if error.code != NoSuchCall.code or len(given) < _SHORTEST_BEGINNING:
            raise
        return _done(addresses, token, _in_full(addresses, token, given, error), verb, body)


def _done(addresses: Sequence[Address], token: str, call_id: str, verb: str, body: Mapping[str, object] | None) -> str:
    unanswered: list[NotRunning] = []
    for address in addresses:
        try:
            ask_api(address, "POST", f"/api/v1/calls/{quote(call_id, safe='')}/{verb}", token, body or {})
        except ApiRefused as error:
            if error.code != NoSuchCall.code:
                raise
        except NotRunning as error:
            if error.may_be_done:
                raise
            unanswered.append(error)
        else:
            return call_id
    if unanswered:
        raise NotRunning(f"no worker that answers knows the call; {unanswered[0]}")
    raise ApiRefused(f"no call of the id {call_id} is up", NoSuchCall.code)


def _in_full(addresses: Sequence[Address], token: str, beginning: str, unknown: ApiRefused) -> str:
    """Return the id of the live call that begins so; raise *unknown* where there is none."""
    try:
        calls = live_calls(addresses, token)
    except ApiRefused as error:
        # Whoever may act but not look has to give the whole id.
        raise unknown from error
    ids = [str(call["bridge_call_id"]) for call in calls if str(call["bridge_call_id"]).startswith(beginning)]
    if len(ids) > 1:
        raise ApiRefused(f"{beginning} is the beginning of several calls: {', '.join(sorted(ids))}", "ambiguous")
    if not ids:
        raise unknown
    return ids[0]
