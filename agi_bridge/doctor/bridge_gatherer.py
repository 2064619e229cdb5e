"""Looks at the bridge on this machine: what answers on its ports, and what the machine allows it. A shell that decides nothing."""

from __future__ import annotations

import asyncio
import errno
import http.client
import os
import re
import resource
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from agi_bridge.doctor.facts import BridgeFacts
from agi_bridge.errors import NotRunning
from agi_bridge.simulator.asterisk import AsteriskSide
from agi_bridge.simulator.channel import SimulatedChannel
from agi_bridge.web.client import ask_readiness, reachable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from agi_bridge.config import Address, Config
    from agi_bridge.simulator.asterisk import PlayedCall

_METRICS_BYTES = 1_048_576


def gather_bridge(config: Config, timeout_seconds: float) -> BridgeFacts:
    """Ask the running bridge, if there is one, and try its ports if there is none."""
    web, web_trouble = _readiness(config, timeout_seconds)
    pong = _ping(reachable(config.agi.addresses[0]), config.agi.secret.get_secret_value(), timeout_seconds)
    taken, not_ours = _ports(config)
    of_bridge = _open_files_of(reachable(config.web.addresses(1)[0])) if web else 0
    _, own = resource.getrlimit(resource.RLIMIT_NOFILE)
    return BridgeFacts(
        pong=pong,
        web=web,
        web_trouble=web_trouble,
        taken=taken,
        not_ours=not_ours,
        open_files=of_bridge or (0 if own == resource.RLIM_INFINITY else own),
        open_files_of_bridge=bool(of_bridge),
        somaxconn=_somaxconn(),
    )


def _readiness(config: Config, timeout_seconds: float) -> tuple[Mapping[str, Any] | None, str]:
    if not config.web.listen:
        return None, ""
    try:
        return ask_readiness(reachable(config.web.addresses(1)[0]), timeout_seconds).content, ""
    except NotRunning as error:
        return None, str(error)


def _ping(address: Address, secret: str, timeout_seconds: float) -> str:
    """Play Asterisk: return the status that the bridge answers a `ping` with, or why there is none."""
    if not address.port:
        return "port 0 is any"
    try:
        played = asyncio.run(_played_ping(address, secret, timeout_seconds))
    except TimeoutError:
        return "no connection in time"
    except OSError as error:
        return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    status = played.variables.get("MILLIS_STATUS", "")
    return status or played.trouble or f"it is refused (AGISTATUS={played.agistatus})"


async def _played_ping(address: Address, secret: str, timeout_seconds: float) -> PlayedCall:
    channel = SimulatedChannel(did="0")
    arguments = (f"secret={quote(secret)}",)
    async with AsteriskSide(address.host, address.port, channel, script="ping", arguments=arguments) as side:
        return await side.finished(timeout_seconds)


def _ports(config: Config) -> tuple[dict[str, bool], dict[str, str]]:
    """Try to listen on each address: which are taken, and which are not to be had at all."""
    taken, not_ours = {}, {}
    for address in (*config.agi.addresses, *config.web.addresses(1)):
        try:
            taken[str(address)] = _is_taken(address)
        except OSError as error:
            not_ours[str(address)] = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return taken, not_ours


def _is_taken(address: Address) -> bool:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, place in found:
        try:
            socket.create_server(place[:2], family=family).close()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def _open_files_of(address: Address) -> int:
    """Return how many files the running bridge may open, as its metrics tell; 0 where they do not."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=1.0)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read(_METRICS_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
    told = re.search(r"^agi_bridge_process_max_fds ([0-9.e+]+)$", text, re.MULTILINE)
    return int(float(told[1])) if told else 0


def _somaxconn() -> int:
    try:
        return int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return 0
