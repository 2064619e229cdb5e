"""Puts a distance between a client and a server on one machine: a TCP relay that says everything half a round trip later.

What it cannot delay is the SYN, which the kernel answers at once. So what the client says counts as said a round trip after
the connection was made, which is when a distant client could first have spoken: connecting costs its round trip too.
"""

import asyncio
from dataclasses import dataclass
from typing import cast


@dataclass
class Relay:
    """One listening relay to the server on *port* of this machine."""

    port: int
    round_trip_seconds: float

    async def start(self) -> asyncio.Server:
        """Listen on a free loopback port; the caller closes the server that this returns."""
        return await asyncio.get_running_loop().create_server(lambda: _Client(self), "127.0.0.1", 0)


class _End(asyncio.Protocol):
    """One of the two connections that are joined; what it hears, *other* says later."""

    other: "_End"
    transport: asyncio.Transport

    def __init__(self, round_trip_seconds: float) -> None:
        self.round_trip_seconds = round_trip_seconds
        self.loop = asyncio.get_running_loop()
        self.speaks_from = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by birth

    def data_received(self, data: bytes) -> None:
        self.loop.call_at(self._arrival(), self._pass_on, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.loop.call_at(self._arrival(), self._hang_up)

    def _arrival(self) -> float:
        return max(self.loop.time(), self.speaks_from) + self.round_trip_seconds / 2

    def _pass_on(self, data: bytes) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.write(data)

    def _hang_up(self) -> None:
        self.other.transport.close()


class _Client(_End):
    """The client's connection; the server's is made as soon as there is one."""

    def __init__(self, relay: Relay) -> None:
        super().__init__(relay.round_trip_seconds)
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.speaks_from = self.loop.time() + self.round_trip_seconds
        self._connecting = self.loop.create_task(self._connect())

    async def _connect(self) -> None:
        self.other = _End(self.round_trip_seconds)
        self.other.other = self
        await self.loop.create_connection(lambda: self.other, "127.0.0.1", self._relay.port)
