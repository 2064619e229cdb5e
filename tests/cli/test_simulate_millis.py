"""`agi-bridge simulate millis`: playing Millis and its agent."""

import json
import signal
import socket
from contextlib import closing

import pytest

from agi_bridge.cli.exit_code import DONE, FAILED, INTERRUPTED, MISUSED
from tests.cli.program import KEY, program


def test_fault_that_does_not_exist(run):
    """A fault that the simulator does not know is told with those that it does."""
    code, out, err = run("simulate", "millis", "--fault", "smoke")

    assert (code, out) == (MISUSED, "")
    assert "Error: Invalid value for --fault: no fault 'smoke'; allowed, separated by commas: delay=SECONDS," in err


def test_simulated_millis_on_a_port_that_is_taken(run):
    """The simulator, too, tells of a port in use in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = run("simulate", "millis", "--port", str(port))

    assert (code, out) == (FAILED, "")
    assert err == (
        f"agi-bridge: cannot listen on 127.0.0.1:{port}: Address already in use; choose another address or --port\n"
    )


@pytest.mark.parametrize(
    ("options", "where", "option"),
    [
        (("--host", "192.0.2.1", "--port", "8089"), "192.0.2.1:8089", "--host"),
        (("--port", "0", "--agent", "--sip-host", "192.0.2.1:5090"), "192.0.2.1:5090", "--sip-host"),
    ],
)
def test_simulated_millis_at_the_address_of_another_machine(run, options, where, option):
    """Another port would not help, so another address is asked for."""
    assert run("simulate", "millis", *options) == (
        FAILED,
        "",
        f"agi-bridge: cannot listen on {where}: it is none of the addresses of this machine; see {option}\n",
    )


def test_simulated_millis_prints_what_it_is_asked(run, configured):
    """The simulator prints its address, then each request with its body, until Ctrl-C ends it with exit code 130."""
    with program("simulate", "millis", "--port", "0", "--key", KEY) as process:
        url = process.stdout.readline().split()[3].rstrip(";")
        configured(url)
        assert run("register", "--did", "5551230001")[0] == DONE
        method, path, body = process.stdout.readline().split(" ", 2)
        process.send_signal(signal.SIGINT)

        assert process.wait(10) == INTERRUPTED
        assert "Traceback" not in process.stderr.read()
    assert (method, path, json.loads(body)["agent_id"]) == ("POST", "/register_sip_call", "-Nabc")


def test_simulated_agent_on_a_port_that_is_taken(run):
    """The agent, too, tells of a port in use in one line."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = run("simulate", "millis", "--port", "0", "--agent", "--sip-host", address)

    assert (code, out) == (FAILED, "")
    assert err == (
        f"agi-bridge: cannot listen on {address}: Address already in use; choose another address or --sip-host\n"
    )
