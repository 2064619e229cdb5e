"""`agi-bridge route`: which rule, and why."""

import json

from agi_bridge.cli.exit_code import DONE, FAILED
from tests.cli.program import table


def test_route_shows_what_would_happen(run, configured):
    """The rule, the body for Millis and the dial string are shown; what only Asterisk knows as it is written."""
    code, out, err = run("route", "--did", "5551230001", "--caller", "2125550100")

    assert (code, err) == (DONE, "")
    shown = table(out)
    assert {name: shown[name] for name in shown if name not in ("body",)} == {
        "did_received": "5551230001",
        "did": "+15551230001",
        "caller_number": "+12125550100",
        "rule": "sales (number 1 of 3, the first that matches)",
        "POST": "http://127.0.0.1:1/register_sip_call",
        "MILLIS_DIAL": "PJSIP/millis/<SIP URI from Millis>",
        "MILLIS_DIAL_TIMEOUT": "10",
        "MILLIS_DIAL_OPTIONS": "iS(3600)",
        "MILLIS_FALLBACK": "millis-fallback,s,1",
    }
    assert '"team": "a:100:b [sales]",' in out
    assert '"tier": "${DB(crm/${CALLERID(num)})}"' in out
    assert out == "\n".join(line.rstrip() for line in out.splitlines()) + "\n"


def test_route_as_json(run, configured, monkeypatch):
    """A script gets the same as JSON, and no key is needed for it."""
    monkeypatch.delenv("MILLIS_API_KEY")
    code, out, err = run("route", "--did", "5551230001", "--json")
    shown = json.loads(out)

    assert (code, err) == (DONE, "")
    assert shown["rule"] == "sales (number 1 of 3, the first that matches)"
    assert shown["caller_number"] is None
    assert shown["body"]["agent_id"] == "-Nabc"
    assert shown["body"]["to_phone"] == "+15551230001"
    assert shown["body"]["metadata"]["caller_withheld"] == "true"
    assert shown["body"]["metadata"]["linkedid"] == "${CHANNEL(linkedid)}"


def test_route_that_no_rule_gives(run, configured):
    """Where no rule matches, the nearest is named, and the exit code says so."""
    code, out, err = run("route", "--did", "15551230009", "--caller", "2125550100")

    assert (code, err) == (FAILED, "")
    assert table(out) == {
        "did_received": "15551230009",
        "did": "+15551230009",
        "caller_number": "+12125550100",
        "rule": 'none matches; nearest is "sales" with +15551230001',
        "MILLIS_STATUS": "fallback",
        "MILLIS_REASON": "no-rule",
        "MILLIS_FALLBACK": "millis-fallback,s,1",
    }


def test_route_that_a_rule_refuses(run, configured):
    """A rule that rejects is named with its reason."""
    code, out, _ = run("route", "--did", "100", "--json")

    assert code == FAILED
    assert json.loads(out) == {
        "did_received": "100",
        "did": "100",
        "caller_number": None,
        "rule": "blocked (number 3 of 3, the first that matches)",
        "MILLIS_STATUS": "reject",
        "MILLIS_REASON": "blocked-caller",
        "MILLIS_FALLBACK": "millis-fallback,s,1",
    }


def test_route_knows_context_channel_and_arguments(run, configured):
    """Every condition of a rule can be tried; arguments are decoded as the bridge does it."""
    conditions = ("--context", "from-office", "--channel", "PJSIP/office-00000009", "--arg", "queue=7%2B")

    assert "queue (number 2 of 3" in run("route", "--did", "1", *conditions)[1]
    assert "queue (number" not in run("route", "--did", "1", *conditions[:4])[1]
