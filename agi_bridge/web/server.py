"""Health, metrics and the reload over HTTP: `/livez`, `/readyz`, `/metrics`, `POST /reload`; and the routes of its neighbours.

A shell around aiohttp. A handler reads the snapshot, shapes it and returns it; what is to be done is done elsewhere. One
connection carries one request and lives for seconds, so that nobody can hold the bridge's file descriptors.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import structlog
from aiohttp import web

from agi_bridge.errors import CannotListen, ConfigError
from agi_bridge.web.guard import refusal
from agi_bridge.web.metrics import CONTENT_TYPE
from agi_bridge.web.reload_header import RELOAD_HEADER, RELOAD_WORD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType

    from agi_bridge.changes import Reloaded
    from agi_bridge.config import Address, WebSettings
    from agi_bridge.web.snapshot import Snapshot

log = structlog.get_logger(__name__)

# A proxy on this machine adds one of them to what it passes on from elsewhere.
_PASSED_ON = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")

# A query may hold all metadata of a call, each sign of it in several; what else there is is no larger than a browser's.
_LINE_BYTES = 65_536
_HEADER_BYTES = 4096


class _Refused(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class WebServer:
    """Listens for HTTP while it is entered; stays up through a drain, so that whoever asks learns of it."""

    def __init__(
        self,
        settings: WebSettings,
        worker: int,
        look: Callable[[], Snapshot],
        metrics: Callable[[], bytes],
        reload: Callable[[], Awaitable[Reloaded]],
        routes: Iterable[web.RouteDef] = (),
    ) -> None:
        self._settings = settings
        self._addresses = settings.addresses(worker)
        self._look = look
        self._metrics = metrics
        self._reload = reload
        self._routes = list(routes)
        self.refused_connections = 0
        self._servers: list[asyncio.Server] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of every listening socket, the real port where 0 was asked for."""
        return [sock.getsockname()[:2] for server in self._servers for sock in server.sockets]

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[_one_request], client_max_size=self._settings.body_limit_bytes)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_post("/reload", self._do_reload)
        app.add_routes(self._routes)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            max_line_size=_LINE_BYTES,
            max_field_size=_HEADER_BYTES,
            shutdown_timeout=1.0,
        )
        await self._runner.setup()
        try:
            for address in self._addresses:
                await self._listen(address)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _listen(self, address: Address) -> None:
        loop = asyncio.get_running_loop()
        try:
            # The loop's own way of opening them does not say on every Python why it could not.
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, place in dict.fromkeys(found):
                listening = socket.create_server(place, family=family)
                self._servers.append(await loop.create_server(self._connection, sock=listening))
                log.info("listening for HTTP", address=listening.getsockname()[:2])
        except (OSError, OverflowError) as error:
            number = getattr(error, "errno", None)
            why = os.strerror(number) if number and number > 0 else str(error)
            raise CannotListen.on(address, number, why, "listen under [web]") from error

    def _connection(self) -> asyncio.Protocol:
        """Return the protocol of one accepted connection; aiohttp itself would wait for ever for the first request."""
        server = self._runner.server
        assert server is not None  # noqa: S101 - set up before anything listens
        if len(server.connections) >= self._settings.connection_limit:
            self.refused_connections += 1
            log.warning("HTTP connection refused", connection_limit=self._settings.connection_limit)
            return _Refused()
        connection = server()
        asyncio.get_running_loop().call_later(self._settings.connection_timeout_seconds, connection.force_close)
        return connection

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        await self._runner.cleanup()

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        now = self._look()
        return web.json_response(_standing(now), status=503 if now.not_ready else 200)

    async def _show_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"content-type": CONTENT_TYPE})

    async def _do_reload(self, request: web.Request) -> web.Response:
        if not _may_reload(request):
            log.warning("reload refused", peer=request.remote, security=True)
            return web.json_response(
                {"why": f"only from this machine, and with the header {RELOAD_HEADER}"}, status=403
            )
        file = self._look().config_file
        try:
            done = await self._reload()
        except ConfigError as error:
            problems = [
                {"path": each.path, "message": each.message, "suggestion": each.suggestion} for each in error.problems
            ]
            return web.json_response({"config_file": file, "problems": problems}, status=422)
        return web.json_response({"config_file": file, "changed": done.changed, "needs_restart": done.needs_restart})


@web.middleware
async def _one_request(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Close the connection after its answer; what is no answer of ours becomes one of the usual shape."""
    response: web.StreamResponse
    try:
        response = await handler(request)
    except web.HTTPRequestEntityTooLarge:
        response = refusal(413, "too-large", "the body is larger than body_limit_bytes under [web]")
    except web.HTTPException as error:
        response = refusal(error.status, "-".join(error.reason.lower().split()), error.reason)
        if "allow" in error.headers:
            response.headers["allow"] = error.headers["allow"]
    except Exception:
        log.exception("an HTTP request failed unexpectedly", path=request.path)
        response = refusal(500, "internal-error", "the bridge's log says more")
    response.force_close()
    response.headers["cache-control"] = "no-store"
    return response


def _standing(now: Snapshot) -> dict[str, object]:
    return {
        "ready": not now.not_ready,
        "why_not": now.not_ready,
        "draining": now.draining,
        "version": now.version,
        "worker": now.worker,
        "workers": now.workers,
        "config_file": now.config_file,
        "config_loaded_at": now.config_loaded_at.isoformat(timespec="seconds"),
        "needs_restart": now.needs_restart,
        "regions": dict(now.region_states),
    }


def _may_reload(request: web.Request) -> bool:
    """Return whether a program on this machine asks, not a web page in a browser on it, and nobody through a proxy on it.

    A page cannot send the header elsewhere without asking first; and where its own name has been pointed at this machine,
    that name is in `Host`.
    """
    host = request.url.host or ""
    return (
        _is_loopback(request.remote or "")
        and (host == "localhost" or _is_loopback(host))
        and request.headers.get(RELOAD_HEADER) == RELOAD_WORD
        and not any(name in request.headers for name in _PASSED_ON)
    )


def _is_loopback(text: str) -> bool:
    with suppress(ValueError):
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return address.is_loopback
    return False
