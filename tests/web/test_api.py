"""The HTTP API, over a real port."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agi_bridge.access import Scope, Token, digest
from agi_bridge.config import WebSettings
from agi_bridge.errors import (
    AgiProtocolError,
    AlreadyTransferred,
    AmiTimeout,
    AmiUnreachable,
    BridgeError,
    CallOver,
    CannotCount,
    DailyLimitReached,
    NoPbx,
    NoSuchCall,
    NoSuchRule,
    NoSuchTransfer,
    NumberNotAllowed,
    OriginateOff,
    RecordsError,
    TooManyOriginates,
    UnsafeText,
)
from agi_bridge.transfer import Transfer
from agi_bridge.web.api import Api
from agi_bridge.web.guard import Guard
from agi_bridge.web.server import WebServer
from tests.web.asking import Clock, Dialled, ask, bearer, web_server

READER, OWNER = bearer("reader"), bearer("owner")
LIVE = [{"bridge_call_id": "abc", "pbx": "hq", "uniqueid": "1.2", "channels": []}]


class FakeBridge:
    """What the API looks at and asks; remembers, or fails as planted."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, ...]] = []
        self.error: BridgeError | None = None

    async def transfer(
        self, bridge_call_id: str, name: str, reason: str = "", summary: str = "", *, by_agent: bool = False
    ) -> Transfer:
        self._do("transfer", bridge_call_id, name, reason, summary)
        return Transfer(name, "q,600,1", 30)

    async def hang_up(self, bridge_call_id: str, *, by_agent: bool = False) -> None:
        self._do("hangup", bridge_call_id)

    async def live_calls(self) -> Mapping[str, Any]:
        return {"calls": LIVE, "complete": True}

    def dry_run(self, did: str, caller: str | None, context: str, channel: str) -> Mapping[str, Any]:
        self._do("route", did, caller, context, channel)
        return {"rule": "sales"}

    async def originate(self, to: str, rule_name: str, agent_id: str = "") -> Dialled:
        self._do("originate", to, rule_name, agent_id)
        return Dialled(to)

    async def calls(self, query: Mapping[str, str]) -> Mapping[str, Any]:
        self._do("calls", *(f"{name}={text}" for name, text in query.items()))
        if "nonsense" in query:
            raise ValueError("there is no 'nonsense'")
        return {"calls": [], "next": None}

    async def call(self, bridge_call_id: str) -> Mapping[str, Any] | None:
        self._do("call", bridge_call_id)
        return {"bridge_call_id": "abc"} if bridge_call_id == "abc" else None

    def _do(self, *what: str | None) -> None:
        if self.error:
            raise self.error
        self.asked.append(what)


@asynccontextmanager
async def api(bridge: FakeBridge) -> AsyncIterator[WebServer]:
    """Run a server with the API, a token to look and a token to act."""
    settings = WebSettings(listen=["127.0.0.1:0"], request_limit_per_second=100_000)
    tokens = (
        Token("reader", frozenset({Scope.READ}), digest("reader")),
        Token("owner", frozenset({Scope.READ, Scope.CONTROL}), digest("owner")),
    )
    async with web_server(
        settings, Api(Guard(tokens, settings, Clock()), bridge, bridge, bridge, "1.2.3").routes()
    ) as server:
        yield server


async def test_live_calls_are_shown_to_who_may_look():
    """Scope read is enough to see what is up."""
    async with api(FakeBridge()) as server:
        assert await ask(server, "GET", "/api/v1/live", **READER) == (200, {"calls": LIVE, "complete": True})


async def test_dry_run_says_what_would_become_of_a_call():
    """What is left out is as a trunk would have it."""
    bridge = FakeBridge()
    async with api(bridge) as server:
        assert await ask(server, "POST", "/api/v1/route", {"did": "1"}, **READER) == (200, {"rule": "sales"})
        body = {"did": "1", "caller": "2", "context": "c", "channel": "PJSIP/x"}
        await ask(server, "POST", "/api/v1/route", body, **READER)

    assert bridge.asked == [
        ("route", "1", None, "from-trunk", "PJSIP/trunk-00000001"),
        ("route", "1", "2", "c", "PJSIP/x"),
    ]


async def test_records_are_shown_to_who_may_look():
    """A page by its filters, or one by its id."""
    bridge = FakeBridge()
    async with api(bridge) as server:
        page = await ask(server, "GET", "/api/v1/calls?did=%2B1555&limit=2", **READER)
        one = await ask(server, "GET", "/api/v1/calls/abc", **READER)
        status, said = await ask(server, "GET", "/api/v1/calls/none", **READER)

    assert (page, one) == ((200, {"calls": [], "next": None}), (200, {"bridge_call_id": "abc"}))
    assert (status, said["error"]["code"]) == (404, "no-such-call")
    assert bridge.asked[:2] == [("calls", "did=+1555", "limit=2"), ("call", "abc")]


async def test_filter_that_is_none():
    """A slip in a filter shows no other calls than those that were meant."""
    async with api(FakeBridge()) as server:
        answer = await ask(server, "GET", "/api/v1/calls?nonsense=1", **READER)

    assert answer == (400, {"error": {"code": "bad-query", "message": "there is no 'nonsense'"}})


