"""`agi-bridge health`: how the running bridge is."""

import asyncio
import json
import signal
import socket

from agi_bridge import __version__
from agi_bridge.cli.exit_code import DONE, FAILED, MISUSED
from agi_bridge.simulator.asterisk import AsteriskSide
from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.millis import SimulatedMillis
from tests.served import serving, write_config


async def test_health_of_a_bridge_that_is_ready(run, served):
    """One line a worker, and exit code 0."""
    code, out, err = await asyncio.to_thread(run, "health")

    assert (code, err) == (DONE, "")
    assert out.partition(" of 2")[0] == f"worker 1 of 1: ready; version {__version__}, {served.config}"


async def test_health_as_json_of_the_address_that_is_named(run, served):
    """With --url no configuration is read, and a script gets all that /readyz says, for each worker."""
    served.config.unlink()
    url = "http://{}:{}/".format(*served.web_address)
    code, out, _ = await asyncio.to_thread(run, "health", "--url", url, "--json")

    (standing,) = json.loads(out)
    assert (code, standing["ready"], standing["worker"], standing["workers"]) == (DONE, True, 1, 1)


async def test_health_of_a_bridge_that_drains(run, tmp_path):
    """Not ready is exit code 1, with the reason."""
    async with (
        SimulatedMillis(fault=Fault(hang=True)) as millis,
        serving(write_config(tmp_path, millis)) as served,
    ):
        await served.started()
        async with AsteriskSide(*served.address, arguments=("did=+15551230001",)):
            await millis.received()
            served.process.send_signal(signal.SIGTERM)
            await served.wrote("draining")
            code, out, _ = await asyncio.to_thread(run, "health", "--url", "{}:{}".format(*served.web_address))

    assert (code, out.partition(";")[0]) == (FAILED, "worker 1 of 1: not ready: draining")


def test_health_of_a_bridge_that_does_not_run(run, configured):
    """Nobody there is exit code 1, in words."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert run("health", "--url", f"http://127.0.0.1:{port}") == (
        FAILED,
        "",
        f"agi-bridge: no bridge answers at 127.0.0.1:{port}: Connection refused\n",
    )


async def test_health_of_what_is_no_bridge(run):
    """Another server, though it speaks JSON, and the bridge's own port for Asterisk are not taken for one."""
    async with SimulatedMillis() as millis:
        code, out, err = await asyncio.to_thread(run, "health", "--url", millis.url)
    assert (code, out) == (FAILED, "")
    assert err.startswith(f"agi-bridge: what answers at {millis.host}:{millis.port} is no agi-bridge")


async def test_health_at_the_port_for_asterisk(run, served):
    """Whoever takes one port of the bridge for the other is told which is meant."""
    code, _, err = await asyncio.to_thread(run, "health", "--url", "{}:{}".format(*served.address))
    assert (code, err.partition("; ")[2]) == (FAILED, "its web port is meant, which listen under [web] names\n")


async def test_health_while_the_configuration_is_being_written(run, served):
    """The rest of the file may be wrong; where it cannot be read at all, it is said how to do without."""
    text = served.config.read_text()
    served.config.write_text(text.replace('agent_id = "-Nall"', "agent"))
    code, out, err = await asyncio.to_thread(run, "health")
    assert (code, out, err.splitlines()[1:]) == (
        MISUSED,
        "",
        ["--url: asks without a configuration file, such as --url http://127.0.0.1:4574"],
    )
    served.config.write_text(text.replace('name = "all"', 'name = "two words"').replace("[agi]", "[agi]\nlisten_ = 1"))
    assert (await asyncio.to_thread(run, "health"))[0] == DONE


async def test_health_names_a_region_that_is_down(run, tmp_path):
    """A bridge whose Millis is down is ready all the same, and the line says which region is out."""
    async with SimulatedMillis(fault=Fault(status=503)) as millis:
        config = write_config(tmp_path, millis, more="[[route]]\nname='x'\nagent_id='x'\n")
        config.write_text(config.read_text().replace("[defaults]", "breaker_failures = 1\n[defaults]"))
        async with serving(config) as served:
            await served.started()
            await served.wrote("region is down", state="open")
            code, out, _ = await asyncio.to_thread(run, "health", "--url", "{}:{}".format(*served.web_address))

    assert (code, out.partition("; version")[0]) == (DONE, "worker 1 of 1: ready; region us-west is down")
