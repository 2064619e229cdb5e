"""Asks a running bridge over HTTP, for the commands: how it is, that it read its configuration, and whatever its API offers.

A shell around the standard library: one question at a time, and none that goes through a proxy.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from agi_bridge.errors import ApiRefused, NotRunning
from agi_bridge.web.reload_header import RELOAD_HEADER, RELOAD_WORD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agi_bridge.config import Address

# A reload reads every file that the configuration names.
_TIMEOUT_SECONDS = 10.0
_ANSWER_BYTES = 1_048_576

_SAID_BY_EVERY_BRIDGE = ("ready", "worker", "workers")

_NO_BRIDGE = "what answers at {} is no agi-bridge; its web port is meant, which listen under [web] names"

# What the bridge tells a program, in the words of whoever typed a command.
_FOR_PEOPLE = {
    "unauthorized": "the bridge knows no such token; `agi-bridge token` makes one, and a reload takes it in",
    "too-many-wrong-tokens": "too many wrong tokens came from here; wait a minute, and send one that the bridge knows",
}


class _Unanswered(NotRunning):
    """Something took the question, and then was silent or gone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The HTTP status, and what the JSON says."""

    status: int
    content: dict[str, Any]


def ask_readiness(address: Address, timeout_seconds: float = _TIMEOUT_SECONDS) -> Answer:
    """Ask one process whether it is ready; raise NotRunning."""
    answer = _ask("GET", address, "/readyz", {}, timeout_seconds=timeout_seconds)
    if not all(isinstance(answer.content.get(name), int) for name in _SAID_BY_EVERY_BRIDGE):
        raise _no_bridge(address)
    return answer


def ask_reload(address: Address) -> Answer:
    """Make one process read its configuration anew; raise NotRunning."""
    return _ask("POST", address, "/reload", {RELOAD_HEADER: RELOAD_WORD})


def ask_api(
    address: Address, method: str, path: str, token: str, body: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Ask one process for what its API offers under *path*; raise ApiRefused where it says no, NotRunning where there is none.

    *token* is what an HTTP header can carry.
    """
    headers = {"Authorization": f"Bearer {token}"}
    try:
        answer = _ask(method, address, path, headers, None if body is None else json.dumps(body).encode())
    except _Unanswered as error:
        message = f"{address} was asked and did not answer; it may have been done all the same"
        raise NotRunning(message, may_be_done=True) from error
    if answer.status == HTTPStatus.OK:
        return answer.content
    why = answer.content.get("error")
    if not isinstance(why, dict) or not {"code", "message"} <= why.keys():
        raise _no_bridge(address)
    code = str(why["code"])
    raise ApiRefused(_FOR_PEOPLE.get(code, str(why["message"])), code)


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
    method: str,
    address: Address,
    path: str,
    headers: dict[str, str],
    body: bytes | None = None,
    *,
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> Answer:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_seconds)
    connected = False
    try:
        connection.connect()
        connected = True
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = json.loads(response.read(_ANSWER_BYTES))
    except OSError as error:
        if connected and not isinstance(error, TimeoutError):
            raise _Unanswered(_NO_BRIDGE.format(address)) from error
        kind = _Unanswered if connected else NotRunning
        raise kind(f"no bridge answers at {address}: {error.strerror or error}") from error
    except (http.client.HTTPException, ValueError) as error:
        raise _no_bridge(address) from error
    finally:
        connection.close()
    if not isinstance(content, dict):
        raise _no_bridge(address)
    return Answer(response.status, content)


def _no_bridge(address: Address) -> NotRunning:
    return NotRunning(_NO_BRIDGE.format(address))
