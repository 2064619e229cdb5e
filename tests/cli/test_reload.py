"""`agi-bridge reload`: what changed, and what is refused."""

import asyncio
import json
import socket

from agi_bridge.cli.exit_code import DONE, FAILED, MISUSED
from tests.cli.program import IF_CHANGED
from tests.served import two_free_ports


async def test_reload_tells_what_changed(run, served):
    """The command says what the bridge took over, and what waits for a restart; without the key, which the service has."""
    served.config.write_text(served.config.read_text().replace('name = "all"', 'name = "new"'))
    code, out, err = await asyncio.to_thread(run, "reload")

    assert (code, err) == (DONE, "")
    assert out.splitlines() == [
        f'reloaded {served.config}: web.listen, route "all" removed, route "new" added',
        "restart the bridge for: web.listen",
    ]


async def test_reload_after_the_web_port_was_changed(run, served):
    """Nobody answers at the new address; it is said how to reload all the same, and health says what waits."""
    old = "{}:{}".format(*served.web_address)
    new = f"127.0.0.1:{two_free_ports()}"
    served.config.write_text(served.config.read_text().replace(old, new))
    assert await asyncio.to_thread(run, "reload") == (
        FAILED,
        "",
        f"agi-bridge: no bridge answers at {new}: Connection refused; is it running? Or, {IF_CHANGED}",
    )
    code, out, _ = await asyncio.to_thread(run, "reload", "--url", f"http://{old}")
    assert (code, out.splitlines()[1]) == (DONE, "restart the bridge for: web.listen")
    _, out, _ = await asyncio.to_thread(run, "health", "--url", f"http://{old}")
    assert out.startswith("worker 1 of 1: ready; restart pending for: web.listen; version")


async def test_reload_as_json(run, served):
    """A script gets one answer a worker."""
    code, out, _ = await asyncio.to_thread(run, "reload", "--json")
    assert (code, json.loads(out)) == (
        DONE,
        [{"config_file": str(served.config), "changed": ["web.listen"], "needs_restart": ["web.listen"]}],
    )


async def test_reload_of_a_bad_file_asks_nobody(run, served):
    """The problems are told as by check, with exit code 2, and the bridge hears nothing."""
    served.config.write_text(served.config.read_text().replace('name = "all"', 'name = "two words"'))
    code, out, err = await asyncio.to_thread(run, "reload")
    assert (code, out) == (MISUSED, "")
    assert err.startswith('route "two words": name: must be letters')
    code, out, err = await asyncio.to_thread(run, "reload", "--json")
    ((problem,),) = (answer["problems"] for answer in json.loads(out))
    assert (code, err, problem["path"]) == (MISUSED, "", 'route "two words": name')
    assert "reload_failures_total 0.0" in (await served.get("/metrics"))[1]


async def test_reload_that_only_the_bridge_refuses(run, served):
    """What is wrong in the service's own surroundings is told by the bridge, with exit code 2 all the same."""
    served.config.write_text(
        served.config.read_text() + '[account.acme]\n[[route]]\nname = "x"\naccount = "acme"\nagent_id = "a"\n'
    )
    code, out, err = await asyncio.to_thread(run, "reload")
    assert (code, out) == (MISUSED, "")
    assert err.splitlines() == [
        "account.acme: there is no Millis API key (name a file in api_key_file, or an environment variable in api_key_env)",
        f"{served.config} is refused; the old configuration stays",
    ]


def test_reload_of_a_bridge_that_does_not_run(run, tmp_path, configured):
    """Nobody there is exit code 1, in words."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    text = (tmp_path / "bridge.toml").read_text().replace("listen = []", f'listen = "127.0.0.1:{port}"')
    (tmp_path / "bridge.toml").write_text(text)
    assert run("reload") == (
        FAILED,
        "",
        f"agi-bridge: no bridge answers at 127.0.0.1:{port}: Connection refused; is it running? Or, {IF_CHANGED}",
    )
