"""`[[pbx]]`: the PBXs whose manager interface the bridge may use, how they are told apart, and their secrets."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr

from agi_bridge.config.address import Address, Network, is_host
from agi_bridge.config.table import Seconds, Table, check_network, one_or_many

# Asterisk waits so long before it refuses a login (manager.c, authenticate).
SHORTEST_LOGIN_SECONDS = 1


def _host(text: str) -> str:
    if not is_host(text):
        raise ValueError("must be an IP address or a host name")
    return text


def _ami_text(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,200}", text):
        raise ValueError("must be printable signs without blanks, at most 200")
    return text


class PbxSettings(Table):
    """`[[pbx]]`: a PBX whose manager interface the bridge may use: who it is, and how it is reached."""

    name: str = ""
    peers: Annotated[
        list[Annotated[str, AfterValidator(check_network)]], BeforeValidator(one_or_many), Field(min_length=1)
    ] = ["127.0.0.1", "::1"]
    ami_host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    ami_port: Annotated[int, Field(ge=1, le=65535)] = 5038
    ami_user: Annotated[str, AfterValidator(_ami_text)] = "agi-bridge"
    ami_secret_file: str | None = None
    ami_secret_env: str | None = None
    ami_tls: bool = False
    ami_ca_file: str | None = None
    ami_connect_timeout_seconds: Seconds = 5.0
    ami_action_timeout_seconds: Seconds = 5.0
    ami_ping_seconds: Seconds = 10.0
    ami_reconnect_seconds: Seconds = 1.0
    ami_reconnect_limit_seconds: Seconds = 30.0
    ami_login_retry_seconds: Seconds = 60.0
    ami_resync_seconds: Seconds = 300.0
    ami_action_limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    ami_channel_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    ami_message_limit_bytes: Annotated[int, Field(ge=4096, le=16_777_216)] = 1_048_576

    # Not keys: they come from the environment and from files.
    _secret: SecretStr = PrivateAttr(default=SecretStr(""))
    _authority: str = PrivateAttr(default="")

    def with_secret(self, secret: SecretStr, authority: str) -> PbxSettings:
        """Return these settings with the secret of `ami_user`, and the certificates of `ami_ca_file`."""
        settings = self.model_copy()
        settings._secret, settings._authority = secret, authority
        return settings

    @property
    def secret(self) -> SecretStr:
        """Return the secret of `ami_user`."""
        return self._secret

    @property
    def authority(self) -> str:
        """Return the certificates that the PBX's own must come from, in PEM; "" for the machine's authorities."""
        return self._authority

    @property
    def networks(self) -> tuple[Network, ...]:
        """Return the networks that this PBX's FastAGI connections come from."""
        return tuple(ipaddress.ip_network(text) for text in self.peers)

    @property
    def ami_address(self) -> Address:
        """Return where its manager interface listens."""
        return Address(self.ami_host, self.ami_port)
