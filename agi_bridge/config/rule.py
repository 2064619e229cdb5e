"""The rules that routes become: each with what `[defaults]` adds, after a look at how its keys fit together."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

from agi_bridge import dialplan, metadata
from agi_bridge.agi.protocol import get_full_variable
from agi_bridge.config.millis import DEFAULT_ACCOUNT
from agi_bridge.config.reading import called, closest
from agi_bridge.config.table import NAME, NAME_RULE
from agi_bridge.dialplan import SipUri
from agi_bridge.errors import BadSipUri, UnsafeText
from agi_bridge.millis.models import REGIONS
from agi_bridge.numbers import Pattern
from agi_bridge.routing import WITHHELD, Agent, Dialling, Rule, Welcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agi_bridge.config.file import File
    from agi_bridge.config.millis import MillisSettings
    from agi_bridge.config.reading import Reading
    from agi_bridge.config.route import DefaultSettings, RouteSettings

# What the shipped site/extensions.conf sets; the operator's own cannot be seen from here.
SHIPPED_LONGEST_CALL_SECONDS = 14_400

# The extension of a call that came without a number, as over an analogue line.
_START = "s"


def rules(file: File, reading: Reading) -> list[Rule]:
    """Return the rules in their order, after a look at each and at how they stand to each other."""
    made = [
        _rule(_named(number, settings, reading), settings, file, reading)
        for number, settings in enumerate(file.route, 1)
    ]
    if not file.route and not reading.has_refused_in("route"):
        reading.refuse("route", "there is no [[route]], so every call would take its fallback")
    _check_names(file.route, reading)
    _check_shadows(file.route, reading)
    return made


def check_durations(defaults: DefaultSettings, routes: Sequence[RouteSettings], reading: Reading) -> None:
    """Warn of calls that the dialplan, as shipped, would cut short."""
    durations = {"defaults.max_duration_seconds": defaults.max_duration_seconds} | {
        f'route "{route.name}": max_duration_seconds': route.max_duration_seconds for route in routes
    }
    for path, seconds in durations.items():
        if seconds is not None and seconds >= SHIPPED_LONGEST_CALL_SECONDS:
            reading.warn(
                path,
                f"is not shorter than the {SHIPPED_LONGEST_CALL_SECONDS} s after which the shipped dialplan ends every call",
                "raise MILLIS_LONGEST_CALL_SECONDS in site/extensions.conf above it",
            )


def _rule(where: str, settings: RouteSettings, file: File, reading: Reading) -> Rule:
    chosen = _with_defaults(settings, file.defaults)
    agent_config = _agent_config(where, chosen, reading)
    if not settings.reject:
        if _lacks(where, chosen, reading, "agent_id", "agent_config", "agent_config_file"):
            reading.refuse(f"{where}: agent_id", "is missing", "name the Millis agent, or give an agent_config")
        if _lacks(where, chosen, reading, "fallback"):
            reading.refuse(
                f"{where}: fallback",
                "is missing, so a call could be lost",
                'such as fallback = "millis-fallback,s,1", here or under [defaults]',
            )
    account = chosen.get("account", DEFAULT_ACCOUNT)
    if account != DEFAULT_ACCOUNT and account not in file.account:
        hint = closest(account, file.account) or f"add [account.{account}] with an api_key_file"
        reading.refuse(f"{where}: account", f"there is no [account.{account}]", hint)
    agent = Agent(
        agent_id=chosen.get("agent_id"),
        agent_config=agent_config,
        metadata=chosen["metadata"],
        include_metadata_in_prompt=chosen.get("include_metadata_in_prompt", False),
        account=account,
        regions=_regions(chosen, file.millis),
        standby_uri=_standby_uri(where, chosen.get("standby_uri"), file.millis.allowed_hosts, reading),
    )
    if "secret" in settings.arguments:
        reading.refuse(f"{where}: arguments", "no rule sees the argument secret", "give yours another name")
    _check_question(where, agent, file.agi.command_limit_bytes, reading)
    _check_direction(where, settings, reading)
    _check_dids(where, settings.did, reading)
    return Rule(
        name=settings.name,
        fallback=chosen.get("fallback", ""),
        agent=agent,
        dialling=_dialling(where, chosen, reading),
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


def _named(number: int, settings: RouteSettings, reading: Reading) -> str:
    """Return how a route is called in what is said about it, after a look at its name."""
    where = called("route", settings.name, number)
    if not settings.name:
        if _lacks(where, {}, reading, "name"):
            reading.refuse(f"{where}: name", "is missing", 'such as name = "sales"; it is in the log of every call')
    elif not NAME.fullmatch(settings.name):
        reading.refuse(f"{where}: name", NAME_RULE)
    return where


def _with_defaults(settings: RouteSettings, defaults: DefaultSettings) -> dict[str, Any]:
    """Return what holds for a route: its own keys, else those of [defaults]; metadata of both."""
    others = defaults.model_dump(exclude_none=True)
    own = settings.model_dump(exclude_none=True)
    if {"agent_config", "agent_config_file"} & own.keys():
        others.pop("agent_config", None)
        others.pop("agent_config_file", None)
    return {**others, **own, "metadata": {**others["metadata"], **own["metadata"]}}


def _lacks(where: str, chosen: Mapping[str, Any], reading: Reading, *keys: str) -> bool:
    """Return whether a route has none of the *keys*; one that was written, but wrongly, is not lacking."""
    return not any(key in chosen or reading.has_refused(f"{where}: {key}", f"defaults.{key}") for key in keys)


def _agent_config(where: str, chosen: Mapping[str, Any], reading: Reading) -> Mapping[str, Any] | None:
    """Return the agent's configuration, which is Millis's own and passes through unread."""
    config: Mapping[str, Any] | None = chosen.get("agent_config")
    name = chosen.get("agent_config_file")
    if name is not None:
        if config is not None:
            reading.refuse(f"{where}: agent_config_file", "stands beside agent_config; keep one of the two")
        config = _parsed_file(f"{where}: agent_config_file", name, reading)
    if config is not None:
        try:
            json.dumps(config, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            reading.refuse(
                f"{where}: agent_config", f"cannot be sent as JSON: {error}", "write dates as text, no inf or nan"
            )
        if "language" not in config:
            reading.warn(
                f"{where}: agent_config",
                "names no language",
                "Millis may then speak en-US, whatever the agent's own language is",
            )
    return config


def _parsed_file(path: str, name: str, reading: Reading) -> Mapping[str, Any] | None:
    content = reading.text(path, name)
    if content is None:
        return None
    try:
        parsed = tomllib.loads(content) if name.endswith(".toml") else json.loads(content)
    except (ValueError, RecursionError) as error:
        reading.refuse(path, f"{name} is neither JSON nor, with the ending .toml, TOML: {error}")
        return None
    if not isinstance(parsed, dict):
        reading.refuse(path, f"{name} must hold one object, not a {type(parsed).__name__}")
        return None
    return parsed


def _regions(chosen: Mapping[str, Any], millis: MillisSettings) -> tuple[str, ...]:
    """Return the regions to ask, the chosen one first; two that have one address are one."""
    first = chosen.get("region", millis.region)
    others = [region for region in REGIONS if millis.url(region) != millis.url(first)]
    return (first, *(others if chosen.get("failover", True) else ()))


def _standby_uri(where: str, text: str | None, allowed_hosts: Sequence[str], reading: Reading) -> SipUri | None:
    if text is None:
        return None
    try:
        return SipUri.parse(text, allowed_hosts)
    except BadSipUri as error:
        reading.refuse(f"{where}: standby_uri", str(error))
        return None


def _dialling(where: str, chosen: Mapping[str, Any], reading: Reading) -> Dialling:
    keys = ("endpoint", "ring_timeout_seconds", "max_duration_seconds", "warning_seconds", "dial_options", "redial")
    dialling = Dialling(**{key: chosen[key] for key in keys if key in chosen})
    try:
        dialplan.check_dial_options(dialling.dial_options, chosen.get("allow_feature_keys", False))
    except ValueError as error:
        reading.refuse(f"{where}: dial_options", str(error))
    if dialling.warning_seconds >= dialling.max_duration_seconds:
        reading.refuse(f"{where}: warning_seconds", "must be shorter than max_duration_seconds, which it comes before")
    return dialling


def _check_question(where: str, agent: Agent, command_limit_bytes: int, reading: Reading) -> None:
    """Report a rule whose expressions do not fit into one AGI command."""
    try:
        get_full_variable(metadata.question(metadata.expressions(agent))).encode(command_limit_bytes)
    except UnsafeText:
        reading.refuse(
            f"{where}: metadata",
            f"its dialplan expressions need more than the {command_limit_bytes} bytes of one AGI command",
            "shorten them, or raise command_limit_bytes under [agi] for Asterisk 20.16, 22.6 and newer",
        )


def _check_direction(where: str, settings: RouteSettings, reading: Reading) -> None:
    """Report what a rule says that only one of the other direction can."""
    if settings.direction == "inbound":
        if settings.agents:
            reading.refuse(f"{where}: agents", "is for outbound rules", 'add direction = "outbound"')
        return
    for key in ("did", "caller", "context", "channel", "arguments", "reject"):
        if getattr(settings, key):
            reading.refuse(f"{where}: {key}", "cannot stand in an outbound rule, which is chosen by its name")


def _check_dids(where: str, dids: Sequence[str], reading: Reading) -> None:
    """Warn of letters where a number is meant; Asterisk has extensions with names, so they may be right all the same."""
    for did in dids:
        if not did.startswith("_") and did != _START and any(map(str.isalpha, did)):
            reading.warn(
                f"{where}: did",
                f'"{did}" is no number, and fits only an extension of that very name',
                'write a number such as "+15551230001", or a pattern such as "_+1555124XXXX"',
            )


def _check_names(routes: Sequence[RouteSettings], reading: Reading) -> None:
    """Report a name that is given twice."""
    seen: set[str] = set()
    for settings in routes:
        if settings.name and settings.name in seen:
            reading.refuse(f'route "{settings.name}"', "the name is given to two routes", "rename one of them")
        seen.add(settings.name)


def _check_shadows(routes: Sequence[RouteSettings], reading: Reading) -> None:
    """Warn of rules, or numbers of rules, that an earlier rule takes for itself."""
    takes_all: str | None = None
    taken: dict[str, str] = {}
    for settings in (each for each in routes if each.direction == "inbound"):
        where = f'route "{settings.name}"'
        if takes_all is not None:
            reading.warn(where, f'never matches, because "{takes_all}" before it takes every call', "put it before")
        for did in settings.did:
            if did in taken:
                reading.warn(f"{where}: did", f'"{did}" is taken by "{taken[did]}" before it')
        if not (settings.caller or settings.context or settings.channel or settings.arguments):
            if not settings.did:
                takes_all = takes_all or settings.name
            taken.update({did: settings.name for did in settings.did if did not in taken})
