"""The bridge calls somebody: dialled through a trunk, answered or not, and connected with the agent of an outbound rule."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agi_bridge.access import digest
from agi_bridge.allowance import tally_from
from agi_bridge.simulator.sip import AgentBehaviour, HungUp, Invited, SipAgent
from agi_bridge.simulator.tone import CALLER_TONE_HZ
from tests.asterisk.stage import AGENT, LOBBY, RECEPTION, Stage
from tests.asterisk.test_pbx import hq, table, until
from tests.web.asking import ask, bearer

TOKEN = "of-the-desk"
USER = "agi-bridge-originating"
OURS, THEIRS = "+15551230001", "+15557654321"
MORE = """
ami_user = "{user}"

[originate]
pbx = "hq"
trunk = "{trunk}"
caller_id = "{ours}"
allow = ["+1555"]
ring_timeout_seconds = {seconds}
folder = "{folder}"
{originate}

[[route]]
name = "reminder"
direction = "outbound"
agent_id = "-Nreminder"
agents = ["-Nother"]
fallback = "reception,s,1"

[[transfer]]
name = "sales"
destination = "lobby,s,1"

[[token]]
name = "desk"
scopes = ["control", "read", "millis"]
sha256 = "{sha256}"
"""


class Customer:
    """Whom the bridge calls, at the far end of a trunk, and the bridge that does."""

    def __init__(self, stage: Stage, phone: SipAgent, folder: Path) -> None:
        self.stage = stage
        self.folder = folder
        self._phone = phone

    @property
    def trunk(self) -> str:
        """The dial string of the trunk that ends at this customer."""
        return "PJSIP/desk/sip:{{number}}@{}:{}".format(*self._phone.address)

    def does(self, **behaviour: Any) -> None:
        """Change how the customer takes the calls to come."""
        self._phone.behaviour = AgentBehaviour(
            **{"speaks_hz": CALLER_TONE_HZ, "listens_for_hz": (AGENT, RECEPTION, LOBBY), **behaviour}
        )

    @asynccontextmanager
    async def bridge(
        self, originate: str = "", *, seconds: int = 5, user: str = USER, manager_port: int = 0, records: str = ""
    ) -> AsyncIterator[None]:
        """Run the bridge with `[originate]`, and wait until it can ask the PBX, if it is to."""
        more = MORE.format(
            user=user,
            trunk=self.trunk,
            ours=OURS,
            seconds=seconds,
            folder=self.folder,
            originate=originate,
            sha256=digest(TOKEN),
        )
        pbx = table(manager_port or self.stage.pbx.manager_port)
        # The usual limits: a call of this test goes through more hands than others, on a machine that may be slow.
        async with self.stage.bridge(web='["127.0.0.1:0"]', more=pbx + more + records, default_limits=True):
            if not manager_port:
                await until(lambda: hq(self.stage).connected)
            yield

    async def is_called(self, **said: str) -> tuple[int, dict[str, Any]]:
        """Ask the bridge to call; return status and answer."""
        body = {"to": THEIRS, "rule": "reminder", **said}
        return await ask(self.stage.web, "POST", "/api/v1/originate", body, **bearer(TOKEN))

    async def over(self, reason: str) -> dict[str, Any]:
        """Wait for the line of a call that ended so, and return it."""
        return await self.stage.line_with("reason", reason)

    def calls(self) -> int:
        """Return how often the phone rang."""
        return len([event for event in self.stage.events["customer"] if isinstance(event, Invited)])


@pytest.fixture
async def customer(stage: Stage, tmp_path: Path) -> AsyncIterator[Customer]:
    """A customer who answers and speaks, and can be heard by the agent."""
    stage.events["customer"] = []
    async with SipAgent(on_event=stage.seen_by("customer")) as phone:
        customer = Customer(stage, phone, tmp_path)
        customer.does()
        yield customer
        await stage.quiet()


async def test_customer_who_answers_talks_with_the_agent(customer: Customer):
    """Both hear each other; Millis is told who was called, by whom, and that it was us who called; the id is one throughout."""
    stage = customer.stage
    customer.does(hang_up_after_seconds=4.0)
    async with customer.bridge():
        status, started = await customer.is_called(to="(555) 765-4321")
        await stage.heard("customer", AGENT)
        await stage.heard("agent", CALLER_TONE_HZ)
        live = await ask(stage.web, "GET", "/api/v1/live", **bearer(TOKEN))
        line = await customer.over("called-answered")
        route, ended = await stage.line("route"), await stage.line("ended")
    invited = await stage.saw("customer", Invited)
    body = stage.millis.registrations[0].body

    assert (status, started["to"]) == (200, THEIRS)
    assert (invited.user, invited.caller_number) == (THEIRS, OURS)
    assert {line["bridge_call_id"] for line in (line, route, ended)} == {started["bridge_call_id"]}
    assert (route["reason"], route["rule"]) == ("routed", "reminder")
    assert (ended["reason"], ended["hung_up_by"]) == ("answered", "caller")
    assert (route["did"], route["caller_number"], route["uniqueid"]) == (THEIRS, OURS, started["bridge_call_id"])
    assert (body["agent_id"], body["from_phone"], body["to_phone"]) == ("-Nreminder", OURS, THEIRS)
    assert {name: body["metadata"][name] for name in ("direction", "answered_by", "did")} == {
        "direction": "outbound",
        "answered_by": "",
        "did": THEIRS,
    }
    assert [call["bridge_call_id"] for call in live[1]["calls"]] == [started["bridge_call_id"]]
    assert stage.problems() == []


async def test_other_agent_that_the_rule_allows_speaks(customer: Customer):
    """Whoever asks for the call may choose among the agents of the rule, and among no others."""
    async with customer.bridge():
        refused = await customer.is_called(agent="-Nstranger")
        await customer.is_called(agent="-Nother")
        await customer.stage.heard("customer", AGENT)
        await hang_up(customer)
    assert (refused[0], refused[1]["error"]["code"]) == (422, "no-such-rule")
    assert [each.body["agent_id"] for each in customer.stage.millis.registrations] == ["-Nother"]


async def hang_up(customer: Customer) -> None:
    """End the one call that is up."""
    _, live = await ask(customer.stage.web, "GET", "/api/v1/live", **bearer(TOKEN))
    for call in live["calls"]:
        await ask(customer.stage.web, "POST", f"/api/v1/calls/{call['bridge_call_id']}/hangup", {}, **bearer(TOKEN))
    await customer.stage.quiet()


@pytest.mark.parametrize(
    ("behaviour", "reason", "dialstatus"),
    [
        ({"refuse_status": 486}, "called-busy", "BUSY"),
        ({"ring_seconds": 30.0}, "called-no-answer", "NOANSWER"),
        ({"refuse_status": 480}, "called-no-answer", "NOANSWER"),
        ({"refuse_status": 503}, "called-unreachable", "CONGESTION"),
        ({"refuse_status": 404}, "called-unreachable", "CHANUNAVAIL"),
        ({"ignore_invite": True}, "called-no-answer", "NOANSWER"),
    ],
    ids=["busy", "unanswered", "480", "503", "404", "nobody there"],
)
async def test_customer_who_does_not_answer(
    customer: Customer, behaviour: dict[str, Any], reason: str, dialstatus: str
):
    """Who started the call has the answer by then; the log says how it went, no agent was asked, and nothing is followed any more."""
    customer.does(**behaviour)
    stage = customer.stage
    async with customer.bridge(seconds=1):
        status, started = await customer.is_called()
        line = await customer.over(reason)
        await until(lambda: not hq(stage).channels.calls)
    assert status == 200
    assert (line["bridge_call_id"], line["dialstatus"]) == (started["bridge_call_id"], dialstatus)
    assert not stage.millis.registrations
    assert tally(customer).started == 1


def tally(customer: Customer) -> Any:
    """Return what the bridge has counted."""
    return tally_from((customer.folder / "originates.json").read_text())


async def test_ringing_call_can_be_ended(customer: Customer):
    """Its id is known while it rings, so whoever started it can take it back."""
    customer.does(ring_seconds=30.0)
    stage = customer.stage
    async with customer.bridge(seconds=20):
        _, started = await customer.is_called()
        await stage.saw("customer", Invited)
        await until(lambda: (call := hq(stage).channels.call(started["bridge_call_id"])) and call.up[0].name)
        done = await ask(stage.web, "POST", f"/api/v1/calls/{started['bridge_call_id']}/hangup", {}, **bearer(TOKEN))
        await stage.saw("customer", HungUp)
        line = await stage.line_with("reason")
    assert done == (200, {"done": True})
    assert line["reason"] in ("called-no-answer", "called-unreachable")


@pytest.mark.parametrize(
    "to",
    [
        "911",
        "112",
        "+1911",
        "+44 20 7946 0958",
        "+19005551234",
        "5551",
        "",
        "+1555765432x",
        "+15557654321&Local/s@lobby",
        "+15557654321,1",
    ],
)
async def test_number_that_may_not_be_called(customer: Customer, to: str):
    """One clear error, no channel, no count."""
    async with customer.bridge():
        status, said = await customer.is_called(to=to)
    assert (status, said["error"]["code"]) == (422, "number-not-allowed") if to else (400, "bad-body")
    assert customer.calls() == 0
    assert not (customer.folder / "originates.json").exists()
    assert hq(customer.stage).actions["Originate", "done"] == 0


async def test_calls_beyond_a_limit_are_not_dialled(customer: Customer):
    """Of five requests at once two pass, the phone rings twice, and the others say which limit it was."""
    customer.does(refuse_status=486)
    async with customer.bridge("rate_limit_per_minute = 2"):
        answers = await asyncio.gather(*(customer.is_called() for _ in range(5)))
        await until(lambda: customer.calls() == 2)
    assert sorted(status for status, _ in answers) == [200, 200, 429, 429, 429]
    assert {said["error"]["code"] for status, said in answers if status == 429} == {"originate-rate-limit"}
    assert tally(customer).started == 2


async def test_daily_limit_outlives_the_bridge(customer: Customer):
    """A bridge that is started anew counts on where the one before it stopped."""
    customer.does(refuse_status=486)
    async with customer.bridge("daily_limit = 1"):
        first = await customer.is_called()
        await customer.over("called-busy")
    async with customer.bridge("daily_limit = 1"):
        second = await customer.is_called()
    assert (first[0], second[0], second[1]["error"]["code"]) == (200, 429, "originate-daily-limit")
    assert customer.calls() == 1


async def test_manager_user_that_may_not_originate_is_told(customer: Customer):
    """The shipped user starts no calls; whoever asks learns what is missing."""
    async with customer.bridge(user="agi-bridge"):
        status, said = await customer.is_called()
    assert (status, said["error"]["code"]) == (502, "pbx-unreachable")
    assert "Permission denied" in said["error"]["message"]
    assert customer.calls() == 0


async def test_pbx_that_is_away_costs_no_count(customer: Customer):
    """Without a manager interface nothing is dialled, and nothing is counted."""
    async with customer.bridge(manager_port=1):
        status, said = await customer.is_called()
    assert (status, said["error"]["code"]) == (502, "pbx-unreachable")
    assert not (customer.folder / "originates.json").exists()


async def test_customer_without_an_agent_takes_the_fallback(customer: Customer):
    """Millis fails, and the customer reaches the rule's fallback, where their own number is shown."""
    stage = customer.stage
    stage.millis_does("status=500")
    async with customer.bridge():
        await customer.is_called()
        await stage.heard("customer", RECEPTION)
        invited = await stage.saw("reception", Invited)
        await hang_up(customer)
    assert invited.caller_number == THEIRS


