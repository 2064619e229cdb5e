"""The two ends of the tests in this folder: a server with a small answer function, and a PBX driven line by line.

`agi_bridge.simulator.asterisk` plays an honest Asterisk; `Pbx` sends whatever it is told to, and nothing else.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from agi_bridge.agi.server import AgiServer
from agi_bridge.config import AgiSettings
from agi_bridge.simulator.channel import SimulatedChannel, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agi_bridge.agi.server import Answer
    from agi_bridge.agi.session import AgiSession

# How a server sets the status, and what Asterisk answers.
SET_STATUS = 'EXEC "MSet" "MILLIS_STATUS=\\"ok\\""'
DONE = b"200 result=0\n"

HELLO = environment(SimulatedChannel(), "127.0.0.1", 4573, "route")

# For what must happen; what must not happen is waited for as little as can be.
PATIENCE_SECONDS = 5
TINY_SECONDS = 0.03


@asynccontextmanager
async def serving(answer: Answer, **settings: Any) -> AsyncIterator[AgiServer]:
    """Run a server on a port of its own."""
    async with AgiServer(AgiSettings(**{"listen": ["127.0.0.1:0"], **settings}), answer) as server:
        yield server


async def set_status(session: AgiSession) -> None:
    """An answer: set one variable."""
    await session.set_variables({"MILLIS_STATUS": "ok"})


class Pbx:
    """A connection to the server, byte by byte in both directions."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, server: AgiServer, *, local: str | None = None) -> Self:
        host, port = server.addresses[0]
        return cls(*await asyncio.open_connection(host, port, local_addr=local and (local, 0)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with suppress(ConnectionError):  # the server may have gone first
            await self._writer.wait_closed()

    @property
    def port(self) -> int:
        """Our own port, by which the kernel knows the connection."""
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    def send(self, wire: bytes) -> None:
        self._writer.write(wire)

    async def line(self) -> str:
        """Return the next line of the server, "" once it has closed."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await self._reader.readline()).decode().removesuffix("\n")

    async def rest(self) -> str:
        """Return all that the server still says, once it has closed; a reset ends it as well."""
        said = b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionResetError):
                while chunk := await self._reader.read(65536):
                    said += chunk
        return said.decode()

    def close(self) -> None:
        """Close the connection, as Asterisk does when it leaves the AGI."""
        self._writer.close()

    def abort(self) -> None:
        """Break the connection with an RST."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
