"""Fetches what the checks want to know of one PBX, through its console. A shell, and a thin one: it decides nothing."""

from __future__ import annotations

import ipaddress
import random
import socket
import time
from typing import TYPE_CHECKING

from agi_bridge.doctor import console_text
from agi_bridge.doctor.facts import Expected, PbxFacts, Ping

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agi_bridge.doctor.console import Console

# Endpoints that are looked at besides those of rules: trunks, of which a PBX has a few and a provider very many.
MOST_TRUNKS = 20
MOST_FALLBACKS = 50

_PING_SECONDS = 2.5
_POLL_SECONDS = 0.05

# Set aside for documentation (RFC 5737): it belongs to nobody, and the route to it is the one to the internet.
_SOMEWHERE_OUTSIDE = ("192.0.2.1", 5060)


def gather_pbx(console: Console, expected: Expected, own_address: str) -> PbxFacts:
    """Ask a PBX for everything; raise NoConsole where it does not answer."""
    variables = console_text.globals_(console("dialplan show globals"))
    endpoints = console_text.endpoints(console("pjsip show endpoints"))
    transports = console_text.transports(console("pjsip show transports"))
    rtp = console("rtp show settings")
    places = [*expected.fallbacks, variables.get("MILLIS_DEFAULT_FALLBACK", "")]
    return PbxFacts(
        version=console_text.version(console("core show version")),
        modules=console_text.modules(console("module show")),
        contexts=console_text.dialplan(console("dialplan show")),
        variables=variables,
        endpoints=endpoints,
        endpoint_settings={
            name: console_text.parameters(console(f"pjsip show endpoint {name}"))
            for name in _worth_a_look(endpoints, expected)
        },
        transports=transports,
        transport_settings={
            name: console_text.parameters(console(f"pjsip show transport {name}")) for name in transports
        },
        rtp_ports=console_text.rtp_ports(rtp),
        rtp_is_strict=console_text.rtp_is_strict(rtp),
        places={place: _exists(console, place) for place in list(filter(None, places))[:MOST_FALLBACKS]},
        own_address=own_address,
    )


def ping_from(console: Console, facts: PbxFacts) -> Ping:
    """Have the PBX make a test call to the bridge through its own dialplan, and wait for what came of it."""
    if "millis-ping" not in facts.contexts:
        return Ping(trouble="the dialplan has no [millis-ping]")
    # The digits tell our test call from any other.
    digits = str(random.randrange(100_000, 1_000_000))  # noqa: S311 - nothing secret
    said = console(f"channel originate Local/{digits}@millis-ping application NoOp")
    if "No such command" in said:
        return Ping(trouble="the console has no `channel originate`")
    deadline = time.monotonic() + _PING_SECONDS
    while time.monotonic() < deadline:
        told = console_text.globals_(console("dialplan show globals")).get("MILLIS_PING", "")
        if told.startswith(f"{digits} "):
            _, status, agistatus = told.split(" ", 2)
            return Ping(status, agistatus)
        time.sleep(_POLL_SECONDS)
    return Ping(agistatus=f"not told within {_PING_SECONDS:g} s")


def address_towards_the_internet() -> str:
    """Return the address from which this machine's packets leave; "" where it has no route. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE_OUTSIDE)
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def address_of(ami_host: str) -> str:
    """Return the address of a PBX as far as it can be told from where its manager interface is."""
    try:
        here = ipaddress.ip_address(ami_host).is_loopback
    except ValueError:
        return address_towards_the_internet() if ami_host == "localhost" else ""
    return address_towards_the_internet() if here else ami_host


def _worth_a_look(endpoints: dict[str, tuple[str, ...]], expected: Expected) -> Iterable[str]:
    trunks = [name for name, matches in endpoints.items() if matches][:MOST_TRUNKS]
    anonymous = ["anonymous"] if "anonymous" in endpoints else []
    return dict.fromkeys((*expected.endpoints, *trunks, *anonymous))


def _exists(console: Console, place: str) -> bool:
    context, extension, *_ = [*place.split(","), "", ""]
    return console_text.exists(console(f"dialplan show {extension}@{context}"))