async def test_verbs_need_the_scope_control():
    """Whoever may only look moves and ends nothing."""
    bridge = FakeBridge()
    async with api(bridge) as server:
        for verb in ("calls/abc/transfer", "calls/abc/hangup", "originate"):
            status, said = await ask(server, "POST", f"/api/v1/{verb}", {"to": "sales", "rule": "r"}, **READER)
            assert (status, said["error"]["code"]) == (403, "forbidden")
    assert bridge.asked == []


async def test_verbs_act_on_the_call_in_the_path():
    """A call is sent on with a reason, or ended."""
    bridge = FakeBridge()
    async with api(bridge) as server:
        body = {"to": "sales", "reason": "why", "summary": "what"}
        assert await ask(server, "POST", "/api/v1/calls/abc/transfer", body, **OWNER) == (
            200,
            {"done": True, "to": "sales"},
        )
        assert await ask(server, "POST", "/api/v1/calls/abc/hangup", **OWNER) == (200, {"done": True})

    assert bridge.asked == [("transfer", "abc", "sales", "why", "what"), ("hangup", "abc")]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoPbx("no"), 403, "no-pbx"),
        (NoSuchCall("no"), 404, "no-such-call"),
        (CallOver("no"), 409, "call-over"),
        (AlreadyTransferred("no"), 409, "already-transferred"),
        (NoSuchTransfer("no"), 422, "no-such-transfer"),
        (AmiUnreachable("no"), 502, "pbx-unreachable"),
        (AmiTimeout("no"), 502, "pbx-uncertain"),
        (RecordsError("no"), 503, "records-away"),
        (OriginateOff("no"), 403, "originate-off"),
        (NoSuchRule("no"), 422, "no-such-rule"),
        (NumberNotAllowed("no"), 422, "number-not-allowed"),
        (TooManyOriginates("no"), 429, "originate-rate-limit"),
        (DailyLimitReached("no"), 429, "originate-daily-limit"),
        (CannotCount("no"), 503, "cannot-count"),
        (UnsafeText("no"), 422, "refused"),
        (AgiProtocolError("no"), 422, "bad-call"),
    ],
    ids=lambda value: getattr(type(value), "__name__", value) if isinstance(value, Exception) else str(value),
)
async def test_each_failure_has_its_status_and_code(error: BridgeError, status: int, code: str):
    """Programs read the code, and it says apart what did not happen from what may have."""
    bridge = FakeBridge()
    bridge.error = error
    async with api(bridge) as server:
        answer = await ask(server, "POST", "/api/v1/calls/abc/transfer", {"to": "sales"}, **OWNER)

    assert answer == (status, {"error": {"code": code, "message": "no"}})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no", "the body is not JSON"),
        (b'"x"', "the body is not a JSON object"),
        ({}, "to is missing"),
        ({"to": 1}, "to must be a text"),
        ({"to": "sales", "reason": "x" * 1001}, "reason is longer than 1000 characters"),
    ],
)
async def test_bad_body_is_one_clear_error(body: object, message: str):
    """Nothing is done, and the message says what is wrong."""
    bridge = FakeBridge()
    async with api(bridge) as server:
        answer = await ask(server, "POST", "/api/v1/calls/abc/transfer", body, **OWNER)

    assert answer == (400, {"error": {"code": "bad-body", "message": message}})
    assert bridge.asked == []


async def test_call_is_started_by_who_may_act():
    """The number, the rule and, if anybody wants another than the rule's, the agent; the answer has the call's id."""
    bridge = FakeBridge()
    async with api(bridge) as server:
        body = {"to": "5551230001", "rule": "reminders"}
        assert (await ask(server, "POST", "/api/v1/originate", body, **READER))[0] == 403
        status, said = await ask(server, "POST", "/api/v1/originate", body, **OWNER)
        assert (status, said["done"], set(said)) == (200, True, {"done", "bridge_call_id", "to"})
        assert (await ask(server, "POST", "/api/v1/originate", {"to": "1"}, **OWNER))[0] == 400

    assert bridge.asked == [("originate", "5551230001", "reminders", "")]


async def test_id_that_is_longer_than_any_is_of_no_call():
    """Nothing is looked up for it, and nothing done."""
    bridge = FakeBridge()
    async with api(bridge) as server:
        for method, path in (("GET", ""), ("POST", "/hangup")):
            status, said = await ask(server, method, f"/api/v1/calls/{'a' * 101}{path}", **OWNER)
            assert (status, said["error"]["code"]) == (404, "no-such-call")
    assert bridge.asked == []


async def test_unknown_paths_and_methods_have_the_same_shape_of_error():
    """Whatever goes wrong, a program finds code and message in one place."""
    async with api(FakeBridge()) as server:
        assert (await ask(server, "GET", "/api/v1/nothing"))[1] == {
            "error": {"code": "not-found", "message": "Not Found"}
        }
        status, said = await ask(server, "DELETE", "/api/v1/live")
    assert (status, said["error"]["code"]) == (405, "method-not-allowed")
