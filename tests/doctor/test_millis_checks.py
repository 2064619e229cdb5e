"""What Millis answers, and what the doctor makes of it."""

from dataclasses import replace

import pytest

from agi_bridge.config import load
from agi_bridge.doctor.facts import AgentFacts, RegionFacts
from agi_bridge.doctor.finding import Check, Severity
from agi_bridge.doctor.millis_checks import (
    check_accounts,
    check_agents,
    check_certificate,
    check_clock,
    check_credit,
    check_millis,
    check_region,
    check_standby,
)

WELL = RegionFacts(
    "us-west",
    "https://api-west.millis.ai",
    "default",
    connect_ms=20,
    tls_ms=30,
    first_byte_ms=120,
    status=200,
    body={"credit": 25.0, "used_credit": 3},
    certificate_days=60.0,
    clock_ahead_seconds=0.4,
)
AGENT = AgentFacts("-Nsales", ("sales",), "us-west", status=200, state="active")
RULE = '[[route]]\nname = "sales"\nagent_id = "-Nsales"\nfallback = "a,s,1"\n'


def config(more=""):
    return load(RULE + more, {"MILLIS_API_KEY": "key"}, lambda name: b"")


@pytest.mark.parametrize(
    ("changes", "severity", "found"),
    [
        ({}, Severity.OK, "us-west: first byte after 120 ms (connected in 20 ms, TLS in 30 ms)"),
        ({"certificate_days": None}, Severity.OK, "us-west: first byte after 120 ms (connected in 20 ms)"),
        ({"status": 401}, Severity.OK, "us-west: first byte after 120 ms (connected in 20 ms, TLS in 30 ms)"),
        ({"first_byte_ms": 1100.0}, Severity.WARNING, "us-west: first byte after 1100 ms"),
        ({"trouble": "Connection refused"}, Severity.ERROR, "us-west: Connection refused"),
        ({"trouble": "TLS failed", "trouble_is_of_tls": True}, Severity.ERROR, "us-west: no secure connection"),
        ({"status": 503, "detail": "maintenance"}, Severity.ERROR, "us-west: HTTP 503 maintenance"),
        ({"status": 429}, Severity.ERROR, "us-west: HTTP 429"),
        ({"status": 302}, Severity.ERROR, "us-west: HTTP 302, a redirect"),
    ],
)
def test_region(changes, severity, found):
    """A region must answer, of its own accord and soon."""
    finding = check_region(replace(WELL, **changes), 2.0)

    assert (finding.check, finding.severity) == (Check.MILLIS_REGION, severity)
    assert finding.found.startswith(found)
    assert bool(finding.remedy) == (severity > Severity.OK)


@pytest.mark.parametrize(
    ("changes", "severities"),
    [
        ({}, [Severity.OK]),
        ({"certificate_days": 3.0}, [Severity.WARNING]),
        ({"trouble": "the certificate is not trusted: self-signed", "trouble_is_of_tls": True}, [Severity.ERROR]),
        ({"certificate_days": None}, []),
        ({"trouble": "Connection refused", "certificate_days": None}, []),
    ],
)
def test_certificate(changes, severities):
    """A certificate must be trusted, and not about to end; where there is no TLS there is nothing to say."""
    assert [each.severity for each in check_certificate(replace(WELL, **changes))] == severities


@pytest.mark.parametrize(
    ("ahead", "severity", "found"),
    [
        (0.4, Severity.OK, "this machine's clock is right"),
        (-29.0, Severity.OK, "this machine's clock is right"),
        (45.0, Severity.WARNING, "this machine's clock is 45 s ahead"),
        (-3600.0, Severity.ERROR, "this machine's clock is 3,600 s behind"),
    ],
)
def test_clock(ahead, severity, found):
    """The clock is compared with that of Millis."""
    [finding] = check_clock([replace(WELL, clock_ahead_seconds=ahead)])

    assert (finding.severity, finding.found) == (severity, found)


