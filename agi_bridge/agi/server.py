"""Many conversations: takes connections from the PBX, bounds each of them, and hands every call to one function.

A shell. It decides who may connect, how many, how long and how much; what a call needs is decided by the *answer* function
it is given, which runs in one task a session and must not raise. It does not know rules or Millis.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import resource
import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self, cast

import structlog

from agi_bridge.agi.door import Door
from agi_bridge.agi.listener import Listener
from agi_bridge.agi.protocol import AgiConnection, Request
from agi_bridge.agi.refusal_log import RefusalLog
from agi_bridge.agi.session import FAILURE_LINE, AgiSession
from agi_bridge.errors import AgiProtocolError, SessionLost

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from agi_bridge.config import AgiSettings

    Answer = Callable[[AgiSession], Awaitable[None]]

log = structlog.get_logger(__name__)

# A call also leaves its set-up by passing into EXEC Dial, of which the server is not told.
_DRAIN_STEP_SECONDS = 0.05

# The last file descriptors, which connections leave to what the calls under way need: Millis, and the log.
_DESCRIPTORS_KEPT = 64

# Keys that a running server cannot take up.
_NEED_RESTART = ("listen", "backlog", "workers")

_RAISE_THE_LIMIT = "raise LimitNOFILE, or lower session_limit under [agi]"

# What the counter of a refusal does not say of itself.
_WHY = {"refused_files": {"why": f"too few file descriptors are left; {_RAISE_THE_LIMIT}"}}


@dataclass(slots=True)
class Counts:
    """What happened at the door since the start; every limit that bit has its own counter."""

    accepted: int = 0
    sessions: int = 0
    no_request: int = 0
    refused_peer: int = 0
    refused_rate: int = 0
    refused_secret: int = 0
    refused_full: int = 0
    refused_files: int = 0
    refused_draining: int = 0
    not_accepted: int = 0
    broken: int = 0
    timed_out: int = 0

    def add(self, counter: str) -> None:
        """Count one more of *counter*."""
        setattr(self, counter, getattr(self, counter) + 1)

    def as_fields(self) -> dict[str, int]:
        """Return the counts by name, for a log line."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class AgiServer:
    """Listens for FastAGI; entered, it serves, and left, it drains.

    It listens on the addresses of the settings, or in their place on *sockets* that listen already. With *reuse_port*,
    several processes may share the addresses.

    Drain means: the sockets close, so that Asterisk is refused at once and can go elsewhere; whoever has connected is served
    to the end of the set-up; calls that merely wait for the end of `EXEC Dial` are left to Asterisk, which needs us no more.
    """

    def __init__(
        self,
        settings: AgiSettings,
        answer: Answer,
        *,
        sockets: Sequence[socket.socket] = (),
        reuse_port: bool = False,
    ) -> None:
        self.counts = Counts()
        self.draining = False
        self._started_with = settings
        self._answer = answer
        self._given = sockets
        self._reuse_port = reuse_port
        self._listener = Listener(self._take, self._cannot_accept)
        self._refusals = RefusalLog(settings.refusal_log_seconds)
        self._connections: set[_Connection] = set()
        self._arriving: set[asyncio.Task[object]] = set()
        self._one_over = asyncio.Event()
        self._most_descriptors = 0
        self._use(settings)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of every listening socket, the real port where 0 was asked for."""
        return self._listener.addresses

    @property
    def open_connections(self) -> int:
        """Return how many connections there are, those without a request included."""
        return len(self._connections)

    @property
    def open_sessions(self) -> int:
        """Return how many sessions are being answered, those in EXEC Dial included."""
        return sum(connection.task is not None and not connection.task.done() for connection in self._connections)

    def reconfigure(self, settings: AgiSettings) -> list[str]:
        """Use *settings* for connections to come; return the keys that differ but only take effect after a restart."""
        self._use(settings)
        return [key for key in _NEED_RESTART if getattr(settings, key, None) != getattr(self._started_with, key, None)]

    def _use(self, settings: AgiSettings) -> None:
        self._settings = settings
        self._limits = settings.limits
        self._secret = settings.secret.get_secret_value().encode()
        self._door = Door(settings.networks, settings.peer_rate_limit_per_second, settings.peer_burst_connections)
        self._refusals.interval_seconds = settings.refusal_log_seconds

    async def __aenter__(self) -> Self:
        self._most_descriptors = _descriptors_for_connections()
        try:
            if self._given:
                self._listener.adopt(self._given)
            else:
                await self._listener.open(self._settings.addresses, self._settings.backlog, self._reuse_port)
        except BaseException:
            self._listener.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.draining = True
        self._listener.finish()
        try:
            await self._until_set_up()
        finally:
            await self._stop()
            self._refusals.flush()
            log.info("no longer listening", **self.counts.as_fields())

    async def _until_set_up(self) -> None:
        """Wait until no call is being set up any more, or for as long as a drain may take."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._settings.drain_timeout_seconds
        calls = self._in_setup()
        if calls:
            log.info("draining", calls=calls, drain_timeout_seconds=self._settings.drain_timeout_seconds)
        while calls and loop.time() < give_up_at:
            self._one_over.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_DRAIN_STEP_SECONDS, give_up_at - loop.time())):
                    await self._one_over.wait()
            calls = self._in_setup()

    def _in_setup(self) -> int:
        return sum(connection.in_setup for connection in self._connections)

    async def _stop(self) -> None:
        if self._arriving:
            await asyncio.wait(self._arriving)
        tasks = [connection.task for connection in self._connections if connection.task]
        for connection in list(self._connections):
            connection.stop()
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.drain_timeout_seconds)

    # Who may come in.

    def _take(self, accepted: socket.socket, peer: str) -> None:
        """Give an accepted socket its connection, or refuse it before it costs anything."""
        self.counts.accepted += 1
        refusal = self._refusal(accepted, peer)
        if refusal is not None:
            with contextlib.suppress(OSError):
                accepted.send(FAILURE_LINE)
            accepted.close()
            security = refusal == "refused_peer"
            self.refuse(refusal, "connection refused", peer=peer, security=security, **_WHY.get(refusal, {}))
            return
        connection = _Connection(self, peer)
        self._connections.add(connection)
        loop = asyncio.get_running_loop()
        arriving = loop.create_task(loop.connect_accepted_socket(lambda: connection, accepted))
        self._arriving.add(arriving)
        arriving.add_done_callback(connection.arrived)
        arriving.add_done_callback(self._arriving.discard)

    def _refusal(self, accepted: socket.socket, peer: str) -> str | None:
        """Return None if a connection may come in, else why not, in the words of the counter that counts it."""
        refusal = self._door.refusal(peer, asyncio.get_running_loop().time())
        if refusal is not None:
            return refusal
        # The kernel gives the lowest descriptor that is free: when it is one of the last, all others are in use.
        if accepted.fileno() >= self._most_descriptors:
            return "refused_files"
        if len(self._connections) >= self._settings.session_limit:
            return "refused_full"
        return None

    def _cannot_accept(self, error: OSError) -> None:
        why = f"{error.strerror}; if it goes on, {_RAISE_THE_LIMIT}"
        self.refuse("not_accepted", "cannot accept connections for a moment", why=why)

    # What follows is called by the connections.

    def knows(self, request: Request) -> bool:
        """Return whether *request* has the secret, where one is wanted."""
        return not self._secret or hmac.compare_digest(request.secret.encode(), self._secret)

    def refuse(self, counter: str, event: str, **fields: str | bool) -> None:
        """Count a connection that is not served, and tell the log in its turn."""
        self.counts.add(counter)
        self._refusals.warn(counter, event, counter=counter, **fields)

    def forget(self, connection: _Connection) -> None:
        """Drop a connection that is over."""
        self._connections.discard(connection)
        self._one_over.set()


