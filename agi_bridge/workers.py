"""Several processes of the bridge as one service: starts the workers, watches them, starts anew those that die.

A shell. Each worker is a whole bridge that shares nothing with the others but the addresses, between which the kernel divides
the connections. Over a socket of its own a worker tells its parent what a lone bridge tells systemd, in the same words; when
the parent is gone, the worker reads the end of that socket and stops. It knows neither calls nor the configuration.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from agi_bridge.errors import WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

log = structlog.get_logger(__name__)

# By which a process learns that it is a worker: "2/4:7" is the second of four, which speaks on file descriptor 7.
WORKER_VARIABLE = "AGI_BRIDGE_WORKER"

# How a worker is told to finish its calls, and how to end them. Only the first may reach it from elsewhere: systemd sends it
# to every process of a service, the parent included, and what comes twice must not insist.
DRAIN, INSIST = signal.SIGTERM, signal.SIGINT

# A worker that dies at once, again and again, must not keep a processor busy with starting it.
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0

# Whoever has lived so long died of something new.
_WELL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Which worker this process is, and of how many; *wire* leads to the parent."""

    number: int = 1
    of: int = 1
    wire: socket.socket | None = None

    @property
    def parent(self) -> int:
        """Return the process to which systemd handed its sockets: the parent, or this one where there is none."""
        return os.getpid() if self.wire is None else os.getppid()


def place_from_environ(environ: Mapping[str, str]) -> Place:
    """Return the place that the parent has given to this process; a process without a parent is alone."""
    text = environ.get(WORKER_VARIABLE)
    if not text:
        return Place()
    numbers, _, wire = text.partition(":")
    number, _, of = numbers.partition("/")
    os.set_inheritable(int(wire), False)
    return Place(int(number), int(of), socket.socket(fileno=int(wire)))


class Notifier(Protocol):
    """Who is told how the workers are, all together; `systemd.Notifier` is one."""

    def ready(self, status: str) -> None: ...
    def reloading(self) -> None: ...
    def stopping(self) -> None: ...


class Workers:
    """The parent: as many processes as asked for, from the start of `run` to its end."""

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        environ: Mapping[str, str],
        sockets: Sequence[socket.socket],
        notifier: Notifier,
        *,
        watchdog_seconds: float | None,
        stop_timeout_seconds: float,
    ) -> None:
        self._command = command
        self._count = count
        # The watchdog's process is the parent; a worker answers to it.
        self._environ = {name: text for name, text in environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_PID")}
        self._sockets = sockets
        self._notifier = notifier
        self._watchdog_seconds = watchdog_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._ready: set[int] = set()
        # Those that were still starting when a reload was asked for.
        self._to_reload: set[int] = set()
        self._ready_once: set[int] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keep the workers running until `stop`; raise WorkerFailed where one does not even start."""
        keepers = [asyncio.create_task(self._keep(number)) for number in range(1, self._count + 1)]
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([stop, *keepers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not self._stopping.is_set():
                self.stop()
            _, late = await asyncio.wait(keepers, timeout=self._stop_timeout_seconds)
            if late:
                log.error("workers do not end; killed", workers=sorted(self._processes))
                self._signal(signal.SIGKILL, self._processes)
                await asyncio.wait(late)
        for keeper in keepers:
            keeper.result()

    def stop(self) -> None:
        """Let every worker drain; said again, let it end at once."""
        self._signal(INSIST if self._stopping.is_set() else DRAIN, self._processes)
        self._stopping.set()
        self._notifier.stopping()

    def reload(self) -> None:
        """Let every worker read the configuration anew."""
        self._notifier.reloading()
        self._signal(signal.SIGHUP, self._ready)
        self._to_reload |= self._processes.keys() - self._ready
        self._ready.clear()

    async def _keep(self, number: int) -> None:
        """Keep worker *number* running."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            began = loop.time()
            try:
                code: int | str = await self._run_one(number)
            except OSError as error:  # no room for one more process, or the interpreter is being replaced
                code = str(error)
            if self._stopping.is_set():
                return
            if number not in self._ready_once:
                raise WorkerFailed(f"worker {number} ended with {code} before it was ready; its lines above say why")
            pause = _FIRST_PAUSE_SECONDS if loop.time() - began > _WELL_SECONDS else pause
            log.error("a worker ended", worker=number, exit_code=code, starts_again_in_seconds=pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _run_one(self, number: int) -> int:
        """Run worker *number* to its end, and return its exit code."""
        ours, theirs = socket.socketpair()
        with theirs:
            environ = {
                **self._environ,
                WORKER_VARIABLE: f"{number}/{self._count}:{theirs.fileno()}",
                "LISTEN_PID": str(os.getpid()),
            }
            inherited = (theirs.fileno(), *(sock.fileno() for sock in self._sockets))
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command, env=environ, pass_fds=inherited, start_new_session=True
                )
            except BaseException:
                ours.close()
                raise
        self._processes[number] = process
        if self._stopping.is_set():
            self._signal(DRAIN, [number])
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            await self._listen(number, process, reader)
            return await process.wait()
        finally:
            writer.close()
            del self._processes[number]
            self._ready.discard(number)
            self._to_reload.discard(number)

    async def _listen(self, number: int, process: asyncio.subprocess.Process, reader: asyncio.StreamReader) -> None:
        """Hear what a worker says until it says no more; one that its watchdog misses is killed."""
        watched = False
        while True:
            try:
                async with asyncio.timeout(self._watchdog_seconds if watched else None):
                    line = await reader.readline()
            except TimeoutError:
                log.error("a worker is stuck; killed", worker=number, watchdog_seconds=self._watchdog_seconds)
                process.kill()
                return
            if not line:
                return
            if line == b"READY=1\n":
                watched = self._watchdog_seconds is not None
                self._is_ready(number)

    def _is_ready(self, number: int) -> None:
        if number in self._to_reload:
            self._to_reload.remove(number)
            self._signal(signal.SIGHUP, [number])
            return
        self._ready.add(number)
        self._ready_once.add(number)
        if len(self._ready) == self._count and not self._stopping.is_set():
            log.info("all workers are ready", workers=self._count)
            self._notifier.ready(f"{self._count} workers take calls")

    def _signal(self, number: signal.Signals, workers: Iterable[int]) -> None:
        for worker in workers:
            with suppress(ProcessLookupError):
                self._processes[worker].send_signal(number)