def test_clock_of_the_region_that_agrees_counts():
    """One region whose clock is wrong does not make ours so; where none tells the time there is nothing to say."""
    regions = [replace(WELL, clock_ahead_seconds=500.0), replace(WELL, clock_ahead_seconds=1.0)]

    assert [each.severity for each in check_clock(regions)] == [Severity.OK]
    assert list(check_clock([replace(WELL, clock_ahead_seconds=None)])) == []


@pytest.mark.parametrize(
    ("status", "checks", "words"),
    [
        (200, [(Check.MILLIS_KEY, Severity.OK), (Check.MILLIS_CREDIT, Severity.OK)], "is accepted"),
        (401, [(Check.MILLIS_KEY, Severity.ERROR)], "is refused: HTTP 401"),
        (422, [(Check.MILLIS_KEY, Severity.ERROR)], "is refused: HTTP 422"),
        (503, [], ""),
    ],
)
def test_key(status, checks, words):
    """A refused key is told once for an account; of a region in trouble nothing is concluded."""
    found = list(check_accounts([replace(WELL, status=status), replace(WELL, status=status)]))

    assert [(each.check, each.severity) for each in found] == checks
    assert words in "".join(each.found for each in found[:1])


@pytest.mark.parametrize(
    ("info", "severity", "found"),
    [
        ({"credit": 25.0, "used_credit": 3.456}, Severity.OK, 'credit 25.00 of "default", used 3.46'),
        ({"credit": 0.5}, Severity.WARNING, 'credit 0.50 of "default"'),
        ({"credit": 0}, Severity.ERROR, 'credit 0.00 of "default"'),
        ({"credit": 0, "auto_refill": {"enabled": True}}, Severity.OK, 'credit 0.00 of "default", refilled by itself'),
        ({"credit": None}, Severity.INFO, 'Millis tells no credit of "default"'),
        ({"credit": True}, Severity.INFO, 'Millis tells no credit of "default"'),
    ],
)
def test_credit(info, severity, found):
    """An account without credit cannot take calls, unless it is refilled."""
    finding = check_credit(info, "default", "")

    assert (finding.severity, finding.found) == (severity, found)


@pytest.mark.parametrize(
    ("changes", "severity", "found"),
    [
        ({}, Severity.OK, "the agent is there and active"),
        ({"state": ""}, Severity.OK, "the agent is there (whether it is active, Millis does not tell)"),
        ({"state": "disabled"}, Severity.ERROR, "the agent -Nsales is disabled"),
        ({"status": 404}, Severity.ERROR, "there is no agent -Nsales"),
        ({"status": 401, "detail": "Invalid API key"}, Severity.INFO, "not known: HTTP 401 Invalid API key"),
        ({"status": 0, "trouble": "Connection refused"}, Severity.INFO, "not known: Connection refused"),
    ],
)
def test_agent(changes, severity, found):
    """An agent that a rule names must be there and active."""
    [finding] = check_agents([replace(AGENT, **changes)], 0)

    assert (finding.check, finding.severity, finding.found) == (Check.MILLIS_AGENT, severity, found)


def test_agents_that_were_not_asked_for():
    """Agents beyond the limit are told as not looked at, those that are well in one line."""
    found = list(check_agents([AGENT, AGENT], 3))

    assert [each.found for each in found] == ["2 agents are there and active", "3 more agents were not asked for"]


def test_standby():
    """Rules without a standby are named with the command that makes one; what cannot be asked is said."""
    [without] = check_standby(config())
    [with_one] = check_standby(config('standby_uri = "sip:a@sip.millis.ai"\n'))

    assert (without.severity, without.remedy) == (Severity.INFO, "agi-bridge standby create --rule sales")
    assert with_one.severity == Severity.OK
    assert list(check_standby(load('[[route]]\nname = "no"\nreject = true\n', {}, lambda name: b""))) == []


def test_region_is_told_once():
    """Two accounts in one region are two keys, and one region."""
    found = list(check_millis(config(), [WELL, replace(WELL, account="acme")], [AGENT]))

    checks = [each.check for each in found]
    assert checks.count(Check.MILLIS_REGION) == checks.count(Check.MILLIS_CERTIFICATE) == 1
    assert checks.count(Check.MILLIS_KEY) == 2
