"""Many conversations: accepts connections from the PBX, bounds each of them, and hands every call to one function.

A shell. It decides who may connect, how many, how long and how much; what a call needs is decided by the *answer* function
it is given, which runs in one task a session and must not raise. It does not know rules or Millis.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

import structlog

from agi_bridge.agi.protocol import AgiConnection, Request
from agi_bridge.agi.session import FAILURE_LINE, AgiSession
from agi_bridge.errors import AgiProtocolError, CannotListen, SessionLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from agi_bridge.config import Address, AgiSettings

    Answer = Callable[[AgiSession], Awaitable[None]]

log = structlog.get_logger(__name__)

# A dead PBX is noticed after 60 + 4 * 15 seconds: Asterisk sets no keepalive itself, and EXEC Dial is silent for hours.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

_DRAIN_STEP_SECONDS = 0.05

# Asterisk sends its request at once, so whoever has sent none for so long when a drain begins is no caller.
_REQUEST_GRACE_SECONDS = 0.25

# What is fixed when a listening socket is made, or before.
_NEEDS_RESTART = ("listen", "backlog", "workers")


@dataclass(slots=True)
class Counts:
    """What happened at the door since the start; every limit that bit has its own counter."""

    accepted: int = 0
    sessions: int = 0
    no_request: int = 0
    refused_peer: int = 0
    refused_full: int = 0
    refused_draining: int = 0
    broken: int = 0
    timed_out: int = 0

    def as_fields(self) -> dict[str, int]:
        """Return the counts by name, for a log line."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class AgiServer:
    """Listens for FastAGI; entered, it serves, and left, it drains.

    Drain means: the sockets close, so that Asterisk is refused at once and can go elsewhere; calls being set up finish;
    calls that merely wait for the end of `EXEC Dial` are left to Asterisk, which needs us no more.

    *sockets* are listened on in place of the settings' addresses: somebody else holds them open too, so that a connection
    that comes while we are not there waits in the kernel. With *reuse_port*, other processes listen on the same addresses.
    """

    def __init__(
        self, settings: AgiSettings, answer: Answer, *, sockets: Sequence[socket.socket] = (), reuse_port: bool = False
    ) -> None:
        self.counts = Counts()
        self.draining = False
        self._stopped = False
        self._settings = settings
        self._limits = settings.limits
        self._networks = settings.networks
        self._answer = answer
        self._sockets = sockets
        self._reuse_port = reuse_port
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()
        self._admitted: dict[str, bool] = {}

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of every listening socket, the real port where 0 was asked for."""
        return [sock.getsockname()[:2] for server in self._servers for sock in server.sockets]

    @property
    def open_connections(self) -> int:
        """Return how many connections there are, those that have not asked yet included."""
        return len(self._connections)

    @property
    def open_sessions(self) -> int:
        """Return how many connections carry a session."""
        return sum(connection.task is not None for connection in self._connections)

    def reconfigure(self, settings: AgiSettings) -> list[str]:
        """Take other settings for connections to come; return the changed keys that need a restart."""
        before, self._settings = self._settings, settings
        self._limits = settings.limits
        self._networks = settings.networks
        self._admitted.clear()
        return [key for key in _NEEDS_RESTART if getattr(settings, key) != getattr(before, key)]

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        _warn_of_short_backlog(self._settings.backlog)
        try:
            for sock in self._sockets:
                self._servers.append(await self._listen_on(loop, sock))
            for address in () if self._sockets else self._settings.addresses:
                self._servers.append(await self._listen(loop, address))
        except BaseException:
            self._close_listeners()
            raise
        return self

    async def _listen_on(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> asyncio.Server:
        """Listen on a socket that was handed to us."""
        _keep_alive(sock)
        server = await loop.create_server(lambda: _Connection(self), sock=sock, backlog=self._settings.backlog)
        log.info("listening for FastAGI", address=sock.getsockname()[:2], inherited=True)
        return server

    async def _listen(self, loop: asyncio.AbstractEventLoop, address: Address) -> asyncio.Server:
        try:
            server = await loop.create_server(
                lambda: _Connection(self),
                address.host,
                address.port,
                backlog=self._settings.backlog,
                reuse_address=True,
                reuse_port=self._reuse_port,
            )
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise CannotListen(
                f"cannot listen on {address}: {why}; is another bridge running? See listen under [agi]"
            ) from error
        for sock in server.sockets:
            _keep_alive(sock)
            log.info("listening for FastAGI", address=sock.getsockname()[:2])
        return server

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.draining = True
        self._close_listeners()
        try:
            await self._until_set_up()
        finally:
            await self._stop()
            log.info("no longer listening", **self.counts.as_fields())

    async def _until_set_up(self) -> None:
        """Wait until no call is being set up any more, or for as long as a drain may take."""
        loop = asyncio.get_running_loop()
        await self._until_asked(loop.time() + min(_REQUEST_GRACE_SECONDS, self._settings.drain_timeout_seconds))
        give_up_at = loop.time() + self._settings.drain_timeout_seconds
        calls = self._in_setup()
        if calls:
            log.info("draining", calls=len(calls), drain_timeout_seconds=self._settings.drain_timeout_seconds)
        while calls and loop.time() < give_up_at:
            # Not one long wait, because a call also leaves its set-up by passing into EXEC Dial.
            await asyncio.wait(calls, timeout=_DRAIN_STEP_SECONDS)
            calls = self._in_setup()

    async def _until_asked(self, give_up_at: float) -> None:
        """Give those whom we accepted just before the drain the moment in which their request arrives."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # in which the loop announces what it has accepted
        # A request may come on any of them, or on none.
        while loop.time() < give_up_at and any(each.awaits_request for each in self._connections):  # noqa: ASYNC110
            await asyncio.sleep(_DRAIN_STEP_SECONDS)

    def _in_setup(self) -> list[asyncio.Task[None]]:
        return [connection.task for connection in self._connections if connection.task and connection.in_setup]

    async def _stop(self) -> None:
        self._stopped = True
        tasks = [connection.task for connection in self._connections if connection.task]
        for connection in list(self._connections):
            connection.stop()
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.drain_timeout_seconds)

    def _close_listeners(self) -> None:
        for server in self._servers:
            server.close()

    # What follows is called by the connections.

    def admit(self, connection: _Connection, peer: str) -> str | None:
        """Return None if *connection* may stay, else why not, in the words of the counter that counts it."""
        if self._stopped:
            return "refused_draining"
        if not self._may_connect(peer):
            return "refused_peer"
        if len(self._connections) >= self._settings.session_limit:
            return "refused_full"
        self._connections.add(connection)
        return None

    def _may_connect(self, peer: str) -> bool:
        known = self._admitted.get(peer)
        if known is None:
            address = ipaddress.ip_address(peer.partition("%")[0])
            if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
                address = address.ipv4_mapped
            known = any(address in network for network in self._networks)
            if len(self._admitted) < 1024:
                self._admitted[peer] = known
        return known

    def forget(self, connection: _Connection) -> None:
        """Drop a connection that is over."""
        self._connections.discard(connection)


