"""Asks Millis what the checks want to know, over HTTP of its own: each question on a new connection, whose steps are timed.

A shell around the standard library. The bridge's own client keeps connections, and hides what is looked at here: how long a
connection and its TLS take, the certificate, the other side's clock. Nothing is asked that changes anything at Millis.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from agi_bridge.doctor.facts import AgentFacts, RegionFacts
from agi_bridge.millis.models import error_detail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agi_bridge.config import Config

# Agents asked for in one run; Millis does not say how many questions it takes.
MOST_AGENTS = 40

_DAY_SECONDS = 86_400


class _NoAnswer(Exception):
    """No answer came; *of_tls* says that the other side could not prove who it is."""

    def __init__(self, message: str, *, of_tls: bool = False) -> None:
        super().__init__(message)
        self.of_tls = of_tls


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer, and how long each step took."""

    status: int
    body: bytes
    date: str
    times_ms: tuple[float, float, float]  # connection, TLS, first byte
    certificate_ends: float | None = None  # seconds since 1970
    content: Mapping[str, Any] = field(default_factory=dict)


def gather_region(config: Config, region: str, account: str, timeout_seconds: float) -> RegionFacts:
    """Ask one region for an account, without a key where there is none: it still answers, and that is what is timed."""
    url = config.millis.url(region)
    try:
        answer = _get(config, url, "/user/info", account, timeout_seconds)
    except _NoAnswer as error:
        return RegionFacts(region, url, account, str(error), trouble_is_of_tls=error.of_tls)
    now = time.time()
    ends = answer.certificate_ends
    return RegionFacts(
        region,
        url,
        account if account in config.api_keys else "",
        connect_ms=answer.times_ms[0],
        tls_ms=answer.times_ms[1],
        first_byte_ms=answer.times_ms[2],
        status=answer.status,
        detail="" if answer.status == http.client.OK else error_detail(answer.body),
        body=answer.content,
        certificate_days=None if ends is None else (ends - now) / _DAY_SECONDS,
        clock_ahead_seconds=_clock_ahead(answer.date, now),
    )


def gather_agent(
    config: Config, agent_id: str, account: str, region: str, rules: tuple[str, ...], timeout_seconds: float
) -> AgentFacts:
    """Ask for one agent in the region in which its calls begin."""
    try:
        answer = _get(
            config, config.millis.url(region), f"/agents/{quote(agent_id, safe='')}", account, timeout_seconds
        )
    except _NoAnswer as error:
        return AgentFacts(agent_id, rules, region, trouble=str(error))
    state = answer.content.get("status")
    return AgentFacts(
        agent_id,
        rules,
        region,
        status=answer.status,
        detail="" if answer.status == http.client.OK else error_detail(answer.body),
        state=state if isinstance(state, str) else "",
    )


def _get(config: Config, url: str, path: str, account: str, timeout_seconds: float) -> _Answer:
    where = urlsplit(url)
    deadline = time.monotonic() + timeout_seconds
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    connection = kind(where.hostname or "", where.port, timeout=timeout_seconds)
    try:
        connected_ms, tls_ms = _connect(connection, where.hostname or "", timeout_seconds)
        ends = _certificate_ends(connection.sock)
        connection.sock.settimeout(max(0.001, deadline - time.monotonic()))
        began = time.monotonic()
        connection.request("GET", where.path + path, headers=_headers(config, account))
        response = connection.getresponse()
        first_byte_ms = (time.monotonic() - began) * 1000
        body = response.read(config.millis.response_limit_bytes)
    except TimeoutError:
        raise _NoAnswer(f"no answer within {timeout_seconds:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise _NoAnswer(f"the certificate is not trusted: {error.verify_message}", of_tls=True) from None
    except ssl.SSLError as error:
        raise _NoAnswer(f"TLS failed: {error.reason or error}", of_tls=True) from None
    except OSError as error:
        named = error.errno is not None and error.errno > 0 and not isinstance(error, socket.gaierror)
        raise _NoAnswer(os.strerror(error.errno) if named and error.errno else str(error.strerror or error)) from None
    except (http.client.HTTPException, ValueError) as error:
        raise _NoAnswer(f"what answers does not speak HTTP as expected ({type(error).__name__})") from None
    finally:
        connection.close()
    key = config.api_keys.get(account)
    if key:
        # An answer may repeat what was sent, and findings quote answers.
        body = body.replace(key.get_secret_value().encode(), b"(the API key)")
    return _Answer(
        response.status,
        body,
        response.headers.get("date", ""),
        (connected_ms, tls_ms, connected_ms + tls_ms + first_byte_ms),
        ends,
        _content(body),
    )


def _connect(connection: http.client.HTTPConnection, host: str, timeout_seconds: float) -> tuple[float, float]:
    """Connect, and return the milliseconds that the connection (DNS included) and its TLS took."""
    began = time.monotonic()
    plain = socket.create_connection((host, connection.port), timeout_seconds)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected = time.monotonic()
    connection.sock = plain
    if isinstance(connection, http.client.HTTPSConnection):
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    return (connected - began) * 1000, (time.monotonic() - connected) * 1000


def _headers(config: Config, account: str) -> dict[str, str]:
    headers = {"accept": "application/json", "user-agent": "agi-bridge", "connection": "close"}
    if key := config.api_keys.get(account):
        headers["authorization"] = f"{config.millis.authorization_scheme} {key.get_secret_value()}".strip()
    return headers


def _certificate_ends(connected: object) -> float | None:
    if not isinstance(connected, ssl.SSLSocket):
        return None
    certificate = connected.getpeercert() or {}
    ends = certificate.get("notAfter")
    return ssl.cert_time_to_seconds(ends) if isinstance(ends, str) else None


def _clock_ahead(date: str, now: float) -> float | None:
    try:
        return now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _content(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
