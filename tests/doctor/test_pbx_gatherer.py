"""Asking a PBX through its console; the real one is in tests/asterisk."""

import ipaddress

import pytest

from agi_bridge.doctor.console import NoConsole
from agi_bridge.doctor.console_text import Context
from agi_bridge.doctor.facts import Expected, PbxFacts, Ping
from agi_bridge.doctor.pbx_gatherer import (
    MOST_FALLBACKS,
    MOST_TRUNKS,
    address_of,
    address_towards_the_internet,
    gather_pbx,
    ping_from,
)

WITH_PING = PbxFacts(contexts={"millis-ping": Context()})


def test_console_that_shows_nothing():
    """A PBX that knows none of the commands has empty facts; its places do not exist."""
    facts = gather_pbx(lambda command: "No such command\n", Expected(fallbacks={"a,s,1": "x"}), "")

    assert facts == PbxFacts(endpoint_settings={"millis": {}}, places={"a,s,1": False})


def test_console_that_fails_is_not_hidden():
    """What the console raises reaches whoever asked."""

    def broken(command):
        raise NoConsole("gone", "")

    with pytest.raises(NoConsole):
        gather_pbx(broken, Expected(), "")


def test_large_pbx_is_asked_a_bounded_number_of_questions():
    """A provider's thousand trunks and a thousand fallbacks are not all looked at."""
    asked = []
    trunks = "".join(
        f" Endpoint:  trunk{number}   Unavailable\n        Match: 192.0.2.1/32\n" for number in range(1000)
    )

    def console(command):
        asked.append(command)
        return trunks if command == "pjsip show endpoints" else ""

    gather_pbx(console, Expected(fallbacks={f"c{number},s,1": "" for number in range(1000)}), "")

    assert len(asked) < MOST_TRUNKS + MOST_FALLBACKS + 20


def test_test_call_waits_for_its_own_answer():
    """The answer of another test call is not taken for ours."""
    told = ["MILLIS_PING=000000 ok SUCCESS"]

    def console(command):
        if command.startswith("channel originate Local/"):
            digits = command.removeprefix("channel originate Local/").partition("@")[0]
            told.append(f"MILLIS_PING={digits}  FAILURE")
            return ""
        return told.pop(0)

    assert ping_from(console, WITH_PING) == Ping("", "FAILURE")


def test_addresses():
    """A PBX on this machine has this machine's address, one elsewhere the one by which it is reached, a name none."""
    here = address_towards_the_internet()

    assert not here or str(ipaddress.ip_address(here)) == here
    assert address_of("127.0.0.1") == address_of("localhost") == address_of("::1") == here
    assert address_of("10.0.0.5") == "10.0.0.5"
    assert address_of("pbx.example.com") == ""
