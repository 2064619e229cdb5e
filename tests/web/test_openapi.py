"""The API is as its description says, and what the description does not allow is refused: schemathesis asks a real server."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from agi_bridge.access import Scope, Token, digest
from agi_bridge.call import CallRecord
from agi_bridge.config import WebSettings
from agi_bridge.errors import (
    AlreadyTransferred,
    CallOver,
    NoSuchCall,
    NoSuchRule,
    NoSuchTransfer,
    NumberNotAllowed,
    OriginateOff,
    TooManyOriginates,
)
from agi_bridge.numbers import Numbers
from agi_bridge.records.export import as_object
from agi_bridge.records.selection import asked_page
from agi_bridge.transfer import Transfer
from agi_bridge.web.api import Api
from agi_bridge.web.guard import Guard
from agi_bridge.web.openapi import openapi
from agi_bridge.web.server import WebServer
from tests.web.asking import Clock, Dialled, web_server

schema = schemathesis.openapi.from_dict(openapi("1.2.3"))
# A destination that is on nobody's list is well described and refused all the same.
schema.config.checks.positive_data_acceptance.expected_statuses += ["422"]

NOW = datetime(2026, 7, 1, tzinfo=UTC)
OWNER = {"Authorization": "Bearer owner"}


class AnyBridge:
    """A bridge that gives each of its answers to some requests: what is asked for decides, so that a run is like the last."""

    async def transfer(self, bridge_call_id: str, name: str, reason: str = "", summary: str = "") -> Transfer:
        if not name.isascii():
            raise NoSuchTransfer("there is no such destination; there are: sales")
        await self.hang_up(bridge_call_id)
        return Transfer(name, "q,600,1", 30)

    async def hang_up(self, bridge_call_id: str, *, by_agent: bool = False) -> None:
        match sum(map(ord, bridge_call_id)) % 4:
            case 0:
                raise NoSuchCall("there is no call of that id now")
            case 1:
                raise CallOver("the call is over")
            case 2:
                raise AlreadyTransferred("the caller is being sent elsewhere already")

    async def live_calls(self) -> Mapping[str, Any]:
        channel = {"name": "PJSIP/trunk-1", "uniqueid": "1.2", "state": "Up", "joined": True}
        call = {"bridge_call_id": "abc", "received_at": None, "pbx": "hq", "uniqueid": "1.2", "channels": [channel]}
        return {"calls": [call], "complete": True}

    def dry_run(self, did: str, caller: str | None, context: str, channel: str) -> Mapping[str, Any]:
        return {"rule": "sales"}

    async def originate(self, to: str, rule_name: str, agent_id: str = "") -> Dialled:
        if not to.isascii():
            raise NumberNotAllowed("that is no number that may be called")
        if not rule_name.isascii():
            raise NoSuchRule("there is no outbound rule of that name")
        match len(to) % 3:
            case 0:
                raise OriginateOff("calls to others are not switched on")
            case 1:
                raise TooManyOriginates("at most 1 call a minute")
        return Dialled(to)

    async def calls(self, query: Mapping[str, str]) -> Mapping[str, Any]:
        asked_page(query, Numbers("US"), NOW)
        return {"calls": [as_object(CallRecord("abc", NOW))], "next": None}

    async def call(self, bridge_call_id: str) -> Mapping[str, Any] | None:
        return as_object(CallRecord(bridge_call_id, NOW)) if len(bridge_call_id) % 2 else None


@asynccontextmanager
async def api() -> AsyncIterator[WebServer]:
    """Run a server that no pace holds back."""
    limits = WebSettings(listen=["127.0.0.1:0"], request_limit_per_second=100_000, wrong_token_limit_per_minute=100_000)
    tokens = (Token("owner", frozenset({Scope.READ, Scope.CONTROL}), digest("owner")),)
    bridge = AnyBridge()
    routes = Api(Guard(tokens, limits, Clock()), bridge, bridge, bridge, "1.2.3").routes()
    async with web_server(limits, routes) as server:
        yield server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server in a thread of its own, for schemathesis asks and waits."""
    ready, over = threading.Event(), threading.Event()
    addresses: list[tuple[str, int]] = []

    async def serve() -> None:
        async with api() as server:
            addresses.extend(server.addresses)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(10)
    host, port = addresses[0]
    yield f"http://{host}:{port}"
    over.set()
    thread.join()


@schema.parametrize()
@settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_api_is_as_described(case: schemathesis.Case[Any], url: str):
    """Every answer has a status, a content type and a body that the description foresees, to good requests and to bad ones."""
    # Which texts are times, and which are cursors, no schema can say; a text that is none is a 400.
    unsaid: list[Any] = [positive_data_acceptance] if case.operation.label == "GET /api/v1/calls" else []
    case.call_and_validate(base_url=url, headers=OWNER, excluded_checks=unsaid)
