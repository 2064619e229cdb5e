"""A program that is told of calls: a real HTTP server on a port of its own, which misbehaves as it is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from agi_bridge.config import WebhookSettings
from agi_bridge.events.event import Event, EventType, Letter, from_line, to_line

PATIENCE_SECONDS = 30
SECRET = "a rather long secret"


class Target:
    """What was received, in order; `answer` decides what is said to each, given its body."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], int | str] = lambda event: 200
        self.received: list[dict[str, Any]] = []
        self.taken: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.together: asyncio.Barrier | None = None
        self.at_once = self.most_at_once = 0
        self.url = ""
        self._come = asyncio.Condition()

    async def until(self, enough: Callable[[], object]) -> None:
        """Wait until *enough* is true; it is asked after each request."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._come:
            await self._come.wait_for(enough)

    async def takes(self, count: int) -> None:
        """Wait until so many events were taken."""
        await self.until(lambda: len(self.taken) >= count)

    async def hear(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            body = await request.read()
            if self.together is not None:
                await self.together.wait()
            event = json.loads(body)
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            self.bodies.append(body)
            said = self.answer(event)
            if said == 200:
                self.taken.append(event)
            async with self._come:
                self.received.append(event)
                self._come.notify_all()
            return await self._say(request, said)
        finally:
            self.at_once -= 1

    async def _say(self, request: web.Request, said: int | str) -> web.StreamResponse:
        match said:
            case int():
                return web.Response(status=said, headers={"location": f"{self.url}/elsewhere"})
            case "hang":
                await asyncio.sleep(3600)
            case "break":
                assert request.transport
                request.transport.close()
            case "huge":
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(b"x" * 65_536)
        return web.Response()


@asynccontextmanager
async def target(port: int = 0) -> AsyncIterator[Target]:
    """Run a target."""
    told = Target()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", told.hear)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield told
    finally:
        await runner.cleanup()


def settings(url: str, authority: str = "", **more: Any) -> WebhookSettings:
    """Return a webhook that is tried again soon."""
    quick = {"name": "crm", "retry_seconds": 0.02, "retry_limit_seconds": 0.05, "timeout_seconds": 5.0}
    return WebhookSettings(**{**quick, "url": f"{url}/hook", **more}).with_secret(SecretStr(SECRET), authority)


def an_event(id: str, call: str = "", type: EventType = EventType.CALL_ENDED, time: datetime | None = None) -> Event:
    """Return an event, by default of a call of its own, that happened just now."""
    return Event(id, type, time or datetime.now(UTC), call or f"call-{id}", {"did": "+15551230001"})


def a_letter(id: str = "1") -> Letter:
    """Return an event as it is sent."""
    return from_line(to_line(an_event(id), masked=False))
