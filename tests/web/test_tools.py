"""What an agent asks for in the middle of a call, over a real port."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest

from agi_bridge.access import Scope, Token, digest
from agi_bridge.config import WebSettings
from agi_bridge.errors import (
    AlreadyTransferred,
    AmiUnreachable,
    BridgeError,
    CallOver,
    NoPbx,
    NoSuchTransfer,
    UnsafeText,
)
from agi_bridge.transfer import Transfer
from agi_bridge.web.guard import Guard
from agi_bridge.web.server import WebServer
from agi_bridge.web.tools import Tools
from tests.web.asking import Clock, ask, bearer, web_server

MILLIS = bearer("of millis")


class FakeVerbs:
    """Remembers what was asked of which call, or fails as planted; knows one session of Millis."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.error: BridgeError | None = None

    async def transfer(
        self, bridge_call_id: str, name: str, reason: str = "", summary: str = "", *, by_agent: bool = False
    ) -> Transfer:
        self._do("transfer", bridge_call_id, name, reason, summary, "by the agent" if by_agent else "by anybody")
        return Transfer(name, "q,600,1", 30)

    async def hang_up(self, bridge_call_id: str, *, by_agent: bool = False) -> None:
        self._do("hangup", bridge_call_id, "by the agent" if by_agent else "by anybody")

    async def bridge_call_id(self, session_id: str) -> str:
        return "abc" if session_id == "session-1" else ""

    def _do(self, *what: str) -> None:
        if self.error:
            raise self.error
        self.asked.append(what)


@asynccontextmanager
async def tools(verbs: FakeVerbs, **settings: int) -> AsyncIterator[WebServer]:
    """Run a server with the tools."""
    web_settings = WebSettings(listen=["127.0.0.1:0"], **settings)  # type: ignore[arg-type] # numbers all
    token = Token("millis", frozenset({Scope.MILLIS}), digest("of millis"))
    guard = Guard((token,), web_settings, Clock())
    routes = Tools(guard, verbs, verbs).routes()
    async with web_server(web_settings, routes) as server:
        yield server


ASKED = ("transfer", "abc", "sales", "a refund", "Long story.", "by the agent")
WORDS = {"target": "sales", "reason": "a refund", "summary": "Long story."}


@pytest.mark.parametrize(
    "body",
    [
        WORDS | {"bridge_call_id": "abc"},
        WORDS | {"metadata": {"bridge_call_id": "abc"}},
        WORDS | {"metadata": json.dumps({"bridge_call_id": "abc"})},
        {"params": WORDS, "metadata": {"bridge_call_id": "abc"}},
        WORDS | {"bridge_call_id": "another", "metadata": {"bridge_call_id": "abc"}},
        {"params": WORDS | {"bridge_call_id": "another"}, "metadata": {"bridge_call_id": "abc"}},
        WORDS | {"session_id": "session-1"},
        {"params": WORDS | {"session_id": "session-1"}},
        WORDS | {"session_id": "session-1", "metadata": None, "params": [1], "arguments": "{"},
    ],
    ids=[
        "id",
        "metadata",
        "metadata as text",
        "params",
        "id of another call",
        "another in params",
        "session",
        "session in params",
        "odd neighbours",
    ],
)
async def test_transfer_by_post(body: dict[str, object]):
    """However Millis puts it, the agent sends the caller to the target; the reply tells it in plain words."""
    verbs = FakeVerbs()
    async with tools(verbs) as server:
        status, said = await ask(server, "POST", "/tools/transfer", body, **MILLIS)

    assert verbs.asked == [ASKED]
    assert (status, said) == (
        200,
        {"done": True, "message": "The caller is being connected to sales. Say nothing more."},
    )


async def test_transfer_by_get():
    """A tool without a method of its own asks with a query."""
    verbs = FakeVerbs()
    async with tools(verbs) as server:
        query = urlencode(WORDS | {"session_id": "session-1"})
        status, said = await ask(server, "GET", f"/tools/transfer?{query}", **MILLIS)

    assert (verbs.asked, status, said["done"]) == ([ASKED], 200, True)


async def test_hangup():
    """The agent may end its call, and is known to be the agent."""
    verbs = FakeVerbs()
    async with tools(verbs) as server:
        answer = await ask(server, "POST", "/tools/hangup", {"bridge_call_id": "abc"}, **MILLIS)

    assert verbs.asked == [("hangup", "abc", "by the agent")]
    assert answer == (200, {"done": True, "message": "The call has been ended."})


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            NoSuchTransfer("there is no such destination; there are: sales"),
            "Not done: there is no such destination; there are: sales.",
        ),
        (CallOver("the call is over"), "The caller has hung up."),
        (
            AlreadyTransferred("the caller is being sent elsewhere already"),
            "Not done: the caller is being sent elsewhere already.",
        ),
        (
            AmiUnreachable("hq at 10.0.0.1:5038: refused"),
            "The telephone system does not answer. Tell the caller that it did not work.",
        ),
        (NoPbx("there is no [[pbx]]"), "That did not work. Tell the caller so."),
        (UnsafeText("a line end"), "That did not work. Tell the caller so."),
    ],
)
async def test_what_cannot_be_done_is_said_in_plain_words(error: BridgeError, message: str):
    """The agent can tell its caller why, and learns nothing of the network."""
    verbs = FakeVerbs()
    verbs.error = error
    async with tools(verbs) as server:
        answer = await ask(server, "POST", "/tools/transfer", WORDS | {"bridge_call_id": "abc"}, **MILLIS)

    assert answer == (200, {"done": False, "message": message})


@pytest.mark.parametrize("body", [{}, WORDS, WORDS | {"session_id": "unknown"}, WORDS | {"bridge_call_id": 7}])
async def test_nobody_knows_which_call(body: dict[str, object]):
    """Without an id nothing is done, and the answer says what the tool lacks."""
    verbs = FakeVerbs()
    async with tools(verbs) as server:
        status, said = await ask(server, "POST", "/tools/transfer", body, **MILLIS)

    assert (status, said["done"], verbs.asked) == (200, False, [])
    assert "let the tool send the metadata" in said["message"]


@pytest.mark.parametrize("body", [b"{", b"[1]", b"target=sales", b"\xff", b"[" * 10_000])
async def test_body_that_is_no_json_object(body: bytes):
    """One clear error, and nothing done."""
    verbs = FakeVerbs()
    async with tools(verbs) as server:
        status, said = await ask(server, "POST", "/tools/transfer", body, **MILLIS)

    assert (status, said["error"]["code"], verbs.asked) == (400, "bad-body", [])


async def test_body_beyond_the_limit():
    """A body that would fill the memory is refused by its size."""
    verbs = FakeVerbs()
    async with tools(verbs, body_limit_bytes=1024) as server:
        status, said = await ask(server, "POST", "/tools/transfer", b" " * 2000, **MILLIS)

    assert (status, said["error"]["code"], verbs.asked) == (413, "too-large", [])


async def test_stranger_is_not_listened_to():
    """Without the token nothing is read and nothing done."""
    verbs = FakeVerbs()
    async with tools(verbs) as server:
        status, _ = await ask(server, "POST", "/tools/transfer", WORDS | {"bridge_call_id": "abc"})

    assert (status, verbs.asked) == (401, [])
