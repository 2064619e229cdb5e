"""The Millis API to call when there is no account: real HTTP on a real socket, and faults on demand.

It answers the paths a bridge uses in the shapes that the vendor's public documentation gives, and remembers every
request, so that a test, the demo or a person sees what was sent. It must not know the bridge or its Millis client:
it stands at the other end of the wire. Where the documentation is silent (the body of a refusal, an unknown agent)
its answer is a guess, and the bridge must not depend on it.
"""

import asyncio
import json
import secrets
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Self

from aiohttp import web

from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.millis_session import SimulatedSessions, Target

__all__ = ["Fault", "Received", "SimulatedMillis"]

REMEMBERED_REQUESTS = 10_000  # a simulator left running for weeks must not grow
HUGE_BYTES = 100 * 2**20
# An agent_config with any other key is refused; the keys are those published in June 2025.
_AGENT_CONFIG_KEYS = frozenset(
    (
        *("prompt", "voice", "first_message", "language", "llm", "custom_llm_websocket", "speech_to_text", "tools"),
        *("vad_threshold", "custom_vocabulary", "switch_language", "timezone", "flow", "millis_functions", "memory"),
        *("app_functions", "knowledge_base", "session_timeout", "session_data_webhook", "extra_prompt_webhook"),
        *("privacy_settings", "call_settings"),
    )
)
_FIELD_TYPES: dict[str, type] = {
    **dict.fromkeys(("agent_id", "from_phone", "to_phone"), str),
    **dict.fromkeys(("agent_config", "metadata", "session_continuation"), dict),
    "include_metadata_in_prompt": bool,
}
_TYPE_NAMES = {str: "string", dict: "dict", bool: "bool"}


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived. ``body`` is the parsed JSON, None when it is none; ``at`` is time.monotonic()."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: Any
    raw_body: bytes
    at: float
    query: Mapping[str, str] = field(default_factory=dict)


