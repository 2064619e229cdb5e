"""Health, metrics and reload over HTTP: a real server on a real port, asked byte by byte."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from agi_bridge.changes import Reloaded
from agi_bridge.config import Address, WebSettings
from agi_bridge.errors import CannotListen, ConfigError, Problem
from agi_bridge.web.server import WebServer
from agi_bridge.web.snapshot import Snapshot

READY = Snapshot(
    version="1.2.3",
    worker=2,
    workers=4,
    not_ready="",
    draining=False,
    config_file="/etc/agi-bridge/bridge.toml",
    config_loaded_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    reloads_refused=0,
    open_connections=0,
    open_sessions=0,
    door={},
    needs_restart=("log.level",),
    region_states={"us-west": "closed", "eu-west": "open"},
)
RELOAD = {"agi-bridge": "reload"}
PATIENCE_SECONDS = 5


async def nothing_to_reload():
    return Reloaded((), ())


@asynccontextmanager
async def serving(moment=READY, reload=nothing_to_reload, routes=(), **settings):
    web = WebSettings(**{"listen": ["127.0.0.1:0"]} | settings)
    async with WebServer(web, 1, lambda: moment, lambda: b"m 1.0\n", reload, routes) as server:
        yield server


async def say(server, raw):
    """Send bytes and return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection(*server.addresses[0])
    writer.write(raw)
    async with asyncio.timeout(PATIENCE_SECONDS):
        said = await reader.read()
    writer.close()
    return said.decode()


