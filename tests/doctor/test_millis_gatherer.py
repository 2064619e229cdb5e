"""Asking Millis, at the simulated one: every planted fault arrives as a fact, and nothing is raised."""

import asyncio
from functools import partial

import pytest

from agi_bridge.config import load
from agi_bridge.doctor.millis_gatherer import gather_agent, gather_region
from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.millis import SimulatedMillis
from tests.asterisk.stage import closed_port

KEY = "the-key-of-the-tests"
RULE = '[[route]]\nname = "sales"\nagent_id = "-Nsales"\nfallback = "a,s,1"\n'


def config(url, key=KEY):
    text = f'[millis]\nbase_url = "{url}"\n{RULE}'
    return load(text, {"MILLIS_API_KEY": key} if key else {}, lambda name: b"", need_keys=bool(key))


async def region(millis, timeout_seconds=2.0, **keywords):
    """Ask as the doctor does, from a thread."""
    ask = partial(gather_region, config(millis.url, **keywords), "us-west", "default", timeout_seconds)
    return await asyncio.to_thread(ask)


async def agent(millis, agent_id="-Nsales"):
    ask = partial(gather_agent, config(millis.url), agent_id, "default", "us-west", ("sales",), 2.0)
    return await asyncio.to_thread(ask)


async def test_region_that_answers():
    """Status, credit, times and clock of a region are known; without TLS there is no certificate."""
    async with SimulatedMillis(key=KEY, fault=Fault.parse("credit=0.25,clock=-7200")) as millis:
        facts = await region(millis)

    assert (facts.trouble, facts.status, facts.body["credit"], facts.certificate_days) == ("", 200, 0.25, None)
    assert facts.clock_ahead_seconds is not None
    assert 7100 < facts.clock_ahead_seconds < 7300
    assert 0 < facts.connect_ms <= facts.first_byte_ms


async def test_clock_that_agrees():
    """A region whose clock is that of this machine differs by no more than the second it is told in."""
    async with SimulatedMillis() as millis:
        facts = await region(millis)

    assert facts.clock_ahead_seconds is not None
    assert abs(facts.clock_ahead_seconds) < 20


async def test_key_that_is_refused():
    """A wrong key is a status with its detail; the key itself is nowhere in the facts."""
    async with SimulatedMillis(key="another") as millis:
        facts = await region(millis)

    assert (facts.status, facts.detail) == (401, "Invalid API key")
    assert KEY not in str(facts)


async def test_region_without_a_key():
    """Where the key is not known, the region is timed all the same, and nothing is said of the account."""
    async with SimulatedMillis(key=KEY) as millis:
        facts = await region(millis, key="")

    assert (facts.status, facts.account, facts.trouble) == (422, "", "")


@pytest.mark.parametrize(
    ("fault", "trouble", "status"),
    [
        ("hang", "no answer within 0.2 s", 0),
        ("reset", "Connection reset by peer", 0),
        ("status=503", "", 503),
        ("body=html", "", 200),
        ("body=empty", "", 200),
        ("body=not-json", "", 200),
        ("body=list", "", 200),
        ("body=huge", "", 200),
        ("status=503,body=html", "", 503),
    ],
)
async def test_faults_of_a_region(fault, trouble, status):
    """Whatever a region does is a fact, within its time."""
    async with SimulatedMillis(key=KEY, fault=Fault.parse(fault)) as millis:
        facts = await region(millis, timeout_seconds=0.2 if fault == "hang" else 2.0)

    assert (facts.trouble, facts.status) == (trouble, status)


def test_region_that_is_not_there():
    """A refused connection is told in the system's words."""
    with closed_port() as (host, port):
        facts = gather_region(config(f"http://{host}:{port}"), "us-west", "default", 2.0)

    assert (facts.trouble, facts.trouble_is_of_tls) == ("Connection refused", False)


def test_name_that_does_not_exist():
    """A name that DNS does not know is a fact."""
    facts = gather_region(config("https://nowhere.invalid"), "us-west", "default", 2.0)

    assert facts.trouble != ""
    assert not facts.trouble_is_of_tls


async def test_certificate_that_is_not_trusted(tls, caplog):
    """A certificate of nobody's is told as such, and the key is not sent."""
    caplog.set_level("CRITICAL", "asyncio")  # the server complains that it was not trusted
    async with SimulatedMillis(key=KEY, tls=tls) as millis:
        facts = await region(millis)

        assert facts.trouble.startswith("the certificate is not trusted: self")
        assert facts.trouble_is_of_tls
        assert list(millis.requests) == []


async def test_certificate_that_is_trusted(tls, certificate, monkeypatch):
    """The days that a certificate has left are known."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with SimulatedMillis(key=KEY, tls=tls) as millis:
        facts = await region(millis)

    assert (facts.trouble, facts.status) == ("", 200)
    assert facts.certificate_days is not None
    assert 4 < facts.certificate_days < 6


async def test_tls_where_there_is_none():
    """A plain server behind an https address is a trouble of TLS."""
    async with SimulatedMillis(key=KEY) as millis:
        ask = partial(gather_region, config(millis.url.replace("http:", "https:")), "us-west", "default", 2.0)
        facts = await asyncio.to_thread(ask)

    assert facts.trouble.startswith("TLS failed: ")
    assert facts.trouble_is_of_tls


@pytest.mark.parametrize(
    ("fault", "status", "state"),
    [("", 200, "active"), ("agent=disabled", 200, "disabled"), ("agent=missing", 404, ""), ("status=500", 500, "")],
)
async def test_agents(fault, status, state):
    """Whether an agent is there, and active, is known."""
    async with SimulatedMillis(key=KEY, fault=Fault.parse(fault)) as millis:
        facts = await agent(millis)

    assert (facts.status, facts.state, facts.trouble, facts.rules) == (status, state, "", ("sales",))


async def test_agent_with_an_odd_id():
    """An id is quoted, so that it is one step of the path."""
    async with SimulatedMillis(key=KEY, agents=[]) as millis:
        await agent(millis, "a/b?c#d")

        assert millis.requests[0].path in ("/agents/a/b?c#d", "/agents/a%2Fb%3Fc%23d")
