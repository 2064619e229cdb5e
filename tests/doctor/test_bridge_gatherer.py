"""Looking at the bridge on this machine, at a real one and at what may stand in its place."""

import asyncio
import socket

import pytest
import structlog

from agi_bridge import app
from agi_bridge.config import load
from agi_bridge.doctor.bridge_gatherer import gather_bridge
from tests.served import two_free_ports

SECRET = "a-secret-of-sixteen-signs"


def config(port, web=True, secret="", listen=""):
    listening = listen or f'"127.0.0.1:{port}"'
    text = f"""
[agi]
listen = {listening}
[web]
listen = {f'"127.0.0.1:{port + 1}"' if web else "[]"}
[[route]]
name = "sales"
agent_id = "-Nsales"
fallback = "a,s,1"
[millis]
probe_seconds = 0
"""
    return load(text, {"MILLIS_API_KEY": "key", "AGI_BRIDGE_SECRET": secret}, lambda name: b"")


@pytest.fixture
def port():
    return two_free_ports()


async def gathered(loaded):
    return await asyncio.to_thread(gather_bridge, loaded, 1.0)


@pytest.fixture(autouse=True)
def lines():
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.mark.parametrize("web", [True, False])
async def test_bridge_that_runs(port, web):
    """A running bridge answers the ping, tells its readiness and its limits, and holds its ports."""
    async with app.running(config(port, web=web, secret=SECRET)):
        facts = await gathered(config(port, web=web, secret=SECRET))

    assert facts.pong == "ok"
    assert facts.taken == {f"127.0.0.1:{each}": True for each in ((port, port + 1) if web else (port,))}
    assert (facts.web or {}).get("ready") is (True if web else None)
    assert facts.open_files_of_bridge is web
    assert facts.open_files > 0
    assert facts.somaxconn > 0


async def test_bridge_with_another_secret(port):
    """A bridge that wants a secret which we do not know refuses the ping."""
    async with app.running(config(port, secret=SECRET)):
        facts = await gathered(config(port, secret="another-secret-of-16"))

    assert facts.pong == "it is refused (AGISTATUS=FAILURE)"


async def test_no_bridge(port):
    """Where nothing runs, nothing answers, and the ports are free."""
    facts = await gathered(config(port))

    assert facts.pong == "Connection refused"
    assert (facts.web, facts.taken) == (None, {f"127.0.0.1:{port}": False, f"127.0.0.1:{port + 1}": False})
    assert not facts.open_files_of_bridge


async def test_another_program_on_the_port(port):
    """A program that holds the port and says nothing is no bridge, and is not waited for."""
    with socket.create_server(("127.0.0.1", port)):
        facts = await gathered(config(port))

    assert facts.pong == "the bridge had not ended the session after 1 s"
    assert facts.taken[f"127.0.0.1:{port}"]


async def test_address_that_is_not_ours():
    """An address of another machine cannot be listened on; the system says why."""
    facts = await gathered(config(4573, web=False, listen='"192.0.2.1:4573"'))

    assert facts.not_ours == {"192.0.2.1:4573": "Cannot assign requested address"}