class _Connection(asyncio.Protocol):
    """One accepted socket: the bounds before a request has come, then the wire under a session."""

    __slots__ = ("_agi", "_began", "_given_up", "_lost", "_peer", "_server", "_session", "_timer", "_transport", "task")

    def __init__(self, server: AgiServer) -> None:
        self._server = server
        self._agi = AgiConnection(server._limits)
        self._session: AgiSession | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._peer = ""
        self._given_up = False
        self._began = False
        self._lost = False
        self.task: asyncio.Task[None] | None = None

    @property
    def in_setup(self) -> bool:
        """Return whether a caller is waiting for us; false while Asterisk merely carries out EXEC Dial."""
        return self.task is not None and not self.task.done() and not (self._session and self._session.executing)

    @property
    def awaits_request(self) -> bool:
        """Return whether the peer may still say what it wants."""
        return self._session is None and not self._given_up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's, though they do all that those do.
        self._transport = transport = cast("asyncio.Transport", transport)
        self._server.counts.accepted += 1
        peer = transport.get_extra_info("peername")
        if peer is None:
            # Reset before it was accepted. uvloop announces it all the same, with whatever it had sent.
            transport.abort()
            return
        self._peer = peer[0]
        refusal = self._server.admit(self, self._peer)
        if refusal is not None:
            self._give_up(refusal, "connection refused", security=refusal == "refused_peer")
            return
        self._timer = asyncio.get_running_loop().call_later(
            self._server._settings.environment_timeout_seconds, self._time_out
        )

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._began = True
        try:
            for event in self._agi.receive_data(data):
                if self._session is not None:
                    self._session.receive(event)
                elif isinstance(event, Request):
                    self._begin(event)
        except AgiProtocolError as error:
            # What came may be hostile, so it is not logged.
            self._give_up("broken", "connection is not honest AGI", why=str(error), security=True)
            if self._session is not None:
                self._session.lose(error)

    def _begin(self, request: Request) -> None:
        self._stop_timer()
        self._server.counts.sessions += 1
        self._session = AgiSession(
            request, self._peer, self._agi, self._transport, self._server._settings.setup_timeout_seconds
        )
        self.task = asyncio.get_running_loop().create_task(self._run(self._session))
        self.task.add_done_callback(self._forget_if_over)

    async def _run(self, session: AgiSession) -> None:
        try:
            await self._server._answer(session)
        except Exception:
            log.exception("a session failed unexpectedly", peer=self._peer)
            session.fail()
        finally:
            session.close()

    def _time_out(self) -> None:
        self._give_up("timed_out", "no AGI request in time", security=True)

    def _give_up(self, counter: str, message: str, **fields: str | bool) -> None:
        """Count, log and close; the line makes Asterisk go on in the dialplan with AGISTATUS=FAILURE."""
        self._given_up = True
        setattr(self._server.counts, counter, getattr(self._server.counts, counter) + 1)
        self._transport.write(FAILURE_LINE)
        self._transport.close()
        log.warning(message, peer=self._peer, counter=counter, **fields)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        self._lost = True
        if self._session is not None:
            self._session.lose(SessionLost("Asterisk closed the connection"))
        elif self._began and not self._given_up:
            self._server.counts.broken += 1
            log.warning("connection is not honest AGI", peer=self._peer, why="it ended too early", security=True)
        elif not self._given_up:
            self._server.counts.no_request += 1
        self._forget_if_over()

    def _forget_if_over(self, _: object = None) -> None:
        # A call may have something left to end when its connection is gone; the server waits for that too.
        if self._lost and (self.task is None or self.task.done()):
            self._server.forget(self)

    def stop(self) -> None:
        """End what is left at the end of a drain. Asterisk is told where a caller still waits for us."""
        if self.task is not None:
            self.task.cancel()
        if self._session is None and not self._given_up:
            self._give_up("refused_draining", "connection refused")
        elif self._session is not None and self.in_setup:
            self._session.fail()
        self._transport.close()


def _keep_alive(sock: socket.socket) -> None:
    """Set keepalive on a listening socket, from which Linux hands it on to every connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in _KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


def _warn_of_short_backlog(backlog: int) -> None:
    """Say so where the kernel keeps fewer waiting connections than asked: Asterisk gives up on one after 2 s."""
    with contextlib.suppress(OSError, ValueError):
        kernel = int(Path("/proc/sys/net/core/somaxconn").read_text())
        if kernel < backlog:
            log.warning("the kernel caps the listen backlog", backlog=backlog, somaxconn=kernel)
