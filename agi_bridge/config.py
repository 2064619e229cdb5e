"""The configuration: TOML text in, a checked `Config` out, or every problem at once.

Pure: the text, the environment and a way to read files are handed in. What the file may say is stated once, in the pydantic
models below, whose keys `docs/configuration.md` explains; what the rest of the program uses are the values they become.
"""

from __future__ import annotations

import copy
import difflib
import ipaddress
import json
import re
import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
)

from agi_bridge import dialplan, metadata, transfer
from agi_bridge.access import Scope, Token
from agi_bridge.agi.protocol import Limits, get_full_variable
from agi_bridge.allowance import Allowance
from agi_bridge.call import NOT_SENT_WORDS, WITHHELD_WORDS
from agi_bridge.dialplan import SipUri
from agi_bridge.errors import BadSipUri, ConfigError, Problem, UnsafeText
from agi_bridge.events.event import EventType
from agi_bridge.events.signature import key_of
from agi_bridge.millis.models import REGIONS
from agi_bridge.numbers import Numbers, Pattern, PatternError, known_country
from agi_bridge.routing import WITHHELD, Agent, Dialling, Rule, RuleBook, Welcome
from agi_bridge.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    ReadFile = Callable[[str], bytes]

DEFAULT_ACCOUNT = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_NAME_RULE = "must be letters, digits, '_', '.' and '-', at most 64, and begin with a letter or digit"
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*", re.ASCII)
_HTTP_URL = re.compile(
    r"https?://(\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?(?:/[^\s?#]*)?", re.ASCII
)

_DATABASE_URL = re.compile(
    r"postgresql://(?:[^\s:/@?]*(?::(?P<password>[^\s/@]*))?@)?[^\s@]*|sqlite:////[^\s?]+", re.ASCII
)

# As SQLAlchemy reads it: not PostgreSQL's "::type", and not what is behind a backslash.
_SQL_PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)(?!:)", re.ASCII)

# What a dialplan can hold and hand over as it is: no comma, semicolon, quote, bracket, dollar or percent sign.
_SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{1,200}", re.ASCII)
_SHORTEST_SAFE_SECRET = 16

# Asterisk waits so long before it refuses a login (manager.c, authenticate).
SHORTEST_LOGIN_SECONDS = 1

# What the shipped site/extensions.conf sets; the operator's own cannot be seen from here.
SHIPPED_BUDGET_SECONDS = 6
SHIPPED_LONGEST_CALL_SECONDS = 14_400

# What phones show for a caller without a number; in a Call each of them is None.
_WORDS_FOR_WITHHELD = WITHHELD_WORDS | NOT_SENT_WORDS

# Digits and pattern signs only, with at least one sign that no number has.
_FORGOTTEN_UNDERSCORE = re.compile(r"(?=.*[XZN.!\[\]])[+*#0-9XZN.!\[\]-]+")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where a PBX stands: on this machine or in a private network (RFC 1918, RFC 4193, link-local).
PRIVATE_NETWORKS = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
]
_LOOPBACK = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: an IP address or host name, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _one_or_many(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _address(text: str) -> str:
    parse_address(text)
    return text


def parse_address(text: str) -> Address:
    """Read "127.0.0.1:4573" or "[::1]:4573"; raise ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not _is_host(host) or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("must be an address and a port, such as 127.0.0.1:4573 or [::1]:4573")
    return Address(host, int(port))


def _is_open_to_others(text: str) -> bool:
    try:
        address = ipaddress.ip_address(parse_address(text).host)
    except ValueError:
        return False
    return address.is_unspecified or address.is_global


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None
    return True


def _host(text: str) -> str:
    if not _is_host(text):
        raise ValueError("must be an IP address or a host name")
    return text


def _ami_text(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,200}", text):
        raise ValueError("must be printable signs without blanks, at most 200")
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"must be an IP address or network, such as 192.168.1.0/24 ({error})") from None
    return text


def _country(text: str) -> str:
    if not known_country(text):
        raise ValueError("must be a two-letter country code in capitals, such as US or DE")
    return text


def _http_url(text: str) -> str:
    match = _HTTP_URL.fullmatch(text)
    if match is None or not _is_host(match[1].strip("[]")) or int(match[2] or 0) > 65535:
        raise ValueError("must be an http:// or https:// address without user name, query or fragment")
    return text.rstrip("/")


def _url_by_region(value: Any) -> dict[str, str]:
    """Read one address for all regions, or a table of one for each."""
    urls = value if isinstance(value, dict) else dict.fromkeys(REGIONS, value)
    if unknown := sorted(set(urls) - set(REGIONS)):
        raise ValueError(f'there is no region "{unknown[0]}"; there are: {", ".join(REGIONS)}')
    if not all(isinstance(url, str) for url in urls.values()):
        raise ValueError("must be an address in quotes, or a table with one for each region")
    return {region: _http_url(url) for region, url in urls.items()}


def _is_plain_http_elsewhere(url: str) -> bool:
    """Return whether what is sent to *url* can be read on the way."""
    return url.startswith("http:") and not _is_plain_http_here(url)


def _is_plain_http_here(url: str) -> bool:
    """Return whether *url* is of a program on this machine that speaks without TLS."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    return scheme == "http" and re.fullmatch(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?", host) is not None


def _database_url(text: str) -> str:
    match = _DATABASE_URL.fullmatch(text)
    if match is None:
        raise ValueError(
            'must be such as "postgresql://user@host/database" or "sqlite:////var/lib/agi-bridge/calls.sqlite"'
        )
    if match["password"] is not None:
        raise ValueError("must not hold a password; write it into a file, and name that in password_file")
    return text


def _lookup_sql(text: str) -> str:
    if unknown := sorted(set(_SQL_PARAMETER.findall(text)) - set(metadata.LOOKUP_NAMES)):
        raise ValueError(f"there is no parameter :{unknown[0]}; there are: {', '.join(metadata.LOOKUP_NAMES)}")
    return text


def _host_pattern(text: str) -> str:
    if not re.fullmatch(r"(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", text):
        raise ValueError("must be a host name, an IPv4 address, or *.domain")
    return text


def _expression(text: str) -> str:
    try:
        get_full_variable(text).encode()
    except UnsafeText as error:
        raise ValueError(str(error)) from None
    for opening, closing in ("{}", "()", "[]"):
        if text.count(opening) != text.count(closing):
            raise ValueError(f"has {text.count(opening)} {opening!r} but {text.count(closing)} {closing!r}")
    return text


def _metadata_name(name: str) -> str:
    if name in metadata.RESERVED_NAMES:
        raise ValueError("is a name of Millis's own; choose another")
    if name in metadata.STANDARD_NAMES:
        raise ValueError("is sent with every call already; choose another name")
    if not metadata.NAME.fullmatch(name):
        raise ValueError("must be letters, digits and '_', at most 64, and not begin with a digit")
    return name


def _metadata_value(value: str) -> str:
    return _expression(value) if metadata.is_expression(value) else value


def _pattern(text: str) -> str:
    Pattern.compile(text)
    return text


def _number(text: str) -> str:
    if _FORGOTTEN_UNDERSCORE.fullmatch(text):
        raise ValueError(f'looks like a pattern, and patterns begin with "_"; write "_{text}"')
    return _pattern(text)


def _caller(text: str) -> str:
    if text != WITHHELD and text.lower() in _WORDS_FOR_WITHHELD:
        raise ValueError(f'is no number; for callers who withhold theirs, write "{WITHHELD}"')
    return _number(text)


