"""The HTTP API under `/api/v1`: the calls that are up, what may be done with them, and what would become of a call.

Handlers read what they are handed, shape it and return it; every error has the one shape of `guard.refusal`. `openapi.py`
describes all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from agi_bridge.access import Scope
from agi_bridge.errors import (
    AgiProtocolError,
    AlreadyTransferred,
    AmiError,
    BridgeError,
    CallOver,
    CannotCount,
    DailyLimitReached,
    NoPbx,
    NoSuchCall,
    NoSuchTransfer,
    OriginateOff,
    RecordsError,
    TooManyOriginates,
)
from agi_bridge.web.guard import Guard, refusal
from agi_bridge.web.openapi import openapi
from agi_bridge.web.tools import json_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from agi_bridge.web.tools import Verbs

_STATUSES: dict[type[BridgeError], int] = {
    NoPbx: 403,
    NoSuchCall: 404,
    CallOver: 409,
    AlreadyTransferred: 409,
    NoSuchTransfer: 422,
    OriginateOff: 403,
    TooManyOriginates: 429,
    DailyLimitReached: 429,
    CannotCount: 503,
}

_LONGEST_TEXT = 1000
_LONGEST_CALL_ID = 100


class Looker(Protocol):
    """What the API may look at."""

    async def live_calls(self) -> Mapping[str, Any]: ...
    def dry_run(self, did: str, caller: str | None, context: str, channel: str) -> Mapping[str, Any]: ...
    async def calls(self, query: Mapping[str, str]) -> Mapping[str, Any]: ...
    async def call(self, bridge_call_id: str) -> Mapping[str, Any] | None: ...


class Started(Protocol):
    """A call that is being dialled; `outbound.Attempt` is one."""

    @property
    def bridge_call_id(self) -> str: ...
    @property
    def number(self) -> str: ...


class Caller(Protocol):
    """What starts calls; `outbound.Outbound` does."""

    async def originate(self, to: str, rule_name: str, agent_id: str = "") -> Started: ...


class Api:
    """The handlers, for whoever has a token with the scope that each needs."""

    def __init__(self, guard: Guard, verbs: Verbs, looker: Looker, caller: Caller, version: str) -> None:
        self._guard, self._verbs, self._looker, self._caller, self._version = guard, verbs, looker, caller, version

    def routes(self) -> list[web.RouteDef]:
        """Return what the server is to answer."""
        return [
            web.get("/api/v1/openapi.json", self._openapi),
            web.get("/api/v1/live", self._with(Scope.READ, self._live)),
            web.get("/api/v1/calls", self._with(Scope.READ, self._calls)),
            web.get("/api/v1/calls/{bridge_call_id}", self._with(Scope.READ, self._call)),
            web.post("/api/v1/route", self._with(Scope.READ, self._route)),
            web.post("/api/v1/calls/{bridge_call_id}/transfer", self._with(Scope.CONTROL, self._transfer)),
            web.post("/api/v1/calls/{bridge_call_id}/hangup", self._with(Scope.CONTROL, self._hang_up)),
            web.post("/api/v1/originate", self._with(Scope.CONTROL, self._originate)),
        ]

    def _with(
        self, scope: Scope, answer: Callable[[web.Request], Awaitable[Mapping[str, Any]]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the handler that lets in who has *scope*, and turns what fails into an error of the usual shape."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if refused := self._guard.refused(request, scope):
                return refused
            try:
                return web.json_response(await answer(request))
            except ValueError as error:
                return refusal(400, "bad-query" if request.method == "GET" else "bad-body", str(error))
            except BridgeError as error:
                return _failed(error)

        return handle

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.json_response(openapi(self._version))

    async def _live(self, request: web.Request) -> Mapping[str, Any]:
        return await self._looker.live_calls()

    async def _calls(self, request: web.Request) -> Mapping[str, Any]:
        return await self._looker.calls(dict(request.query))

    async def _call(self, request: web.Request) -> Mapping[str, Any]:
        record = await self._looker.call(_call_id(request))
        if record is None:
            raise NoSuchCall("there is no record of a call of that id")
        return record

    async def _route(self, request: web.Request) -> Mapping[str, Any]:
        body = await json_object(request)
        did = _text(body, "did", needed=True)
        context, channel = _text(body, "context") or "from-trunk", _text(body, "channel") or "PJSIP/trunk-00000001"
        return self._looker.dry_run(did, _text(body, "caller") or None, context, channel)

    async def _transfer(self, request: web.Request) -> Mapping[str, Any]:
        body = await json_object(request)
        sent_to = await self._verbs.transfer(
            _call_id(request),
            _text(body, "to", needed=True),
            _text(body, "reason"),
            _text(body, "summary"),
        )
        return {"done": True, "to": sent_to.name}

    async def _hang_up(self, request: web.Request) -> Mapping[str, Any]:
        await self._verbs.hang_up(_call_id(request))
        return {"done": True}

    async def _originate(self, request: web.Request) -> Mapping[str, Any]:
        body = await json_object(request)
        to, rule = _text(body, "to", needed=True), _text(body, "rule", needed=True)
        started = await self._caller.originate(to, rule, _text(body, "agent"))
        return {"done": True, "bridge_call_id": started.bridge_call_id, "to": started.number}


def _call_id(request: web.Request) -> str:
    """Return the id in the path; raise NoSuchCall where it is longer than any of ours."""
    call_id = request.match_info["bridge_call_id"]
    if len(call_id) > _LONGEST_CALL_ID:
        raise NoSuchCall(f"no call has an id of more than {_LONGEST_CALL_ID} characters")
    return call_id


def _text(body: Mapping[str, Any], key: str, *, needed: bool = False) -> str:
    """Return a text of a body; raise ValueError where it is none, is too long, or is missing though *needed*."""
    value = body.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text")
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"{key} is longer than {_LONGEST_TEXT} characters")
    if needed and not value:
        raise ValueError(f"{key} is missing")
    return value


def _failed(error: BridgeError) -> web.Response:
    if isinstance(error, AmiError):
        code = "pbx-uncertain" if error.may_be_done else "pbx-unreachable"
        return refusal(502, code, str(error))
    if isinstance(error, RecordsError):
        return refusal(503, "records-away", str(error))
    if isinstance(error, AgiProtocolError):
        return refusal(422, "bad-call", str(error))
    return refusal(_STATUSES.get(type(error), 422), getattr(error, "code", "") or "refused", str(error))
