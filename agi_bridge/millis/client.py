"""The HTTP side of Millis: one pool of connections, one deadline a request, every failure made one of ours.

A shell: aiohttp's types and errors stop here. It knows nothing of calls, rules or the choice of a region; `regions.py` hands
it a body and gets a `Registration` or a `MillisError`. It never logs, so neither the key nor a SIP URI can reach a log from
here.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

import aiohttp

from agi_bridge.errors import MillisNonsense, MillisRefused, MillisTimeout, MillisUnreachable
from agi_bridge.millis.models import (
    CallLogs,
    Registration,
    error_detail,
    parse_call_logs,
    parse_registration,
    retry_after_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from aiohttp.connector import Connection

    from agi_bridge.config import Config, MillisSettings

# Kept connections need no name; a new one beside them should not wait for DNS while the caller does.
_DNS_CACHE_SECONDS = 300

# A connection that Millis closes sooner after its last request is not worth renewing.
_WORTH_RENEWING_SECONDS = 1.0

# The region that this task asks, and whether its request travels on a connection that was kept from an earlier one.
_region = ContextVar[str]("_region")
_kept = ContextVar("_kept", default=False)


class _Pool(aiohttp.TCPConnector):
    """Tells a connection that was kept from a new one, which aiohttp's errors do not; and tells when Millis closes a kept one."""

    def __init__(self, on_lost: Callable[[str], None], keepalive_seconds: float, **options: Any) -> None:
        super().__init__(keepalive_timeout=keepalive_seconds, **options)
        self._on_lost = on_lost
        self._keepalive_seconds = keepalive_seconds
        self._used_at = WeakKeyDictionary[object, float]()

    async def connect(self, *arguments: Any, **options: Any) -> Connection:
        connection = await super().connect(*arguments, **options)
        protocol = connection.protocol
        assert protocol is not None  # noqa: S101 - aiohttp takes it away when the connection is released
        _kept.set(protocol in self._used_at)
        self._used_at[protocol] = self._loop.time()
        if not _kept.get() and protocol.closed is not None:
            protocol.closed.add_done_callback(partial(self._lost, protocol, _region.get()))
        return connection

    def _lost(self, protocol: object, region: str, closed: asyncio.Future[None]) -> None:
        if not closed.cancelled():
            closed.exception()  # is of no interest, but asyncio complains of one that nobody looks at
        idle_seconds = self._loop.time() - self._used_at[protocol]
        # After `keepalive_seconds` it was we who closed it.
        if _WORTH_RENEWING_SECONDS <= idle_seconds < self._keepalive_seconds and not self.closed:
            self._on_lost(region)