async def test_agent_sends_the_customer_on(customer: Customer):
    """Whoever takes the call sees the customer's number, as if they had called."""
    stage = customer.stage
    async with customer.bridge():
        _, started = await customer.is_called()
        await stage.heard("customer", AGENT)
        body = {"to": "sales"}
        await ask(stage.web, "POST", f"/api/v1/calls/{started['bridge_call_id']}/transfer", body, **bearer(TOKEN))
        await stage.heard("customer", LOBBY)
        invited = await stage.saw("lobby", Invited)
        await hang_up(customer)
        transferred = await stage.line("transferred")
    assert invited.caller_number == THEIRS
    assert (transferred["bridge_call_id"], transferred["reason"]) == (started["bridge_call_id"], "transfer-answered")


# What a person does who answers the phone: a word of greeting, and then the other side's turn.
PERSON = {"speaks_hz": 300, "silent_after_seconds": 0.4, "heard_hz": CALLER_TONE_HZ}
MACHINE = {"speaks_hz": 300, "heard_hz": CALLER_TONE_HZ}


@pytest.mark.parametrize("what", ["hang-up", "connect"])
async def test_person_is_told_from_a_machine(customer: Customer, what: str):
    """Whoever says a word and waits is connected, and the agent knows that a person listens."""
    customer.does(**PERSON)
    stage = customer.stage
    async with customer.bridge(f'detect_machine = "{what}"'):
        await customer.is_called()
        await stage.heard("agent", CALLER_TONE_HZ)
        await hang_up(customer)
    assert stage.millis.registrations[0].body["metadata"]["answered_by"] == "human"