async def ask(server, path, method="GET", host="127.0.0.1:4574", **headers):
    """Return status, header text and body of one answer."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    head, _, body = (await say(server, "\r\n".join([*lines, "", ""]).encode())).partition("\r\n\r\n")
    return int(head.split()[1]), head.lower(), body


async def test_alive_is_alive_whatever_else():
    """/livez says that the process runs, even where no call is welcome."""
    async with serving(replace(READY, not_ready="draining")) as server:
        assert (await ask(server, "/livez"))[::2] == (200, "alive\n")


async def test_ready_is_shown_with_what_runs():
    """/readyz says in JSON who answers, since when with which file, and how Millis is."""
    async with serving() as server:
        status, _, body = await ask(server, "/readyz")
    assert status == 200
    assert json.loads(body) == {
        "ready": True,
        "why_not": "",
        "draining": False,
        "version": "1.2.3",
        "worker": 2,
        "workers": 4,
        "config_file": "/etc/agi-bridge/bridge.toml",
        "config_loaded_at": "2026-01-02T03:04:05+00:00",
        "needs_restart": ["log.level"],
        "regions": {"us-west": "closed", "eu-west": "open"},
    }


async def test_not_ready_is_a_status_and_a_reason():
    """A load balancer reads the status, a person the reason."""
    async with serving(replace(READY, not_ready="draining", draining=True)) as server:
        status, _, body = await ask(server, "/readyz")
    standing = json.loads(body)
    assert (status, standing["ready"], standing["why_not"], standing["draining"]) == (503, False, "draining", True)


async def test_metrics_are_plain_text_of_prometheus():
    """The version of the format is in the content type, by which Prometheus knows it."""
    async with serving() as server:
        status, head, body = await ask(server, "/metrics")
    assert (status, body) == (200, "m 1.0\n")
    assert "content-type: text/plain; version=0.0.4; charset=utf-8" in head


# Reload


async def test_reload_says_what_changed():
    """What changed is told, and what of it waits for a restart."""

    async def reload():
        return Reloaded(("agi.listen", 'route "a" added'), ("agi.listen",))

    async with serving(reload=reload) as server:
        status, _, body = await ask(server, "/reload", "POST", **RELOAD)
    assert status == 200
    assert json.loads(body) == {
        "config_file": "/etc/agi-bridge/bridge.toml",
        "changed": ["agi.listen", 'route "a" added'],
        "needs_restart": ["agi.listen"],
    }


async def test_bad_file_is_refused_with_every_problem():
    """A configuration that cannot be used is a 422, with place, message and suggestion of each problem."""

    async def reload():
        raise ConfigError([Problem("agi.listn", "there is no such key", 'did you mean "listen"?')])

    async with serving(reload=reload) as server:
        status, _, body = await ask(server, "/reload", "POST", **RELOAD)
    assert status == 422
    assert json.loads(body)["problems"] == [
        {"path": "agi.listn", "message": "there is no such key", "suggestion": 'did you mean "listen"?'}
    ]


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        pytest.param("127.0.0.1:4574", {}, id="a form on a page"),
        pytest.param("127.0.0.1:4574", {"agi-bridge": "yes"}, id="another word"),
        pytest.param("evil.example:4574", RELOAD, id="a page whose name points here"),
        pytest.param("192.0.2.1:4574", RELOAD, id="another address"),
        pytest.param("127.0.0.1:4574", RELOAD | {"x-forwarded-for": "192.0.2.1"}, id="a proxy"),
        pytest.param("127.0.0.1:4574", RELOAD | {"via": "1.1 proxy"}, id="another proxy"),
    ],
)
async def test_page_or_proxy_cannot_reload(host, headers):
    """What a page in a browser, or a proxy on this machine, can send is refused, and logged as a matter of security."""
    with capture_logs() as logs:
        async with serving(reload=None) as server:
            status, _, _ = await ask(server, "/reload", "POST", host, **headers)
    assert status == 403
    assert [line["security"] for line in logs if line["event"] == "reload refused"] == [True]


@pytest.mark.parametrize("host", ["localhost", "localhost:4574", "127.0.0.1", "127.1.2.3:80", "[::1]:4574", "[::1]"])
async def test_every_name_of_this_machine_may_reload(host):
    """Loopback has many names."""
    async with serving() as server:
        assert (await ask(server, "/reload", "POST", host, **RELOAD))[0] == 200


async def test_another_machine_cannot_reload(other_address):
    """Header and name do not help whoever is not on this machine."""
    with capture_logs():
        async with WebServer(
            WebSettings(listen=["0.0.0.0:0"]), 1, lambda: READY, lambda: b"", nothing_to_reload
        ) as server:
            port = server.addresses[0][1]
            reader, writer = await asyncio.open_connection(other_address, port)
            writer.write(b"POST /reload HTTP/1.1\r\nHost: localhost\r\nagi-bridge: reload\r\n\r\n")
            said = await reader.read()
            writer.close()
    assert said.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/reload", 405), ("POST", "/metrics", 405), ("GET", "/", 404)]
)
async def test_there_is_nothing_else(method, path, status):
    """Other paths and methods are refused."""
    async with serving() as server:
        assert (await ask(server, path, method, **RELOAD))[0] == status


# Bounds


async def test_one_connection_carries_one_request():
    """The connection is closed after its answer, whether that was good or bad."""
    async with serving() as server:
        for path in ("/livez", "/nothing"):
            assert "connection: close" in (await ask(server, path))[1]


async def test_connection_that_says_nothing_is_closed():
    """Nobody keeps a file descriptor of ours by staying silent."""
    async with serving(connection_timeout_seconds=0.05) as server:
        assert await say(server, b"") == ""
        assert await say(server, b"GET /livez HTTP/1.1\r\nHos") == ""


async def test_too_many_connections_are_refused():
    """The web side takes no more than its share of the file descriptors, and says so in the log."""
    with capture_logs() as logs:
        async with serving(connection_limit=1) as server:
            _, first = await asyncio.open_connection(*server.addresses[0])
            # Until the kernel has handed the first one over, the second may still be the only one.
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await say(server, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"):
                    pass
            first.close()
    assert {"event": "HTTP connection refused", "connection_limit": 1, "log_level": "warning"} in logs


async def test_request_that_is_too_large_is_refused():
    """A header without end is not read to its end."""
    async with serving() as server:
        said = await say(server, b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 10_000 + b"\r\n\r\n")
        assert said.startswith("HTTP/1.0 400 ")


@pytest.mark.parametrize(
    ("taken", "why"),
    [
        (True, "Address already in use; is another bridge running?"),
        (False, "it is none of the addresses of this machine."),
    ],
)
async def test_address_that_is_not_to_be_had(taken, why):
    """A port in use, or an address that is not ours, is told with the key to change."""
    async with serving() as server:
        address = Address(*server.addresses[0]) if taken else Address("192.0.2.1", 4574)
        with pytest.raises(CannotListen) as refused:
            async with WebServer(WebSettings(listen=[str(address)]), 1, lambda: READY, lambda: b"", nothing_to_reload):
                pass
    assert str(refused.value) == f"cannot listen on {address}: {why} See listen under [web]"


async def test_no_address_no_server():
    """An empty list turns the web side off."""
    async with WebServer(WebSettings(listen=[]), 1, lambda: READY, lambda: b"", nothing_to_reload) as server:
        assert server.addresses == []
