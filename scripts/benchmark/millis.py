"""The Millis API as the servers see it: bare HTTP/1.1 with keep-alive, one fixed answer after a fixed delay.

Lives in the generator's event loop, so it reads the same clock as `asterisk.py`. It notes for each call when the
request had come and when the answer went, which is what the API itself took. It checks nothing it was sent.
"""

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from typing import cast

from benchmark.conversation import EPOCH

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CALL_NUMBER = re.compile(rb"%d\.(\d+)" % EPOCH)
_BODY = b'{"call_id":"call-%d","sip":"sip:call-%d@127.0.0.1:5090"}'
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


@dataclass
class MillisStub:
    """One listening API; *received* and *answered* map a call's number to a time in seconds.

    It speaks TLS where *tls* is given, and closes a connection that has been idle for *idle_seconds*.
    """

    delay_seconds: float
    tls: ssl.SSLContext | None = None
    idle_seconds: float = inf
    received: dict[int, float] = field(default_factory=dict)
    answered: dict[int, float] = field(default_factory=dict)
    port: int = 0

    async def start(self) -> asyncio.Server:
        """Listen on a free loopback port; the caller closes the server that this returns."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=4096, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        return server

    @property
    def url(self) -> str:
        """Return its address."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def seconds_taken(self, number: int) -> float:
        """Return how long the API had call *number* in its hands."""
        return self.answered[number] - self.received[number]

    def forget(self) -> None:
        """Drop the times of calls that have been reported."""
        self.received.clear()
        self.answered.clear()


class _Connection(asyncio.Protocol):
    def __init__(self, stub: MillisStub) -> None:
        self._stub = stub
        self._pending = b""
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by birth

    def data_received(self, data: bytes) -> None:
        if self._closing:
            self._closing.cancel()
        self._pending += data
        head_end = self._pending.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = _CONTENT_LENGTH.search(self._pending, 0, head_end + 2)
        body_bytes = int(length[1]) if length else 0  # a probe has no body
        if len(self._pending) < head_end + 4 + body_bytes:
            return
        request, self._pending = self._pending, b""  # a client waits for the answer before it asks again
        found = _CALL_NUMBER.search(request, head_end)
        number = int(found[1]) if found else 0
        self._stub.received[number] = perf_counter()
        self._loop.call_later(self._stub.delay_seconds, self._answer, number)

    def _answer(self, number: int) -> None:
        if self._transport.is_closing():
            return
        body = _BODY % (number, number)
        self._stub.answered[number] = perf_counter()
        self._transport.write(_HEAD % len(body) + body)
        if self._stub.idle_seconds < inf:
            self._closing = self._loop.call_later(self._stub.idle_seconds, self._transport.close)