async def test_machine_is_hung_up_on(customer: Customer):
    """Whoever talks on and on is a machine: no agent is asked, and the phone is free again."""
    customer.does(**MACHINE)
    stage = customer.stage
    async with customer.bridge('detect_machine = "hang-up"'):
        await customer.is_called()
        hung_up = await stage.saw("customer", HungUp)
        line = await stage.line("route")
        await stage.quiet()
    assert hung_up.by == "them"
    assert (line["result"], line["reason"], line["rule"]) == ("caller", "answered-by-machine", "reminder")
    assert not stage.millis.registrations


async def test_machine_is_connected_where_that_is_wanted(customer: Customer):
    """The agent speaks to the machine, and knows that it is one."""
    customer.does(**MACHINE)
    stage = customer.stage
    async with customer.bridge('detect_machine = "connect"'):
        await customer.is_called()
        await stage.heard("agent", CALLER_TONE_HZ)
        await hang_up(customer)
    assert stage.millis.registrations[0].body["metadata"]["answered_by"] == "machine"


async def test_customer_who_hangs_up_while_a_machine_is_looked_for(customer: Customer):
    """Nobody is left to connect: no agent is asked, and the call is over."""
    customer.does(**PERSON, hang_up_after_seconds=0.3)
    stage = customer.stage
    async with customer.bridge('detect_machine = "connect"'):
        await customer.is_called()
        await customer.over("called-answered")
        await until(lambda: not hq(stage).channels.calls)
    assert not stage.millis.registrations


