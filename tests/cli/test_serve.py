"""`agi-bridge serve`: a program that runs until it is stopped."""

import asyncio
import json
import signal
import socket

from agi_bridge.cli.exit_code import DONE, FAILED, INTERRUPTED
from agi_bridge.simulator.fault import Fault
from tests.cli.program import call, program, told


def test_serve_takes_calls_until_it_is_stopped(run, configured):
    """The bridge serves as a program, and SIGTERM ends it with exit code 0."""
    with program("serve") as process:
        host, port = told(process, "listening for FastAGI")["address"]
        assert told(process, "ready")["rules"] == 3
        code, out, _ = run("simulate", "call", "--did", "0", "--verb", "ping", "--bridge", f"{host}:{port}", "--json")
        assert (code, json.loads(out)["MILLIS_STATUS"]) == (DONE, "ok")
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == DONE
        assert "Traceback" not in process.stderr.read()


async def test_serve_that_is_told_twice_does_not_wait(run, millis):
    """The first signal lets calls finish, the second ends them; the exit code says that it was interrupted."""
    millis.fault = Fault(hang=True)
    with program("serve") as process:
        host, port = (await asyncio.to_thread(told, process, "listening for FastAGI"))["address"]
        await asyncio.to_thread(told, process, "ready")
        waiting = asyncio.create_task(call(run, f"{host}:{port}", "--did", "5551230001", "--json"))
        await millis.received()
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(told, process, "draining")
        process.send_signal(signal.SIGTERM)

        assert await asyncio.to_thread(process.wait, 5) == INTERRUPTED
        assert "Traceback" not in process.stderr.read()
        await waiting


def test_serve_on_a_port_that_is_taken(configured, tmp_path):
    """A port in use is told in one line, with exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = (tmp_path / "bridge.toml").read_text().replace("127.0.0.1:0", address)
        (tmp_path / "bridge.toml").write_text(text)
        with program("serve") as process:
            out, err = process.communicate(timeout=10)

    assert (process.returncode, out) == (FAILED, "")
    complaint = err.splitlines()[-1]
    assert complaint == (
        f"agi-bridge: cannot listen on {address}: Address already in use; is another bridge running? See listen under [agi]"
    )
