"""What an agent may ask for in the middle of a call: `/tools/transfer` and `/tools/hangup`.

Millis sends a tool's parameters as a query or as JSON; the answer goes to the language model, so it is in plain words, and a
refusal is an answer like any other. Which call it is about, our own id in the metadata says, else the session id of Millis.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from agi_bridge.access import Scope
from agi_bridge.errors import AmiError, BridgeError, CallOver, ControlError, NoPbx, NoSuchCall
from agi_bridge.web.guard import Guard, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agi_bridge.transfer import Transfer

# Where a parameter may stand, besides the top and the metadata.
_INSIDE = ("params", "arguments")


class Verbs(Protocol):
    """What is done with a call; `control.Control` does it."""

    async def transfer(
        self, bridge_call_id: str, name: str, reason: str = "", summary: str = "", *, by_agent: bool = False
    ) -> Transfer: ...
    async def hang_up(self, bridge_call_id: str, *, by_agent: bool = False) -> None: ...


class Sessions(Protocol):
    """What knows our id of a call by the session id of Millis."""

    async def bridge_call_id(self, session_id: str) -> str: ...


class Tools:
    """The two tools, for whoever has a token with the scope `millis`."""

    def __init__(self, guard: Guard, verbs: Verbs, sessions: Sessions) -> None:
        self._guard, self._verbs, self._sessions = guard, verbs, sessions

    def routes(self) -> list[web.RouteDef]:
        """Return what the server is to answer."""
        return [
            web.route(method, path, handler)
            for path, handler in (("/tools/transfer", self._transfer), ("/tools/hangup", self._hang_up))
            for method in ("GET", "POST")
        ]

    async def _transfer(self, request: web.Request) -> web.Response:
        return await self._answered(request, self._send_on)

    async def _hang_up(self, request: web.Request) -> web.Response:
        return await self._answered(request, self._end)

    async def _answered(self, request: web.Request, act: Callable[[_Parameters], Awaitable[str]]) -> web.Response:
        if refused := self._guard.refused(request, Scope.MILLIS):
            return refused
        try:
            said = await _parameters(request)
        except ValueError as error:
            return refusal(400, "bad-body", str(error))
        try:
            return web.json_response({"done": True, "message": await act(said)})
        except BridgeError as error:
            return web.json_response({"done": False, "message": _why_not(error)})

    async def _send_on(self, said: _Parameters) -> str:
        call, target = await self._call(said), said("target")
        to = await self._verbs.transfer(call, target, said("reason"), said("summary"), by_agent=True)
        return f"The caller is being connected to {to.name}. Say nothing more."

    async def _end(self, said: _Parameters) -> str:
        await self._verbs.hang_up(await self._call(said), by_agent=True)
        return "The call has been ended."

    async def _call(self, said: _Parameters) -> str:
        # The metadata is ours; the rest of a request, a caller may have talked the agent into.
        if known := said.in_metadata("bridge_call_id") or said("bridge_call_id"):
            return known
        if known := await self._sessions.bridge_call_id(said("session_id")):
            return known
        raise NoSuchCall("it is not known which call this is; let the tool send the metadata")


class _Parameters:
    """The texts of a request, wherever they stand in it; those of its metadata also by themselves."""

    def __init__(self, *places: Mapping[str, Any], metadata: Any = None) -> None:
        self._metadata: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
        self._places = (*places, self._metadata)

    def __call__(self, name: str) -> str:
        found = next((place[name] for place in self._places if isinstance(place.get(name), str)), "")
        return str(found).strip()

    def in_metadata(self, name: str) -> str:
        return _Parameters(self._metadata)(name)


async def _parameters(request: web.Request) -> _Parameters:
    """Read a request's parameters; raise ValueError where the body is not what it should be."""
    if request.method == "GET" or not request.can_read_body:
        return _Parameters(request.query)
    body = await json_object(request)
    inside = (json_or_none(body.get(name)) for name in _INSIDE)
    places = (place for place in inside if isinstance(place, Mapping))
    return _Parameters(body, *places, request.query, metadata=json_or_none(body.get("metadata")))


async def json_object(request: web.Request) -> dict[str, Any]:
    """Read a body that is a JSON object; raise ValueError with what is wrong. A body too large is refused by the server."""
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise ValueError("the body is not a JSON object")
    return body


def json_or_none(value: Any) -> Any:
    """Return a value that may have come as JSON inside a text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _why_not(error: BridgeError) -> str:
    """Return what the agent is told where nothing was done. The HTTP status stays 200, or the words might not reach it."""
    if isinstance(error, CallOver):
        return "The caller has hung up."
    if isinstance(error, ControlError) and not isinstance(error, NoPbx):
        return f"Not done: {error}."
    if isinstance(error, AmiError):
        return "The telephone system does not answer. Tell the caller that it did not work."
    return "That did not work. Tell the caller so."
