"""Which workers of a running bridge are asked, and with which token."""

import asyncio
import socket

import pytest

from agi_bridge.cli.exit_code import FAILED, MISUSED
from agi_bridge.simulator.millis import SimulatedMillis
from agi_bridge.workers import WORKER_VARIABLE
from tests.cli.program import IF_CHANGED
from tests.served import serving, two_free_ports, write_config


def test_bridge_without_a_web_side_cannot_be_asked(run, configured):
    """An empty listen under [web] is named as the reason."""
    for command in ("health", "reload"):
        assert run(command) == (
            FAILED,
            "",
            f"agi-bridge: the bridge cannot be asked, because listen under [web] is empty; {IF_CHANGED}",
        )


@pytest.mark.parametrize("command", ["health", "reload"])
def test_asking_at_what_is_no_address(run, command):
    """A URL that names no host and port is a wrong command line, told with the usual one."""
    code, _, err = run(command, "--url", "http://x")
    assert code == MISUSED
    assert "--url: must be the address and port under [web], such as http://127.0.0.1:4574" in err


async def test_worker_that_does_not_answer_is_named(run, tmp_path):
    """Health and reload tell which one it is, also where it is the first that is asked."""
    async with SimulatedMillis() as millis:
        agi_port, web_port = two_free_ports(), two_free_ports()
        path = write_config(tmp_path, millis, port=agi_port, web_port=web_port)
        path.write_text(path.read_text().replace("[agi]", "[agi]\nworkers = 2"))
        # The second of two workers, without the first.
        ours, theirs = socket.socketpair()
        with ours, theirs:
            environ = {WORKER_VARIABLE: f"2/2:{theirs.fileno()}"}
            async with serving(path, environ=environ, passed=(theirs.fileno(),)) as served:
                await served.started()
                _, health, _ = await asyncio.to_thread(run, "health")
                code, _, reload = await asyncio.to_thread(run, "reload")

    first, second = health.splitlines()
    assert first == f"worker 1 of 2: not ready: no bridge answers at 127.0.0.1:{web_port}: Connection refused"
    assert second.startswith("worker 2 of 2: ready; ")
    assert (code, reload) == (
        FAILED,
        f"worker 1 of 2: not reloaded: no bridge answers at 127.0.0.1:{web_port}: Connection refused\n",
    )


@pytest.mark.parametrize(
    ("token", "options", "complaint"),
    [
        (
            "",
            (),
            "AGI_BRIDGE_TOKEN: there is no token (set AGI_BRIDGE_TOKEN, or name a file with --token-file;"
            " `agi-bridge token` makes one)",
        ),
        ("a b", (), "AGI_BRIDGE_TOKEN: holds signs that are in no token"),
        ("x", ("--token-file", "/none"), "/none: cannot be read: No such file or directory"),
    ],
)
def test_commands_want_a_token(run, monkeypatch, token, options, complaint):
    """Without one nobody is asked, and what to do is said."""
    monkeypatch.setenv("AGI_BRIDGE_TOKEN", token)
    assert run("live", *options) == (MISUSED, "", f"{complaint}\n")
