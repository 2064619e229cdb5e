"""The sockets: which are opened or taken over, how they are accepted from, and what happens when descriptors run out."""

from __future__ import annotations

import asyncio
import json
import select
import signal
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from agi_bridge.agi.server import AgiServer
from agi_bridge.config import AgiSettings
from agi_bridge.errors import CannotListen
from agi_bridge.simulator.asterisk import play_call
from agi_bridge.simulator.channel import SimulatedChannel, environment
from tests.agi.pbx import DONE, HELLO, PATIENCE_SECONDS, SET_STATUS, TINY_SECONDS, Pbx, serving, set_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping


def lines_of(logs: list[MutableMapping[str, Any]], event: str) -> list[MutableMapping[str, Any]]:
    return [line for line in logs if line["event"] == event]


async def test_server_listens_on_every_address():
    """IPv4 and IPv6 are served side by side."""
    with capture_logs() as logs:
        async with serving(set_status, listen=["127.0.0.1:0", "[::1]:0"]) as server:
            assert [host for host, _ in server.addresses] == ["127.0.0.1", "::1"]
            for host, port in server.addresses:
                assert (await play_call(host, port)).variables["MILLIS_STATUS"] == "ok"
            expected = [
                {"event": "listening for FastAGI", "log_level": "info", "address": it} for it in server.addresses
            ]
    assert lines_of(logs, "listening for FastAGI") == expected


async def test_ipv6_peer_off_the_list_is_refused():
    """The list counts for IPv6 too."""
    async with serving(set_status, listen=["[::1]:0"], allow=["127.0.0.0/8", "fd00::/8"]) as server:
        assert (await play_call(*server.addresses[0])).agistatus == "FAILURE"
        assert server.counts.refused_peer == 1


async def test_address_of_another_machine_is_told_as_such():
    """Nobody is sent to look for another bridge where the address is not ours."""
    server = AgiServer(AgiSettings(listen=["192.0.2.1:4573"]), set_status)
    with pytest.raises(CannotListen) as refused:
        await server.__aenter__()
    assert str(refused.value) == (
        "cannot listen on 192.0.2.1:4573: it is none of the addresses of this machine. See listen under [agi]"
    )


async def test_address_in_use_is_an_error_and_leaves_nothing_open():
    """When one address cannot be had, the server does not start at all."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = AgiSettings(listen=["[::1]:0", f"127.0.0.1:{port}"])
        server = AgiServer(settings, set_status)
        with capture_logs() as logs, pytest.raises(CannotListen, match=f"127.0.0.1:{port}: Address already in use"):
            await server.__aenter__()
        [line] = lines_of(logs, "listening for FastAGI")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*line["address"])


async def test_accepted_connections_are_kept_alive():
    """The kernel asks a silent PBX for a sign of life after a minute, because EXEC Dial is silent for hours."""
    async with serving(set_status) as server, await Pbx.connect(server) as pbx:
        pbx.send(HELLO)
        await pbx.line()
        assert 0 < keepalive_seconds(server.addresses[0][1], pbx.port) <= 60


def keepalive_seconds(local_port: int, remote_port: int) -> float:
    """Return when the kernel will probe this connection next; timer 2 of /proc/net/tcp is the keepalive."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, _, timer, *_ = line.split()
        if local.endswith(f":{local_port:04X}") and remote.endswith(f":{remote_port:04X}"):
            kind, _, ticks = timer.partition(":")
            assert kind == "02", f"no keepalive timer but {timer}"
            return int(ticks, 16) / 100
    raise AssertionError("the kernel does not know the connection")


def somaxconn() -> int:
    return int(Path("/proc/sys/net/core/somaxconn").read_text())


async def test_short_backlog_of_the_kernel_is_said():
    """An administrator learns that the kernel keeps fewer waiting connections than the configuration asks for."""
    kernel = somaxconn()
    with capture_logs() as logs:
        async with serving(set_status, backlog=kernel):
            pass
        assert not lines_of(logs, "the kernel caps the listen backlog")
        async with serving(set_status, backlog=kernel + 1):
            pass
    assert lines_of(logs, "the kernel caps the listen backlog") == [
        {
            "event": "the kernel caps the listen backlog",
            "log_level": "warning",
            "backlog": kernel + 1,
            "somaxconn": kernel,
        }
    ]


async def test_sockets_that_listen_already_are_taken_over():
    """Sockets that somebody else opened are served in place of the addresses, and closed in the end."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        settings = AgiSettings(listen=["192.0.2.1:4573"])
        async with AgiServer(settings, set_status, sockets=[given]) as server:
            assert server.addresses == [given.getsockname()]
            assert (await play_call(*given.getsockname())).variables["MILLIS_STATUS"] == "ok"
        assert given.fileno() == -1


async def test_socket_that_somebody_else_keeps_open_loses_nobody():
    """Between one server and the next, connections wait in a socket that a supervisor holds; the next one serves them."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = held.getsockname()
        async with AgiServer(AgiSettings(), set_status, sockets=[held.dup()]):
            assert (await play_call(*address)).variables["MILLIS_STATUS"] == "ok"
        waiting = asyncio.create_task(play_call(*address))
        async with AgiServer(AgiSettings(), set_status, sockets=[held.dup()]):
            assert (await waiting).variables["MILLIS_STATUS"] == "ok"


