"""What a configuration expects of a PBX."""

import pytest

from agi_bridge.config import load
from agi_bridge.doctor.facts import Expected, is_private

CONFIG = """
[defaults]
fallback = "night,s,1"
endpoint = "millis-tls"

[millis]
allowed_hosts = ["{host}"]

[[route]]
name = "sales"
agent_id = "-Nsales"
fallback = "reception,s,1"
endpoint = "millis"
max_duration_seconds = 7200
dial_options = "t"
allow_feature_keys = true
music = "default"

[[route]]
name = "support"
did = "+15551230001"
agent_id = "-Nsupport"

[[route]]
name = "nobody"
did = "+15551230002"
reject = true
endpoint = "unused"
"""


def expected(host="*.millis.ai", **keywords):
    environ = {"MILLIS_API_KEY": "key", "AGI_BRIDGE_SECRET": "a-secret-of-sixteen"}
    return Expected.of(load(CONFIG.format(host=host), environ, lambda name: b""), **{"knows_secret": True, **keywords})


def test_expected_of_a_pbx():
    """Endpoints, fallbacks and limits are those of the rules that have an agent."""
    wanted = expected()

    assert wanted.endpoints == ("millis", "millis-tls")
    assert wanted.fallbacks == {"night,s,1": 'the rule "support"', "reception,s,1": 'the rule "sales"'}
    assert (wanted.longest_call_seconds, wanted.setup_timeout_seconds) == (7200, 5.5)
    assert (wanted.music, wanted.prompt) == (True, False)
    assert wanted.feature_keys == {"sales": "t"}
    assert wanted.secret == "a-secret-of-sixteen"
    assert expected(knows_secret=False).secret is None


@pytest.mark.parametrize(
    ("host", "near"), [("*.millis.ai", False), ("127.0.0.1", True), ("10.0.0.9", True), ("8.8.8.8", False)]
)
def test_agents_that_are_near(host, near):
    """Simulated agents are on this side of any router."""
    assert expected(host).agents_are_near is near


@pytest.mark.parametrize(
    ("address", "private"),
    [("10.0.0.1", True), ("100.64.0.1", True), ("127.0.0.1", True), ("8.8.8.8", False), ("pbx.example.com", False)],
)
def test_private_addresses(address, private):
    """Addresses that the internet does not route to are private, those of a provider's own NAT included."""
    assert is_private(address) is private
