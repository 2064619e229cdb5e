"""What the first call after a long pause waits, with the API 80 ms of round trip away and TLS between.

A kept connection costs a call one round trip; a new one costs two more, for TCP and for TLS. Whether there is a kept one when
a call comes at last depends on the bridge's probes, and on when the API closes what is idle: uvicorn does after 5 s,
load balancers after about 60.
"""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from itertools import chain
from math import inf
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmark import bridge_config
from benchmark.asterisk import place_call
from benchmark.millis import MillisStub
from benchmark.relay import Relay
from benchmark.report import Chapter, Goal, spread
from benchmark.run import Run
from benchmark.servers import AGI_BRIDGE, Kind, Server, ServerFailedError, running

_ROUND_TRIP_SECONDS = 0.08
_CLOSED_AFTER_SECONDS = (inf, 60, 5)
_CALLS_IN_A_ROW = 10
# So that the first calls do not meet all bridges at the same moment between two probes.
_PAUSE_SECONDS = 1.3


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine that is its own authority; return its file and that of its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "1",
            ),
            *("-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


class _Bench:
    """Runs bridges that trust one certificate, each with a distant API of its own."""

    def __init__(self, folder: Path, core: int) -> None:
        self._folder, self._core = folder, core
        self._certificate, key = _certificate(folder)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(self._certificate, key)
        self._started = 0

    @asynccontextmanager
    async def bridge(self, closed_after_seconds: float, millis: str = "") -> AsyncIterator[Server]:
        """Run a bridge that has been asked nothing; *millis* is a line of its configuration."""
        self._started += 1
        kind = Kind(
            f"agi-bridge {self._started}",
            lambda folder, port, api: [
                *(str(AGI_BRIDGE), "serve", "--config"),
                str(bridge_config.write(folder, port, api, millis)),
            ],
            greeting="ping",
            environ={"SSL_CERT_FILE": str(self._certificate)},
        )
        api = MillisStub(delay_seconds=0, tls=self._tls, idle_seconds=closed_after_seconds)
        with closing(await api.start()), closing(await Relay(api.port, _ROUND_TRIP_SECONDS).start()) as relay:
            url = f"https://127.0.0.1:{relay.sockets[0].getsockname()[1]}"
            async with running(kind, self._folder, url, self._core) as server:
                yield server


async def _set_up_milliseconds(server: Server) -> float:
    call = await place_call(server.port)
    if not call.ok:
        raise ServerFailedError(f"{server.kind.name} did not set up a call")
    return (call.finished - call.started) * 1e3


async def _warm(bridges: Iterable[Server]) -> list[float]:
    """Return the set-up times of calls in a row; the first of them may still be a cold one."""
    times = []
    for bridge in bridges:
        times += [await _set_up_milliseconds(bridge) for _ in range(1 + _CALLS_IN_A_ROW)][1:]
    return times


async def _first_calls(bridges: Iterable[Server]) -> list[float]:
    times = []
    for bridge in bridges:
        await asyncio.sleep(_PAUSE_SECONDS)
        times.append(await _set_up_milliseconds(bridge))
    return times


async def run(run: Run) -> Chapter:
    """Measure warm calls, first calls after the pause, and first calls of a bridge's life."""
    chapter = Chapter(
        f"Set-up time with the API {_ROUND_TRIP_SECONDS * 1e3:.0f} ms away over TLS",
        ("call", "median ms", "max ms", "calls", "against warm"),
    )
    async with AsyncExitStack() as stack:
        bench = _Bench(Path(stack.enter_context(TemporaryDirectory(prefix="agi-bridge-bench-"))), run.core)
        bridges = {
            seconds: [await stack.enter_async_context(bench.bridge(seconds)) for _ in range(run.rounds)]
            for seconds in _CLOSED_AFTER_SECONDS
        }
        warm = await _warm(chain.from_iterable(bridges.values()))
        await asyncio.sleep(run.idle_minutes * 60)
        first = {seconds: await _first_calls(some) for seconds, some in bridges.items()}
        cold = []
        for _ in range(run.rounds):
            async with bench.bridge(inf, "probe_seconds = 0") as bridge:
                cold.append(await _set_up_milliseconds(bridge))

    usual = median(warm)

    def tell(name: str, times: list[float]) -> float:
        figures = spread(times)
        ratio = figures["median"] / usual
        chapter.figures[name] = {**figures, "against_warm": ratio}
        chapter.rows.append(
            (name, f"{figures['median']:.1f}", f"{figures['maximum']:.1f}", f"{len(times)}", f"{ratio:.2f}")
        )
        return ratio

    tell("in a row", warm)
    for seconds, times in first.items():
        pause = f"first after {run.idle_minutes:g} idle minutes"
        name = pause if seconds == inf else f"{pause}, the API closing after {seconds:g} s"
        chapter.goals.append(Goal.at_most(f"{name}, against warm", 1.1, tell(name, times), "times"))
    tell("first ever, without probes", cold)
    return chapter
