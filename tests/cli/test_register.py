"""`agi-bridge register`: the first contact with Millis."""

import asyncio
import json

import pytest

from agi_bridge.cli.exit_code import DONE, FAILED, MISUSED
from agi_bridge.simulator.fault import Fault
from tests.cli.program import table


async def test_register_registers_once_and_dials_nothing(run, millis):
    """One real registration is made; status, call id, host and time are printed, the URI is not."""
    code, out, err = await asyncio.to_thread(run, "register", "--did", "5551230001", "--caller", "2125550100")

    assert (code, err) == (DONE, "")
    shown = table(out)
    assert float(shown.pop("millis_ms")) > 0
    assert shown == {
        "rule": "sales",
        "region": "us-west",
        "account": "default",
        "status": "registered",
        "millis_call_id": millis.issued[0]["call_id"],
        "sip_host": "127.0.0.1",
    }
    assert "sip:" not in out
    (received,) = millis.registrations
    assert (received.body["from_phone"], received.body["to_phone"]) == ("+12125550100", "+15551230001")
    assert (len(received.body["metadata"]["bridge_call_id"]), received.body["metadata"]["tier"]) == (32, "")


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("status=401", "millis-refused: HTTP 401: simulated fault"),
        ("body=no-uri", "millis-nonsense: the answer names no SIP URI; its keys are ['call_id']"),
        ("uri=tel:+1", "millis-nonsense: the answer names no SIP URI; its keys are ['call_id', 'sip']"),
        (
            "uri=sip:a@sip.example.com",
            "bad-uri: the SIP URI's host sip.example.com is not in allowed_hosts; if it is Millis's, admit it with "
            'allowed_hosts = ["127.0.0.1", "sip.example.com"] under [millis]',
        ),
    ],
)
async def test_register_tells_why_it_failed(run, millis, fault, status):
    """A registration that fails is told with the reason that a call would have, and exit code 1."""
    millis.fault = Fault.parse(fault)
    code, out, err = await asyncio.to_thread(run, "register", "--did", "5551230001", "--json")

    assert (code, err) == (FAILED, "")
    assert json.loads(out)["status"] == status


def test_register_without_a_network(run, configured):
    """A Millis that cannot be reached is told like any other failure."""
    code, out, _ = run("register", "--did", "5551230001")

    assert code == FAILED
    assert table(out)["status"].startswith(
        "millis-unreachable: the connection to http://127.0.0.1:1 failed: Connection refused"
    )


async def test_register_needs_a_rule(run, millis):
    """For a call that no rule answers, or that one refuses, nothing is registered."""
    code, out, _ = await asyncio.to_thread(run, "register", "--did", "5559999999", "--caller", "2125550100")
    assert (code, table(out)["MILLIS_REASON"]) == (FAILED, "no-rule")
    code, out, _ = await asyncio.to_thread(run, "register", "--did", "5559999999")
    assert (code, table(out)["MILLIS_REASON"]) == (FAILED, "blocked-caller")

    assert not millis.requests


def test_register_needs_a_key(run, configured, monkeypatch):
    """Without a key nothing is registered, and where it could come from is told."""
    monkeypatch.delenv("MILLIS_API_KEY")
    code, out, err = run("register", "--did", "5551230001")

    assert (code, out) == (MISUSED, "")
    assert err == (
        "millis.api_key_file: there is no Millis API key "
        "(set MILLIS_API_KEY, or name a file in MILLIS_API_KEY_FILE or api_key_file)\n"
    )
