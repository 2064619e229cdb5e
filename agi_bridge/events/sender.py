"""Sends one event to one target over HTTP, once: delivered, or a `NotDelivered` that says why.

A shell: aiohttp's types and errors stop here. It never logs and repeats nothing; when to try again is decided in `outbox`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, Protocol, Self

import aiohttp

from agi_bridge.errors import NotDelivered
from agi_bridge.events.signature import key_of, signed

if TYPE_CHECKING:
    from types import TracebackType

    from agi_bridge.config import WebhookSettings
    from agi_bridge.events.event import Letter


class Sends(Protocol):
    """What an outbox needs; `Sender` is one."""

    async def send(self, settings: WebhookSettings, letter: Letter) -> None: ...


class Sender:
    """One pool of connections for all targets, while it is entered."""

    def __init__(self) -> None:
        # A context takes milliseconds to make, and is asked for with every event.
        self._trusts: dict[str, ssl.SSLContext] = {}

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # each target has its own bound
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"accept-encoding": "identity", "user-agent": "agi-bridge"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def send(self, settings: WebhookSettings, letter: Letter) -> None:
        """Deliver *letter*; raise NotDelivered within the target's time limit."""
        key = key_of(settings.secret.get_secret_value())
        headers = {"content-type": "application/json", **signed(key, letter.id, int(time.time()), letter.body)}
        try:
            async with (
                asyncio.timeout(settings.timeout_seconds),
                # Redirects are not followed: an answer must not decide to whom we tell of calls.
                self._http.post(
                    settings.url,
                    data=letter.body,
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._trust(settings.authority),
                ) as response,
            ):
                await _read_away(response, settings.answer_limit_bytes)
        except TimeoutError as error:
            raise NotDelivered(f"no answer within {settings.timeout_seconds:g} s") from error
        except aiohttp.ServerDisconnectedError as error:
            raise NotDelivered("the connection was closed without an answer") from error
        except aiohttp.ClientSSLError as error:
            raise NotDelivered(f"TLS failed: {error}") from error
        except aiohttp.ClientConnectorError as error:
            raise NotDelivered(f"the connection failed: {error.os_error.strerror or error}") from error
        except aiohttp.ClientError as error:
            raise NotDelivered(f"{type(error).__name__}: {error}") from error
        if not 200 <= response.status < 300:
            hint = "; redirects are not followed" if 300 <= response.status < 400 else ""
            raise NotDelivered(f"HTTP {response.status}{hint}", status=response.status)

    def _trust(self, authority: str) -> ssl.SSLContext | bool:
        if not authority:
            return True
        if authority not in self._trusts:
            self._trusts[authority] = ssl.create_default_context(cadata=authority)
        return self._trusts[authority]


async def _read_away(response: aiohttp.ClientResponse, limit_bytes: int) -> None:
    """Read an answer that nobody needs, so that the connection can carry the next event; a long one costs it instead."""
    read = 0
    async for piece in response.content.iter_any():
        read += len(piece)
        if read > limit_bytes:
            response.close()
            return
