"""What Millis tells of its own accord, over a real port."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from structlog.testing import capture_logs

from agi_bridge.access import Scope, Token, digest
from agi_bridge.call import Report
from agi_bridge.config import WebSettings
from agi_bridge.errors import LookupFailed
from agi_bridge.millis.sessions import MillisSessions
from agi_bridge.web.guard import Guard
from agi_bridge.web.millis_webhooks import MillisWebhooks
from agi_bridge.web.server import WebServer
from tests.web.asking import Clock, ask, bearer, web_server

MILLIS = bearer("of millis")
CALLED_AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
QUERY = {
    "session_id": "s1",
    "agent_id": "-N",
    "from": "+15551230001",
    "to": "+15557654321",
    "bridge_call_id": "abc",
    "caller_number": "+15557654321",
    "called_at": CALLED_AT.isoformat(timespec="milliseconds"),
}
END = {"session_id": "s1", "call_id": "call-1", "call_status": "user-ended", "metadata": {"bridge_call_id": "abc"}}


class FakeRecorder:
    """Remembers the reports."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def add(self, report: Report) -> None:
        self.reports.append(report)


class FakeLookup:
    """Knows one caller, or fails as planted."""

    def __init__(self, found: Mapping[str, Any], error: Exception | None = None) -> None:
        self.found, self.error = found, error
        self.asked: list[Mapping[str, str]] = []

    async def find(self, known: Mapping[str, str]) -> Mapping[str, Any]:
        self.asked.append(known)
        if self.error:
            raise self.error
        return self.found


class SlowLookup:
    """Never answers."""

    async def find(self, known: Mapping[str, str]) -> Mapping[str, Any]:
        await asyncio.Event().wait()
        return {}


class Told:
    """A server with the webhooks, and what came of them."""

    def __init__(self, lookup: FakeLookup | SlowLookup | None = None) -> None:
        self.recorder, self.sessions = FakeRecorder(), MillisSessions()
        self.settings = WebSettings(listen=["127.0.0.1:0"])
        token = Token("millis", frozenset({Scope.MILLIS}), digest("of millis"))
        reader = Token("reader", frozenset({Scope.READ, Scope.CONTROL}), digest("reader"))
        self.webhooks = MillisWebhooks(
            Guard((token, reader), self.settings, Clock()),
            self.sessions,
            self.recorder,
            lookup,
            lookup_seconds=0.05,
            value_limit_characters=20,
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[WebServer]:
        async with web_server(self.settings, self.webhooks.routes()) as server:
            yield server

    async def prefetch(self, **more: str) -> tuple[int, dict[str, Any]]:
        """Return the answer to the first webhook."""
        async with self.serving() as server:
            return await ask(server, "GET", f"/webhooks/prefetch?{urlencode(QUERY | more)}", **MILLIS)


async def test_beginning_teaches_which_session_a_call_has():
    """At once in memory, for a tool that is used the next instant, and in the record."""
    told = Told()

    assert await told.prefetch() == (200, {})
    assert told.sessions.bridge_call_id("s1") == "abc"
    assert told.recorder.reports == [Report("abc", CALLED_AT, {"millis_session_id": "s1"})]
    assert told.webhooks.counts == {("prefetch", "learnt"): 1}


@pytest.mark.parametrize("more", [{"bridge_call_id": ""}, {"bridge_call_id": "a/b"}, {"session_id": ""}])
async def test_beginning_of_a_call_of_others(more: dict[str, str]):
    """Millis is answered as if nothing was known, which is so; nothing is learnt, whatever the numbers are."""
    told = Told(FakeLookup({"tier": "gold"}))
    status, said = await told.prefetch(**more)

    assert (status, told.recorder.reports, told.sessions.bridge_call_id("s1")) == (200, [], "")
    assert said == {} or more == {"session_id": ""}


async def test_beginning_without_any_id():
    """An agent must not fail for want of an answer."""
    told = Told()
    async with told.serving() as server:
        assert await ask(server, "GET", "/webhooks/prefetch?from=1&to=2", **MILLIS) == (200, {})

    assert told.webhooks.counts == {("prefetch", "no-call"): 1}


async def test_long_metadata_fits_into_the_query():
    """A rule may send many values, each sign of which takes several in a query."""
    told = Told()
    more = {f"value_{number}": "ü" * 255 for number in range(20)}

    assert await told.prefetch(**more) == (200, {})


async def test_lookup_adds_metadata():
    """What is known of the call is what is looked up by; what is found is made flat, printable and short."""
    lookup = FakeLookup(
        {
            "tier": "gold",
            "visits": 7,
            "is_new": False,
            "note": "a\nlong note about somebody",
            "nested": {},
            "none": None,
            "bridge_call_id": "forged",
            "from": "forged",
            "no name": "x",
        }
    )
    told = Told(lookup)

    assert await told.prefetch() == (
        200,
        {"metadata": {"tier": "gold", "visits": "7", "is_new": "false", "note": "along note about som"}},
    )
    assert [known["caller_number"] for known in lookup.asked] == ["+15557654321"]
    assert told.webhooks.counts["lookup", "found"] == 1


@pytest.mark.parametrize(
    ("lookup", "outcome"),
    [
        (FakeLookup({}, LookupFailed("no")), "failed"),
        (FakeLookup({}, TimeoutError()), "timeout"),
        (SlowLookup(), "timeout"),
        (FakeLookup({}), "nothing"),
    ],
    ids=["fails", "times out", "never answers", "nothing known"],
)
async def test_lookup_keeps_no_agent_waiting(lookup: FakeLookup | SlowLookup, outcome: str):
    """Whatever becomes of it, the agent begins in time, and the session is learnt."""
    told = Told(lookup)

    assert await told.prefetch() == (200, {})
    assert told.webhooks.counts == {("prefetch", "learnt"): 1, ("lookup", outcome): 1}


async def test_end_of_a_call_is_reported():
    """Its record gets what Millis says; the log says of which call, and nothing of what was said in it."""
    told = Told()
    with capture_logs() as lines:
        async with told.serving() as server:
            body = END | {"chat": [{"role": "user", "content": "my secret"}]}
            assert await ask(server, "POST", "/webhooks/end-of-call", body, **MILLIS) == (200, {"done": True})

    (report,) = told.recorder.reports
    assert (report.bridge_call_id, report.facts["transcript"]) == ("abc", "user: my secret")
    assert [line["millis_status"] for line in lines if line["event"] == "told by Millis"] == ["user-ended"]
    assert "my secret" not in str(lines)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 10_000, {}, {"session_id": None}])
async def test_end_that_says_nothing_is_refused(body: object):
    """One clear error, counted, and nothing recorded."""
    told = Told()
    async with told.serving() as server:
        status, said = await ask(server, "POST", "/webhooks/end-of-call", body, **MILLIS)

    assert (status, said["error"]["code"], told.recorder.reports) == (400, "bad-body", [])
    assert told.webhooks.counts == {("end-of-call", "bad-body"): 1}


@pytest.mark.parametrize(("headers", "status"), [({}, 401), (bearer("wrong"), 401), (bearer("reader"), 403)])
async def test_strangers_teach_us_nothing(headers: dict[str, str], status: int):
    """Without the token for it nothing is read, nothing learnt and nothing recorded."""
    told = Told()
    async with told.serving() as server:
        first = await ask(server, "GET", f"/webhooks/prefetch?{urlencode(QUERY)}", **headers)
        second = await ask(server, "POST", "/webhooks/end-of-call", END, **headers)

    assert (first[0], second[0]) == (status, status)
    assert (told.recorder.reports, told.sessions.bridge_call_id("s1")) == ([], "")