class _Connection(asyncio.Protocol):
    """One accepted socket: the bounds before a request has come, then the wire under a session."""

    __slots__ = ("_agi", "_began", "_given_up", "_lost", "_peer", "_server", "_session", "_settings", "_timer", "_transport", "task")  # fmt: skip

    def __init__(self, server: AgiServer, peer: str) -> None:
        self._server = server
        self._settings = server._settings
        self._agi = AgiConnection(server._limits)
        self._session: AgiSession | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._peer = peer
        self._given_up = False
        self._began = False
        self._lost = False
        self.task: asyncio.Task[None] | None = None

    @property
    def in_setup(self) -> bool:
        """Return whether a caller may be waiting for us; false while Asterisk merely carries out EXEC Dial."""
        if self.task is None:
            return not (self._given_up or self._lost)
        return not (self.task.done() or (self._session and self._session.dialling))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's, though they do all that those do.
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(self._settings.environment_timeout_seconds, self._time_out)

    def arrived(self, arriving: asyncio.Task[object]) -> None:
        """Note that the socket has become a transport, or could not, because the peer was gone already."""
        if (arriving.cancelled() or arriving.exception() is not None) and not self._lost:
            self.connection_lost(None)

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
            self._give_up("broken", "connection is not honest AGI", why=str(error))
            if self._session is not None:
                self._session.lose(error)

    def _begin(self, request: Request) -> None:
        self._stop_timer()
        if not self._server.knows(request):
            why = f"the AGI argument secret is {'wrong' if request.secret else 'missing'}; see MILLIS_SECRET"
            self._give_up("refused_secret", "connection refused", why=why)
            return
        self._server.counts.sessions += 1
        self._session = AgiSession(
            request, self._peer, self._agi, self._transport, self._settings.setup_timeout_seconds
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
        self._give_up("timed_out", "no AGI request in time")

    def _give_up(self, counter: str, event: str, *, security: bool = True, **fields: str) -> None:
        """Count, log and close; the line makes Asterisk go on in the dialplan with AGISTATUS=FAILURE."""
        self._given_up = True
        self._transport.write(FAILURE_LINE)
        self._transport.close()
        self._server.refuse(counter, event, peer=self._peer, security=security, **fields)

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
            self._server.refuse(
                "broken", "connection is not honest AGI", peer=self._peer, security=True, why="it ended too early"
            )
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
            self._give_up("refused_draining", "connection refused", security=False)
        elif self._session is not None and self.in_setup:
            self._session.fail()
        self._transport.close()


def _descriptors_for_connections() -> int:
    """Return the first file descriptor that is no longer for a new connection."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(_DESCRIPTORS_KEPT, limit // 4)
