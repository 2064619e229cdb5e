"""Asks a running bridge over HTTP, for the commands `health` and `reload`.

A shell around the standard library: one question at a time, and none that goes through a proxy.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agi_bridge.errors import NotRunning
from agi_bridge.web.server import RELOAD_HEADER, RELOAD_WORD

if TYPE_CHECKING:
    from agi_bridge.config import Address

# A reload reads every file that the configuration names.
_TIMEOUT_SECONDS = 10.0
_ANSWER_BYTES = 1_048_576

_SAID_BY_EVERY_BRIDGE = ("ready", "worker", "workers")


@dataclass(frozen=True, slots=True)
class Answer:
    """The HTTP status, and what the JSON says."""

    status: int
    content: dict[str, Any]


def ask_readiness(address: Address, timeout_seconds: float = _TIMEOUT_SECONDS) -> Answer:
    """Ask one process whether it is ready; raise NotRunning."""
    answer = _ask("GET", address, "/readyz", {}, timeout_seconds)
    if not all(isinstance(answer.content.get(name), int) for name in _SAID_BY_EVERY_BRIDGE):
        raise _no_bridge(address)
    return answer


def ask_reload(address: Address) -> Answer:
    """Make one process read its configuration anew; raise NotRunning."""
    return _ask("POST", address, "/reload", {RELOAD_HEADER: RELOAD_WORD})


def reachable(address: Address) -> Address:
    """Return where a process that listens on *address* is asked from its own machine."""
    try:
        ip = ipaddress.ip_address(address.host)
    except ValueError:
        return address
    if not ip.is_unspecified:
        return address
    return type(address)("127.0.0.1" if ip.version == 4 else "::1", address.port)


def _ask(
    method: str, address: Address, path: str, headers: dict[str, str], timeout_seconds: float = _TIMEOUT_SECONDS
) -> Answer:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_seconds)
    connected = False
    try:
        connection.connect()
        connected = True
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        content = json.loads(response.read(_ANSWER_BYTES))
    except OSError as error:
        if connected and not isinstance(error, TimeoutError):
            raise _no_bridge(address) from error
        raise NotRunning(f"no bridge answers at {address}: {error.strerror or error}") from error
    except (http.client.HTTPException, ValueError) as error:
        raise _no_bridge(address) from error
    finally:
        connection.close()
    if not isinstance(content, dict):
        raise _no_bridge(address)
    return Answer(response.status, content)


def _no_bridge(address: Address) -> NotRunning:
    return NotRunning(
        f"what answers at {address} is no agi-bridge; its web port is meant, which listen under [web] names"
    )
