"""What systemd is told, and what it hands over: sd_notify, its watchdog, and sockets that outlive a restart.

A shell around three environment variables (sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3)); without them, everything
here does nothing. `workers.py` speaks the same words between the parent and its workers. It knows nothing of calls.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import structlog

from agi_bridge.errors import CannotListen

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger(__name__)

_FIRST_SOCKET = 3  # SD_LISTEN_FDS_START


class Notifier:
    """Tells whoever started this process how it is; owns *wire*, and without one keeps silent."""

    def __init__(self, wire: socket.socket | None = None) -> None:
        self._wire = wire

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Notifier:
        """Return one that speaks to systemd, where systemd listens."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address:
            return cls()
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # A systemd that does not read must not stop calls.
        wire.setblocking(False)
        try:
            # An abstract socket is written with "@", and called with NUL.
            wire.connect("\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            wire.close()
            log.warning("systemd cannot be told anything", notify_socket=address, why=str(error))
            return cls()
        return cls(wire)

    def ready(self, status: str) -> None:
        """Say that calls are welcome: after the start, and after a reload."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` must follow."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1", "STATUS=draining")

    def alive(self) -> None:
        """Say that the process still does its work; systemd kills one that stays silent."""
        self._tell("WATCHDOG=1")

    def close(self) -> None:
        """Say no more."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _tell(self, *facts: str) -> None:
        if self._wire is None:
            return
        try:
            self._wire.send("".join(f"{fact}\n" for fact in facts).encode())
        except OSError as error:
            log.warning("not told to whoever started us", fact=facts[0], why=str(error))


def watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    """Return how long process *pid* may be silent, None where nobody watches it."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1_000_000 if text.isdecimal() and int(text) > 0 else None


def listening_sockets(environ: Mapping[str, str], pid: int) -> list[socket.socket]:
    """Return the listening sockets that were handed to process *pid*; raise CannotListen where one is no such socket."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count.isdecimal():
        return []
    sockets: list[socket.socket] = []
    try:
        for number in range(_FIRST_SOCKET, _FIRST_SOCKET + int(count)):
            os.set_inheritable(number, False)
            sockets.append(socket.socket(fileno=number))
            _check(sockets[-1])
    except OSError as error:
        _close(sockets)
        raise CannotListen(f"LISTEN_FDS names a socket that is not there: {error.strerror}") from error
    except CannotListen:
        _close(sockets)
        raise
    return sockets


def _check(sock: socket.socket) -> None:
    of_tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
    if not of_tcp or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise CannotListen(
            f"file descriptor {sock.fileno()} was handed over to be listened on, but is no listening TCP socket; "
            "the .socket unit needs ListenStream= with a port"
        )


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
