"""How a file becomes a `Config`: the text is read, its tables are looked at together, and every problem is told at once."""

from __future__ import annotations

import ipaddress
import json
import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from agi_bridge import dialplan, metadata
from agi_bridge.access import Scope, Token
from agi_bridge.agi.protocol import get_full_variable
from agi_bridge.config.address import (
    can_reach,
    is_here,
    is_near,
    is_open_to_others,
    is_plain_http_elsewhere,
    is_plain_http_here,
    meet,
    overlap,
)
from agi_bridge.config.agi import SECRET, SHIPPED_BUDGET_SECONDS, SHORTEST_SAFE_SECRET, AgiSettings
from agi_bridge.config.file import File, checked, parsed
from agi_bridge.config.log import LogSettings
from agi_bridge.config.metadata import MetadataSettings
from agi_bridge.config.millis import DEFAULT_ACCOUNT, BackfillSettings, MillisSettings
from agi_bridge.config.numbers import NumberSettings
from agi_bridge.config.originate import OriginateSettings
from agi_bridge.config.pbx import SHORTEST_LOGIN_SECONDS, PbxSettings
from agi_bridge.config.prefetch import PrefetchSettings
from agi_bridge.config.reading import closest
from agi_bridge.config.records import RecordSettings
from agi_bridge.config.route import SHIPPED_LONGEST_CALL_SECONDS, RouteSettings
from agi_bridge.config.table import DATABASE_URL, NAME, NAME_RULE
from agi_bridge.config.web import WebSettings
from agi_bridge.config.webhook import WebhookSettings
from agi_bridge.dialplan import SipUri
from agi_bridge.errors import BadSipUri, ConfigError, Problem, UnsafeText
from agi_bridge.events.signature import key_of
from agi_bridge.millis.models import REGIONS
from agi_bridge.numbers import Numbers, Pattern
from agi_bridge.routing import WITHHELD, Agent, Dialling, Rule, RuleBook, Welcome
from agi_bridge.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    ReadFile = Callable[[str], bytes]


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
    file, problems = checked(parsed(text))
    need_secret = need_keys if need_secret is None else need_secret
    return _Reader(file, problems, environ, read_file).config(need_keys, need_secret)


def where_to_ask(text: str) -> tuple[WebSettings, int]:
    """Return where a running bridge is asked, and how many workers it has; raise ConfigError.

    All the rest of the file may be wrong: a bridge that runs can be asked while its next configuration is being written.
    """
    raw = parsed(text)
    agi = raw.get("agi")
    workers = {"workers": agi["workers"]} if isinstance(agi, dict) and "workers" in agi else {}
    file, problems = checked({"web": raw.get("web", {}), "agi": workers})
    if problems:
        raise ConfigError(problems)
    return file.web, file.agi.workers


def where_records_are(text: str, environ: Mapping[str, str], read_file: ReadFile) -> tuple[RecordSettings, Numbers]:
    """Return where records are kept, and how numbers are read; raise ConfigError. The rest of the file may be wrong."""
    raw = parsed(text)
    file, problems = checked({name: raw[name] for name in ("records", "numbers") if name in raw})
    reader = _Reader(file, problems, environ, read_file)
    records = reader.records()
    if problems:
        raise ConfigError(problems)
    return records, Numbers(file.numbers.default_country)


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
            hint = closest(account, self.file.account) or f"add [account.{account}] with an api_key_file"
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
                "originate.pbx", f'there is no [[pbx]] with the name "{originate.pbx}"', closest(originate.pbx, names)
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
        elif not NAME.fullmatch(name):
            self._problem(f"{where}: name", NAME_RULE)
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
                if any(meet(ours, theirs) for theirs in agi.addresses):
                    whose = f"the web port of worker {worker} would be {ours}" if worker > 1 else f"{ours}"
                    self._problem(
                        "web.listen", f"{whose}, where listen under [agi] waits for Asterisk", "choose another port"
                    )

    def _somebody_can_connect(self) -> None:
        """Report an allow list without any address that a connection to us could come from."""
        agi = self.file.agi
        unread = any(problem.path.startswith(("agi.allow", "agi.listen")) for problem in self.problems)
        reachable = any(can_reach(network, address.host) for network in agi.networks for address in agi.addresses)
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
        for text in filter(is_open_to_others, self.file.agi.listen):
            self.warnings.append(
                Problem(
                    "agi.listen",
                    f"{text} can be reached from other networks, and FastAGI has no password",
                    "listen on 127.0.0.1 or a private address, and let a firewall admit only the PBX",
                )
            )
        for text in filter(is_open_to_others, self.file.web.listen):
            self.warnings.append(
                Problem(
                    "web.listen",
                    f"{text} can be reached from other networks, and shows health and metrics to everybody",
                    "listen on 127.0.0.1 or a private address, and let a firewall admit only who watches the bridge",
                )
            )

    def _warn_about_plain_http(self) -> None:
        if any(is_plain_http_elsewhere(self.file.millis.url(region)) for region in REGIONS):
            self.warnings.append(
                Problem("millis.base_url", "sends the API key over the network unencrypted", "use https://")
            )

    def _warn_of_half_a_trial(self, rules: Iterable[Rule]) -> None:
        """Warn of calls that would leave a simulated Millis on this machine for the real one, with whatever key is used."""
        millis = self.file.millis
        simulated = {region for region, url in millis.base_url.items() if is_plain_http_here(url)}
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
        if secret and not SECRET.fullmatch(secret):
            self._problem(
                path,
                "the secret holds signs that a dialplan cannot carry, or more than 200",
                "letters, digits and . _ ~ + / = -, such as `openssl rand -hex 24` prints",
            )
        elif secret and len(secret) < SHORTEST_SAFE_SECRET:
            self.warnings.append(
                Problem(path, "the secret can be guessed", f"take at least {SHORTEST_SAFE_SECRET} signs")
            )
        return SecretStr(secret)

    def records(self) -> RecordSettings:
        """Return where records are kept, with the password that is needed to get there."""
        records, environ_url = self.file.records, self.environ.get("AGI_BRIDGE_RECORDS_URL", "").strip()
        if environ_url and not DATABASE_URL.fullmatch(environ_url):
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
        if prefetch.url and is_plain_http_elsewhere(prefetch.url):
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
            elif not NAME.fullmatch(pbx.name):
                self._problem(f"{where}: name", NAME_RULE)
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
            if not pbx.ami_tls and not is_here(pbx.ami_host):
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
        if not any(overlap(peer, network) for peer in pbx.networks for network in self.file.agi.networks):
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
                if pbx.name != other.name and any(overlap(a, b) for a in pbx.networks for b in other.networks):
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
        elif not is_near(host):
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
