"""A whole run: everything at once, within its time, and whatever fails is a finding."""

import asyncio
import threading
import time

import pytest

from agi_bridge.config import load
from agi_bridge.doctor.examination import Patient, examine, gathered
from agi_bridge.doctor.finding import Check, Part, Severity, fine
from agi_bridge.errors import Problem
from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.millis import SimulatedMillis
from tests.served import PATIENCE_SECONDS, two_free_ports

KEY = "the-key-of-the-tests"


def config(millis_url, rules=1, more=""):
    port = two_free_ports()
    text = f'[agi]\nlisten = "127.0.0.1:{port}"\n[web]\nlisten = "127.0.0.1:{port + 1}"\n'
    text += f'[millis]\nbase_url = "{millis_url}"\nallowed_hosts = ["127.0.0.1"]\n'
    for number in range(rules):
        text += (
            f'[[route]]\nname = "r{number}"\ndid = "+1555123{number:04}"\nagent_id = "-N{number}"\nfallback = "a,s,1"\n'
        )
    return load(text + more, {"MILLIS_API_KEY": KEY}, lambda name: b"")


async def examined(patient):
    return await asyncio.to_thread(examine, patient)


def only(findings, check):
    return [finding for finding in findings if finding.check == check]


@pytest.mark.parametrize(
    ("fault", "check", "severity", "words"),
    [
        ("credit=0", Check.MILLIS_CREDIT, Severity.ERROR, "credit 0.00"),
        ("credit=0.5", Check.MILLIS_CREDIT, Severity.WARNING, "credit 0.50"),
        ("agent=disabled", Check.MILLIS_AGENT, Severity.ERROR, "the agent -N0 is disabled"),
        ("agent=missing", Check.MILLIS_AGENT, Severity.ERROR, "there is no agent -N0"),
        ("clock=-3600", Check.MILLIS_CLOCK, Severity.ERROR, "ahead"),
        ("clock=60", Check.MILLIS_CLOCK, Severity.WARNING, "behind"),
        ("status=401", Check.MILLIS_KEY, Severity.ERROR, "is refused: HTTP 401"),
        ("status=503", Check.MILLIS_REGION, Severity.ERROR, "HTTP 503"),
        ("delay=1.2", Check.MILLIS_REGION, Severity.WARNING, "first byte after 1"),
        ("hang", Check.MILLIS_REGION, Severity.ERROR, "no answer within 2.5 s"),
    ],
)
async def test_planted_fault_of_millis_is_found(fault, check, severity, words):
    """Each fault of the simulated Millis is found by its check, with what it means and what to do."""
    async with SimulatedMillis(key=KEY, fault=Fault.parse(fault)) as millis:
        findings = await examined(Patient("bridge.toml", config(millis.url), parts=frozenset([Part.MILLIS])))

    found = [each for each in only(findings, check) if words in each.found]
    assert [each.severity for each in found] == [severity], findings
    assert found[0].why
    assert found[0].remedy


async def test_millis_that_is_well():
    """A Millis without a fault gives notes at most."""
    async with SimulatedMillis(key=KEY, agents=["-N0", "-N1"]) as millis:
        findings = await examined(Patient("bridge.toml", config(millis.url, rules=2), parts=frozenset([Part.MILLIS])))

    assert [each for each in findings if each.severity > Severity.INFO] == []
    assert "2 agents are there and active" in [each.found for each in only(findings, Check.MILLIS_AGENT)]


async def test_agents_beyond_the_limit_are_not_asked_for():
    """A hundred agents are not a hundred questions."""
    async with SimulatedMillis(key=KEY) as millis:
        findings = await examined(Patient("b", config(millis.url, rules=100), parts=frozenset([Part.MILLIS])))
        asked = [request for request in millis.requests if request.path.startswith("/agents/")]

    assert len(asked) == 40
    assert "60 more agents were not asked for" in [each.found for each in only(findings, Check.MILLIS_AGENT)]


async def test_key_is_nowhere_in_the_findings():
    """Whatever Millis repeats, the key does not leave."""
    async with SimulatedMillis(fault=Fault.parse("status=400"), key=KEY) as millis:
        findings = await examined(Patient("b", config(millis.url, more="")))

    assert KEY not in str(findings)


def test_parts_that_were_not_wanted_are_left_alone():
    """`--only` looks at nothing else."""
    loaded = config("http://127.0.0.1:1")

    findings = examine(Patient("bridge.toml", loaded, parts=frozenset([Part.BRIDGE])))

    assert {each.check.part for each in findings} == {Part.BRIDGE}


def test_configuration_that_cannot_be_used(tmp_path):
    """Without a configuration its problems are told, and the PBX is looked at for what is shipped."""
    problems = [Problem("route", "there is no [[route]]", "write one")]

    findings = examine(Patient("bridge.toml", None, problems, console=tmp_path / "asterisk.ctl"))

    assert [(each.check, each.severity, each.remedy) for each in only(findings, Check.BRIDGE_CONFIG)] == [
        (Check.BRIDGE_CONFIG, Severity.ERROR, "write one")
    ]
    [console] = only(findings, Check.PBX_CONSOLE)
    assert console.severity == Severity.WARNING
    assert console.found.startswith("no Asterisk answers at ")


def test_no_pbx_to_look_at():
    """A machine without an Asterisk, and no [[pbx]], is a note."""
    [finding] = examine(Patient("b", None, parts=frozenset([Part.PBX]), usual_sockets=()))

    assert (finding.severity, finding.check) == (Severity.INFO, Check.PBX_CONSOLE)
    assert "--only pbx" in finding.remedy


def test_whatever_is_raised_becomes_a_finding():
    """A fault of the doctor's own ends in a line, never in a traceback, and leaves the other findings."""

    def broken():
        raise RuntimeError("boom")

    good = fine(Check.MILLIS_KEY, "", "good")
    findings = gathered([(Check.BRIDGE_RUNNING, broken), (Check.MILLIS_REGION, lambda: [good])], time.monotonic() + 5)

    assert findings[1:] == [good]
    assert (findings[0].check, findings[0].severity) == (Check.BRIDGE_RUNNING, Severity.WARNING)
    assert findings[0].found == "could not be looked at: RuntimeError: boom"
    assert findings[0].remedy


def test_what_does_not_end_is_left_behind():
    """Work that hangs is a finding when the time is up, and nobody waits for it."""
    never = threading.Event()

    def hangs():
        never.wait(PATIENCE_SECONDS)
        return []

    findings = gathered([(Check.BRIDGE_RUNNING, hangs)], time.monotonic() + 0.1)
    never.set()

    assert [each.found for each in findings] == ["could not be looked at: it took too long"]
