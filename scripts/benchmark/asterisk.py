"""Asterisk's side of FastAGI, as cheap as asyncio allows: many calls from one process, none of them real.

A call sends a ready-made environment, says yes to every command, leaves `EXEC "Dial"` unanswered (the two parties are
talking), and ends when the server closes. It notes when things happened; what that means is for the scenarios.
"""

import asyncio
from collections.abc import Iterator
from itertools import count
from time import perf_counter
from typing import cast

from benchmark.conversation import VARIABLES_SET, environment

_YES = b"200 result=1\n"
_EXECUTED = b"200 result=0\n"
_VALUES = {b"linkedid": b"1790000000.7", b"language": b"en"}  # by the word asked for
_CALL_SECONDS = 60  # a server that hangs must not hang us

_numbers: Iterator[int] = count(1)
_replies: dict[bytes, bytes] = {}


def _reply_to_values(command: bytes) -> bytes:
    """Answer a GET FULL VARIABLE: one value for each expression that the command joins with '|'."""
    reply = _replies.get(command)
    if reply is None:
        asked = command.split(b"|")
        values = [next((value for word, value in _VALUES.items() if word in part), b"") for part in asked]
        reply = _replies[command] = b"200 result=1 (%s)\n" % b"|".join(values)
    return reply


class PlayedCall(asyncio.Protocol):
    """One call. Times are in seconds of one clock, 0.0 while they have not come."""

    def __init__(self, verb: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._verb = verb
        self._pending = b""
        self._sets = 0
        self._wanted = 1 if verb == "ping" else VARIABLES_SET
        self._transport: asyncio.Transport | None = None
        self.number = next(_numbers)
        self.started = self.connected = self.finished = 0.0
        self.ok = False
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.talking: asyncio.Future[None] | None = self._loop.create_future() if verb == "dial" else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connected = perf_counter()
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by birth
        self._transport.write(environment(self.number, self._verb))

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._pending or not data.endswith(b"\n"):
            self._pending += data
            if not data.endswith(b"\n"):
                return
            data, self._pending = self._pending, b""
        if data.startswith((b"SET VARIABLE", b'EXEC "MSet"')):
            self._sets += data.count(b"MILLIS_")
            if b"MILLIS_STATUS" in data:
                self.finished = perf_counter()
                self.ok = self._sets == self._wanted and b"ok" in data
            self._transport.write(_YES if data.startswith(b"SET") else _EXECUTED)
        elif data.startswith(b"GET FULL VARIABLE"):
            self._transport.write(_reply_to_values(data))
        elif data.startswith(b'EXEC "Dial"') and self.talking is not None:
            self.finished = perf_counter()
            self.ok = True
            self.talking.set_result(None)
        else:
            self._transport.write(_YES)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        if self.talking is not None and not self.talking.done():
            self.talking.set_result(None)

    def hang_up(self) -> None:
        """End a call that the server holds open."""
        if self._transport is not None:
            self._transport.close()


async def place_call(port: int, verb: str = "route") -> PlayedCall:
    """Play one call to its end (a `dial` call until the parties talk); *ok* says whether it went as it should."""
    call = PlayedCall(verb)
    call.started = perf_counter()
    try:
        async with asyncio.timeout(_CALL_SECONDS):
            await asyncio.get_running_loop().create_connection(lambda: call, "127.0.0.1", port)
            await (call.ended if call.talking is None else call.talking)
    except (OSError, TimeoutError):
        call.ok = False
        call.hang_up()
    return call
