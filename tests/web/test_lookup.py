"""Callers looked up over HTTP, at a real server."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from agi_bridge.config import PrefetchSettings
from agi_bridge.errors import LookupFailed
from agi_bridge.web.lookup import HttpLookup

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
KNOWN = {"caller_number": "+15557654321", "session_id": "s1", "tier": "not ours to tell"}


@asynccontextmanager
async def lookup(answer: Answer, token: str = "", **settings: Any) -> AsyncIterator[HttpLookup]:
    """Run a server that answers so, and what asks it."""
    app = web.Application()
    app.router.add_get("/people", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/people"
    wanted = PrefetchSettings(url=url, **settings).with_secrets(SecretStr(token), SecretStr(""))
    try:
        async with HttpLookup(wanted) as opened:
            yield opened
    finally:
        await runner.cleanup()


async def test_what_is_known_is_asked_and_what_is_found_comes_back():
    """The query has our own names and nothing else, and the token is shown."""
    asked: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((dict(request.query), request.headers["authorization"]))
        return web.json_response({"name": "Ada"})

    async with lookup(answer, "of the crm") as people:
        assert await people.find(KNOWN) == {"name": "Ada"}

    assert asked == [({"caller_number": "+15557654321", "session_id": "s1"}, "Bearer of the crm")]


@pytest.mark.parametrize("status", [204, 404])
async def test_nobody_is_known_of_that_number(status: int):
    """Not to know somebody is no failure."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with lookup(answer) as people:
        assert await people.find(KNOWN) == {}


@pytest.mark.parametrize(
    ("response", "why"),
    [
        ({"status": 500}, "status 500"),
        ({"status": 302, "headers": {"location": "http://127.0.0.1:1/"}}, "status 302"),
        ({"text": "no"}, "does not answer with JSON"),
        ({"text": "[1]"}, "does not answer with a JSON object"),
        ({"text": "x" * 2_000}, "beyond answer_limit_bytes"),
    ],
    ids=["error", "redirect", "no JSON", "no object", "too large"],
)
async def test_what_is_no_answer_is_one_clear_error(response: dict[str, Any], why: str):
    """Whatever comes is bounded, and nothing is followed elsewhere."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(**response)

    async with lookup(answer, answer_limit_bytes=1024) as people:
        with pytest.raises(LookupFailed, match=why):
            await people.find(KNOWN)


async def test_nobody_listens():
    """The address is wrong, or the directory is down."""
    async with HttpLookup(PrefetchSettings(url="http://127.0.0.1:1")) as people:
        with pytest.raises(LookupFailed, match="cannot be asked"):
            await people.find(KNOWN)


async def test_too_many_at_once_are_refused():
    """A directory that hangs holds no more than so many; the others fail at once."""

    async def answer(request: web.Request) -> web.Response:
        with pytest.raises(LookupFailed, match="lookup_limit"):
            await people.find(KNOWN)
        return web.json_response({"asked": "within"})

    async with lookup(answer, lookup_limit=1) as people:
        assert await people.find(KNOWN) == {"asked": "within"}