def _agent_id(text: str) -> str:
    if not re.fullmatch("[A-Za-z0-9_.-]{1,200}", text, re.ASCII):
        raise ValueError("must be the id of an agent: letters, digits, '_', '.' and '-'")
    return text


def _own_number(text: str) -> str:
    if not re.fullmatch(r"\+?[0-9]{3,15}", text, re.ASCII):
        raise ValueError('must be a number of yours in digits, such as "+15551230001"')
    return text


def _prefix(text: str) -> str:
    if not re.fullmatch(r"\+[1-9][0-9]{0,14}", text, re.ASCII):
        raise ValueError('must be the beginning of a number in E.164, with its plus sign, such as "+1212"')
    return text


def _public_url(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise ValueError('must be an address such as "https://pbx.example.com/agi-bridge", or ""')
    return text.rstrip("/")


def _webhook_url(text: str) -> str:
    _http_url(text)
    return text


def _event_type(text: str) -> str:
    if text not in list(EventType):
        raise ValueError(f"is no event; {_closest(text, EventType)}")
    return text


def _scheme(text: str) -> str:
    if not re.fullmatch("[A-Za-z]*", text):
        raise ValueError('must be a word such as "Bearer", or "" for the key alone')
    return text


Seconds = Annotated[float, Field(gt=0, le=3600)]
Patterns = Annotated[list[Annotated[str, AfterValidator(_pattern)]], BeforeValidator(_one_or_many)]
Dids = Annotated[list[Annotated[str, AfterValidator(_number)]], BeforeValidator(_one_or_many)]
Callers = Annotated[list[Annotated[str, AfterValidator(_caller)]], BeforeValidator(_one_or_many)]
Metadata = dict[Annotated[str, AfterValidator(_metadata_name)], Annotated[str, AfterValidator(_metadata_value)]]
Place = Annotated[str, AfterValidator(dialplan.check_place)]
Sound = Annotated[str, AfterValidator(dialplan.check_sound)]
Music = Annotated[str, AfterValidator(dialplan.check_music)]
Endpoint = Annotated[str, AfterValidator(dialplan.check_endpoint)]
Region = Literal["us-west", "eu-west"]
assert set(get_args(Region)) == set(REGIONS)  # noqa: S101 - one list, written twice because Literal needs it so


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AgiSettings(_Table):
    """`[agi]`: where Asterisk reaches us, and how much one connection may ask of us."""

    listen: Annotated[
        list[Annotated[str, AfterValidator(_address)]], BeforeValidator(_one_or_many), Field(min_length=1)
    ] = ["127.0.0.1:4573"]
    allow: Annotated[list[Annotated[str, AfterValidator(_network)]], BeforeValidator(_one_or_many)] = PRIVATE_NETWORKS
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


class WebSettings(_Table):
    """`[web]`: where health, metrics and the reload are asked for."""

    listen: Annotated[list[Annotated[str, AfterValidator(_address)]], BeforeValidator(_one_or_many)] = [
        "127.0.0.1:4574"
    ]
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


class MillisSettings(_Table):
    """`[millis]`: how Millis is reached and how long it may take."""

    region: Region = "us-west"
    base_url: Annotated[dict[str, str], BeforeValidator(_url_by_region)] = {}
    allowed_hosts: Annotated[
        list[Annotated[str, AfterValidator(_host_pattern)]], BeforeValidator(_one_or_many), Field(min_length=1)
    ] = ["*.millis.ai"]
    api_key_file: str | None = None
    authorization_scheme: Annotated[str, AfterValidator(_scheme)] = ""
    connect_timeout_seconds: Seconds = 1.0
    region_timeout_seconds: Seconds | None = None
    timeout_seconds: Seconds = 3.9
    keepalive_seconds: Seconds = 30.0
    registration_limit: Annotated[int, Field(ge=1)] = 4_000
    breaker_failures: Annotated[int, Field(ge=1, le=1000)] = 2
    breaker_seconds: Seconds = 10.0
    probe_seconds: Annotated[float, Field(ge=0, le=3600)] = 15.0
    delete_orphans: bool = False
    response_limit_bytes: Annotated[int, Field(ge=1024, le=16_777_216)] = 65_536

    def url(self, region: str) -> str:
        """Return the address of the API of *region*, without a slash at its end."""
        return self.base_url.get(region, REGIONS[region])

    @property
    def seconds_for_one_region(self) -> float:
        """Return how long a region may take while there is another to ask; half of the whole time, where nothing is said."""
        return self.region_timeout_seconds or self.timeout_seconds / 2


class AccountSettings(_Table):
    """`[account.NAME]`: a further Millis account, whose key stands in a file or in an environment variable."""

    api_key_file: str | None = None
    api_key_env: str | None = None


class PbxSettings(_Table):
    """`[[pbx]]`: a PBX whose manager interface the bridge may use: who it is, and how it is reached."""

    name: str = ""
    peers: Annotated[
        list[Annotated[str, AfterValidator(_network)]], BeforeValidator(_one_or_many), Field(min_length=1)
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


class NumberSettings(_Table):
    """`[numbers]`: how numbers are read, and where the called one is found."""

    default_country: Annotated[str, AfterValidator(_country)] | None = None
    did_expression: Annotated[str, AfterValidator(_expression)] | None = None


class MetadataSettings(_Table):
    """`[metadata]`: the bound on each value that is sent to Millis."""

    value_limit_characters: Annotated[int, Field(ge=16, le=8192)] = 512


class LogSettings(_Table):
    """`[log]`: how much is told, in which form, and whether phone numbers are shown in full."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    numbers: Literal["masked", "full"] = "masked"


class RecordSettings(_Table):
    """`[records]`: where records of calls are kept, how much may wait for the database, and what is forgotten when."""

    enabled: bool = True
    folder: str | None = None
    url: Annotated[str, AfterValidator(_database_url)] | None = None
    password_file: str | None = None
    gather_seconds: Annotated[float, Field(ge=0, le=10)] = 0.05
    batch_seconds: Annotated[float, Field(ge=0, le=60)] = 0.5
    batch_limit: Annotated[int, Field(ge=1, le=10_000)] = 200
    queue_limit: Annotated[int, Field(ge=1)] = 10_000
    spool_limit_bytes: Annotated[int, Field(ge=65_536)] = 268_435_456
    write_timeout_seconds: Annotated[float, Field(ge=1, le=600)] = 10.0
    read_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 3.0
    retry_seconds: Seconds = 30.0
    keep_days: Annotated[int, Field(ge=0, le=36_500)] = 365
    mask_numbers_after_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    drop_transcripts_after_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    unmatched_keep_days: Annotated[int, Field(ge=1, le=36_500)] = 7
    close_calls_after_seconds: Annotated[int, Field(ge=60, le=604_800)] = 600

    # Not keys: the password comes from `password_file`, or the whole address from the environment.
    _password: SecretStr = PrivateAttr(default=SecretStr(""))
    _environ_url: SecretStr = PrivateAttr(default=SecretStr(""))

    def with_secrets(self, password: SecretStr, environ_url: SecretStr) -> RecordSettings:
        """Return these settings with what no log may show."""
        settings = self.model_copy()
        settings._password, settings._environ_url = password, environ_url
        return settings

    @property
    def database(self) -> tuple[SecretStr, SecretStr]:
        """Return the address of the database, "" for the usual file, and its password, "" where none is wanted."""
        if self._environ_url.get_secret_value():
            return self._environ_url, SecretStr("")
        return SecretStr(self.url or ""), self._password


class PrefetchSettings(_Table):
    """`[prefetch]`: what else Millis is told of a call when its agent begins, and where that is looked up."""

    url: Annotated[str, AfterValidator(_http_url)] | None = None
    token_file: str | None = None
    sql: Annotated[str, AfterValidator(_lookup_sql)] | None = None
    database_url: Annotated[str, AfterValidator(_database_url)] | None = None
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


class BackfillSettings(_Table):
    """`[backfill]`: how Millis is asked for what its webhooks have not told."""

    every_seconds: Annotated[int, Field(ge=0, le=86_400)] = 0
    wait_seconds: Annotated[int, Field(ge=0, le=86_400)] = 600
    look_back_seconds: Annotated[int, Field(ge=60, le=2_592_000)] = 86_400
    page_limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    page_size: Annotated[int, Field(ge=1, le=100)] = 20
    pause_seconds: Annotated[float, Field(ge=0, le=600)] = 1.0
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 20.0
    answer_limit_bytes: Annotated[int, Field(ge=65_536, le=268_435_456)] = 33_554_432


class _RouteKeys(_Table):
    """What a `[[route]]` may say besides its conditions, and `[defaults]` for all of them."""

    agent_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    agent_config: dict[str, Any] | None = None
    agent_config_file: str | None = None
    metadata: Metadata = {}
    include_metadata_in_prompt: bool | None = None
    account: str | None = None
    region: Region | None = None
    failover: bool | None = None
    standby_uri: str | None = None
    endpoint: Endpoint | None = None
    ring_timeout_seconds: Annotated[int, Field(ge=1, le=600)] | None = None
    redial: bool | None = None
    max_duration_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    warning_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    answer: bool | None = None
    prompt: Sound | None = None
    music: Music | None = None
    dial_options: Annotated[str, Field(max_length=200)] | None = None
    allow_feature_keys: bool | None = None
    fallback: Place | None = None


class DefaultSettings(_RouteKeys):
    """`[defaults]`: what holds for every route that does not say otherwise."""


class RouteSettings(_RouteKeys):
    """`[[route]]`: conditions, then what happens to a call that meets them all."""

    name: str = ""
    did: Dids = []
    caller: Callers = []
    context: Patterns = []
    channel: Patterns = []
    arguments: dict[str, Patterns] = {}
    reject: bool = False
    direction: Literal["inbound", "outbound"] = "inbound"
    agents: Annotated[list[Annotated[str, AfterValidator(_agent_id)]], BeforeValidator(_one_or_many)] = []


class TransferSettings(_Table):
    """`[[transfer]]`: one place in the PBX where agents may send their callers."""

    name: Annotated[str, AfterValidator(transfer.check_name)]
    destination: Place
    ring_timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    numbers: Annotated[list[Annotated[str, AfterValidator(transfer.check_number)]], BeforeValidator(_one_or_many)] = []
    description: Annotated[str, Field(max_length=500)] = ""


class OriginateSettings(_Table):
    """`[originate]`: calls that we make, through which trunk, to whom and how often. Without it, none is made."""

    pbx: str
    trunk: Annotated[str, AfterValidator(dialplan.check_trunk)]
    caller_id: Annotated[str, AfterValidator(_own_number)]
    allow: Annotated[list[Annotated[str, AfterValidator(_prefix)]], BeforeValidator(_one_or_many)] = []
    rate_limit_per_minute: Annotated[int, Field(ge=1, le=600)] = 10
    daily_limit: Annotated[int, Field(ge=1, le=100_000)] = 100
    ring_timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    detect_machine: Literal["off", "hang-up", "connect"] = "off"
    folder: str | None = None

    @property
    def allowance(self) -> Allowance:
        """Return whom we may call, and how often."""
        return Allowance(tuple(self.allow), self.rate_limit_per_minute, self.daily_limit)


class TokenSettings(_Table):
    """`[[token]]`: somebody who may ask things of the bridge over HTTP."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]{0,63}$")]
    scopes: Annotated[list[Literal["read", "control", "millis"]], BeforeValidator(_one_or_many), Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class WebhookSettings(_Table):
    """`[[webhook]]`: a program that is told of calls: where, of what, and how hard it is tried."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    url: Annotated[str, AfterValidator(_webhook_url)]
    plain_http_reason: Annotated[str, Field(max_length=200)] = ""
    ca_file: str | None = None
    secret_file: str | None = None
    secret_env: str | None = None
    events: Annotated[
        list[Annotated[str, AfterValidator(_event_type)]], BeforeValidator(_one_or_many), Field(min_length=1)
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


class File(_Table):
    """The whole file, as it may be written."""

    agi: AgiSettings = AgiSettings()
    web: WebSettings = WebSettings()
    millis: MillisSettings = MillisSettings()
    account: dict[str, AccountSettings] = {}
    numbers: NumberSettings = NumberSettings()
    metadata: MetadataSettings = MetadataSettings()
    log: LogSettings = LogSettings()
    records: RecordSettings = RecordSettings()
    prefetch: PrefetchSettings = PrefetchSettings()
    backfill: BackfillSettings = BackfillSettings()
    defaults: DefaultSettings = DefaultSettings()
    pbx: list[PbxSettings] = []
    route: list[RouteSettings] = []
    transfer: list[TransferSettings] = []
    originate: OriginateSettings | None = None
    token: list[TokenSettings] = []
    webhook: list[WebhookSettings] = []


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that can be served. `warnings` are for the operator's eyes and stop nothing."""

    agi: AgiSettings
    web: WebSettings
    millis: MillisSettings
    numbers: NumberSettings
    metadata: MetadataSettings
    log: LogSettings
    records: RecordSettings
    prefetch: PrefetchSettings
    backfill: BackfillSettings
    rules: RuleBook
    transfers: tuple[Transfer, ...]
    tokens: tuple[Token, ...]
    api_keys: Mapping[str, SecretStr]
    warnings: tuple[Problem, ...]
    pbxs: tuple[PbxSettings, ...] = ()
    webhooks: tuple[WebhookSettings, ...] = ()
    originate: OriginateSettings | None = None

    def with_workers(self, count: int) -> Config:
        """Return the same configuration with another number of workers."""
        return replace(self, agi=self.agi.model_copy(update={"workers": count}))


def load(
    text: str,
    environ: Mapping[str, str],
    read_file: ReadFile,
    *,
    need_keys: bool = True,
    need_secret: bool | None = None,
) -> Config:
    """Read a configuration; raise ConfigError with all its problems.

    *read_file* returns the bytes of a file named in the configuration, or raises OSError. Without *need_keys*, a missing
    Millis key is no problem: nothing will be registered. The bridge's own secret is read where *need_secret* says so, else
    together with the keys.
    """
    file, problems = _checked(_parsed(text))
    need_secret = need_keys if need_secret is None else need_secret
    return _Reader(file, problems, environ, read_file).config(need_keys, need_secret)


def where_to_ask(text: str) -> tuple[WebSettings, int]:
    """Return where a running bridge is asked, and how many workers it has; raise ConfigError.

    All the rest of the file may be wrong: a bridge that runs can be asked while its next configuration is being written.
    """
    raw = _parsed(text)
    agi = raw.get("agi")
    workers = {"workers": agi["workers"]} if isinstance(agi, dict) and "workers" in agi else {}
    file, problems = _checked({"web": raw.get("web", {}), "agi": workers})
    if problems:
        raise ConfigError(problems)
    return file.web, file.agi.workers


def where_records_are(text: str, environ: Mapping[str, str], read_file: ReadFile) -> tuple[RecordSettings, Numbers]:
    """Return where records are kept, and how numbers are read; raise ConfigError. The rest of the file may be wrong."""
    raw = _parsed(text)
    file, problems = _checked({name: raw[name] for name in ("records", "numbers") if name in raw})
    reader = _Reader(file, problems, environ, read_file)
    records = reader.records()
    if problems:
        raise ConfigError(problems)
    return records, Numbers(file.numbers.default_country)


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        hint = 'texts and phone numbers stand in quotes, such as did = "+15551230001"'
        raise ConfigError([Problem("file", f"is not TOML: {error}", hint)]) from None


def _checked(raw: Mapping[str, Any]) -> tuple[File, list[Problem]]:
    try:
        return _readable(raw)
    except RecursionError:
        raise ConfigError([Problem("file", "has tables inside tables, hundreds deep")]) from None


def _readable(raw: Mapping[str, Any]) -> tuple[File, list[Problem]]:
    """Return the part of a file that can be read, and what is wrong with the rest: one run is to find every problem."""
    try:
        return File.model_validate(raw), []
    except ValidationError as error:
        found = error.errors(include_url=False)
        rest = copy.deepcopy(raw)
        for place in sorted({_existing(each["loc"], raw) for each in found}, reverse=True):
            _remove(place, rest)
        return _readable(rest)[0], [_problem(each, raw) for each in found]


class _Reader:
    """Turns a well-formed file into a Config, adding to the problems whatever does not fit together."""

    def __init__(self, file: File, problems: list[Problem], environ: Mapping[str, str], read_file: ReadFile) -> None:
        self.file = file
        self.problems = problems
        self.environ = environ
        self.read_file = read_file
        self.warnings: list[Problem] = []

    def config(self, need_keys: bool, need_secret: bool) -> Config:
        file = self.file
        numbers = Numbers(file.numbers.default_country)
        default_fallback = file.defaults.fallback or ""
        rules = [self._rule(number, settings) for number, settings in enumerate(file.route, 1)]
        if not file.route and not any(problem.path.startswith("route") for problem in self.problems):
            self._problem("route", "there is no [[route]], so every call would take its fallback")
        self._no_name_twice(file.route)
        self._warn_of_shadows(file.route)
        self._deadlines_fit(rules)
        self._warn_of_the_dialplan()
        self._somebody_can_connect()
        self._ports_differ()
        self._warn_about_listening()
        self._warn_about_plain_http()
        self._warn_of_half_a_trial(rules)
        transfers = self._transfers()
        self._no_token_twice()
        self._somebody_can_be_called()
        api_keys = self._api_keys(need_keys)
        secret = self._secret(need_secret)
        pbxs = self._pbxs(need_keys)
        webhooks = self._webhooks(need_keys)
        records = self.records() if need_keys else file.records
        prefetch = self._prefetch() if need_keys else file.prefetch
        if self.problems:
            raise ConfigError(self.problems)
        return Config(
            file.agi.with_secret(secret),
            file.web,
            file.millis,
            file.numbers,
            file.metadata,
            file.log,
            records,
            prefetch,
            file.backfill,
            RuleBook(rules, numbers, default_fallback),
            transfers,
            self._tokens(),
            api_keys,
            tuple(self.warnings),
            pbxs,
            webhooks,
            file.originate,
        )

    def _problem(self, path: str, message: str, suggestion: str = "") -> None:
        self.problems.append(Problem(path, message, suggestion))

    def _lacks(self, where: str, chosen: Mapping[str, Any], *keys: str) -> bool:
        """Return whether a route has none of the *keys*; one that was written, but wrongly, is not lacking."""
        written = {problem.path for problem in self.problems}
        return not any(key in chosen or {f"{where}: {key}", f"defaults.{key}"} & written for key in keys)

    def _rule(self, number: int, settings: RouteSettings) -> Rule:
        where = self._named(number, settings.name)
        chosen = self._with_defaults(settings)
        agent_config = self._agent_config(where, chosen)
        if not settings.reject:
            if self._lacks(where, chosen, "agent_id", "agent_config", "agent_config_file"):
                self._problem(f"{where}: agent_id", "is missing", "name the Millis agent, or give an agent_config")
            if self._lacks(where, chosen, "fallback"):
                self._problem(
                    f"{where}: fallback",
                    "is missing, so a call could be lost",
                    'such as fallback = "millis-fallback,s,1", here or under [defaults]',
                )
        account = chosen.get("account", DEFAULT_ACCOUNT)
        if account != DEFAULT_ACCOUNT and account not in self.file.account:
            hint = _closest(account, self.file.account) or f"add [account.{account}] with an api_key_file"
            self._problem(f"{where}: account", f"there is no [account.{account}]", hint)
        agent = Agent(
            agent_id=chosen.get("agent_id"),
            agent_config=agent_config,
            metadata=chosen["metadata"],
            include_metadata_in_prompt=chosen.get("include_metadata_in_prompt", False),
            account=account,
            regions=self._regions(chosen),
            standby_uri=self._standby_uri(where, chosen.get("standby_uri")),
        )
        if "secret" in settings.arguments:
            self._problem(f"{where}: arguments", "no rule sees the argument secret", "give yours another name")
        self._question_fits(where, agent)
        self._direction_fits(where, settings)
        return Rule(
            name=settings.name,
            fallback=chosen.get("fallback", ""),
            agent=agent,
            dialling=self._dialling(where, chosen),
            welcome=Welcome(**{key: chosen[key] for key in ("answer", "prompt", "music") if key in chosen}),
            did=tuple(map(Pattern.compile, settings.did)),
            caller=tuple(Pattern.compile(text) for text in settings.caller if text != WITHHELD),
            withheld=WITHHELD in settings.caller,
            context=tuple(map(Pattern.compile, settings.context)),
            channel=tuple(map(Pattern.compile, settings.channel)),
            arguments={name: tuple(map(Pattern.compile, texts)) for name, texts in settings.arguments.items()},
            reject=settings.reject,
            is_outbound=settings.direction == "outbound",
            agents=tuple(settings.agents),
        )

    def _direction_fits(self, where: str, settings: RouteSettings) -> None:
        """Report what a rule says that only one of the other direction can."""
        if settings.direction == "inbound":
            if settings.agents:
                self._problem(f"{where}: agents", "is for outbound rules", 'add direction = "outbound"')
            return
        for key in ("did", "caller", "context", "channel", "arguments", "reject"):
            if getattr(settings, key):
                self._problem(f"{where}: {key}", "cannot stand in an outbound rule, which is chosen by its name")

    def _somebody_can_be_called(self) -> None:
        """Look at how [originate] and the rest fit together."""
        originate, outbound = self.file.originate, [r.name for r in self.file.route if r.direction == "outbound"]
        if originate is None:
            if outbound and not any(problem.path.startswith("originate") for problem in self.problems):
                self.warnings.append(
                    Problem(f'route "{outbound[0]}"', "is outbound, but without [originate] nobody is called")
                )
            return
        names = [pbx.name for pbx in self.file.pbx]
        if originate.pbx not in names and not any(problem.path.startswith("pbx") for problem in self.problems):
            self._problem(
                "originate.pbx", f'there is no [[pbx]] with the name "{originate.pbx}"', _closest(originate.pbx, names)
            )
        if not originate.allow:
            self.warnings.append(
                Problem("originate.allow", "is empty, so nobody is called", 'such as allow = ["+1212"]')
            )
        if not outbound:
            self.warnings.append(
                Problem(
                    "originate", "no rule is outbound, so nobody is called", 'a [[route]] with direction = "outbound"'
                )
            )

    def _tokens(self) -> tuple[Token, ...]:
        """Return who may ask over HTTP."""
        return tuple(Token(each.name, frozenset(map(Scope, each.scopes)), each.sha256) for each in self.file.token)

    def _no_token_twice(self) -> None:
        seen: set[str] = set()
        for each in self.file.token:
            if twice := {each.name, each.sha256} & seen:
                what = "name" if each.name in twice else "hash"
                self._problem(f'token "{each.name}"', f"the {what} stands there twice", "keep one of them")
            seen |= {each.name, each.sha256}

    def _transfers(self) -> tuple[Transfer, ...]:
        """Return the destinations; of a name or number that stands twice, the dialplan would keep the first place only."""
        taken: set[str] = set()
        for settings in self.file.transfer:
            for called in (settings.name, *(number.lstrip("+") for number in settings.numbers)):
                if called in taken:
                    self._problem(f'transfer "{settings.name}"', f"{called} stands there twice", "keep one of them")
                taken.add(called)
        return tuple(
            Transfer(**settings.model_dump(exclude={"numbers"}), numbers=tuple(settings.numbers))
            for settings in self.file.transfer
        )

    def _with_defaults(self, settings: RouteSettings) -> dict[str, Any]:
        """Return what holds for a route: its own keys, else those of [defaults]; metadata of both."""
        defaults = self.file.defaults.model_dump(exclude_none=True)
        own = settings.model_dump(exclude_none=True)
        if {"agent_config", "agent_config_file"} & own.keys():
            defaults.pop("agent_config", None)
            defaults.pop("agent_config_file", None)
        return {**defaults, **own, "metadata": {**defaults["metadata"], **own["metadata"]}}

    def _regions(self, chosen: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the regions to ask, the chosen one first; two that have one address are one."""
        millis = self.file.millis
        first = chosen.get("region", millis.region)
        others = [region for region in REGIONS if millis.url(region) != millis.url(first)]
        return (first, *(others if chosen.get("failover", True) else ()))

    def _standby_uri(self, where: str, text: str | None) -> SipUri | None:
        if text is None:
            return None
        try:
            return SipUri.parse(text, self.file.millis.allowed_hosts)
        except BadSipUri as error:
            self._problem(f"{where}: standby_uri", str(error))
            return None

    def _dialling(self, where: str, chosen: Mapping[str, Any]) -> Dialling:
        keys = ("endpoint", "ring_timeout_seconds", "max_duration_seconds", "warning_seconds", "dial_options", "redial")
        dialling = Dialling(**{key: chosen[key] for key in keys if key in chosen})
        try:
            dialplan.check_dial_options(dialling.dial_options, chosen.get("allow_feature_keys", False))
        except ValueError as error:
            self._problem(f"{where}: dial_options", str(error))
        if dialling.warning_seconds >= dialling.max_duration_seconds:
            self._problem(
                f"{where}: warning_seconds", "must be shorter than max_duration_seconds, which it comes before"
            )
        return dialling

    def _agent_config(self, where: str, chosen: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the agent's configuration, which is Millis's own and passes through unread."""
        config: Mapping[str, Any] | None = chosen.get("agent_config")
        name = chosen.get("agent_config_file")
        if name is not None:
            if config is not None:
                self._problem(f"{where}: agent_config_file", "stands beside agent_config; keep one of the two")
            config = self._parsed_file(f"{where}: agent_config_file", name)
        if config is not None:
            try:
                json.dumps(config, allow_nan=False)
            except (TypeError, ValueError, RecursionError) as error:
                self._problem(
                    f"{where}: agent_config", f"cannot be sent as JSON: {error}", "write dates as text, no inf or nan"
                )
            if "language" not in config:
                self.warnings.append(
                    Problem(
                        f"{where}: agent_config",
                        "names no language",
                        "Millis may then speak en-US, whatever the agent's own language is",
                    )
                )
        return config

    def _parsed_file(self, path: str, name: str) -> Mapping[str, Any] | None:
        content = self._read(path, name)
        if content is None:
            return None
        try:
            parsed = tomllib.loads(content) if name.endswith(".toml") else json.loads(content)
        except (ValueError, RecursionError) as error:
            self._problem(path, f"{name} is neither JSON nor, with the ending .toml, TOML: {error}")
            return None
        if not isinstance(parsed, dict):
            self._problem(path, f"{name} must hold one object, not a {type(parsed).__name__}")
            return None
        return parsed

    def _read(self, path: str, name: str) -> str | None:
        try:
            return self.read_file(name).decode()
        except UnicodeDecodeError:
            self._problem(path, f"{name} is not UTF-8 text")
        except OSError as error:
            hint = "write it beside the configuration, or name another" if isinstance(error, FileNotFoundError) else ""
            self._problem(path, f"cannot read {name}: {error.strerror or error}", hint)
        except ValueError as error:
            self._problem(path, f"cannot read {name!r}: {error}")
        return None

    def _question_fits(self, where: str, agent: Agent) -> None:
        """Report a rule whose expressions do not fit into one AGI command."""
        limit = self.file.agi.command_limit_bytes
        try:
            get_full_variable(metadata.question(metadata.expressions(agent))).encode(limit)
        except UnsafeText:
            self._problem(
                f"{where}: metadata",
                f"its dialplan expressions need more than the {limit} bytes of one AGI command",
                "shorten them, or raise command_limit_bytes under [agi] for Asterisk 20.16, 22.6 and newer",
            )

    def _named(self, number: int, name: str) -> str:
        """Return how a route is called in what is said about it, after a look at its name."""
        where = f'route "{name}"' if name else f"route {number}"
        if not name:
            if self._lacks(where, {}, "name"):
                self._problem(f"{where}: name", "is missing", 'such as name = "sales"; it is in the log of every call')
        elif not _NAME.fullmatch(name):
            self._problem(f"{where}: name", _NAME_RULE)
        return where

    def _no_name_twice(self, routes: Iterable[RouteSettings]) -> None:
        seen: set[str] = set()
        for settings in routes:
            if settings.name and settings.name in seen:
                self._problem(f'route "{settings.name}"', "the name is given to two routes", "rename one of them")
            seen.add(settings.name)

    def _warn_of_shadows(self, routes: Sequence[RouteSettings]) -> None:
        """Warn of rules, or numbers of rules, that an earlier rule takes for itself."""
        takes_all: str | None = None
        taken: dict[str, str] = {}
        for settings in (each for each in routes if each.direction == "inbound"):
            where = f'route "{settings.name}"'
            if takes_all is not None:
                self.warnings.append(
                    Problem(where, f'never matches, because "{takes_all}" before it takes every call', "put it before")
                )
            for did in settings.did:
                if did in taken:
                    self.warnings.append(Problem(f"{where}: did", f'"{did}" is taken by "{taken[did]}" before it'))
            if not (settings.caller or settings.context or settings.channel or settings.arguments):
                if not settings.did:
                    takes_all = takes_all or settings.name
                taken.update({did: settings.name for did in settings.did if did not in taken})

    def _deadlines_fit(self, rules: Iterable[Rule]) -> None:
        """Report limits of which one leaves no room for another that must fit into it."""
        millis, agi = self.file.millis, self.file.agi
        if millis.connect_timeout_seconds > millis.timeout_seconds:
            self._problem(
                "millis.connect_timeout_seconds", "is longer than millis.timeout_seconds, which holds for all"
            )
        if millis.seconds_for_one_region > millis.timeout_seconds:
            self._problem(
                "millis.region_timeout_seconds", "is longer than millis.timeout_seconds, which holds for all regions"
            )
        elif millis.seconds_for_one_region == millis.timeout_seconds and any(
            len(rule.agent.regions) > 1 for rule in rules
        ):
            self._problem(
                "millis.region_timeout_seconds",
                "leaves no time for the second region after a first one that does not answer",
                "make it shorter than timeout_seconds, or set failover = false under [defaults]",
            )
        if millis.timeout_seconds >= agi.setup_timeout_seconds:
            self._problem("agi.setup_timeout_seconds", "must be longer than millis.timeout_seconds")
        if millis.probe_seconds >= millis.keepalive_seconds:
            self.warnings.append(
                Problem(
                    "millis.probe_seconds",
                    "is not shorter than keepalive_seconds, so no connection stays warm between two probes",
                    "make it shorter",
                )
            )

    def _warn_of_the_dialplan(self) -> None:
        """Warn of times that the dialplan, as shipped, would cut short."""
        budget, longest = SHIPPED_BUDGET_SECONDS, SHIPPED_LONGEST_CALL_SECONDS
        if self.file.agi.setup_timeout_seconds >= budget:
            self.warnings.append(
                Problem(
                    "agi.setup_timeout_seconds",
                    f"is not shorter than the {budget} s that the shipped dialplan waits for the bridge",
                    "raise MILLIS_BUDGET_SECONDS in site/extensions.conf above it",
                )
            )
        durations = {"defaults.max_duration_seconds": self.file.defaults.max_duration_seconds} | {
            f'route "{route.name}": max_duration_seconds': route.max_duration_seconds for route in self.file.route
        }
        for path, seconds in durations.items():
            if seconds is not None and seconds >= longest:
                self.warnings.append(
                    Problem(
                        path,
                        f"is not shorter than the {longest} s after which the shipped dialplan ends every call",
                        "raise MILLIS_LONGEST_CALL_SECONDS in site/extensions.conf above it",
                    )
                )

    def _ports_differ(self) -> None:
        """Report a worker whose web port is one that Asterisk is to reach."""
        agi, web = self.file.agi, self.file.web
        if any(problem.path.startswith(("agi.", "web.")) for problem in self.problems):
            return  # the defaults stand in for what could not be read
        for worker in range(1, agi.workers + 1):
            for ours in web.addresses(worker):
                if any(_meet(ours, theirs) for theirs in agi.addresses):
                    whose = f"the web port of worker {worker} would be {ours}" if worker > 1 else f"{ours}"
                    self._problem(
                        "web.listen", f"{whose}, where listen under [agi] waits for Asterisk", "choose another port"
                    )

    def _somebody_can_connect(self) -> None:
        """Report an allow list without any address that a connection to us could come from."""
        agi = self.file.agi
        unread = any(problem.path.startswith(("agi.allow", "agi.listen")) for problem in self.problems)
        reachable = any(_can_reach(network, address.host) for network in agi.networks for address in agi.addresses)
        if not (reachable or unread):
            self._problem(
                "agi.allow",
                f"nobody could connect: no address on it can reach {' or '.join(agi.listen)}",
                "allow the address of the PBX, as the bridge sees it; 127.0.0.1 and ::1 if it is on the same machine",
            )
        for text in agi.allow:
            if ipaddress.ip_network(text).prefixlen == 0:
                self.warnings.append(
                    Problem("agi.allow", f"{text} admits everybody", "name the addresses of the PBX, and no more")
                )

    def _warn_about_listening(self) -> None:
        for text in filter(_is_open_to_others, self.file.agi.listen):
            self.warnings.append(
                Problem(
                    "agi.listen",
                    f"{text} can be reached from other networks, and FastAGI has no password",
                    "listen on 127.0.0.1 or a private address, and let a firewall admit only the PBX",
                )
            )
        for text in filter(_is_open_to_others, self.file.web.listen):
            self.warnings.append(
                Problem(
                    "web.listen",
                    f"{text} can be reached from other networks, and shows health and metrics to everybody",
                    "listen on 127.0.0.1 or a private address, and let a firewall admit only who watches the bridge",
                )
            )

    def _warn_about_plain_http(self) -> None:
        if any(_is_plain_http_elsewhere(self.file.millis.url(region)) for region in REGIONS):
            self.warnings.append(
                Problem("millis.base_url", "sends the API key over the network unencrypted", "use https://")
            )

    def _warn_of_half_a_trial(self, rules: Iterable[Rule]) -> None:
        """Warn of calls that would leave a simulated Millis on this machine for the real one, with whatever key is used."""
        millis = self.file.millis
        simulated = {region for region, url in millis.base_url.items() if _is_plain_http_here(url)}
        tried = [rule.agent.regions for rule in rules if not rule.reject and rule.agent.regions[0] in simulated]
        for region in sorted({region for regions in tried for region in regions} - millis.base_url.keys()):
            self.warnings.append(
                Problem(
                    "millis.base_url",
                    f"has no address for {region}, so calls that fail here go, with the key, to {millis.url(region)}",
                    "write one address for both regions, or set failover = false under [defaults]",
                )
            )

    def _api_keys(self, need_keys: bool) -> dict[str, SecretStr]:
        if not need_keys:
            return {}
        if DEFAULT_ACCOUNT in self.file.account:
            self._problem("account.default", "is the account of [millis] already", "give this one another name")
        environ, millis, defaults = self.environ, self.file.millis, self.file.defaults
        file_name = environ.get("MILLIS_API_KEY_FILE")
        path = "MILLIS_API_KEY_FILE" if file_name else "millis.api_key_file"
        sources = {DEFAULT_ACCOUNT: (path, environ.get("MILLIS_API_KEY"), file_name or millis.api_key_file)} | {
            name: (f"account.{name}", environ.get(account.api_key_env or ""), account.api_key_file)
            for name, account in self.file.account.items()
        }
        needed = {rule.account or defaults.account or DEFAULT_ACCOUNT for rule in self.file.route if not rule.reject}
        keys: dict[str, SecretStr] = {}
        for name, (path, value, file_name) in sources.items():
            # An empty variable is what docker compose makes of one that is not set.
            key = (value or "").strip()
            if not key and file_name:
                key = (self._read(path, file_name) or "").strip()
            if not (key.isascii() and key.isprintable() and " " not in key):
                self._problem(path, "the Millis key holds blanks or signs that no HTTP header can carry")
            elif key:
                keys[name] = SecretStr(key)
            elif name in needed and not any(f"{problem.path}.".startswith(f"{path}.") for problem in self.problems):
                self._problem(path, "there is no Millis API key", self._key_suggestion(name))
        return keys

    def _secret(self, need_secret: bool) -> SecretStr:
        """Return what a request must know: from the environment, else from the file."""
        secret, path, name = self.environ.get("AGI_BRIDGE_SECRET", "").strip(), "AGI_BRIDGE_SECRET", ""
        if not secret and self.file.agi.secret_file and need_secret:
            path, name = "agi.secret_file", self.file.agi.secret_file
            content = self._read(path, name)
            secret = (content or "").strip()
            if content is not None and not secret:
                self._problem(path, f"{name} is empty", "write the secret into it, or leave secret_file out")
        if secret and not _SECRET.fullmatch(secret):
            self._problem(
                path,
                "the secret holds signs that a dialplan cannot carry, or more than 200",
                "letters, digits and . _ ~ + / = -, such as `openssl rand -hex 24` prints",
            )
        elif secret and len(secret) < _SHORTEST_SAFE_SECRET:
            self.warnings.append(
                Problem(path, "the secret can be guessed", f"take at least {_SHORTEST_SAFE_SECRET} signs")
            )
        return SecretStr(secret)

    def records(self) -> RecordSettings:
        """Return where records are kept, with the password that is needed to get there."""
        records, environ_url = self.file.records, self.environ.get("AGI_BRIDGE_RECORDS_URL", "").strip()
        if environ_url and not _DATABASE_URL.fullmatch(environ_url):
            self._problem("AGI_BRIDGE_RECORDS_URL", 'must be such as "postgresql://user:password@host/database"')
        password = ""
        if records.password_file and not environ_url:
            content = self._read("records.password_file", records.password_file)
            password = (content or "").strip()
            if content is not None and not password:
                self._problem("records.password_file", f"{records.password_file} is empty")
        return records.with_secrets(SecretStr(password), SecretStr(environ_url))

    def _prefetch(self) -> PrefetchSettings:
        """Return how callers are looked up, with what that needs."""
        prefetch = self.file.prefetch
        if prefetch.url and prefetch.sql:
            self._problem("prefetch.sql", "stands beside url; keep one of the two")
        if (prefetch.sql is None) != (prefetch.database_url is None):
            missing, there = ("database_url", "sql") if prefetch.sql else ("sql", "database_url")
            self._problem(f"prefetch.{missing}", f"is missing; {there} needs it")
        if prefetch.url and _is_plain_http_elsewhere(prefetch.url):
            self.warnings.append(
                Problem("prefetch.url", "is asked for callers over the network unencrypted", "use https://")
            )
        secrets = (self._one_line(f"prefetch.{key}", getattr(prefetch, key)) for key in ("token_file", "password_file"))
        return prefetch.with_secrets(*secrets)

    def _one_line(self, path: str, name: str | None) -> SecretStr:
        """Return the secret in a file, "" where none is named."""
        content = self._read(path, name) if name is not None else ""
        secret = (content or "").strip()
        if name is not None and content is not None and not (secret and secret.isascii() and secret.isprintable()):
            self._problem(path, f"{name} holds no secret on one line")
        return SecretStr(secret)

    def _pbx_names(self) -> None:
        """Report a PBX that cannot be told from others."""
        seen: set[str] = set()
        for number, pbx in enumerate(self.file.pbx, 1):
            where = f'pbx "{pbx.name}"' if pbx.name else f"pbx {number}"
            if not pbx.name:
                if self._lacks(where, {}, "name"):
                    self._problem(
                        f"{where}: name", "is missing", 'such as name = "hq"; it is in the log and the metrics'
                    )
            elif not _NAME.fullmatch(pbx.name):
                self._problem(f"{where}: name", _NAME_RULE)
            elif pbx.name in seen:
                self._problem(where, "the name is given to two PBXs", "rename one of them")
            seen.add(pbx.name)

    def _pbxs(self, need_keys: bool) -> tuple[PbxSettings, ...]:
        """Return the PBXs, each with its secret, after a look at how they fit together."""
        pbxs = self.file.pbx
        self._pbx_names()
        for number, pbx in enumerate(pbxs, 1):
            where = f'pbx "{pbx.name}"' if pbx.name else f"pbx {number}"
            self._peers_can_connect(where, pbx)
            self._pbx_times_fit(where, pbx)
            if not pbx.ami_tls and not _is_here(pbx.ami_host):
                self.warnings.append(
                    Problem(
                        f"{where}: ami_tls",
                        f"is off, so the secret goes to {pbx.ami_host} unencrypted",
                        "turn it on, or keep both ends in a network of their own",
                    )
                )
        self._no_peer_twice()
        return tuple(self._with_secret(number, pbx, need_keys) for number, pbx in enumerate(pbxs, 1))

    def _peers_can_connect(self, where: str, pbx: PbxSettings) -> None:
        """Report a PBX whose calls would never reach us."""
        if any(problem.path.startswith("agi.allow") for problem in self.problems):
            return
        if not any(_overlap(peer, network) for peer in pbx.networks for network in self.file.agi.networks):
            self._problem(
                f"{where}: peers",
                "allow under [agi] has none of these addresses, so this PBX could not connect",
                "allow them there, or correct them here",
            )

    def _pbx_times_fit(self, where: str, pbx: PbxSettings) -> None:
        if pbx.ami_reconnect_seconds > pbx.ami_reconnect_limit_seconds:
            self._problem(
                f"{where}: ami_reconnect_seconds", "is longer than ami_reconnect_limit_seconds, which it grows to"
            )
        if pbx.ami_connect_timeout_seconds <= SHORTEST_LOGIN_SECONDS:
            self.warnings.append(
                Problem(
                    f"{where}: ami_connect_timeout_seconds",
                    "is over before Asterisk says that a secret is wrong, which takes it a second",
                    "allow two seconds or more",
                )
            )

    def _no_peer_twice(self) -> None:
        """Report an address that would be two PBXs at once."""
        unread = {problem.path.partition(": ")[0] for problem in self.problems if ": peers" in problem.path}
        for number, pbx in enumerate(self.file.pbx):
            for other in self.file.pbx[:number]:
                if {f'pbx "{pbx.name}"', f'pbx "{other.name}"'} & unread:
                    continue  # the defaults stand in for what could not be read
                if pbx.name != other.name and any(_overlap(a, b) for a in pbx.networks for b in other.networks):
                    self._problem(
                        f'pbx "{pbx.name}": peers',
                        f'has an address that "{other.name}" has too, so nobody could tell whose a call is',
                        "give each PBX its own",
                    )

    def _with_secret(self, number: int, pbx: PbxSettings, need_keys: bool) -> PbxSettings:
        """Return a PBX with the secret of its manager user and with its authority's certificates, as far as they are needed."""
        if not need_keys:
            return pbx
        where = f'pbx "{pbx.name}"' if pbx.name else f"pbx {number}"
        path, name = f"{where}: ami_secret_file", pbx.ami_secret_file
        secret = self.environ.get(pbx.ami_secret_env or "", "").strip()
        unread = False
        if not secret and name:
            content = self._read(path, name)
            secret, unread = (content or "").strip(), content is None
        if not (secret.isascii() and secret.isprintable()) or ";" in secret:
            self._problem(path, "the secret holds signs that manager.conf cannot carry", "letters and digits will do")
        elif not secret and not unread:
            hint = (
                f"set {pbx.ami_secret_env}" if pbx.ami_secret_env else "name an environment variable in ami_secret_env"
            )
            self._problem(path, f"there is no secret for {pbx.ami_user}", f"{hint}, or a file in ami_secret_file")
        return pbx.with_secret(SecretStr(secret), self._authority(where, pbx))

    def _authority(self, where: str, pbx: PbxSettings) -> str:
        if pbx.ami_ca_file is None:
            return ""
        path = f"{where}: ami_ca_file"
        if not pbx.ami_tls:
            self._problem(path, "is of no use without ami_tls = true")
        content = self._read(path, pbx.ami_ca_file)
        if content is not None and "-----BEGIN CERTIFICATE-----" not in content:
            self._problem(path, f"{pbx.ami_ca_file} holds no certificate in PEM")
        return content or ""

    def _webhooks(self, need_keys: bool) -> tuple[WebhookSettings, ...]:
        """Return who is told of calls, each with its secret, after a look at where they are."""
        seen: set[str] = set()
        for hook in self.file.webhook:
            where = f'webhook "{hook.name}"'
            if hook.name in seen:
                self._problem(where, "the name is given to two webhooks", "rename one of them")
            seen.add(hook.name)
            self._webhook_is_safe(where, hook)
            if hook.retry_seconds > hook.retry_limit_seconds:
                self._problem(f"{where}: retry_seconds", "is longer than retry_limit_seconds, which it grows to")
        return tuple(self._signing(hook) if need_keys else hook for hook in self.file.webhook)

    def _webhook_is_safe(self, where: str, hook: WebhookSettings) -> None:
        """Report a webhook that would tell the network who calls whom."""
        scheme, host = urlsplit(hook.url).scheme, urlsplit(hook.url).hostname or ""
        if scheme == "https":
            if hook.plain_http_reason:
                self._problem(f"{where}: plain_http_reason", "is of no use with https", "take it out")
        elif not _is_near(host):
            hint = "use https; plain http is for this machine and for private networks"
            self._problem(f"{where}: url", "would send numbers of callers over the network unencrypted", hint)
        elif not hook.plain_http_reason:
            hint = 'use https, or say why not, such as plain_http_reason = "the CRM is on this machine"'
            self._problem(f"{where}: plain_http_reason", "is missing: what is sent can be read on the way", hint)

    def _signing(self, hook: WebhookSettings) -> WebhookSettings:
        """Return a webhook with its secret and its authority's certificates."""
        where = f'webhook "{hook.name}"'
        path, secret, unread = f"{where}: secret_file", self.environ.get(hook.secret_env or "", "").strip(), False
        if secret:
            path = hook.secret_env or path
        elif hook.secret_file:
            content = self._read(path, hook.secret_file)
            secret, unread = (content or "").strip(), content is None
        if not secret and not unread:
            hint = f"set {hook.secret_env}" if hook.secret_env else "name a file in secret_file"
            self._problem(path, "there is no secret to sign events with", hint)
        elif secret:
            try:
                key_of(secret)
            except ValueError as error:
                hint = "such as `echo whsec_$(openssl rand -base64 32)` prints"
                self._problem(path, f"the secret is of no use: {error}", hint)
        authority = ""
        if hook.ca_file is not None:
            authority = self._read(f"{where}: ca_file", hook.ca_file) or ""
            if authority and "-----BEGIN CERTIFICATE-----" not in authority:
                self._problem(f"{where}: ca_file", f"{hook.ca_file} holds no certificate in PEM")
        return hook.with_secret(SecretStr(secret), authority)

    def _key_suggestion(self, name: str) -> str:
        if name == DEFAULT_ACCOUNT:
            return "set MILLIS_API_KEY, or name a file in MILLIS_API_KEY_FILE or api_key_file"
        variable = self.file.account[name].api_key_env
        if variable:
            return f"set {variable}, or name a file in api_key_file"
        return "name a file in api_key_file, or an environment variable in api_key_env"


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _is_here(host: str) -> bool:
    """Return whether a connection to *host* stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_near(host: str) -> bool:
    """Return whether *host* is on this machine or in a private network; so is every name of one word, such as of a container."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # What begins with a digit, the resolver may take for an address.
        return host[:1].isalpha() and "." not in host
    return any(address in ipaddress.ip_network(text) for text in PRIVATE_NETWORKS)


def _meet(one: Address, other: Address) -> bool:
    """Return whether two sockets could not listen at both; port 0 is whichever is free."""
    if one.port != other.port or not one.port:
        return False
    if one.host == other.host:
        return True
    try:
        ips = ipaddress.ip_address(one.host), ipaddress.ip_address(other.host)
    except ValueError:
        return False
    # A socket for all of IPv6 is opened without IPv4.
    return ips[0].version == ips[1].version and any(ip.is_unspecified for ip in ips)


def _can_reach(network: Network, listening: str) -> bool:
    """Return whether a connection from *network* can arrive at the address *listening*; of a host name, who knows."""
    on_this_machine = any(network.overlaps(loopback) for loopback in _LOOPBACK)
    if listening == "localhost":
        return on_this_machine
    try:
        address = ipaddress.ip_address(listening)
    except ValueError:
        return True
    if network.version != address.version:
        return False
    if address.is_loopback:
        return on_this_machine
    return address.is_unspecified or not network.is_loopback


def _problem(found: Any, raw: Mapping[str, Any]) -> Problem:
    """Return a finding of pydantic's in our words, with its place in the file and what to do."""
    place, kind, value = _existing(found["loc"], raw), found["type"], found["input"]
    path = _path(place, raw)
    if kind == "missing":
        return Problem(f"{path}.{found['loc'][-1]}", "is missing")
    if kind == "extra_forbidden":
        return Problem(path, "there is no such key", _closest(str(place[-1]), _keys_beside(place)))
    if kind == "string_type" and isinstance(value, int | float) and not isinstance(value, bool):
        phone = "did" in place or "caller" in place
        hint = f'write "{value}"' + (' with its "+" and leading zeros' if phone else "")
        return Problem(path, f"the number {value} has no quotes", hint)
    if kind == "list_type" and place in (("route",), ("pbx",), ("transfer",), ("token",), ("webhook",)):
        hint = f"write [[{path}]], with two brackets on each side"
        return Problem(path, f"is one table, but {'PBXs' if path == 'pbx' else path + 's'} are a list", hint)
    if kind == "value_error":
        error = found["ctx"]["error"]
        hint = 'write a number, or a pattern such as "_1NXXNXXXXXX" or "_X."' if isinstance(error, PatternError) else ""
        return Problem(path, str(error), hint)
    if kind in ("model_type", "dict_type"):
        return Problem(path, "must be a table")
    if kind == "string_pattern_mismatch" and place[-1:] == ("sha256",):
        return Problem(path, "is no hash of a token", "agi-bridge token prints one, with the token to give away")
    if kind in ("too_short", "string_too_short"):
        return Problem(path, "must not be empty")
    hint = "without quotes" if kind in ("int_type", "float_type", "bool_type") and isinstance(value, str) else ""
    return Problem(path, found["msg"][0].lower() + found["msg"][1:], hint)


def _existing(place: Sequence[Any], raw: Any) -> tuple[Any, ...]:
    """Return the beginning of *place* that is there in the file, where a list of one may be written without brackets."""
    there: list[Any] = []
    for part in place:
        if part not in (raw if isinstance(raw, dict) else range(len(raw)) if isinstance(raw, list) else ()):
            break
        there.append(part)
        raw = raw[part]
    return tuple(there)


def _remove(place: Sequence[Any], raw: Any) -> None:
    for part in place[:-1]:
        raw = raw[part]
    del raw[place[-1]]


def _path(place: Sequence[Any], raw: Mapping[str, Any]) -> str:
    """Return a place in the file as the operator knows it: a route or PBX by its name, list members counted from 1."""
    head = ""
    if place[0] in ("route", "pbx", "webhook") and len(place) > 1:
        table = raw[place[0]][place[1]]
        name = table.get("name") if isinstance(table, dict) else None
        head = f'{place[0]} "{name}"' if name and isinstance(name, str) else f"{place[0]} {place[1] + 1}"
        place = place[2:]
    words = (f"[{part + 1}]" if isinstance(part, int) else "." + (part or '""') for part in place)
    tail = "".join(words).removeprefix(".")
    return f"{head}: {tail}" if head and tail else head or tail


def _keys_beside(place: Sequence[Any]) -> list[str]:
    """Return the keys that may stand where an unknown one was found."""
    model: type[BaseModel] = File
    for part in place[:-1]:
        if not isinstance(part, str) or part not in model.model_fields:
            continue
        inner = [model.model_fields[part].annotation, *get_args(model.model_fields[part].annotation)]
        model = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def _closest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"there are: {', '.join(known)}" if known else ""
