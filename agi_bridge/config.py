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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from agi_bridge import dialplan, metadata
from agi_bridge.agi.protocol import Limits, get_full_variable
from agi_bridge.call import NOT_SENT_WORDS, WITHHELD_WORDS
from agi_bridge.errors import ConfigError, Problem, UnsafeText
from agi_bridge.millis.models import REGIONS
from agi_bridge.numbers import Numbers, Pattern, PatternError, known_country
from agi_bridge.routing import WITHHELD, Agent, Dialling, Rule, RuleBook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    ReadFile = Callable[[str], bytes]

DEFAULT_ACCOUNT = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*", re.ASCII)
_HTTP_URL = re.compile(
    r"https?://(\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?(?:/[^\s?#]*)?", re.ASCII
)

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


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None
    return True


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
    backlog: Annotated[int, Field(ge=1, le=65535)] = 1024
    session_limit: Annotated[int, Field(ge=1)] = 10_000
    environment_timeout_seconds: Seconds = 5.0
    setup_timeout_seconds: Seconds = 5.5
    drain_timeout_seconds: Seconds = 10.0
    line_limit_bytes: Annotated[int, Field(ge=1024, le=1_048_576)] = Limits.line_bytes
    environment_limit_bytes: Annotated[int, Field(ge=2048, le=1_048_576)] = Limits.environment_bytes
    command_limit_bytes: Annotated[int, Field(ge=512, le=8190)] = Limits.command_bytes

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


class MillisSettings(_Table):
    """`[millis]`: how Millis is reached and how long it may take."""

    region: Region = "us-west"
    base_url: Annotated[str, AfterValidator(_http_url)] | None = None
    allowed_hosts: Annotated[
        list[Annotated[str, AfterValidator(_host_pattern)]], BeforeValidator(_one_or_many), Field(min_length=1)
    ] = ["*.millis.ai"]
    api_key_file: str | None = None
    authorization_scheme: Annotated[str, AfterValidator(_scheme)] = ""
    connect_timeout_seconds: Seconds = 2.0
    timeout_seconds: Seconds = 4.0
    keepalive_seconds: Seconds = 30.0
    registration_limit: Annotated[int, Field(ge=1)] = 4_000
    response_limit_bytes: Annotated[int, Field(ge=1024, le=16_777_216)] = 65_536

    def url(self, region: str) -> str:
        """Return the address of the API of *region*, without a slash at its end."""
        return self.base_url or REGIONS[region]


class AccountSettings(_Table):
    """`[account.NAME]`: a further Millis account, whose key stands in a file or in an environment variable."""

    api_key_file: str | None = None
    api_key_env: str | None = None


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


class _RouteKeys(_Table):
    """What a `[[route]]` may say besides its conditions, and `[defaults]` for all of them."""

    agent_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    agent_config: dict[str, Any] | None = None
    agent_config_file: str | None = None
    metadata: Metadata = {}
    include_metadata_in_prompt: bool | None = None
    account: str | None = None
    region: Region | None = None
    endpoint: Endpoint | None = None
    ring_timeout_seconds: Annotated[int, Field(ge=1, le=600)] | None = None
    max_duration_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
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


class File(_Table):
    """The whole file, as it may be written."""

    agi: AgiSettings = AgiSettings()
    millis: MillisSettings = MillisSettings()
    account: dict[str, AccountSettings] = {}
    numbers: NumberSettings = NumberSettings()
    metadata: MetadataSettings = MetadataSettings()
    log: LogSettings = LogSettings()
    defaults: DefaultSettings = DefaultSettings()
    route: list[RouteSettings] = []


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that can be served. `warnings` are for the operator's eyes and stop nothing."""

    agi: AgiSettings
    millis: MillisSettings
    numbers: NumberSettings
    metadata: MetadataSettings
    log: LogSettings
    rules: RuleBook
    api_keys: Mapping[str, SecretStr]
    warnings: tuple[Problem, ...]


