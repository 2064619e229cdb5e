"""The bridge as a process of its own, from its start to its last line."""

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agi_bridge.millis.models import REGIONS
from proving.process import resident_kilobytes

KEY = "proving-key"

_CONFIG = """\
[agi]
listen = "127.0.0.1:0"

[millis]
base_url = {base_url}
allowed_hosts = ["127.0.0.1"]
connect_timeout_seconds = 0.5
timeout_seconds = {patience}
keepalive_seconds = {keepalive}
probe_seconds = 1
breaker_seconds = 2

[web]
listen = []

[records]
folder = "records"

[numbers]
default_country = "US"

[log]
format = "json"
numbers = "full"

[defaults]
fallback = "{fallback}"
ring_timeout_seconds = 2

[[route]]
name = "proving"
did = ["_X.", "_+X."]
agent_id = "-Nproving"
metadata = {{ tongue = "${{CHANNEL(language)}}" }}
"""
KEEPALIVE_SECONDS = 2.0
_START_SECONDS = 20.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1
_SCRIPTS = Path(__file__).resolve().parents[1]


class BridgeFailedError(Exception):
    """The bridge did not start or did not answer; the message ends with what it printed."""


def config_text(millis_urls: Sequence[str], fallback: str, patience_seconds: float = 1.0) -> str:
    """Return the configuration as TOML, with one Millis for all regions or one for each."""
    by_region = ", ".join(f"{region} = {json.dumps(url)}" for region, url in zip(REGIONS, millis_urls, strict=False))
    base_url = json.dumps(millis_urls[0]) if len(millis_urls) == 1 else f"{{ {by_region} }}"
    return _CONFIG.format(base_url=base_url, fallback=fallback, patience=patience_seconds, keepalive=KEEPALIVE_SECONDS)


@dataclass
class BridgeProcess:
    """A running bridge; what it printed is read once it has stopped."""

    address: str
    pid: int
    exit_code: int | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)  # what is no line of a log, such as a traceback
    _log: Path = field(default_factory=Path)

    async def weigh(self) -> dict[str, Any]:
        """Return what is alive in it: tasks, and objects by their types (`watched_bridge.py`)."""
        if not resident_kilobytes(self.pid):
            raise BridgeFailedError(f"the bridge is gone; it said:\n{self._log.read_text(errors='replace')[-2000:]}")
        before = len(_read(self._log, "weighed"))
        os.kill(self.pid, signal.SIGUSR1)
        await until(lambda: len(_read(self._log, "weighed")) > before, _STOP_SECONDS, "the bridge did not weigh itself")
        return _read(self._log, "weighed")[-1]


@asynccontextmanager
async def running(folder: Path, text: str, module: str = "agi_bridge") -> AsyncIterator[BridgeProcess]:
    """Run the bridge with this configuration; *module* is what `python -m` runs. At the end it is told to drain."""
    path, log = folder / "bridge.toml", folder / "bridge.log"
    path.write_text(text)
    process = _start(path, log, module)
    bridge = BridgeProcess("", process.pid, _log=log)
    try:
        await until(
            lambda: bool(_read(log, "ready")) or process.poll() is not None, _START_SECONDS, "the bridge did not start"
        )
        if process.poll() is not None:
            raise BridgeFailedError(f"the bridge did not start; it said:\n{log.read_text(errors='replace')}")
        bridge.address = "{}:{}".format(*_read(log, "listening for FastAGI")[0]["address"])
        yield bridge
    finally:
        process.terminate()
        try:
            bridge.exit_code = await asyncio.to_thread(process.wait, _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for line in log.read_text(errors="replace").splitlines():
            try:
                bridge.lines.append(json.loads(line))
            except ValueError:
                bridge.noise.append(line)


def _start(config: Path, log: Path, module: str) -> subprocess.Popen[bytes]:
    prctl = ctypes.CDLL(None).prctl
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, "serve", "--config", config],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONPATH": str(_SCRIPTS), "MILLIS_API_KEY": KEY},
            preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # even when this process is killed outright
        )


def _read(log: Path, event: str) -> list[dict[str, Any]]:
    """Return the lines about *event*, of those that are complete."""
    found = []
    for line in log.read_bytes().split(b"\n")[:-1]:
        if f'"{event}"'.encode() in line:
            with suppress(ValueError):
                found.append(json.loads(line))
    return [line for line in found if line.get("event") == event]


async def until(happened: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Look again and again; raise BridgeFailedError with the sentence *otherwise* when it takes too long."""
    try:
        async with asyncio.timeout(seconds):
            while not happened():  # noqa: ASYNC110 - a process sets no event of ours
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise BridgeFailedError(f"{otherwise} within {seconds:g} s") from None