async def test_command_calls_through_the_running_bridge(customer: Customer):
    """`agi-bridge originate` prints the id of the call; a wrong token and a number off the list are a line each."""
    stage = customer.stage
    async with customer.bridge():
        done = await command(stage, TOKEN, "--to", THEIRS, "--rule", "reminder", "--json")
        await stage.heard("customer", AGENT)
        await hang_up(customer)
        refused = await command(stage, TOKEN, "--to", "+442079460958", "--rule", "reminder")
        stranger = await command(stage, "wrong", "--to", THEIRS, "--rule", "reminder")
    assert done[0] == 0
    assert json.loads(done[1])["to"] == THEIRS
    assert refused == (1, "", "agi-bridge: no prefix of allow under [originate] fits that number\n")
    assert (stranger[0], "no such token" in stranger[2]) == (1, True)
    assert customer.calls() == 1


async def command(stage: Stage, token: str, *arguments: str) -> tuple[int, str, str]:
    """Run `agi-bridge originate`; return its exit code, and what it prints on both ways."""
    program = Path(sys.executable).with_name("agi-bridge")
    url = "http://{}:{}".format(*stage.web.addresses[0])
    process = await asyncio.create_subprocess_exec(
        program,
        *("originate", "--url", url, *arguments),
        env={**os.environ, "AGI_BRIDGE_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()
