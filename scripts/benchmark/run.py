"""One run of the bench: what was asked for, and the servers and the API stub that a scenario measures with."""

import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark.millis import MillisStub
from benchmark.servers import Kind, Server, running, waited_seconds


@dataclass(frozen=True)
class Run:
    """The settings of a run; *kinds* are the servers asked for, *core* is where they run."""

    stub: MillisStub
    kinds: tuple[Kind, ...]
    core: int
    seconds: float
    rounds: int
    concurrency: int
    calls_at_once: int
    open_sessions: int
    idle_minutes: float
    records: int

    @asynccontextmanager
    async def servers(self, wanted: Iterable[Kind]) -> AsyncIterator[list[Server]]:
        """Run those of the *wanted* servers that were asked for, all at once, fresh."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="agi-bridge-bench-")))
            yield [
                await stack.enter_async_context(running(kind, folder, self.stub.url, self.core))
                for kind in wanted
                if kind in self.kinds
            ]


@dataclass(frozen=True)
class Shares:
    """Shares of one core: what the server used, what this generator used, and how long either waited for its turn."""

    server: float
    generator: float
    disturbed: float


class Load:
    """Watches a server and this generator from the moment it is made."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._began = self._now()

    def _now(self) -> tuple[float, ...]:
        pids = (self._server.process.pid, os.getpid())
        return time.perf_counter(), self._server.cpu_seconds(), time.process_time(), *map(waited_seconds, pids)

    def shares(self) -> Shares:
        """Return the shares until now."""
        seconds, server, generator, *waited = (now - then for now, then in zip(self._now(), self._began, strict=True))
        return Shares(server / seconds, generator / seconds, max(waited) / seconds)
