"""The sockets that the PBX connects to: opens or takes them over, accepts, and closes them without losing anybody.

A shell over the kernel's listening sockets. It hands every accepted socket to one function and does not know who may come in;
`server.py` does.

It accepts by itself, because the loops' own servers lose connections: asyncio those that come in as it closes, uvloop those
for which no file descriptor is left, and asyncio writes a thousand tracebacks a second about the latter.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agi_bridge.errors import CannotListen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agi_bridge.config import Address

    Take = Callable[[socket.socket, str], None]
    CannotAccept = Callable[[OSError], None]

log = structlog.get_logger(__name__)

# A dead PBX is noticed after 60 + 4 * 15 seconds: Asterisk sets no keepalive itself, and EXEC Dial is silent for hours.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

# So many in a row, then the calls under way have their turn.
_ACCEPTS_AT_ONCE = 64

# The kernel's own bound on the connections that one socket may keep waiting.
_MOST_WAITING = 65_535

# How long we leave a socket alone that cannot be accepted from: most calls are set up, and give descriptors back, in less.
_RETRY_SECONDS = 0.1


class Listener:
    """Listening sockets whose connections go to *take*, with the peer's address; *cannot_accept* hears of failures.

    What is opened or adopted is closed with `finish` or `close`.
    """

    def __init__(self, take: Take, cannot_accept: CannotAccept) -> None:
        self._take = take
        self._cannot_accept = cannot_accept
        self._sockets: list[socket.socket] = []
        self._retries: dict[socket.socket, asyncio.TimerHandle] = {}

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of every listening socket, the real port where 0 was asked for."""
        return [listening.getsockname()[:2] for listening in self._sockets]

    async def open(self, addresses: Iterable[Address], backlog: int, reuse_port: bool) -> None:
        """Listen on *addresses*, or raise CannotListen. With *reuse_port* several processes may share them."""
        _warn_of_short_backlog(backlog)
        for address in addresses:
            for listening in await _listening(address, backlog, reuse_port):
                self._begin(listening)

    def adopt(self, sockets: Iterable[socket.socket]) -> None:
        """Accept from *sockets*, on which somebody else listens already, such as systemd; ours to close from now on."""
        for listening in sockets:
            self._begin(listening, inherited=True)

    def finish(self) -> None:
        """Take in what the kernel has accepted already, then close: whoever comes from now on is refused at once.

        Nothing is awaited between the two, so that the kernel has as little time as can be to accept one more.
        """
        for listening in self._sockets:
            self._accept(listening, _MOST_WAITING)
        self.close()

    def close(self) -> None:
        """Close at once."""
        loop = asyncio.get_running_loop()
        for retry in self._retries.values():
            retry.cancel()
        for listening in self._sockets:
            loop.remove_reader(listening)
            listening.close()
        self._retries.clear()
        self._sockets.clear()

    def _begin(self, listening: socket.socket, **fields: bool) -> None:
        listening.setblocking(False)
        _keep_alive(listening)
        self._sockets.append(listening)
        self._resume(listening)
        log.info("listening for FastAGI", address=listening.getsockname()[:2], **fields)

    def _resume(self, listening: socket.socket) -> None:
        self._retries.pop(listening, None)
        asyncio.get_running_loop().add_reader(listening, self._accept, listening, _ACCEPTS_AT_ONCE)

    def _pause(self, listening: socket.socket) -> None:
        """Leave a socket alone for a moment; it would be ready all the time, and keep the processor from the calls."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        if listening not in self._retries:
            self._retries[listening] = loop.call_later(_RETRY_SECONDS, self._resume, listening)

    def _accept(self, listening: socket.socket, most: int) -> None:
        for _ in range(most):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._pause(listening)
                self._cannot_accept(error)
                return
            connection.setblocking(False)
            self._take(connection, address[0])


async def _listening(address: Address, backlog: int, reuse_port: bool) -> list[socket.socket]:
    """Return a socket for each address that a host name stands for; an IP address stands for itself."""
    opened: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, place in dict.fromkeys(found):
            opened.append(socket.create_server(place, family=family, backlog=backlog, reuse_port=reuse_port))
    except OSError as error:
        for listening in opened:
            listening.close()
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise CannotListen.on(address, error.errno, why, "listen under [agi]") from error
    return opened


def _keep_alive(listening: socket.socket) -> None:
    """Set keepalive on a listening socket, from which Linux hands it on to every connection."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in _KEEPALIVE.items():
        if hasattr(socket, name):
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


def _warn_of_short_backlog(backlog: int) -> None:
    """Say so where the kernel keeps fewer waiting connections than asked: Asterisk gives up on one after 2 s."""
    with contextlib.suppress(OSError, ValueError):
        kernel = int(Path("/proc/sys/net/core/somaxconn").read_text())
        if kernel < backlog:
            log.warning("the kernel caps the listen backlog", backlog=backlog, somaxconn=kernel)
