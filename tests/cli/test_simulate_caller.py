"""`agi-bridge simulate caller`: a caller and an agent."""

import http.client
import json
import signal
import socket
from contextlib import closing

import pytest

from agi_bridge.cli.exit_code import DONE, FAILED, MISUSED
from tests.cli.program import KEY, program


@pytest.fixture
def simulated_millis():
    """Run `simulate millis --agent`; give the address of the agent, and the one call id that it answers to."""
    with (
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as free,
        closing(socket.create_server(("127.0.0.1", 0))) as free_too,
    ):
        free.bind(("127.0.0.1", 0))
        sip, port = free.getsockname()[1], free_too.getsockname()[1]
    with program("simulate", "millis", "--port", str(port), "--agent", "--sip-host", f"127.0.0.1:{sip}") as process:
        assert process.stdout.readline() == f"simulated agent at sip:127.0.0.1:{sip}\n"
        assert process.stdout.readline().startswith("simulated Millis at ")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with closing(connection):
            connection.request("POST", "/register_sip_call", '{"agent_id": "a"}', {"authorization": KEY})
            call_id = json.loads(connection.getresponse().read())["call_id"]
        process.stdout.readline()
        yield f"127.0.0.1:{sip}", call_id, process
        process.send_signal(signal.SIGINT)
        process.wait(10)


def test_simulated_caller_and_agent_hear_each_other(run, simulated_millis):
    """The caller's story ends with audio both ways and 0; the agent tells its side."""
    pbx, call_id, millis = simulated_millis
    code, out, err = run("simulate", "caller", "--did", call_id, "--caller", "+15557654321", "--pbx", pbx)

    assert (code, err) == (DONE, "")
    *story, proof = out.splitlines()
    assert [line.partition(" ms  ")[2] for line in story] == [
        f"+15557654321 dials {call_id} on the trunk",
        "the caller hears ringing",
        "the caller is connected",
        "the caller hears the agent: a tone of 440 Hz",
        "the agent has heard the caller, and says so: a tone of 660 Hz",
        "the caller hangs up",
    ]
    assert proof == "audio went both ways: the caller heard the agent, and the agent heard the caller"
    assert [millis.stdout.readline() for _ in range(4)][3] == "the agent hears the caller: a tone of 1000 Hz\n"


def test_simulated_caller_as_json(run, simulated_millis):
    """With --json there is one object and no story; an agent answers only to a call that was registered."""
    pbx, call_id, _ = simulated_millis
    code, out, err = run("simulate", "caller", "--did", call_id, "--pbx", pbx, "--json")
    assert (code, err) == (DONE, "")
    assert json.loads(out) == {"audio_both_ways": True, "why_not": "", "status": 200, "heard_hz": [440, 660]}

    code, out, _ = run("simulate", "caller", "--did", "stranger", "--pbx", pbx, "--json")
    assert (code, json.loads(out)["audio_both_ways"], json.loads(out)["status"]) == (FAILED, False, 404)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--pbx", "nowhere"], "Invalid value for --pbx: must be an address and a port"),
        (["--name", "Ada\r\nTo: me"], "Invalid value for --did, --caller and --name: "),
        (["--host", "192.0.2.1"], "cannot call 127.0.0.1:5060 from 192.0.2.1: Cannot assign requested address; see"),
    ],
)
def test_simulated_caller_that_cannot_call(run, arguments, complaint):
    """What is wrong with the command line or the caller's own address is told in words."""
    code, _, err = run("simulate", "caller", "--did", "1", *arguments)

    assert code in (FAILED, MISUSED)
    assert complaint in " ".join(err.split())
