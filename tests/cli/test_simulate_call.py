"""`agi-bridge simulate call`: playing Asterisk."""

import asyncio
import json

import pytest

from agi_bridge.cli.exit_code import DONE, FAILED
from tests.cli.program import call, program, table, told


async def test_simulated_call_shows_the_conversation_and_the_variables(run, bridge, millis):
    """A call to a running bridge is shown line by line, then what the dialplan gets."""
    code, out, err = await call(run, bridge, "--did", "5551230001", "--caller", "2125550100", "--name", "Ann Example")

    assert (code, err) == (DONE, "")
    lines = out.splitlines()
    assert "> agi_callerid: 2125550100" in lines
    assert "> agi_arg_1: did=5551230001" in lines
    assert any(line.startswith("< GET FULL VARIABLE ") for line in lines)
    shown = table(out)
    assert (shown["AGISTATUS"], shown["MILLIS_STATUS"]) == ("SUCCESS", "ok")
    assert shown["MILLIS_DIAL"] == f"PJSIP/millis/{millis.issued[0]['uri']}"
    assert float(shown["total_ms"]) > 0
    (received,) = millis.registrations
    assert received.body["metadata"]["caller_name"] == "Ann Example"


async def test_simulated_call_as_json(run, bridge, millis):
    """A script gets the variables and nothing else."""
    code, out, _ = await call(run, bridge, "--did", "5551230001", "--caller", "2125550100", "--json")
    shown = json.loads(out)

    assert code == DONE
    assert shown["AGISTATUS"] == "SUCCESS"
    assert {name for name in shown if name.startswith("MILLIS_")} == {
        *("MILLIS_STATUS", "MILLIS_DIAL", "MILLIS_REDIAL", "MILLIS_DIAL_TIMEOUT", "MILLIS_DIAL_OPTIONS"),
        *("MILLIS_FALLBACK", "MILLIS_BRIDGE_CALL_ID", "MILLIS_CALL_ID"),
    }


@pytest.mark.parametrize(
    ("arguments", "code", "status", "reason"),
    [
        pytest.param("--did 5559999999 --caller 2125550100", FAILED, "fallback", "no-rule", id="no rule"),
        pytest.param("--did 5559999999", FAILED, "reject", "blocked-caller", id="a withheld caller"),
        pytest.param("--did 5551230001 --verb dance", FAILED, "fallback", "unknown-verb", id="an unknown verb"),
        pytest.param("--did 0 --verb ping", DONE, "ok", None, id="a ping"),
        pytest.param("--did 0 --verb ended", DONE, None, None, id="the end of a call, which sets nothing"),
    ],
)
async def test_simulated_call_ends_as_the_dialplan_would_see_it(run, bridge, arguments, code, status, reason):
    """The exit code is 0 where the dialplan would have what it asked for."""
    given, out, _ = await call(run, bridge, *arguments.split(), "--json")
    shown = json.loads(out)

    assert (given, shown.get("MILLIS_STATUS"), shown.get("MILLIS_REASON")) == (code, status, reason)


async def test_simulated_call_tells_the_secret_and_does_not_show_it(run, bridge, monkeypatch):
    """The secret comes from the option or the environment, reaches the bridge, and is not in what is printed."""
    _, out, _ = await call(run, bridge, "--did", "0", "--verb", "ping", "--secret", "open/sesame")
    monkeypatch.setenv("AGI_BRIDGE_SECRET", "open/sesame")
    _, again, _ = await call(run, bridge, "--did", "0", "--verb", "ping")

    assert "> agi_arg_2: secret=*****" in out.splitlines()
    assert "> agi_arg_2: secret=*****" in again.splitlines()
    assert "sesame" not in out + again


@pytest.mark.parametrize(("said", "code"), [("open-sesame-if-you-please", DONE), ("sesame", FAILED)])
async def test_simulated_call_to_a_bridge_with_a_secret(run, configured, tmp_path, said, code):
    """With the bridge's own secret the call is answered, with another it is refused."""
    (tmp_path / "agi.secret").write_text("open-sesame-if-you-please\n")
    text = (tmp_path / "bridge.toml").read_text()
    (tmp_path / "bridge.toml").write_text(text.replace("[agi]", '[agi]\nsecret_file = "agi.secret"'))
    with program("serve") as process:
        host, port = (await asyncio.to_thread(told, process, "listening for FastAGI"))["address"]
        given, _, _ = await call(run, f"{host}:{port}", "--did", "0", "--verb", "ping", "--secret", said)

    assert given == code


async def test_simulated_call_encodes_its_number_as_the_dialplan_does(run, bridge):
    """A number with signs that mean something in an address arrives whole."""
    _, out, _ = await call(run, bridge, "--did", "5%&1=,?", "--caller", "2125550100")

    assert "> agi_arg_1: did=5%25%261%3D%2C%3F" in out.splitlines()


@pytest.mark.parametrize("verb", ["route", "ended"])
def test_simulated_call_to_nobody(run, verb):
    """A bridge that is not running is told as such; the dialplan would find AGISTATUS=FAILURE."""
    code, out, err = run("simulate", "call", "--did", "1", "--bridge", "127.0.0.1:1", "--verb", verb)

    assert (code, table(out)["AGISTATUS"]) == (FAILED, "FAILURE")
    assert err == "agi-bridge: cannot connect to 127.0.0.1:1: Connection refused; is the bridge running?\n"
