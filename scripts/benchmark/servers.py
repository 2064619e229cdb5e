"""The servers under test: how each is started, pinned to the first core, weighed, and always stopped.

Knows processes and /proc, not what is measured. A server is ready when it has answered one whole call, which is also
the proof that it holds the conversation: one of them freezes on a probe that only connects.
"""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmark import bridge_config
from benchmark.asterisk import place_call
from benchmark.conversation import API_KEY

_PR_SET_PDEATHSIG = 1
_READY_SECONDS = 20
_RETRY_SECONDS = 0.1
_STOP_SECONDS = 3
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PACKAGE_ROOT = Path(__file__).parents[1]
AGI_BRIDGE = Path(sys.executable).with_name("agi-bridge")


class ServerFailedError(Exception):
    """A server did not start or did not hold the conversation; the message ends with what it printed."""


@dataclass(frozen=True)
class Kind:
    """A way to answer FastAGI: its name in the tables and how to start it in a folder, on a port, with an API.

    It is ready when it has answered a call with the verb *greeting*; *environ* is for its environment.
    """

    name: str
    command: Callable[[Path, int, str], list[str]]
    concurrency: int | None = None  # None: as many calls at once as the run asks for
    greeting: str = "route"
    environ: Mapping[str, str] = field(default_factory=dict, hash=False)


def _bridge(folder: Path, port: int, api: str) -> list[str]:
    config = bridge_config.write(folder, port, api)
    return [str(AGI_BRIDGE), "serve", "--config", str(config)]


def _baseline(module: str) -> Callable[[Path, int, str], list[str]]:
    def command(folder: Path, port: int, api: str) -> list[str]:
        url = f"{api}/register_sip_call"
        return [sys.executable, "-m", f"benchmark.baselines.{module}", "--port", str(port), "--api", url]

    return command


BRIDGE = Kind("agi-bridge", _bridge)
BARE = Kind("bare Protocol", _baseline("bare"))
PANORAMISK = Kind("panoramisk", _baseline("panoramisk_app"))
THREADS = Kind("thread per call", _baseline("threads"))
# Two keep the core busy; more would only take turns, and end too seldom to be counted.
PROCESSES = Kind("process per call", _baseline("processes"), concurrency=2)
KINDS = (BRIDGE, BARE, PANORAMISK, THREADS, PROCESSES)


@dataclass(frozen=True)
class Server:
    """A running server."""

    kind: Kind
    port: int
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """Return the processor time used so far, ended children included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS_A_SECOND

    def resident_megabytes(self) -> float:
        """Return the memory that the process holds now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise ServerFailedError(f"{self.kind.name} is gone")


def waited_seconds(pid: int) -> float:
    """Return how long a process's main thread was ready to run while something else had its core."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:  # a kernel built without it
        return 0.0


@asynccontextmanager
async def running(kind: Kind, folder: Path, api: str, core: int) -> AsyncIterator[Server]:
    """Start a server pinned to *core*, wait until it has answered a call, and stop it with all its children."""
    folder = folder / kind.name.replace(" ", "-")
    folder.mkdir()
    port = _free_port()
    environ = os.environ | {"PYTHONPATH": str(_PACKAGE_ROOT), "MILLIS_API_KEY": API_KEY, **kind.environ}
    process = _start(kind.command(folder, port, api), folder, environ, core)
    try:
        if not await _answers(port, process, kind.greeting):
            told = "\n".join((folder / "log").read_text(errors="replace").splitlines()[-15:])
            raise ServerFailedError(f"{kind.name} did not answer its first call as it should. It said:\n{told}")
        yield Server(kind, port, process)
    finally:
        await asyncio.to_thread(_stop, process)


def _start(command: list[str], folder: Path, environ: Mapping[str, str], core: int) -> subprocess.Popen[bytes]:
    prctl = ctypes.CDLL(None).prctl

    def settle() -> None:
        os.sched_setaffinity(0, {core})
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # even when this process is killed outright

    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environ,
            start_new_session=True,  # a group of its own, so that its children are stopped with it
            preexec_fn=settle,
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


async def _answers(port: int, process: subprocess.Popen[bytes], greeting: str) -> bool:
    """Wait for a first whole call, and return whether there was one."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_SECONDS):
            while process.poll() is None:
                if (await place_call(port, greeting)).ok:
                    return True
                await asyncio.sleep(_RETRY_SECONDS)
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
