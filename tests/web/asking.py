"""A web server under test, and what asks it, byte by byte, as any client would."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from agi_bridge.changes import Reloaded
from agi_bridge.config import WebSettings
from agi_bridge.web.server import WebServer
from agi_bridge.web.snapshot import Snapshot

PATIENCE_SECONDS = 20
_NOW = Snapshot("1", 1, 1, "", False, "", datetime(2026, 1, 2, tzinfo=UTC), 0, 0, 0, {})


@dataclass(frozen=True)
class Dialled:
    """A call that is being dialled."""

    number: str
    bridge_call_id: str = "def"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def web_server(settings: WebSettings, routes: Iterable[web.RouteDef]) -> WebServer:
    """Return a server of *routes* that has nothing else to say."""

    async def reload() -> Reloaded:
        return Reloaded((), ())

    return WebServer(settings, 1, lambda: _NOW, lambda: b"", reload, routes)


async def ask(
    server: WebServer, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Return status and JSON of one answer; *body* is bytes, or a value to be sent as JSON."""
    return await ask_at(server.addresses[0], method, path, body, **headers)


async def ask_at(
    address: tuple[str, int], method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Ask likewise, but a server of which only the address is known."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1:4574",
        f"Content-Length: {len(content)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    reader, writer = await asyncio.open_connection(*address)
    writer.write("\r\n".join([*lines, "", ""]).encode() + content)
    async with asyncio.timeout(PATIENCE_SECONDS):
        said = (await reader.read()).decode()
    writer.close()
    head, _, text = said.partition("\r\n\r\n")
    return int(head.split()[1]), json.loads(text)


def bearer(token: str) -> dict[str, str]:
    """Return the header that presents *token*."""
    return {"Authorization": f"Bearer {token}"}
