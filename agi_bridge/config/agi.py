"""`[agi]`: where Asterisk reaches the bridge, who may connect, and the secret that is asked of a request."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr

from agi_bridge.agi.protocol import Limits
from agi_bridge.config.address import PRIVATE_NETWORKS, Address, Network, parse_address
from agi_bridge.config.table import Seconds, Table, check_address, check_network, one_or_many

# What a dialplan can hold and hand over as it is: no comma, semicolon, quote, bracket, dollar or percent sign.
SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{1,200}", re.ASCII)
SHORTEST_SAFE_SECRET = 16

# What the shipped site/extensions.conf sets; the operator's own cannot be seen from here.
SHIPPED_BUDGET_SECONDS = 6


class AgiSettings(Table):
    """`[agi]`: where Asterisk reaches us, and how much one connection may ask of us."""

    listen: Annotated[
        list[Annotated[str, AfterValidator(check_address)]], BeforeValidator(one_or_many), Field(min_length=1)
    ] = ["127.0.0.1:4573"]
    allow: Annotated[list[Annotated[str, AfterValidator(check_network)]], BeforeValidator(one_or_many)] = (
        PRIVATE_NETWORKS
    )
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
