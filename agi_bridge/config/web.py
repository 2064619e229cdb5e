"""`[web]`: where health, metrics and the API are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from agi_bridge.config.address import Address, is_open_to_others, meet, parse_address
from agi_bridge.config.table import Addresses, Seconds, Table

if TYPE_CHECKING:
    from agi_bridge.config.agi import AgiSettings
    from agi_bridge.config.reading import Reading


def _public_url(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise ValueError('must be an address such as "https://pbx.example.com/agi-bridge", or ""')
    return text.rstrip("/")


class WebSettings(Table):
    """`[web]`: where health, metrics and the reload are asked for."""

    listen: Addresses = ["127.0.0.1:4574"]
    public_url: Annotated[str, AfterValidator(_public_url)] = ""
    connection_limit: Annotated[int, Field(ge=1, le=10_000)] = 64
    connection_timeout_seconds: Seconds = 10.0
    body_limit_bytes: Annotated[int, Field(ge=1024, le=67_108_864)] = 1_048_576
    request_limit_per_second: Annotated[int, Field(ge=1, le=100_000)] = 50
    wrong_token_limit_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 30

    def addresses(self, worker: int) -> list[Address]:
        """Return where the worker of that number listens: each on the port after the one before; port 0 is any."""
        addresses = map(parse_address, self.listen)
        return [Address(each.host, each.port + worker - 1 if each.port else 0) for each in addresses]


def check_ports(web: WebSettings, agi: AgiSettings, reading: Reading) -> None:
    """Report a worker whose web port is one that Asterisk is to reach."""
    if reading.has_refused_in("agi.", "web."):
        return  # the defaults stand in for what could not be read
    for worker in range(1, agi.workers + 1):
        for ours in web.addresses(worker):
            if any(meet(ours, theirs) for theirs in agi.addresses):
                whose = f"the web port of worker {worker} would be {ours}" if worker > 1 else f"{ours}"
                reading.refuse(
                    "web.listen", f"{whose}, where listen under [agi] waits for Asterisk", "choose another port"
                )


def check_listen(web: WebSettings, reading: Reading) -> None:
    """Warn of an address that strangers can reach."""
    for text in filter(is_open_to_others, web.listen):
        reading.warn(
            "web.listen",
            f"{text} can be reached from other networks, and shows health and metrics to everybody",
            "listen on 127.0.0.1 or a private address, and let a firewall admit only who watches the bridge",
        )
