"""What the gatherers bring and the checks read: plain values about Millis, the bridge and one PBX. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agi_bridge.dialplan import FEATURE_OPTIONS
from agi_bridge.doctor.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agi_bridge.config import Config
    from agi_bridge.doctor.console_text import Context


@dataclass(frozen=True, slots=True)
class Expected:
    """What the configuration of the bridge expects of a PBX. Without a configuration, what is shipped expects."""

    endpoints: tuple[str, ...] = ("millis",)
    fallbacks: Mapping[str, str] = field(default_factory=dict)  # place -> who names it
    agent_hosts: tuple[str, ...] = ("*.millis.ai",)
    listen: tuple[str, ...] = ()
    secret: str | None = None  # None: not known
    setup_timeout_seconds: float = 0.0
    longest_call_seconds: int = 0
    command_limit_bytes: int = 0
    music: bool = False
    prompt: bool = False
    feature_keys: Mapping[str, str] = field(default_factory=dict)  # rule -> its dial_options that hold some

    @classmethod
    def of(cls, config: Config, *, knows_secret: bool) -> Expected:
        """Return what *config* expects; with *knows_secret* its files were read, so that no secret means that there is none."""
        rules = [rule for rule in config.rules.rules if not rule.reject]
        default = {config.rules.default_fallback: "fallback under [defaults]"} if config.rules.default_fallback else {}
        return cls(
            endpoints=tuple(dict.fromkeys(rule.dialling.endpoint for rule in rules)) or ("millis",),
            fallbacks=default | {rule.fallback: f'the rule "{rule.name}"' for rule in rules},
            agent_hosts=tuple(config.millis.allowed_hosts),
            listen=tuple(config.agi.listen),
            secret=config.agi.secret.get_secret_value() if knows_secret else None,
            setup_timeout_seconds=config.agi.setup_timeout_seconds,
            longest_call_seconds=max((rule.dialling.max_duration_seconds for rule in rules), default=0),
            command_limit_bytes=config.agi.command_limit_bytes,
            music=any(rule.welcome.music for rule in rules),
            prompt=any(rule.welcome.prompt for rule in rules),
            feature_keys={
                rule.name: rule.dialling.dial_options
                for rule in rules
                if FEATURE_OPTIONS & frozenset(rule.dialling.dial_options)
            },
        )

    @property
    def agents_are_near(self) -> bool:
        """Return whether every agent is on this machine or network, as the simulated ones are."""
        return all(_is_near(host) for host in self.agent_hosts)


@dataclass(frozen=True)  # no slots, because of the cached property
class PbxFacts:
    """One PBX as its console tells it. What could not be read is empty."""

    version: str = ""
    modules: Mapping[str, bool] = field(default_factory=dict)
    contexts: Mapping[str, Context] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)  # global ones
    endpoints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # with the addresses they are known by
    endpoint_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    transports: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # name -> protocol, bound address
    transport_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    rtp_ports: tuple[int, int] | None = None
    rtp_is_strict: bool = True
    places: Mapping[str, bool] = field(default_factory=dict)  # fallback -> exists
    own_address: str = ""  # from which its packets leave for Millis

    @cached_property
    def paths(self) -> Paths:
        """Return which way calls take through the dialplan."""
        return Paths(self.contexts, self.variables)


@dataclass(frozen=True, slots=True)
class Ping:
    """A test call through the PBX's own dialplan to the bridge. `trouble` says why it was not made."""

    status: str = ""
    agistatus: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """What one region of Millis answered to `GET /user/info`, and how soon. `trouble` says why it did not."""

    region: str
    url: str
    account: str
    trouble: str = ""
    trouble_is_of_tls: bool = False
    connect_ms: float = 0.0
    tls_ms: float = 0.0
    first_byte_ms: float = 0.0
    status: int = 0
    detail: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    certificate_days: float | None = None  # None: no TLS
    clock_ahead_seconds: float | None = None  # ours, before theirs; None: they do not tell theirs


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What Millis answered to `GET /agents/{id}`."""

    agent_id: str
    rules: tuple[str, ...]
    region: str
    status: int = 0
    detail: str = ""
    state: str = ""  # active or disabled, where it is told
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class BridgeFacts:
    """The bridge on this machine: what answers on its ports, and what the machine allows it."""

    pong: str = ""  # "ok", or what came of a `ping` to the first address
    web: Mapping[str, Any] | None = None  # /readyz of the first worker; None: nobody answers
    web_trouble: str = ""
    taken: Mapping[str, bool] = field(default_factory=dict)  # address -> somebody holds it, or it is not to be had
    not_ours: Mapping[str, str] = field(default_factory=dict)  # address -> why it cannot be listened on
    open_files: int = 0  # that a process may have
    open_files_of_bridge: bool = False
    somaxconn: int = 0


def is_private(address: str) -> bool:
    """Return whether *address* is one that the internet does not route to; of a name, nobody knows."""
    try:
        return not ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _is_near(host: str) -> bool:
    return host == "localhost" or (not host.startswith("*") and is_private(host))