class MillisClient:
    """Speaks HTTP with every region of Millis; lives as long as the bridge serves.

    `on_lost` is called with the name of a region that has closed a connection we kept for the next call.
    """

    def __init__(self, settings: MillisSettings, api_keys: Mapping[str, str]) -> None:
        self.on_lost: Callable[[str], None] = lambda region: None
        self._api_keys: dict[str, str] = {}
        self._headers: dict[str, dict[str, str]] = {}
        self.reconfigure(settings, api_keys)

    def reconfigure(self, settings: MillisSettings, api_keys: Mapping[str, str]) -> None:
        """Take other settings and keys for requests to come. An account that is gone keeps its key for calls under way."""
        self._settings = settings
        self._api_keys |= api_keys
        self._headers |= {
            account: {
                "authorization": f"{settings.authorization_scheme} {key}".strip(),
                "content-type": "application/json",
            }
            for account, key in api_keys.items()
        }

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._http = aiohttp.ClientSession(
            # `registration_limit` is the bound; a second one here would let callers wait in a queue.
            connector=_Pool(
                lambda region: self.on_lost(region),
                settings.keepalive_seconds,
                limit=0,
                ttl_dns_cache=_DNS_CACHE_SECONDS,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A compressed answer could be a thousand times its size in memory.
            auto_decompress=False,
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "agi-bridge"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def register(
        self, account: str, region: str, body: Mapping[str, Any], timeout_seconds: float
    ) -> Registration:
        """Register a call in one region and return where to dial it; raise a MillisError within *timeout_seconds*."""
        answer = await self._ask("POST", region, "/register_sip_call", account, timeout_seconds, body)
        return parse_registration(answer, region)

    async def probe(self, account: str, region: str, timeout_seconds: float) -> None:
        """Ask for the account, the cheapest question there is; raise a MillisError where it is not answered with success."""
        await self._ask("GET", region, "/user/info", account, timeout_seconds)

    async def call_logs(
        self,
        account: str,
        region: str,
        query: Mapping[str, str | int | float],
        timeout_seconds: float,
        limit_bytes: int,
    ) -> CallLogs:
        """Return a page of what Millis knows of past calls; raise a MillisError."""
        path = f"/call-logs?{urlencode(query)}"
        return parse_call_logs(await self._ask("GET", region, path, account, timeout_seconds, limit_bytes=limit_bytes))

    async def create_endpoint(
        self, account: str, region: str, init_agent: Mapping[str, Any], timeout_seconds: float
    ) -> Registration:
        """Have Millis keep a SIP URI for an agent until it is deleted; raise a MillisError.

        A repetition makes another one. Millis documents no way to ask which there are.
        """
        body = {"init_agent": init_agent, "region": region}
        answer = await self._ask("POST", region, "/sip", account, timeout_seconds, body)
        return parse_registration(answer, region)

    async def delete_endpoint(self, account: str, region: str, call_id: str, timeout_seconds: float) -> None:
        """Take back a SIP URI that Millis has given out; raise a MillisError."""
        await self._ask("DELETE", region, f"/sip/{quote(call_id, safe='')}", account, timeout_seconds)

    async def _ask(
        self,
        method: str,
        region: str,
        path: str,
        account: str,
        timeout_seconds: float,
        body: Mapping[str, Any] | None = None,
        limit_bytes: int | None = None,
    ) -> bytes:
        """Return what Millis answers with success; raise the MillisError that anything else amounts to."""
        where = self._settings.url(region)
        _region.set(region)
        sent = None if body is None else json.dumps(body).encode()
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                await self._send(method, where + path, account, sent) as response,
            ):
                status, answer = (
                    response.status,
                    await self._bounded(response, limit_bytes or self._settings.response_limit_bytes),
                )
        except aiohttp.ConnectionTimeoutError as error:
            self._forget_addresses()
            raise MillisUnreachable(
                f"no connection to {where} within {self._settings.connect_timeout_seconds} s"
            ) from error
        except TimeoutError as error:
            raise MillisTimeout(f"no answer from {where} within {timeout_seconds:.3g} s") from error
        except aiohttp.ServerDisconnectedError as error:
            raise MillisUnreachable(f"{where} closed the connection without an answer", sent=True) from error
        except aiohttp.ClientPayloadError as error:
            raise MillisUnreachable(f"{where} broke off in its answer", sent=True) from error
        except aiohttp.ClientConnectorError as error:
            self._forget_addresses()
            raise MillisUnreachable(f"the connection to {where} failed: {_why(error)}") from error
        except aiohttp.ClientConnectionError as error:
            raise MillisUnreachable(f"the connection to {where} failed: {_why(error)}", sent=True) from error
        except aiohttp.ClientError as error:
            raise MillisNonsense(f"{where} does not speak HTTP as expected: {type(error).__name__}") from error
        # An answer may repeat what was sent, and errors quote answers.
        answer = answer.replace(self._api_keys[account].encode(), b"(the API key)")
        if not 200 <= status < 300:
            advice = retry_after_seconds(response.headers.get("retry-after", ""))
            raise MillisRefused(status, error_detail(answer), advice)
        return answer

    def _forget_addresses(self) -> None:
        """Ask DNS anew before the next connection: a host that cannot be reached may have moved."""
        connector = self._http.connector
        assert isinstance(connector, aiohttp.TCPConnector)  # noqa: S101 - the pool above
        connector.clear_dns_cache()

    async def _send(self, method: str, url: str, account: str, body: bytes | None) -> aiohttp.ClientResponse:
        """Send; again where Millis had closed a kept connection that we still took for open.

        Nothing else is repeated: the call may be registered already, and the caller waits in silence. Each repetition uses
        up a kept connection, of which all may be closed after an idle night, and all of them share one deadline.
        """
        while True:
            _kept.set(False)
            try:
                # Redirects are not followed: the key must not travel to where an answer points.
                return await self._http.request(
                    method, url, data=body, headers=self._headers[account], allow_redirects=False
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not _kept.get():
                    raise

    async def _bounded(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        answer = b""
        async for chunk in response.content.iter_any():
            answer += chunk
            if len(answer) > limit:
                if response.status >= 300:
                    break  # the status says enough
                raise MillisNonsense(f"the answer has more than {limit} bytes")
        return answer


def _why(error: aiohttp.ClientConnectionError) -> str:
    """Return why a connection failed, in the system's words; aiohttp's own tell the address again, and of TLS where there is none."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    # TLS and DNS number their errors in their own ways.
    number = cause.errno if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) else None
    if number is not None and number > 0:
        return os.strerror(number)
    if isinstance(cause, socket.gaierror):
        return f"the name cannot be looked up: {cause.strerror}; check the DNS of this machine"
    return str(cause)


def millis_client(config: Config) -> MillisClient:
    """Return what speaks with Millis, once it is entered."""
    return MillisClient(config.millis, plain_keys(config))


def plain_keys(config: Config) -> dict[str, str]:
    """Return the API key of each account."""
    return {name: key.get_secret_value() for name, key in config.api_keys.items()}
