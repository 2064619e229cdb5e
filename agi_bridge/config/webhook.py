"""`[[webhook]]`: the programs that are told of calls, and what their events are signed with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr

from agi_bridge.config.address import http_url
from agi_bridge.config.reading import closest
from agi_bridge.config.table import Seconds, Table, one_or_many
from agi_bridge.events.event import EventType


def _webhook_url(text: str) -> str:
    http_url(text)
    return text


def _event_type(text: str) -> str:
    if text not in list(EventType):
        raise ValueError(f"is no event; {closest(text, EventType)}")
    return text


class WebhookSettings(Table):
    """`[[webhook]]`: a program that is told of calls: where, of what, and how hard it is tried."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    url: Annotated[str, AfterValidator(_webhook_url)]
    plain_http_reason: Annotated[str, Field(max_length=200)] = ""
    ca_file: str | None = None
    secret_file: str | None = None
    secret_env: str | None = None
    events: Annotated[
        list[Annotated[str, AfterValidator(_event_type)]], BeforeValidator(one_or_many), Field(min_length=1)
    ] = list(EventType)
    numbers: Literal["masked", "full"] = "full"
    timeout_seconds: Seconds = 10.0
    retry_seconds: Seconds = 1.0
    retry_limit_seconds: Seconds = 300.0
    give_up_seconds: Annotated[float, Field(ge=1, le=2_592_000)] = 86_400.0
    request_limit: Annotated[int, Field(ge=1, le=100)] = 4
    queue_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    spool_limit_bytes: Annotated[int, Field(ge=65_536)] = 67_108_864
    answer_limit_bytes: Annotated[int, Field(ge=1024, le=16_777_216)] = 65_536

    # Not keys: they come from the environment and from files.
    _secret: SecretStr = PrivateAttr(default=SecretStr(""))
    _authority: str = PrivateAttr(default="")

    def with_secret(self, secret: SecretStr, authority: str) -> WebhookSettings:
        """Return these settings with what events are signed with, and the certificates of `ca_file`."""
        settings = self.model_copy()
        settings._secret, settings._authority = secret, authority
        return settings

    @property
    def secret(self) -> SecretStr:
        """Return what events are signed with."""
        return self._secret

    @property
    def authority(self) -> str:
        """Return the certificates that the target's own must come from, in PEM; "" for the machine's authorities."""
        return self._authority
