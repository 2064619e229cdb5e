"""Who is let in, and how fast."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from agi_bridge.access import Scope, Token, digest
from agi_bridge.config import WebSettings
from agi_bridge.web.guard import Guard
from agi_bridge.web.server import WebServer
from tests.web.asking import PATIENCE_SECONDS, Clock, ask, bearer, web_server

READER = Token("crm", frozenset({Scope.READ}), digest("reader"))
OWNER = Token("owner", frozenset(Scope), digest("owner"))


@asynccontextmanager
async def guarding(clock: Clock, **settings: int) -> AsyncIterator[tuple[Guard, WebServer]]:
    """Run a server with one path that wants the scope `control`."""
    web_settings = WebSettings(listen=["127.0.0.1:0"], **settings)  # type: ignore[arg-type] # numbers all
    guard = Guard((READER, OWNER), web_settings, clock)

    async def open_up(request: web.Request) -> web.Response:
        return guard.refused(request, Scope.CONTROL) or web.json_response({"in": True})

    routes = [web.post("/here", open_up)]
    async with web_server(web_settings, routes) as server:
        yield guard, server


async def test_right_token_with_the_scope_is_let_in():
    """Bearer may be written in any case, and that is all there is to it."""
    async with guarding(Clock()) as (guard, server):
        assert await ask(server, "POST", "/here", **bearer("owner")) == (200, {"in": True})
        assert await ask(server, "POST", "/here", Authorization="bearer owner") == (200, {"in": True})
    assert guard.counts == {}


@pytest.mark.parametrize(
    "headers",
    [{}, bearer(""), bearer("wrong"), {"Authorization": "Basic owner"}, {"Authorization": "owner"}, bearer("crm")],
    ids=["none", "empty", "wrong", "another scheme", "no scheme", "a name"],
)
async def test_anything_else_is_unauthorized(headers: dict[str, str]):
    """The answer says what to send, the log from where it came, and neither what was sent."""
    with capture_logs() as logs:
        async with guarding(Clock()) as (guard, server):
            status, said = await ask(server, "POST", "/here", **headers)

    assert (status, said["error"]["code"]) == (401, "unauthorized")
    [line] = [line for line in logs if line["event"] == "HTTP request refused"]
    assert (line["peer"], line["code"], line["security"]) == ("127.0.0.1", "unauthorized", True)
    assert "wrong" not in str(line)
    assert guard.counts == {"unauthorized": 1}


async def test_token_opens_no_more_than_its_scopes():
    """Whoever may look may not act."""
    async with guarding(Clock()) as (guard, server):
        status, said = await ask(server, "POST", "/here", **bearer("reader"))

    assert (status, said) == (403, {"error": {"code": "forbidden", "message": "this token is not for control"}})
    assert guard.counts == {"forbidden": 1}


async def test_wrong_tokens_are_paced_and_right_ones_are_not_hindered():
    """Whoever guesses is answered without a look, and without a line; who has a token comes in from the same address."""
    clock = Clock()
    async with guarding(clock, wrong_token_limit_per_minute=2) as (guard, server):
        with capture_logs() as logs:
            statuses = [(await ask(server, "POST", "/here", **bearer("wrong")))[0] for _ in range(4)]
        assert statuses == [401, 401, 429, 429]
        assert len(logs) == 2
        assert (await ask(server, "POST", "/here", **bearer("owner")))[0] == 200
        clock.now += 30
        assert (await ask(server, "POST", "/here", **bearer("wrong")))[0] == 401
    assert guard.counts == {"unauthorized": 3, "too-many-wrong-tokens": 2}


async def test_holder_of_a_token_is_bounded_too():
    """A program that has gone wild is slowed down, and told how much it may ask."""
    clock = Clock()
    async with guarding(clock, request_limit_per_second=1) as (guard, server):
        statuses = [(await ask(server, "POST", "/here", **bearer("owner")))[0] for _ in range(3)]
        assert statuses == [200, 200, 429]
        clock.now += 1
        assert (await ask(server, "POST", "/here", **bearer("owner")))[0] == 200
    assert guard.counts == {"too-many-requests": 1}


async def test_reload_takes_tokens_away():
    """A token that is no longer in the file opens nothing any more."""
    async with guarding(Clock()) as (guard, server):
        guard.reconfigure((READER,), WebSettings())
        assert (await ask(server, "POST", "/here", **bearer("owner")))[0] == 401


async def test_token_that_is_no_text_is_a_wrong_one():
    """Whoever sends bytes that are not UTF-8 is answered, counted and paced like anybody who guesses."""
    async with guarding(Clock(), wrong_token_limit_per_minute=1) as (guard, server):
        reader, writer = await asyncio.open_connection(*server.addresses[0])
        writer.write(b"POST /here HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\nContent-Length: 0\r\n\r\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await reader.readline()
        writer.close()
    assert answer.split()[1] == b"401"
    assert guard.counts == {"unauthorized": 1}
