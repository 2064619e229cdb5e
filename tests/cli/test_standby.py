"""`agi-bridge standby`: the standby URI of a rule."""

import asyncio
import json

import pytest

from agi_bridge.cli.exit_code import DONE, FAILED
from agi_bridge.simulator.fault import Fault
from tests.cli.program import table


async def test_standby_is_made_for_the_agent_of_a_rule(run, millis, tmp_path):
    """What is printed last, put under the rule, is a configuration in which the rule has a standby URI."""
    code, out, err = await asyncio.to_thread(run, "standby", "create", "--rule", "sales")

    assert (code, err) == (DONE, "")
    (call_id,) = millis.endpoints
    facts, line = out.split("\n\nThe line for the rule:\n")
    facts, delete = facts.split("\n\nTo delete it again:\n")
    assert delete == f"agi-bridge standby delete --id={call_id} --account default --region us-west"
    assert table(facts) == {
        "rule": "sales",
        "account": "default",
        "region": "us-west",
        "id": call_id,
        "status": "created",
    }
    assert line == f'standby_uri = "{millis.issued[0]["uri"]}"\n'
    path = tmp_path / "bridge.toml"
    path.write_text(path.read_text().replace('did = "+15551230001"', f'did = "+15551230001"\n{line}'))
    assert await asyncio.to_thread(run, "standby", "list", "--json") == (
        DONE,
        json.dumps(
            [{"rule": "sales", "standby_uri": millis.issued[0]["uri"]}, {"rule": "queue", "standby_uri": None}],
            indent=2,
        )
        + "\n",
        "",
    )


async def test_standby_knows_what_is_true_of_every_call(run, millis):
    """Millis gets the rule's agent and the literals of its metadata; what only a call could fill is empty."""
    await asyncio.to_thread(run, "standby", "create", "--rule", "sales", "--region", "eu-west")
    (request,) = millis.requests

    assert (request.method, request.path, request.body["region"]) == ("POST", "/sip", "eu-west")
    init_agent = request.body["init_agent"]
    assert (init_agent["agent_id"], "from_phone" in init_agent) == ("-Nabc", False)
    assert {name: value for name, value in init_agent["metadata"].items() if value} == {"team": "a:100:b [sales]"}


async def test_standby_as_json(run, millis):
    """A script gets the SIP URI beside the rest."""
    code, out, err = await asyncio.to_thread(run, "standby", "create", "--rule", "queue", "--json")

    assert (code, err) == (DONE, "")
    assert json.loads(out) == {
        "rule": "queue",
        "account": "default",
        "region": "us-west",
        "id": millis.endpoints[0],
        "status": "created",
        "standby_uri": millis.issued[0]["uri"],
    }


@pytest.mark.parametrize(
    ("answer", "afterwards"), [("", "deleted"), ("status=500", "millis-refused: HTTP 500: simulated fault")]
)
async def test_standby_that_must_not_be_dialled_is_taken_back(run, millis, answer, afterwards):
    """A SIP URI off the allow-list is not shown but deleted; the line that would admit it is."""
    millis.upcoming += [Fault(uri="sip:a@sip.example.com"), Fault.parse(answer)]
    code, out, err = await asyncio.to_thread(run, "standby", "create", "--rule", "sales")

    assert (code, err) == (FAILED, "")
    shown = table(out)
    assert shown["status"] == (
        "bad-uri: the SIP URI's host sip.example.com is not in allowed_hosts; if it is Millis's, admit it with "
        'allowed_hosts = ["127.0.0.1", "sip.example.com"] under [millis]'
    )
    assert (shown["id"], shown["afterwards"]) == (millis.issued[0]["call_id"], afterwards)
    assert len(millis.endpoints) == (afterwards != "deleted")
    assert "sip:" not in out


async def test_standby_that_millis_refuses(run, millis):
    """A refusal is told like that of a registration."""
    millis.fault = Fault.parse("status=402")
    code, out, _ = await asyncio.to_thread(run, "standby", "create", "--rule", "sales", "--json")

    assert (code, json.loads(out)["status"]) == (FAILED, "millis-refused: HTTP 402: simulated fault")


async def test_standby_is_deleted_once(run, millis, tmp_path):
    """What create printed is deleted by its id; a second time there is nothing to delete."""
    code, out, _ = await asyncio.to_thread(run, "standby", "create", "--rule", "sales", "--json")
    call_id = json.loads(out)["id"]
    code, out, err = await asyncio.to_thread(run, "standby", "delete", "--id", call_id, "--rule", "sales")

    assert (code, err) == (DONE, "")
    assert table(out) == {"account": "default", "region": "us-west", "id": call_id, "status": "deleted"}
    assert not millis.endpoints
    code, out, _ = await asyncio.to_thread(run, "standby", "delete", "--id", call_id, "--json")
    assert (code, json.loads(out)["status"]) == (
        FAILED,
        "millis-refused: HTTP 404: SIP endpoint not found; us-west was asked, try --region eu-west",
    )


def test_standbys_of_the_configuration(run, configured):
    """Each rule with an agent is listed, and what the list is made from is said; no key is needed."""
    code, out, err = run("standby", "list")

    assert (code, err) == (DONE, "")
    assert out == (
        "from the configuration; Millis documents no way to ask for what it keeps:\nsales  none\nqueue  none\n"
    )


async def test_printed_command_deletes_the_standby(run, millis, tmp_path):
    """What create prints is a whole command, which names the region that made the URI and the file that was read."""
    path = str(tmp_path / "bridge.toml")
    made = ("standby", "create", "--rule", "sales", "--region", "eu-west", "--config", path)
    _, out, _ = await asyncio.to_thread(run, *made)
    (command,) = (line for line in out.splitlines() if line.startswith("agi-bridge "))

    assert ("--region eu-west" in command, f"--config {path}" in command) == (True, True)
    assert (await asyncio.to_thread(run, *command.split()[1:]))[0] == DONE
    assert not millis.endpoints


async def test_deleting_a_standby_tells_which_rules_still_dial_it(run, millis, tmp_path):
    """A rule that names the deleted SIP URI is named, for it would now send its callers nowhere."""
    millis.endpoints.append("-Nstand")
    path = tmp_path / "bridge.toml"
    path.write_text(path.read_text().replace("[defaults]", '[defaults]\nstandby_uri = "sip:-Nstand@127.0.0.1"'))
    code, out, _ = await asyncio.to_thread(run, "standby", "delete", "--id=-Nstand", "--region", "eu-west")

    assert code == DONE
    assert table(out) == {
        "account": "default",
        "region": "eu-west",
        "id": "-Nstand",
        "status": "deleted",
        "still_named_by": "sales, queue",
    }
