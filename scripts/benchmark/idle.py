"""What the first call after a long pause waits, with the API 80 ms of round trip away and TLS between.

A kept connection costs a call one round trip; a new one costs two more, for TCP and for TLS. Whether there is a kept one when
a call comes at last depends on the bridge's probes, and on when the API closes what is idle: uvicorn does after 5 s,
load balancers after about 60.
"""

import asyncio
import ssl
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import asdict, dataclass, field
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
from benchmark.servers import AGI_BRIDGE, Kind, Server, ServerFailedError, running, waited_seconds

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


@dataclass
class _Times:
    """How long calls took to set up, and how long the bridge meanwhile waited for its core, in milliseconds."""

    set_up: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    async def measure(self, server: Server) -> None:
        """Add a call."""
        before = waited_seconds(server.process.pid)
        call = await place_call(server.port)
        if not call.ok:
            raise ServerFailedError(f"{server.kind.name} did not set up a call")
        self.set_up.append((call.finished - call.started) * 1e3)
        self.waited.append((waited_seconds(server.process.pid) - before) * 1e3)


async def run(run: Run) -> Chapter:
    """Measure first calls after the pause, calls in a row right after them, and first calls of a bridge's life.

    What is compared is measured within a second on the same bridge, and the bridges take turns: a machine that others use
    too is no steadier than that.
    """
    chapter = Chapter(
        f"Set-up time with the API {_ROUND_TRIP_SECONDS * 1e3:.0f} ms away over TLS",
        ("call", "median ms", "max ms", "calls", "against warm", "of it waiting for a core, ms"),
    )
    warm: dict[float, _Times] = defaultdict(_Times)
    first: dict[float, _Times] = defaultdict(_Times)
    cold = _Times()
    async with AsyncExitStack() as stack:
        bench = _Bench(Path(stack.enter_context(TemporaryDirectory(prefix="agi-bridge-bench-"))), run.core)
        bridges = [
            (seconds, await stack.enter_async_context(bench.bridge(seconds)))
            for _ in range(run.rounds)
            for seconds in _CLOSED_AFTER_SECONDS
        ]
        for _, bridge in bridges:
            await _Times().measure(bridge)
        await asyncio.sleep(run.idle_minutes * 60)
        for seconds, bridge in bridges:
            await asyncio.sleep(_PAUSE_SECONDS)
            await first[seconds].measure(bridge)
            for _ in range(_CALLS_IN_A_ROW):
                await warm[seconds].measure(bridge)
        for _ in range(run.rounds):
            async with bench.bridge(inf, "probe_seconds = 0") as bridge:
                await cold.measure(bridge)

    def tell(name: str, times: _Times, usual: _Times) -> float:
        figures = spread(times.set_up)
        ratio, waited = figures["median"] / median(usual.set_up), median(times.waited)
        chapter.figures[name] = {**asdict(times), **figures, "against_warm": ratio}
        shown = (figures["median"], figures["maximum"], ratio, waited)
        middle, most, against, waiting = (f"{value:.2f}" for value in shown)
        chapter.rows.append((name, middle, most, f"{len(times.set_up)}", against, waiting))
        return ratio

    for seconds in _CLOSED_AFTER_SECONDS:
        closing_time = "" if seconds == inf else f", the API closing after {seconds:g} s"
        tell(f"in a row{closing_time}", warm[seconds], warm[seconds])
        name = f"first after {run.idle_minutes:g} idle minutes{closing_time}"
        ratio = tell(name, first[seconds], warm[seconds])
        chapter.goals.append(Goal.at_most(f"{name}, against warm", 1.1, ratio, "times"))
    tell("first ever, without probes", cold, warm[inf])
    return chapter
