"""`[[webhook]]`: the programs that are told of calls, and what their events are signed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from agi_bridge.config.address import http_url, is_near
from agi_bridge.config.reading import closest
from agi_bridge.config.table import OneOrMany, RemoteTable, Seconds
from agi_bridge.events.event import EventType
from agi_bridge.events.signature import key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agi_bridge.config.reading import Reading


def _webhook_url(text: str) -> str:
    http_url(text)
    return text


def _event_type(text: str) -> str:
    if text not in list(EventType):
        raise ValueError(f"is no event; {closest(text, EventType)}")
    return text


class WebhookSettings(RemoteTable):
    """`[[webhook]]`: a program that is told of calls: where, of what, and how hard it is tried."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    url: Annotated[str, AfterValidator(_webhook_url)]
    plain_http_reason: Annotated[str, Field(max_length=200)] = ""
    ca_file: str | None = None
    secret_file: str | None = None
    secret_env: str | None = None
    events: Annotated[OneOrMany[Annotated[str, AfterValidator(_event_type)]], Field(min_length=1)] = list(EventType)
    numbers: Literal["masked", "full"] = "full"
    timeout_seconds: Seconds = 10.0
    retry_seconds: Seconds = 1.0
    retry_limit_seconds: Seconds = 300.0
    give_up_seconds: Annotated[float, Field(ge=1, le=2_592_000)] = 86_400.0
    request_limit: Annotated[int, Field(ge=1, le=100)] = 4
    queue_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    spool_limit_bytes: Annotated[int, Field(ge=65_536)] = 67_108_864
    answer_limit_bytes: Annotated[int, Field(ge=1024, le=16_777_216)] = 65_536


def webhooks(written: Sequence[WebhookSettings], need_secrets: bool, reading: Reading) -> tuple[WebhookSettings, ...]:
    """Return who is told of calls, each with its secret if that is needed, after a look at where they are."""
    seen: set[str] = set()
    for hook in written:
        where = f'webhook "{hook.name}"'
        if hook.name in seen:
            reading.refuse(where, "the name is given to two webhooks", "rename one of them")
        seen.add(hook.name)
        _check_url(where, hook, reading)
        if hook.retry_seconds > hook.retry_limit_seconds:
            reading.refuse(f"{where}: retry_seconds", "is longer than retry_limit_seconds, which it grows to")
    return tuple(_with_secret(hook, reading) if need_secrets else hook for hook in written)


def _check_url(where: str, hook: WebhookSettings, reading: Reading) -> None:
    """Report a webhook that would tell the network who calls whom."""
    scheme, host = urlsplit(hook.url).scheme, urlsplit(hook.url).hostname or ""
    if scheme == "https":
        if hook.plain_http_reason:
            reading.refuse(f"{where}: plain_http_reason", "is of no use with https", "take it out")
    elif not is_near(host):
        hint = "use https; plain http is for this machine and for private networks"
        reading.refuse(f"{where}: url", "would send numbers of callers over the network unencrypted", hint)
    elif not hook.plain_http_reason:
        hint = 'use https, or say why not, such as plain_http_reason = "the CRM is on this machine"'
        reading.refuse(f"{where}: plain_http_reason", "is missing: what is sent can be read on the way", hint)


def _with_secret(hook: WebhookSettings, reading: Reading) -> WebhookSettings:
    """Return a webhook with its secret and its authority's certificates."""
    where = f'webhook "{hook.name}"'
    path = f"{where}: secret_file"
    secret: str | None = reading.environ.get(hook.secret_env or "", "").strip()
    if secret:
        path = hook.secret_env or path
    elif hook.secret_file:
        secret = reading.secret(path, hook.secret_file)
    if secret == "":
        hint = f"set {hook.secret_env}" if hook.secret_env else "name a file in secret_file"
        reading.refuse(path, "there is no secret to sign events with", hint)
    elif secret:
        try:
            key_of(secret)
        except ValueError as error:
            hint = "such as `echo whsec_$(openssl rand -base64 32)` prints"
            reading.refuse(path, f"the secret is of no use: {error}", hint)
    return hook.with_secret(SecretStr(secret or ""), reading.certificates(f"{where}: ca_file", hook.ca_file))
