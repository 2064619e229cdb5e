"""`[[pbx]]`: the PBXs whose manager interface the bridge may use, how they are told apart, and their secrets."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, SecretStr

from agi_bridge.config.address import Address, Network, is_here, is_host, overlap
from agi_bridge.config.reading import called
from agi_bridge.config.table import NAME, NAME_RULE, Networks, RemoteTable, Seconds, matching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agi_bridge.config.agi import AgiSettings
    from agi_bridge.config.reading import Reading

# Asterisk waits so long before it refuses a login (manager.c, authenticate).
SHORTEST_LOGIN_SECONDS = 1


def _host(text: str) -> str:
    if not is_host(text):
        raise ValueError("must be an IP address or a host name")
    return text


_AmiText = Annotated[str, matching("[!-~]{1,200}", "must be printable signs without blanks, at most 200")]


class PbxSettings(RemoteTable):
    """`[[pbx]]`: a PBX whose manager interface the bridge may use: who it is, and how it is reached."""

    name: str = ""
    peers: Annotated[Networks, Field(min_length=1)] = ["127.0.0.1", "::1"]
    ami_host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    ami_port: Annotated[int, Field(ge=1, le=65535)] = 5038
    ami_user: _AmiText = "agi-bridge"
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

    @property
    def networks(self) -> tuple[Network, ...]:
        """Return the networks that this PBX's FastAGI connections come from."""
        return tuple(ipaddress.ip_network(text) for text in self.peers)

    @property
    def ami_address(self) -> Address:
        """Return where its manager interface listens."""
        return Address(self.ami_host, self.ami_port)


def pbxs(
    written: Sequence[PbxSettings], agi: AgiSettings, need_secrets: bool, reading: Reading
) -> tuple[PbxSettings, ...]:
    """Return the PBXs, each with its secret if that is needed, after a look at how they fit together."""
    _check_names(written, reading)
    for number, pbx in enumerate(written, 1):
        where = called("pbx", pbx.name, number)
        _check_peers(where, pbx, agi, reading)
        _check_times(where, pbx, reading)
        if not pbx.ami_tls and not is_here(pbx.ami_host):
            reading.warn(
                f"{where}: ami_tls",
                f"is off, so the secret goes to {pbx.ami_host} unencrypted",
                "turn it on, or keep both ends in a network of their own",
            )
    _check_that_peers_differ(written, reading)
    if not need_secrets:
        return tuple(written)
    return tuple(_with_secret(called("pbx", pbx.name, number), pbx, reading) for number, pbx in enumerate(written, 1))


def _check_names(pbxs: Sequence[PbxSettings], reading: Reading) -> None:
    """Report a PBX that cannot be told from others."""
    seen: set[str] = set()
    for number, pbx in enumerate(pbxs, 1):
        where = called("pbx", pbx.name, number)
        path = f"{where}: name"
        if not pbx.name:
            if not reading.has_refused(path):
                reading.refuse(path, "is missing", 'such as name = "hq"; it is in the log and the metrics')
        elif not NAME.fullmatch(pbx.name):
            reading.refuse(path, NAME_RULE)
        elif pbx.name in seen:
            reading.refuse(where, "the name is given to two PBXs", "rename one of them")
        seen.add(pbx.name)


def _check_peers(where: str, pbx: PbxSettings, agi: AgiSettings, reading: Reading) -> None:
    """Report a PBX whose calls would never reach us."""
    if reading.has_refused_in("agi.allow"):
        return
    if not any(overlap(peer, network) for peer in pbx.networks for network in agi.networks):
        reading.refuse(
            f"{where}: peers",
            "allow under [agi] has none of these addresses, so this PBX could not connect",
            "allow them there, or correct them here",
        )


def _check_times(where: str, pbx: PbxSettings, reading: Reading) -> None:
    if pbx.ami_reconnect_seconds > pbx.ami_reconnect_limit_seconds:
        reading.refuse(
            f"{where}: ami_reconnect_seconds", "is longer than ami_reconnect_limit_seconds, which it grows to"
        )
    if pbx.ami_connect_timeout_seconds <= SHORTEST_LOGIN_SECONDS:
        reading.warn(
            f"{where}: ami_connect_timeout_seconds",
            "is over before Asterisk says that a secret is wrong, which takes it a second",
            "allow two seconds or more",
        )


def _check_that_peers_differ(pbxs: Sequence[PbxSettings], reading: Reading) -> None:
    """Report an address that would be two PBXs at once."""
    unread = {problem.path.partition(": ")[0] for problem in reading.problems if ": peers" in problem.path}
    for number, pbx in enumerate(pbxs):
        for other in pbxs[:number]:
            if {f'pbx "{pbx.name}"', f'pbx "{other.name}"'} & unread:
                continue  # the defaults stand in for what could not be read
            if pbx.name != other.name and any(overlap(a, b) for a in pbx.networks for b in other.networks):
                reading.refuse(
                    f'pbx "{pbx.name}": peers',
                    f'has an address that "{other.name}" has too, so nobody could tell whose a call is',
                    "give each PBX its own",
                )


def _with_secret(where: str, pbx: PbxSettings, reading: Reading) -> PbxSettings:
    """Return a PBX with the secret of its manager user and with its authority's certificates."""
    path = f"{where}: ami_secret_file"
    secret: str | None = reading.environ.get(pbx.ami_secret_env or "", "").strip()
    if not secret and pbx.ami_secret_file:
        secret = reading.secret(path, pbx.ami_secret_file)
    if secret == "":
        hint = f"set {pbx.ami_secret_env}" if pbx.ami_secret_env else "name an environment variable in ami_secret_env"
        reading.refuse(path, f"there is no secret for {pbx.ami_user}", f"{hint}, or a file in ami_secret_file")
    elif secret and (not (secret.isascii() and secret.isprintable()) or ";" in secret):
        reading.refuse(path, "the secret holds signs that manager.conf cannot carry", "letters and digits will do")
    path = f"{where}: ami_ca_file"
    if pbx.ami_ca_file is not None and not pbx.ami_tls:
        reading.refuse(path, "is of no use without ami_tls = true")
    return pbx.with_secret(SecretStr(secret or ""), reading.certificates(path, pbx.ami_ca_file))
