"""Play calls at a steady rate against a bridge that is restarted and reloaded meanwhile, and count who noticed.

It holds the listening socket open, as systemd does for a .socket unit, and starts the bridge with it. AGI only: the calls are
those of the simulated Asterisk, and Millis is the simulated one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agi_bridge.simulator.asterisk import PlayedCall, play_call
from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.millis import SimulatedMillis

CONFIG = """
[agi]
workers = {workers}

[web]
listen = []

[records]
folder = "records"

[millis]
base_url = "{url}"
allowed_hosts = "127.0.0.1"

[defaults]
fallback = "reception,s,1"

[[route]]
name = "{rule}"
agent_id = "-Nall"
"""

# The socket is where systemd puts it, for the process that it names.
AS_SYSTEMD_DOES = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""

PATIENCE_SECONDS = 30


@dataclass
class Tally:
    """What became of the calls."""

    calls: list[PlayedCall] = field(default_factory=list)
    restarts: int = 0
    reloads: int = 0
    longest_absence_seconds: float = 0.0

    def report(self) -> list[tuple[str, str]]:
        """Return the figures by name."""
        statuses = Counter(call.variables.get("MILLIS_STATUS", "") for call in self.calls)
        times = sorted(call.seconds for call in self.calls)
        return [
            ("calls", str(len(self.calls))),
            ("restarts, reloads", f"{self.restarts}, {self.reloads}"),
            ("routed", str(statuses["ok"])),
            ("without an outcome", str(statuses[""])),
            ("refused", str(self.refused)),
            *((f"  {why}", str(count)) for why, count in self.reasons.items()),
            ("median time of a call", f"{times[len(times) // 2] * 1000:.0f} ms"),
            ("worst time of a call", f"{times[-1] * 1000:.0f} ms"),
            ("longest time without a bridge", f"{self.longest_absence_seconds * 1000:.0f} ms"),
        ]

    @property
    def refused(self) -> int:
        """Return how many calls did not get a conversation: no connection, or FAILURE."""
        return sum(call.agistatus == "FAILURE" for call in self.calls)

    @property
    def reasons(self) -> Counter[str]:
        """Return why calls failed, in the simulated Asterisk's words."""
        return Counter(call.trouble or "FAILURE" for call in self.calls if call.agistatus == "FAILURE")

    @property
    def is_good(self) -> bool:
        """Return whether nobody noticed anything."""
        return bool(self.calls) and all(call.variables.get("MILLIS_STATUS") == "ok" for call in self.calls)


class Supervised:
    """The bridge, as systemd runs it: told to stop and to reload, started again with the same socket."""

    def __init__(self, listening: socket.socket, config: Path) -> None:
        self._listening = listening
        self._config = config

    async def start(self, ready: str) -> None:
        """Start it, and wait until it takes calls."""
        number = str(self._listening.fileno())
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", AS_SYSTEMD_DOES, number),
            *(sys.executable, "-m", "agi_bridge", "serve", "--config", str(self._config)),
            env={**os.environ, "MILLIS_API_KEY": "k"},
            stderr=asyncio.subprocess.PIPE,
            pass_fds=[self._listening.fileno()],
        )
        self._events: asyncio.Queue[str] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())
        await self._wrote(ready)

    async def reload(self, times: int) -> None:
        """Make it read its configuration anew, and wait until each of its processes has."""
        self._process.send_signal(signal.SIGHUP)
        for _ in range(times):
            await self._wrote("configuration reloaded")

    async def stop(self) -> None:
        """Drain it, and wait for its end."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        await self._reading
        await self._process.wait()

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for raw in self._process.stderr:
            if not raw.startswith(b"{"):
                sys.stderr.buffer.write(raw)
                continue
            line = json.loads(raw)
            if line["event"] == "call" and line["reason"] != "routed":
                print(raw.decode().strip(), file=sys.stderr)
            if line["event"] != "call":
                self._events.put_nowait(line["event"])

    async def _wrote(self, event: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._events.get() != event:
                pass


async def play(address: tuple[str, int], rate: float, seconds: float, tally: Tally) -> None:
    """Begin *rate* calls a second for *seconds*, whatever becomes of the earlier ones."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    calls = set()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(began + number / rate - loop.time())
        call = asyncio.create_task(
            play_call(*address, arguments=("did=+15551230001",), timeout_seconds=PATIENCE_SECONDS)
        )
        calls.add(call)
        call.add_done_callback(calls.discard)
        call.add_done_callback(lambda call: tally.calls.append(call.result()))
    await asyncio.gather(*calls)


async def measure(wanted: argparse.Namespace, folder: Path) -> Tally:
    """Play, disturb, and count."""
    tally = Tally()
    config = folder / "bridge.toml"
    ready = "ready" if wanted.workers == 1 else "all workers are ready"
    async with SimulatedMillis(fault=Fault(delay_seconds=wanted.millis_ms / 1000)) as millis:
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:

            def write_rule(name: str) -> None:
                config.write_text(CONFIG.format(url=millis.url, rule=name, workers=wanted.workers))

            write_rule("first")
            bridge = Supervised(listening, config)
            await bridge.start(ready)
            playing = asyncio.create_task(play(listening.getsockname(), wanted.rate, wanted.seconds, tally))
            while not (await asyncio.wait([playing], timeout=wanted.every))[0]:
                if tally.restarts > tally.reloads:
                    write_rule(f"reload-{tally.reloads}")
                    await bridge.reload(wanted.workers)
                    tally.reloads += 1
                    continue
                await bridge.stop()
                gone_at = time.monotonic()
                await bridge.start(ready)
                tally.longest_absence_seconds = max(tally.longest_absence_seconds, time.monotonic() - gone_at)
                tally.restarts += 1
            await playing
            await bridge.stop()
    return tally


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(prog="scripts/restart", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long calls are begun; default %(default)s")
    parser.add_argument("--rate", type=float, default=100, help="calls begun each second; default %(default)s")
    parser.add_argument("--every", type=float, default=3, help="seconds between disturbances; default %(default)s")
    parser.add_argument("--millis-ms", type=float, default=150, help="how long Millis takes; default %(default)s")
    parser.add_argument("--workers", type=int, default=1, help="processes of the bridge; default %(default)s")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = asyncio.run(measure(wanted, Path(folder)))
    for name, figure in tally.report():
        print(f"{name:32}{figure}")
    return 0 if tally.is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
