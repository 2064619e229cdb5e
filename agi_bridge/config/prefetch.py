"""`[prefetch]`: where callers are looked up while the agent begins, and what is needed to get there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr

from agi_bridge import metadata
from agi_bridge.config.address import http_url, is_plain_http_elsewhere
from agi_bridge.config.table import DatabaseUrl, Table

if TYPE_CHECKING:
    from agi_bridge.config.reading import Reading

# As SQLAlchemy reads it: not PostgreSQL's "::type", and not what is behind a backslash.
_SQL_PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)(?!:)", re.ASCII)


def _lookup_sql(text: str) -> str:
    if unknown := sorted(set(_SQL_PARAMETER.findall(text)) - set(metadata.LOOKUP_NAMES)):
        raise ValueError(f"there is no parameter :{unknown[0]}; there are: {', '.join(metadata.LOOKUP_NAMES)}")
    return text


class PrefetchSettings(Table):
    """`[prefetch]`: what else Millis is told of a call when its agent begins, and where that is looked up."""

    url: Annotated[str, AfterValidator(http_url)] | None = None
    token_file: str | None = None
    sql: Annotated[str, AfterValidator(_lookup_sql)] | None = None
    database_url: DatabaseUrl | None = None
    password_file: str | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 1.0
    lookup_limit: Annotated[int, Field(ge=1, le=1_000)] = 8
    answer_limit_bytes: Annotated[int, Field(ge=1024, le=1_048_576)] = 65_536

    # Not keys: what the two files say.
    _token: SecretStr = PrivateAttr(default=SecretStr(""))
    _password: SecretStr = PrivateAttr(default=SecretStr(""))

    def with_secrets(self, token: SecretStr, password: SecretStr) -> PrefetchSettings:
        """Return these settings with what no log may show."""
        settings = self.model_copy()
        settings._token, settings._password = token, password
        return settings

    @property
    def secrets(self) -> tuple[SecretStr, SecretStr]:
        """Return the token for `url` and the password for `database_url`, each "" where none is wanted."""
        return self._token, self._password


def with_secrets(prefetch: PrefetchSettings, reading: Reading) -> PrefetchSettings:
    """Return how callers are looked up, with what that needs."""
    if prefetch.url and prefetch.sql:
        reading.refuse("prefetch.sql", "stands beside url; keep one of the two")
    if (prefetch.sql is None) != (prefetch.database_url is None):
        missing, there = ("database_url", "sql") if prefetch.sql else ("sql", "database_url")
        reading.refuse(f"prefetch.{missing}", f"is missing; {there} needs it")
    if prefetch.url and is_plain_http_elsewhere(prefetch.url):
        reading.warn("prefetch.url", "is asked for callers over the network unencrypted", "use https://")
    secrets = (_one_line(f"prefetch.{key}", getattr(prefetch, key), reading) for key in ("token_file", "password_file"))
    return prefetch.with_secrets(*secrets)


def _one_line(path: str, name: str | None, reading: Reading) -> SecretStr:
    """Return the secret in a file, "" where none is named."""
    if name is None:
        return SecretStr("")
    secret = reading.secret(path, name)
    if secret is not None and not (secret and secret.isascii() and secret.isprintable()):
        reading.refuse(path, f"{name} holds no secret on one line")
    return SecretStr(secret or "")