class SimulatedMillis:
    """One API server, from ``async with`` to its end. ``fault`` may be set at any time; ``upcoming`` goes first."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        key: str | None = None,
        sip_host: str = "127.0.0.1:5090",
        agents: Collection[str] | None = None,
        fault: Fault | None = None,
        on_request: Callable[[Received], None] | None = None,
        tls: ssl.SSLContext | None = None,
        webhooks: Target | None = None,
    ) -> None:
        """Accept any key when *key* is None, and know any agent when *agents* is None; with *tls* speak HTTPS.

        *webhooks* says where those are sent; without it, nowhere.
        """
        self.sessions = SimulatedSessions(webhooks or Target())
        self.host, self.port = host, port
        self.sip_host = sip_host
        self.fault = fault or Fault()
        self.upcoming: deque[Fault] = deque()  # one for each next request, before `fault` counts again
        self.requests: deque[Received] = deque(maxlen=REMEMBERED_REQUESTS)
        self.registrations: deque[Received] = deque(
            maxlen=REMEMBERED_REQUESTS
        )  # POST /register_sip_call, refused or not
        self.abandoned_at: deque[float] = deque(maxlen=REMEMBERED_REQUESTS)
        self.issued: deque[dict[str, str]] = deque(maxlen=REMEMBERED_REQUESTS)
        self.endpoints: deque[str] = deque(maxlen=REMEMBERED_REQUESTS)  # call ids of `POST /sip`, until deleted
        self._key, self._agents, self._on_request = key, agents, on_request
        self._tls = tls
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        # handler_cancellation is how we learn that a client went away while we kept it waiting.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)

    @property
    def url(self) -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://[{self.host}]:{self.port}" if ":" in self.host else f"{scheme}://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await self.sessions.__aenter__()
        try:
            await web.TCPSite(self._runner, self.host, self.port, backlog=1024, ssl_context=self._tls).start()
        except OSError:
            await self.sessions.__aexit__()
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sessions.__aexit__()
        self._closing.set()  # lets go of everyone who hangs
        await self._runner.cleanup()

    async def received(self, count: int = 1, timeout_seconds: float = 5.0) -> Received:
        """Wait for the registration with this number, the first being 1; TimeoutError if it does not come."""
        await self._until(lambda: len(self.registrations) >= count, timeout_seconds)
        return self.registrations[count - 1]

    async def any_request(self, timeout_seconds: float = 5.0) -> None:
        """Wait for the next request of any kind; TimeoutError if none comes."""
        known = len(self.requests)
        await self._until(lambda: len(self.requests) > known, timeout_seconds)

    async def abandoned(self, count: int = 1, timeout_seconds: float = 5.0) -> float:
        """Wait until so many clients left without their answer; return when (time.monotonic) the last of them did."""
        await self._until(lambda: len(self.abandoned_at) >= count, timeout_seconds)
        return self.abandoned_at[count - 1]

    async def _until(self, happened: Callable[[], bool], timeout_seconds: float) -> None:
        async with asyncio.timeout(timeout_seconds):
            while not happened():
                self._news.clear()
                await self._news.wait()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """Misbehave as told, the same on every path: an API that is down is down everywhere."""
        received = await self._record(request)
        fault = self.upcoming.popleft() if self.upcoming else self.fault
        try:
            response = await self._answer(request, received, fault)
        except asyncio.CancelledError:
            self._abandon()
            raise
        if fault.retry_after_seconds is not None and not response.prepared:
            response.headers["Retry-After"] = str(fault.retry_after_seconds)
        if fault.clock_seconds and not response.prepared:
            response.headers["Date"] = formatdate(time.time() + fault.clock_seconds, usegmt=True)
        return response

    async def _record(self, request: web.Request) -> Received:
        raw_body, body = await request.read(), None
        with suppress(ValueError, RecursionError):
            body = json.loads(raw_body)
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(
            request.method, request.path, headers, body, raw_body, time.monotonic(), dict(request.query)
        )
        self.requests.append(received)
        if (received.method, received.path) == ("POST", "/register_sip_call"):
            self.registrations.append(received)
        self._news.set()
        if self._on_request:
            self._on_request(received)
        return received

    def _abandon(self) -> None:
        self.abandoned_at.append(time.monotonic())
        self._news.set()

    async def _answer(self, request: web.Request, received: Received, fault: Fault) -> web.StreamResponse:
        if fault.hang or fault.delay_seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if fault.hang else fault.delay_seconds):
                    await self._closing.wait()
        if fault.hang:
            return _refusal(503, "the simulator is closing")
        if fault.reset or fault.reset_mid_body:
            return await _reset(request, in_mid_body=fault.reset_mid_body)
        match fault.body:
            case "html":
                page = "<!DOCTYPE html><html><body><h1>Something went wrong</h1></body></html>"
                return web.Response(status=fault.status, text=page, content_type="text/html")
            case "empty":
                return web.Response(status=fault.status, content_type="application/json")
            case "not-json":
                return web.Response(status=fault.status, text='{"call_id": "call-', content_type="application/json")
            case "list":
                return web.json_response([], status=fault.status)
            case "huge":
                return await self._huge(request, fault.status)
        if fault.status >= 300:
            mistake = _mistake(["body", "agent_id"], "string_type", "Input should be a valid string")
            return _refusal(fault.status, [mistake] if fault.detail == "list" else "simulated fault")
        return self._credentials_refusal(received) or self._route(received, fault)

    async def _huge(self, request: web.Request, status: int) -> web.StreamResponse:
        """Stream one JSON string that goes on and on, chunked, so that no header gives its length away."""
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
        chunk = b"x" * 65536
        try:
            await response.prepare(request)
            await response.write(b'{"call_id": "')
            for _ in range(HUGE_BYTES // len(chunk)):
                if self._closing.is_set():
                    break
                await response.write(chunk)
        except ConnectionError:  # the client has read enough
            self._abandon()
        return response

    def _credentials_refusal(self, received: Received) -> web.Response | None:
        """The header is declared required, so leaving it out is a 422; the 401 is documented for /user/info alone."""
        sent = received.headers.get("authorization")
        if sent is None:
            return _refusal(422, [_mistake(["header", "authorization"], "missing", "Field required")])
        if self._key is not None and sent != self._key:
            return _refusal(401, "Invalid API key")
        return None

    def _route(self, received: Received, fault: Fault) -> web.Response:
        match received.method, *received.path.strip("/").split("/"):
            case "POST", "register_sip_call":
                return self._refuse_call(received.body, ["body"]) or self._issue(fault, received.body)
            case "POST", "sip":
                init_agent = received.body.get("init_agent") if isinstance(received.body, dict) else None
                if refusal := self._refuse_call(init_agent, ["body", "init_agent"]):
                    return refusal
                if not isinstance(received.body.get("region"), str | None):
                    return _refusal(
                        422, [_mistake(["body", "region"], "string_type", "Input should be a valid string")]
                    )
                response = self._issue(fault, init_agent or {})
                self.endpoints.append(self.issued[-1]["call_id"])
                return response
            case "DELETE", "sip", call_id:
                if call_id not in self.endpoints:
                    return _refusal(404, "SIP endpoint not found")
                self.endpoints.remove(call_id)
                return web.json_response({})
            case "GET", "call-logs":
                return web.json_response(self.sessions.logs(received.query))
            case "GET", "user", "info":
                refill = {"enabled": False, "threshold": 0, "refill_amount": 0}
                account = {
                    "user_id": "simulated-user",
                    "credit": fault.credit,
                    "used_credit": 1.5,
                    "auto_refill": refill,
                }
                return web.json_response(account)
            case "GET", "agents", agent_id if self._has_agent(agent_id, fault):
                agent = {"id": agent_id, "name": "Simulated agent", "status": fault.agent, "config": {}}
                return web.json_response(agent)
            case "GET", "agents", _:
                return _refusal(404, "Agent not found")
        return _refusal(404, "Not Found")

    def _has_agent(self, agent_id: str, fault: Fault) -> bool:
        return fault.agent != "missing" and (self._agents is None or agent_id in self._agents)

    def _refuse_call(self, body: object, place: list[str | int]) -> web.Response | None:
        if not isinstance(body, dict):
            return _refusal(422, [_mistake(place, "model_attributes_type", "Input should be an object")])
        config = body.get("agent_config")
        unknown = sorted(set(config) - _AGENT_CONFIG_KEYS) if isinstance(config, dict) else []
        mistakes = [
            _mistake([*place, name], f"{_TYPE_NAMES[kind]}_type", f"Input should be a valid {_TYPE_NAMES[kind]}")
            for name, kind in _FIELD_TYPES.items()
            if body.get(name) is not None and not isinstance(body[name], kind)
        ] + [
            _mistake([*place, "agent_config", name], "extra_forbidden", "Extra inputs are not permitted")
            for name in unknown
        ]
        if mistakes:
            return _refusal(422, mistakes)
        if body.get("agent_id") is None and not config:
            return _refusal(400, "agent_id or agent_config is required")
        if self._agents is not None and body.get("agent_id") not in {None, *self._agents}:
            return _refusal(404, "Agent not found")
        return None

    def _issue(self, fault: Fault, init_agent: Mapping[str, Any]) -> web.Response:
        call_id = f"call-{secrets.token_hex(8)}"
        self.sessions.register(call_id, init_agent)
        uri = f"sip:{call_id}@{self.sip_host}" if fault.uri is None else fault.uri
        self.issued.append({"call_id": call_id, "uri": uri})
        names = {"sip": ["sip"], "sip_uri": ["sip_uri"], "both": ["sip", "sip_uri"]}[fault.field]
        answer = {"call_id": call_id, **dict.fromkeys(names if fault.body == "json" else [], uri)}
        return web.json_response(answer, status=fault.status)


def _mistake(place: list[str | int], kind: str, message: str) -> dict[str, object]:
    return {"loc": place, "msg": message, "type": kind}


def _refusal(status: int, detail: object) -> web.Response:
    """Shape an error as FastAPI does: the detail is a text, or for a 422 a list."""
    return web.json_response({"detail": detail}, status=status)


async def _reset(request: web.Request, *, in_mid_body: bool) -> web.StreamResponse:
    """Break the connection with an RST, before the answer or in the middle of it."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
    if in_mid_body:
        await response.prepare(request)
        await response.write(b'{"call_id": "call-')
    if transport := request.transport:
        # Closing with a linger of zero is what makes the kernel send RST rather than FIN.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return response
