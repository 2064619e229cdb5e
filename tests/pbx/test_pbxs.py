"""All PBXs that are configured: whose a call is, and what a reload does to each of them."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from agi_bridge.pbx.pbxs import Pbxs
from tests.pbx.ami_server import AmiServer, settings
from tests.pbx.test_connection import until

HQ = settings(1, peers="192.168.1.0/24", ami_host="192.0.2.1")


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("192.168.1.7", "hq"),
        ("::ffff:192.168.1.7", "hq"),
        ("10.0.0.1", "branch"),
        ("fe80::1%eth0", "branch"),
        ("10.0.0.2", None),
    ],
)
def test_call_belongs_to_the_pbx_that_it_came_from(peer, name):
    """A PBX is known by the addresses that its FastAGI comes from."""
    pbxs = Pbxs([HQ, settings(1, name="branch", peers="10.0.0.1")], time.monotonic)
    pbxs.reconfigure([HQ, HQ.model_copy(update={"name": "branch", "peers": ["10.0.0.1", "fe80::/10"]})])
    found = pbxs.of_peer(peer)
    assert (found.settings.name if found else None) == name
    assert pbxs.name_of(peer) == (name or "")


def test_without_a_pbx_nothing_is_followed():
    """Who has configured none pays nothing for it."""
    pbxs = Pbxs([], time.monotonic)
    pbxs.follow("127.0.0.1", "ours", "PJSIP/trunk-1", "1.1", "1.1")
    assert pbxs.of_peer("127.0.0.1") is None


def test_call_is_followed_in_its_own_pbx():
    """Two PBXs may give the same uniqueid to different calls."""
    pbxs = Pbxs([HQ, settings(1, name="branch", peers="10.0.0.1")], time.monotonic)
    pbxs.follow("192.168.1.7", "one", "PJSIP/trunk-1", "1.1", "")
    pbxs.follow("10.0.0.1", "other", "PJSIP/trunk-1", "1.1", "")
    pbxs.follow("10.0.0.9", "stranger", "PJSIP/trunk-1", "1.1", "")
    assert {
        name: [call.bridge_call_id for call in connection.channels.every_call()]
        for name, connection in pbxs.connections.items()
    } == {"hq": ["one"], "branch": ["other"]}


async def test_reload_touches_only_what_changed():
    """The PBX with other settings connects anew, a new one connects, one that is gone closes, and the rest stay."""
    async with AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(AmiServer()) for name in ("kept", "changed", "gone", "new")}
        of = {name: servers[name].settings(name=name) for name in servers}
        pbxs = await stack.enter_async_context(Pbxs([of["kept"], of["changed"], of["gone"]], time.monotonic))
        for name in ("kept", "changed", "gone"):
            await servers[name].asked("CoreShowChannels")
        other = servers["changed"].settings(name="changed", ami_ping_seconds=30)
        pbxs.reconfigure([other, of["kept"].model_copy(), of["new"]])
        await servers["changed"].asked("Login", 2)
        await servers["new"].asked("Login")
        await servers["gone"].until(lambda: not servers["gone"]._writers)
        assert pbxs.connections["kept"].connected
        assert list(pbxs.connections) == ["kept", "changed", "new"]
    assert {name: server.connections for name, server in servers.items()} == {
        "kept": 1,
        "changed": 2,
        "gone": 1,
        "new": 1,
    }


async def test_other_secret_is_a_change():
    """A secret that was changed in its file is taken at a reload."""
    async with AmiServer() as server, Pbxs([server.settings(secret="old")], time.monotonic) as pbxs:
        await server.asked("Login")
        pbxs.reconfigure([server.settings()])
        await until(lambda: pbxs.connections["hq"].connected)


async def test_nobody_waits_for_a_pbx_at_start_and_end(server):
    """Entering and leaving take no longer where a PBX says nothing at all."""
    server.banner = b""
    async with asyncio.timeout(5), Pbxs([server.settings(ami_connect_timeout_seconds=3600)], time.monotonic):
        await server.until(lambda: server.connections)
