"""A running `agi-bridge serve` for tests: its log read line by line, its ports, its signals; started as systemd would."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from agi_bridge.simulator.millis import SimulatedMillis

CONFIG = """
[agi]
listen = "127.0.0.1:{port}"
drain_timeout_seconds = 5

[web]
listen = "127.0.0.1:{web_port}"

[millis]
base_url = "{url}"
allowed_hosts = "127.0.0.1"

[defaults]
fallback = "reception,s,1"

[[route]]
name = "{rule}"
did = "_+X."
agent_id = "-Nall"
"""

PATIENCE_SECONDS = 15.0

# systemd puts the sockets where LISTEN_FDS says, for the process that LISTEN_PID names.
_AS_SYSTEMD_DOES = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


class Served:
    """The process, where it listens, and what it has written."""

    def __init__(self, process: asyncio.subprocess.Process, config: Path) -> None:
        self.process = process
        self.config = config
        self.lines: list[dict[str, Any]] = []
        self.address = ("", 0)
        self.web_address = ("", 0)

    async def wrote(self, event: str, **fields: Any) -> dict[str, Any]:
        """Read the log until it has *event* with these fields."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while raw := await self.process.stderr.readline():
                line = self._read(raw)
                if line["event"] == event and fields.items() <= line.items():
                    return line
        raise AssertionError(f"the bridge ended without {event!r}: {self.lines}")

    def _read(self, raw: bytes) -> dict[str, Any]:
        """Keep a line of the log, or a complaint that is none."""
        line = json.loads(raw) if raw.startswith(b"{") else {"event": raw.decode().strip()}
        self.lines.append(line)
        return self.lines[-1]

    async def rest(self) -> list[dict[str, Any]]:
        """Read the log until every process that writes it is over, and return all of it."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for raw in self.process.stderr:
                self._read(raw)
        return self.lines

    async def started(self) -> None:
        """Read the log until calls are taken."""
        await self.wrote("ready")
        for line in self.lines:
            if line["event"] == "listening for FastAGI":
                self.address = tuple(line["address"])
            if line["event"] == "listening for HTTP":
                self.web_address = tuple(line["address"])

    async def ended(self) -> int:
        """Wait until the process is over."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.process.wait()

    async def stopped(self) -> int:
        """Drain, and wait for the end."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Return status and body of an answer of the web side."""
        reader, writer = await asyncio.open_connection(*self.web_address)
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{k}: {v}" for k, v in headers.items())]
        writer.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = (await reader.read()).decode()
        writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), body


def two_free_ports() -> int:
    """Return a port that is free, as is the next one, and that the kernel gives to nobody who asks for any."""
    while True:
        port = random.randrange(20_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            socket.create_server(("127.0.0.1", port + 1)).close()
            return port


def write_config(
    folder: Path, millis: SimulatedMillis, rule: str = "all", port: int = 0, web_port: int = 0, more: str = ""
) -> Path:
    """Write a configuration with one rule, and return its path."""
    path = folder / "bridge.toml"
    path.write_text(CONFIG.format(url=millis.url, rule=rule, port=port, web_port=web_port) + more)
    return path


@asynccontextmanager
async def serving(
    config: Path,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    inherited: socket.socket | None = None,
    passed: tuple[int, ...] = (),
) -> AsyncIterator[Served]:
    """Run the bridge as a process, with the *passed* file descriptors; what is left of it at the end is killed."""
    command = [sys.executable, "-m", "agi_bridge", "serve", "--config", str(config), *arguments]
    if inherited is not None:
        passed = (*passed, inherited.fileno())
        command = [sys.executable, "-I", "-S", "-c", _AS_SYSTEMD_DOES, str(inherited.fileno()), *command]
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "MILLIS_API_KEY": "k", **(environ or {})},
        stderr=asyncio.subprocess.PIPE,
        pass_fds=passed,
    )
    served = Served(process, config)
    try:
        yield served
    finally:
        if process.returncode is None:
            process.kill()
        await served.rest()
        await served.ended()
