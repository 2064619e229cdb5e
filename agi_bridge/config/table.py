"""A table of bridge.toml, and the kinds of values that more than one table has.

What only one table has stands beside that table. Here is no word about how tables fit together.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr

from agi_bridge import dialplan
from agi_bridge.agi.protocol import get_full_variable
from agi_bridge.config.address import parse_address
from agi_bridge.errors import UnsafeText
from agi_bridge.millis.models import REGIONS

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
NAME_RULE = "must be letters, digits, '_', '.' and '-', at most 64, and begin with a letter or digit"

DATABASE_URL = re.compile(
    r"postgresql://(?:[^\s:/@?]*(?::(?P<password>[^\s/@]*))?@)?[^\s@]*|sqlite:////[^\s?]+", re.ASCII
)


def matching(pattern: str, rule: str) -> AfterValidator:
    """Return what lets texts of *pattern* pass, and says *rule* of all others."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(rule)
        return text

    return AfterValidator(check)


def _one_or_many(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _check_address(text: str) -> str:
    parse_address(text)
    return text


def _check_network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"must be an IP address or network, such as 192.168.1.0/24 ({error})") from None
    return text


def _check_database_url(text: str) -> str:
    match = DATABASE_URL.fullmatch(text)
    if match is None:
        raise ValueError(
            'must be such as "postgresql://user@host/database" or "sqlite:////var/lib/agi-bridge/calls.sqlite"'
        )
    if match["password"] is not None:
        raise ValueError("must not hold a password; write it into a file, and name that in password_file")
    return text


def check_expression(text: str) -> str:
    try:
        get_full_variable(text).encode()
    except UnsafeText as error:
        raise ValueError(str(error)) from None
    for opening, closing in ("{}", "()", "[]"):
        if text.count(opening) != text.count(closing):
            raise ValueError(f"has {text.count(opening)} {opening!r} but {text.count(closing)} {closing!r}")
    return text


Each = TypeVar("Each")
OneOrMany = Annotated[list[Each], BeforeValidator(_one_or_many)]

Seconds = Annotated[float, Field(gt=0, le=3600)]
Addresses = OneOrMany[Annotated[str, AfterValidator(_check_address)]]
Networks = OneOrMany[Annotated[str, AfterValidator(_check_network)]]
DatabaseUrl = Annotated[str, AfterValidator(_check_database_url)]
Expression = Annotated[str, AfterValidator(check_expression)]
Place = Annotated[str, AfterValidator(dialplan.check_place)]
Region = Literal["us-west", "eu-west"]
assert set(get_args(Region)) == set(REGIONS)  # noqa: S101 - one list, written twice because Literal needs it so


class Table(BaseModel):
    """A table, whose keys are all known, and which nobody changes once it has been read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RemoteTable(Table):
    """A table of a program that we speak to: with the secret that we share, and the authority that it is known by."""

    # Not keys: they come from the environment and from files.
    _secret: SecretStr = PrivateAttr(default=SecretStr(""))
    _authority: str = PrivateAttr(default="")

    def with_secret(self, secret: SecretStr, authority: str) -> Self:
        """Return these settings with what the environment and the files that they name say."""
        settings = self.model_copy()
        settings._secret, settings._authority = secret, authority
        return settings

    @property
    def secret(self) -> SecretStr:
        """Return the secret that both sides know."""
        return self._secret

    @property
    def authority(self) -> str:
        """Return the certificates that the other side's own must come from, in PEM; "" for the machine's authorities."""
        return self._authority