def load(text: str, environ: Mapping[str, str], read_file: ReadFile, *, need_keys: bool = True) -> Config:
    """Read a configuration; raise ConfigError with all its problems.

    *read_file* returns the bytes of a file named in the configuration, or raises OSError. Without *need_keys*, a missing
    Millis key is no problem: nothing will be registered.
    """
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        hint = 'texts and phone numbers stand in quotes, such as did = "+15551230001"'
        raise ConfigError([Problem("file", f"is not TOML: {error}", hint)]) from None
    try:
        file, problems = _readable(raw)
    except RecursionError:
        raise ConfigError([Problem("file", "has tables inside tables, hundreds deep")]) from None
    return _Reader(file, problems, environ, read_file).config(need_keys)


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

    def config(self, need_keys: bool) -> Config:
        file = self.file
        numbers = Numbers(file.numbers.default_country)
        default_fallback = file.defaults.fallback or ""
        rules = [self._rule(number, settings) for number, settings in enumerate(file.route, 1)]
        if not file.route and not any(problem.path.startswith("route") for problem in self.problems):
            self._problem("route", "there is no [[route]], so every call would take its fallback")
        self._no_name_twice(file.route)
        self._warn_of_shadows(file.route)
        self._deadlines_fit()
        self._warn_about_listening()
        self._warn_about_plain_http()
        api_keys = self._api_keys(need_keys)
        if self.problems:
            raise ConfigError(self.problems)
        return Config(
            file.agi,
            file.millis,
            file.numbers,
            file.metadata,
            file.log,
            RuleBook(rules, numbers, default_fallback),
            api_keys,
            tuple(self.warnings),
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
            region=chosen.get("region", self.file.millis.region),
        )
        self._question_fits(where, agent)
        return Rule(
            name=settings.name,
            fallback=chosen.get("fallback", ""),
            agent=agent,
            dialling=self._dialling(where, chosen),
            did=tuple(map(Pattern.compile, settings.did)),
            caller=tuple(Pattern.compile(text) for text in settings.caller if text != WITHHELD),
            withheld=WITHHELD in settings.caller,
            context=tuple(map(Pattern.compile, settings.context)),
            channel=tuple(map(Pattern.compile, settings.channel)),
            arguments={name: tuple(map(Pattern.compile, texts)) for name, texts in settings.arguments.items()},
            reject=settings.reject,
        )

    def _with_defaults(self, settings: RouteSettings) -> dict[str, Any]:
        """Return what holds for a route: its own keys, else those of [defaults]; metadata of both."""
        defaults = self.file.defaults.model_dump(exclude_none=True)
        own = settings.model_dump(exclude_none=True)
        if {"agent_config", "agent_config_file"} & own.keys():
            defaults.pop("agent_config", None)
            defaults.pop("agent_config_file", None)
        return {**defaults, **own, "metadata": {**defaults["metadata"], **own["metadata"]}}

    def _dialling(self, where: str, chosen: Mapping[str, Any]) -> Dialling:
        keys = ("endpoint", "ring_timeout_seconds", "max_duration_seconds", "dial_options")
        dialling = Dialling(**{key: chosen[key] for key in keys if key in chosen})
        try:
            dialplan.check_dial_options(dialling.dial_options, chosen.get("allow_feature_keys", False))
        except ValueError as error:
            self._problem(f"{where}: dial_options", str(error))
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
            self._problem(path, f"cannot read {name}: {error.strerror or error}")
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
            self._problem(
                f"{where}: name",
                "must be letters, digits, '_', '.' and '-', at most 64, and begin with a letter or digit",
            )
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
        for settings in routes:
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

    def _deadlines_fit(self) -> None:
        millis, agi = self.file.millis, self.file.agi
        if millis.connect_timeout_seconds > millis.timeout_seconds:
            self._problem(
                "millis.connect_timeout_seconds", "is longer than millis.timeout_seconds, which holds for all"
            )
        if millis.timeout_seconds >= agi.setup_timeout_seconds:
            self._problem("agi.setup_timeout_seconds", "must be longer than millis.timeout_seconds")

    def _warn_about_listening(self) -> None:
        for text in self.file.agi.listen:
            try:
                address = ipaddress.ip_address(parse_address(text).host)
            except ValueError:
                continue
            if address.is_unspecified or address.is_global:
                self.warnings.append(
                    Problem(
                        "agi.listen",
                        f"{text} can be reached from other networks, and FastAGI has no password",
                        "listen on 127.0.0.1 or a private address, and let a firewall admit only the PBX",
                    )
                )

    def _warn_about_plain_http(self) -> None:
        url = self.file.millis.base_url
        if url is None or not url.startswith("http:"):
            return
        host = url.removeprefix("http://").partition("/")[0]
        if not re.fullmatch(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?", host):
            self.warnings.append(
                Problem("millis.base_url", "sends the API key over the network unencrypted", "use https://")
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

    def _key_suggestion(self, name: str) -> str:
        if name == DEFAULT_ACCOUNT:
            return "set MILLIS_API_KEY, or name a file in MILLIS_API_KEY_FILE or api_key_file"
        variable = self.file.account[name].api_key_env
        if variable:
            return f"set {variable}, or name a file in api_key_file"
        return "name a file in api_key_file, or an environment variable in api_key_env"


def _problem(found: Any, raw: Mapping[str, Any]) -> Problem:
    """Return a finding of pydantic's in our words, with its place in the file and what to do."""
    place, kind, value = _existing(found["loc"], raw), found["type"], found["input"]
    path = _path(place, raw)
    if kind == "extra_forbidden":
        return Problem(path, "there is no such key", _closest(str(place[-1]), _keys_beside(place)))
    if kind == "string_type" and isinstance(value, int | float) and not isinstance(value, bool):
        phone = "did" in place or "caller" in place
        hint = f'write "{value}"' + (' with its "+" and leading zeros' if phone else "")
        return Problem(path, f"the number {value} has no quotes", hint)
    if kind == "list_type" and place == ("route",):
        return Problem(path, "is one table, but routes are a list", "write [[route]], with two brackets on each side")
    if kind == "value_error":
        error = found["ctx"]["error"]
        hint = 'write a number, or a pattern such as "_1NXXNXXXXXX" or "_X."' if isinstance(error, PatternError) else ""
        return Problem(path, str(error), hint)
    if kind in ("model_type", "dict_type"):
        return Problem(path, "must be a table")
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
    """Return a place in the file as the operator knows it: a route by its name, list members counted from 1."""
    head = ""
    if place[0] == "route" and len(place) > 1:
        table = raw["route"][place[1]]
        name = table.get("name") if isinstance(table, dict) else None
        head = f'route "{name}"' if name and isinstance(name, str) else f"route {place[1] + 1}"
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