async def test_several_servers_share_an_address():
    """With reuse_port, one worker beside another listens on the same port; without, the port is taken."""
    async with AgiServer(AgiSettings(listen=["127.0.0.1:0"]), set_status, reuse_port=True) as first:
        settings = AgiSettings(listen=[f"127.0.0.1:{first.addresses[0][1]}"])
        async with AgiServer(settings, set_status, reuse_port=True) as second:
            for _ in range(20):
                assert (await play_call(*first.addresses[0])).variables["MILLIS_STATUS"] == "ok"
            assert first.counts.sessions + second.counts.sessions == 20
        with pytest.raises(CannotListen):
            await AgiServer(settings, set_status).__aenter__()


async def test_full_backlog_disturbs_no_call():
    """With more connections than the kernel keeps waiting, a call under way goes on, and all are served in the end."""
    async with serving(set_status, backlog=1) as server, await Pbx.connect(server) as live:
        live.send(HELLO)
        assert await live.line() == SET_STATUS
        # Until the next await the server does not look: two connections wait, and the kernel is silent to the third.
        crowd = [socket.socket() for _ in range(3)]
        for connection in crowd:
            connection.setblocking(False)
            connection.connect_ex(server.addresses[0])
        assert [is_connected(connection) for connection in crowd] == [True, True, False]
        live.send(DONE)
        assert await live.rest() == ""
        for connection in crowd:
            connection.setblocking(True)
            connection.settimeout(PATIENCE_SECONDS)
            assert await asyncio.to_thread(converse, connection) == f"{SET_STATUS}\n"


def is_connected(connection: socket.socket) -> bool:
    return bool(select.select([], [connection], [], 0)[1])


def converse(connection: socket.socket) -> str:
    """Ask, and return the first answer; the kernel tries anew by itself if it has not connected yet."""
    with connection:
        select.select([], [connection], [], PATIENCE_SECONDS)
        connection.sendall(HELLO)
        return connection.recv(100).decode()


# When file descriptors run out


class FewDescriptors:
    """A server in a process of its own with few file descriptors; see `few_descriptors.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[dict[str, Any]] = []
        self.addresses: list[tuple[str, int]] = []

    async def wrote(self, event: str) -> dict[str, Any]:
        """Read its log until it has *event*, and return that line."""
        assert self._process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while raw := await self._process.stderr.readline():
                self._lines.append(json.loads(raw))
                if self._lines[-1]["event"] == event:
                    return self._lines[-1]
        raise AssertionError(f"the server ended without {event!r}: {self._lines}")

    async def stopped(self) -> list[dict[str, Any]]:
        """Stop it, and return its whole log."""
        self._process.send_signal(signal.SIGTERM)
        with suppress(AssertionError):
            await self.wrote("nothing of the kind")
        assert await self._process.wait() == 0
        return self._lines


@asynccontextmanager
async def few_descriptors(loop: str) -> AsyncIterator[Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.agi.few_descriptors", loop, stderr=asyncio.subprocess.PIPE
    )
    server = FewDescriptors(process)
    try:
        server.addresses = [(await server.wrote("listening for FastAGI"))["address"]]
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_calls_that_are_too_many_for_the_descriptors_are_refused():
    """When few descriptors are left, new calls are refused at once; those under way finish, and then there is room."""
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    async with few_descriptors(loop) as server, AsyncExitStack() as calls:
        under_way: list[Pbx] = []
        while True:
            pbx = await calls.enter_async_context(await Pbx.connect(server))
            pbx.send(HELLO)
            answer = await pbx.line()
            if answer == "FAILURE":
                break
            assert answer == SET_STATUS
            under_way.append(pbx)
        for _ in range(50):
            assert (await play_call(*server.addresses[0])).agistatus == "FAILURE"
        for pbx in under_way:
            pbx.send(DONE)
            assert await pbx.rest() == ""
        assert (await play_call(*server.addresses[0])).variables["MILLIS_STATUS"] == "ok"
        lines = await server.stopped()

    assert len(under_way) > 10
    refused = [line for line in lines if line["event"] == "connection refused"]
    assert [(line["counter"], line.get("left_out")) for line in refused] == [
        ("refused_files", None),
        ("refused_files", 49),
    ]
    assert refused[0]["why"] == (
        "too few file descriptors are left; raise LimitNOFILE, or lower session_limit under [agi]"
    )
    assert "Traceback" not in str(lines)


async def test_calls_go_on_when_no_descriptor_is_left():
    """With no descriptor at all, a new call waits until there is one; a call under way does not notice."""
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    hoard = environment(SimulatedChannel(), "127.0.0.1", 4573, "hoard")
    async with (
        few_descriptors(loop) as server,
        await Pbx.connect(server) as live,
        await Pbx.connect(server) as hoarder,
    ):
        live.send(HELLO)
        assert await live.line() == SET_STATUS
        hoarder.send(hoard)
        assert await hoarder.line() == SET_STATUS
        async with await Pbx.connect(server) as waiting:
            waiting.send(HELLO)
            line = await server.wrote("cannot accept connections for a moment")
            answered = asyncio.create_task(waiting.line())
            assert not (await asyncio.wait([answered], timeout=TINY_SECONDS * 10))[0]
            live.send(DONE)
            assert await live.rest() == ""
            assert await answered == SET_STATUS
        hoarder.send(DONE)
        assert await hoarder.rest() == ""
        assert (await play_call(*server.addresses[0])).variables["MILLIS_STATUS"] == "ok"
        lines = await server.stopped()

    assert (line["counter"], line["why"]) == (
        "not_accepted",
        "Too many open files; if it goes on, raise LimitNOFILE, or lower session_limit under [agi]",
    )
    assert len(lines) < 10
    assert "Traceback" not in str(lines)
