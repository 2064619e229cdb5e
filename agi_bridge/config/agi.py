"""`[agi]`: where Asterisk reaches the bridge, who may connect, and the secret that is asked of a request."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PrivateAttr, SecretStr

from agi_bridge.agi.protocol import Limits
from agi_bridge.config.address import PRIVATE_NETWORKS, Address, Network, can_reach, is_open_to_others, parse_address
from agi_bridge.config.table import Addresses, Networks, Seconds, Table

if TYPE_CHECKING:
    from agi_bridge.config.reading import Reading

# What a dialplan can hold and hand over as it is: no comma, semicolon, quote, bracket, dollar or percent sign.
_SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{1,200}", re.ASCII)
_SHORTEST_SAFE_SECRET = 16

# What the shipped site/extensions.conf sets; the operator's own cannot be seen from here.
SHIPPED_BUDGET_SECONDS = 6


class AgiSettings(Table):
    """`[agi]`: where Asterisk reaches us, and how much one connection may ask of us."""

    listen: Annotated[Addresses, Field(min_length=1)] = ["127.0.0.1:4573"]
    allow: Networks = PRIVATE_NETWORKS
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    backlog: Annotated[int, Field(ge=1, le=65535)] = 1024
    session_limit: Annotated[int, Field(ge=1)] = 10_000
    peer_rate_limit_per_second: Annotated[int, Field(ge=1)] = 1_000
    peer_burst_connections: Annotated[int, Field(ge=1)] = 5_000
    secret_file: str | None = None
    environment_timeout_seconds: Seconds = 5.0
    setup_timeout_seconds: Seconds = 5.5
    prompt_timeout_seconds: Seconds = 30.0
    drain_timeout_seconds: Seconds = 10.0
    line_limit_bytes: Annotated[int, Field(ge=1024, le=1_048_576)] = Limits.line_bytes
    environment_limit_bytes: Annotated[int, Field(ge=2048, le=1_048_576)] = Limits.environment_bytes
    command_limit_bytes: Annotated[int, Field(ge=512, le=8190)] = Limits.command_bytes
    refusal_log_seconds: Seconds = 10.0

    # Not a key: it comes from the environment or from `secret_file`.
    _secret: SecretStr = PrivateAttr(default=SecretStr(""))

    def with_secret(self, secret: SecretStr) -> AgiSettings:
        """Return these settings with what a request must know."""
        settings = self.model_copy()
        settings._secret = secret
        return settings

    @property
    def secret(self) -> SecretStr:
        """Return what a request must know, "" where none is wanted."""
        return self._secret

    @property
    def addresses(self) -> list[Address]:
        """Return where to listen."""
        return [parse_address(text) for text in self.listen]

    @property
    def networks(self) -> tuple[Network, ...]:
        """Return the networks whose hosts may connect."""
        return tuple(ipaddress.ip_network(text) for text in self.allow)

    @property
    def limits(self) -> Limits:
        """Return the bounds of one conversation."""
        return Limits(
            line_bytes=self.line_limit_bytes,
            environment_bytes=self.environment_limit_bytes,
            command_bytes=self.command_limit_bytes,
        )


def secret(agi: AgiSettings, need_secret: bool, reading: Reading) -> SecretStr:
    """Return what a request must know: from the environment, else from the file."""
    path = "AGI_BRIDGE_SECRET"
    secret: str | None = reading.environ.get("AGI_BRIDGE_SECRET", "").strip()
    if not secret and agi.secret_file and need_secret:
        path = "agi.secret_file"
        secret = reading.secret(path, agi.secret_file)
        if secret == "":
            reading.refuse(path, f"{agi.secret_file} is empty", "write the secret into it, or leave secret_file out")
    if secret and not _SECRET.fullmatch(secret):
        reading.refuse(
            path,
            "the secret holds signs that a dialplan cannot carry, or more than 200",
            "letters, digits and . _ ~ + / = -, such as `openssl rand -hex 24` prints",
        )
    elif secret and len(secret) < _SHORTEST_SAFE_SECRET:
        reading.warn(path, "the secret can be guessed", f"take at least {_SHORTEST_SAFE_SECRET} signs")
    return SecretStr(secret or "")


def check_setup_timeout(agi: AgiSettings, reading: Reading) -> None:
    """Warn of a time that the dialplan, as shipped, would cut short."""
    if agi.setup_timeout_seconds >= SHIPPED_BUDGET_SECONDS:
        reading.warn(
            "agi.setup_timeout_seconds",
            f"is not shorter than the {SHIPPED_BUDGET_SECONDS} s that the shipped dialplan waits for the bridge",
            "raise MILLIS_BUDGET_SECONDS in site/extensions.conf above it",
        )


def check_allow(agi: AgiSettings, reading: Reading) -> None:
    """Report an allow list without any address that a connection to us could come from."""
    unread = reading.has_refused_in("agi.allow", "agi.listen")
    reachable = any(can_reach(network, address.host) for network in agi.networks for address in agi.addresses)
    if not (reachable or unread):
        reading.refuse(
            "agi.allow",
            f"nobody could connect: no address on it can reach {' or '.join(agi.listen)}",
            "allow the address of the PBX, as the bridge sees it; 127.0.0.1 and ::1 if it is on the same machine",
        )
    for text in agi.allow:
        if ipaddress.ip_network(text).prefixlen == 0:
            reading.warn("agi.allow", f"{text} admits everybody", "name the addresses of the PBX, and no more")


def check_listen(agi: AgiSettings, reading: Reading) -> None:
    """Warn of an address that strangers can reach."""
    for text in filter(is_open_to_others, agi.listen):
        reading.warn(
            "agi.listen",
            f"{text} can be reached from other networks, and FastAGI has no password",
            "listen on 127.0.0.1 or a private address, and let a firewall admit only the PBX",
        )
