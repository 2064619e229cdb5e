"""What is known of the bridge on this machine, and what the doctor makes of it."""

from dataclasses import replace

import pytest

from agi_bridge.config import load
from agi_bridge.doctor.bridge_checks import check_bridge, check_config
from agi_bridge.doctor.facts import BridgeFacts
from agi_bridge.doctor.finding import Check, Severity
from agi_bridge.errors import Problem

WELL = BridgeFacts(
    pong="ok",
    web={"ready": True, "version": "1.2.3", "regions": {"us-west": "closed"}},
    taken={"127.0.0.1:4573": True, "127.0.0.1:4574": True},
    open_files=65_536,
    open_files_of_bridge=True,
    somaxconn=4096,
)
DOWN = replace(WELL, pong="Connection refused", web=None, taken={"127.0.0.1:4573": False}, open_files_of_bridge=False)
RULE = '[[route]]\nname = "sales"\nagent_id = "-Nsales"\nfallback = "a,s,1"\n'


def config(agi=""):
    return load(f"[agi]\n{agi}\n{RULE}", {"MILLIS_API_KEY": "key"}, lambda name: b"")


def checked(facts, agi="", hosts=()):
    """Return what is not fine, by check, severity and words."""
    findings = check_bridge(config(agi), facts, "1.2.3", hosts)
    return {(each.check, each.severity, each.found) for each in findings if each.severity > Severity.OK}


def test_bridge_that_is_well():
    """A running bridge of this version, within its limits, gives nothing to do; every check has spoken."""
    assert checked(WELL) == set()
    assert {each.check for each in check_bridge(config(), WELL, "1.2.3")} == {
        Check.BRIDGE_RUNNING,
        Check.BRIDGE_PORTS,
        Check.BRIDGE_LISTEN,
        Check.BRIDGE_LIMITS,
    }


@pytest.mark.parametrize(
    ("facts", "check", "severity", "words"),
    [
        (DOWN, Check.BRIDGE_RUNNING, Severity.ERROR, "no bridge answers: Connection refused"),
        (
            replace(WELL, pong="it is refused (AGISTATUS=FAILURE)"),
            Check.BRIDGE_RUNNING,
            Severity.ERROR,
            "the web port answers, and the port for Asterisk does not: it is refused (AGISTATUS=FAILURE)",
        ),
        (
            replace(WELL, web={"ready": False, "why_not": "draining"}),
            Check.BRIDGE_RUNNING,
            Severity.ERROR,
            "the bridge is not ready: draining",
        ),
        (
            replace(WELL, web={"ready": True, "regions": {"us-west": "open"}}),
            Check.BRIDGE_RUNNING,
            Severity.WARNING,
            "the running bridge counts the region us-west as down",
        ),
        (
            replace(WELL, web={"ready": True, "version": "1.0.0"}),
            Check.BRIDGE_RUNNING,
            Severity.WARNING,
            "version 1.0.0 runs, and 1.2.3 is installed",
        ),
        (
            replace(WELL, web={"ready": True, "needs_restart": ["agi.listen"]}),
            Check.BRIDGE_RUNNING,
            Severity.WARNING,
            "changed, but waiting for a restart: agi.listen",
        ),
        (
            replace(DOWN, taken={"127.0.0.1:4573": True}),
            Check.BRIDGE_PORTS,
            Severity.ERROR,
            "another program holds 127.0.0.1:4573, or a bridge that does not answer",
        ),
        (
            replace(WELL, not_ours={"192.0.2.1:4573": "Cannot assign requested address"}),
            Check.BRIDGE_PORTS,
            Severity.ERROR,
            "192.0.2.1:4573 cannot be listened on: Cannot assign requested address",
        ),
        (
            replace(WELL, open_files=1024),
            Check.BRIDGE_LIMITS,
            Severity.WARNING,
            "1,024 for the running bridge; session_limit = 10,000 needs 20,000",
        ),
        (
            replace(WELL, open_files=1024, open_files_of_bridge=False),
            Check.BRIDGE_LIMITS,
            Severity.INFO,
            "1,024 for this shell; the service has a limit of its own; session_limit = 10,000 needs 20,000",
        ),
        (
            replace(WELL, somaxconn=128),
            Check.BRIDGE_LIMITS,
            Severity.WARNING,
            "128, and backlog = 1024",
        ),
    ],
)
def test_bridge_that_is_not_well(facts, check, severity, words):
    """Each trouble of the bridge is told by its check."""
    assert (check, severity, words) in checked(facts)


def test_bridge_without_a_web_port_is_known_by_its_pong():
    """Where nobody may ask over HTTP, the answer to a ping says enough."""
    assert checked(replace(WELL, web=None)) == set()


@pytest.mark.parametrize(
    ("agi", "hosts", "words"),
    [
        (
            'listen = "127.0.0.1:4573"',
            ["10.0.0.5"],
            "the bridge listens on 127.0.0.1:4573 alone, and the PBX is at 10.0.0.5",
        ),
        ('listen = "10.0.0.7:4573"\nallow = "10.0.0.9"', ["10.0.0.5"], "allow does not hold the PBX at 10.0.0.5"),
        ('listen = "10.0.0.7:4573"', ["10.0.0.5"], None),
        ('listen = "127.0.0.1:4573"', ["127.0.0.1", "localhost", "::1"], None),
        ('listen = "10.0.0.7:4573"\nallow = "10.0.0.9"', ["pbx.example.com"], None),
    ],
)
def test_listening_where_the_pbx_can_reach(agi, hosts, words):
    """An address that the configured PBX cannot reach, or may not come from, is found."""
    found = {each[2] for each in checked(WELL, agi, hosts) if each[0] == Check.BRIDGE_LISTEN}

    assert found == ({words} if words else set())


def test_configuration():
    """Problems and warnings of the configuration are findings with their suggestion; a good one says how many rules it has."""
    problem, warning = Problem("agi.listen", "is wrong", "write it so"), Problem("millis.x", "is odd")

    found = list(check_config("bridge.toml", [problem], [warning], None))
    [good] = check_config("bridge.toml", [], [], 2)
    [without_key] = check_config("bridge.toml", [problem], [], 2)

    assert [(each.severity, each.found, each.remedy) for each in found] == [
        (Severity.ERROR, "agi.listen: is wrong", "write it so"),
        (Severity.WARNING, "millis.x: is odd", ""),
    ]
    assert without_key.severity == Severity.WARNING
    assert (good.severity, good.found) == (Severity.OK, "the configuration is good: 2 rules")
