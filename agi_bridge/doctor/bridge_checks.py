"""Whether the bridge itself can take calls: its configuration, its ports, its limits. Pure: facts in, findings out."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from agi_bridge.doctor.finding import Check, Finding, Severity, fine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agi_bridge.config import Config
    from agi_bridge.doctor.facts import BridgeFacts
    from agi_bridge.errors import Problem

# A call that is being set up holds one connection from Asterisk and one to Millis.
_FILES_A_CALL = 2


def check_config(
    path: str, problems: Sequence[Problem], warnings: Sequence[Problem], rules: int | None
) -> Iterator[Finding]:
    """Tell what is wrong with the configuration, as `agi-bridge check` does; *rules* is None where it cannot be used.

    Where it can be used in spite of problems, a key or a secret is missing, which the service may have all the same.
    """
    useless = "a bridge does not start with it, and one that runs keeps its old configuration"
    unknown = "a bridge that is started from here does not start; the service may have it in an environment of its own"
    for severity, found, why in (
        (Severity.ERROR if rules is None else Severity.WARNING, problems, useless if rules is None else unknown),
        (Severity.WARNING, warnings, "it does not stop the bridge"),
    ):
        for problem in found:
            told = f"{problem.path}: {problem.message}"
            yield Finding(severity, Check.BRIDGE_CONFIG, path, told, why, problem.suggestion)
    if rules is not None and not problems and not warnings:
        yield fine(Check.BRIDGE_CONFIG, path, f"the configuration is good: {rules} rule{'s' if rules != 1 else ''}")


def check_bridge(config: Config, facts: BridgeFacts, version: str, pbx_hosts: Sequence[str] = ()) -> Iterator[Finding]:
    """Yield what there is to say of the bridge on this machine; *version* is that of this command."""
    yield from check_running(config, facts, version)
    yield from check_ports(config, facts)
    yield check_listen(config, pbx_hosts)
    yield from check_limits(config, facts)


def check_running(config: Config, facts: BridgeFacts, version: str) -> Iterator[Finding]:
    """Judge whether a bridge runs here and takes calls."""
    where = config.agi.listen[0]
    looked_at = f"ping to agi://{where}" + (f"; http://{config.web.listen[0]}/readyz" if config.web.listen else "")
    if facts.pong != "ok" and facts.web is None:
        yield Finding(
            Severity.ERROR,
            Check.BRIDGE_RUNNING,
            looked_at,
            f"no bridge answers: {facts.pong}",
            "every call takes its fallback",
            "start it: systemctl start agi-bridge, docker compose up -d, or agi-bridge serve",
        )
        return
    standing = facts.web or {}
    if facts.pong != "ok":
        yield Finding(
            Severity.ERROR,
            Check.BRIDGE_RUNNING,
            looked_at,
            f"the web port answers, and the port for Asterisk does not: {facts.pong}",
            "every call takes its fallback",
            "does it want a secret that this command does not know? Its log says what it refused; else restart it",
        )
    elif not standing.get("ready", True):
        yield Finding(
            Severity.ERROR,
            Check.BRIDGE_RUNNING,
            looked_at,
            f"the bridge is not ready: {standing.get('why_not')}",
            "new calls take their fallback",
            "docs/operations.md, Health",
        )
    regions = standing.get("regions")
    for region, state in regions.items() if isinstance(regions, dict) else ():
        if state == "open":
            yield Finding(
                Severity.WARNING,
                Check.BRIDGE_RUNNING,
                looked_at,
                f"the running bridge counts the region {region} as down",
                "its calls go to the other region, or to their fallback",
                "see millis-region; the bridge tries again by itself",
            )
    if (running := standing.get("version")) and running != version:
        yield Finding(
            Severity.WARNING,
            Check.BRIDGE_RUNNING,
            looked_at,
            f"version {running} runs, and {version} is installed",
            "what you read and what you changed is not what takes the calls",
            "restart the bridge",
        )
    if waiting := standing.get("needs_restart"):
        yield Finding(
            Severity.WARNING,
            Check.BRIDGE_RUNNING,
            looked_at,
            f"changed, but waiting for a restart: {', '.join(map(str, waiting))}",
            "the bridge runs with the old values",
            "restart the bridge",
        )
    if facts.pong == "ok" and standing.get("ready", True):
        told = f", version {running}" if running else ""
        yield fine(Check.BRIDGE_RUNNING, looked_at, f"the bridge takes calls{told}")


def check_ports(config: Config, facts: BridgeFacts) -> Iterator[Finding]:
    """Judge whether the ports can be had, or are held by our own bridge."""
    ours = facts.pong == "ok" or facts.web is not None
    looked_at = "listen under [agi] and [web]"
    trouble = False
    for address, why in facts.not_ours.items():
        trouble = True
        yield Finding(
            Severity.ERROR,
            Check.BRIDGE_PORTS,
            looked_at,
            f"{address} cannot be listened on: {why}",
            "the bridge does not start",
            "correct listen: it wants an address of this machine, and a port from 1024 on",
        )
    for address, taken in facts.taken.items():
        if taken and not ours:
            trouble = True
            yield Finding(
                Severity.ERROR,
                Check.BRIDGE_PORTS,
                looked_at,
                f"another program holds {address}, or a bridge that does not answer",
                "the bridge does not start",
                f"ss -ltnp 'sport = :{address.rpartition(':')[2]}' says which (agi-bridge.socket of systemd is meant to); "
                "stop it, or choose another port",
            )
    if not trouble:
        yield fine(Check.BRIDGE_PORTS, looked_at, "held by the running bridge" if ours else "free")


def check_listen(config: Config, pbx_hosts: Sequence[str]) -> Finding:
    """Judge whether the PBXs that are configured can reach an address of `listen`."""
    looked_at = "listen and allow under [agi]"
    listen = ", ".join(config.agi.listen)
    only_here = all(_is_loopback(address.host) for address in config.agi.addresses)
    elsewhere = [host for host in pbx_hosts if not _is_loopback(host)]
    if only_here and elsewhere:
        return Finding(
            Severity.ERROR,
            Check.BRIDGE_LISTEN,
            looked_at,
            f"the bridge listens on {listen} alone, and the PBX is at {elsewhere[0]}",
            "that PBX cannot reach the bridge, and every call takes its fallback",
            'listen = "0.0.0.0:4573", or better the private address that the PBX knows, and allow = ["'
            + elsewhere[0]
            + '"]',
        )
    refused = [host for host in elsewhere if not _admits(config, host)]
    if refused:
        return Finding(
            Severity.ERROR,
            Check.BRIDGE_LISTEN,
            looked_at,
            f"allow does not hold the PBX at {refused[0]}",
            "the bridge refuses its connections, and every call takes its fallback",
            f'add "{refused[0]}" to allow under [agi]',
        )
    return fine(
        Check.BRIDGE_LISTEN, looked_at, f"it listens on {listen}" + (", this machine alone" if only_here else "")
    )


def check_limits(config: Config, facts: BridgeFacts) -> Iterator[Finding]:
    """Judge what the machine allows against what the configuration wants."""
    needed = _FILES_A_CALL * config.agi.session_limit
    good = True
    if 0 < facts.open_files < needed:
        good = False
        whose = "the running bridge" if facts.open_files_of_bridge else "this shell; the service has a limit of its own"
        yield Finding(
            Severity.INFO if not facts.open_files_of_bridge else Severity.WARNING,
            Check.BRIDGE_LIMITS,
            "the limit on open files",
            f"{facts.open_files:,} for {whose}; session_limit = {config.agi.session_limit:,} needs {needed:,}",
            "when files run out, new calls are refused and take their fallback",
            "raise LimitNOFILE in the unit (ulimits in compose), or lower session_limit under [agi]",
        )
    if 0 < facts.somaxconn < config.agi.backlog:
        good = False
        yield Finding(
            Severity.WARNING,
            Check.BRIDGE_LIMITS,
            "net.core.somaxconn",
            f"{facts.somaxconn}, and backlog = {config.agi.backlog}",
            "in a burst of calls the kernel drops connections, and Asterisk gives up on one after 2 s",
            f"sysctl -w net.core.somaxconn={max(config.agi.backlog, 4096)}, and the same line in /etc/sysctl.d",
        )
    if good:
        yield fine(
            Check.BRIDGE_LIMITS,
            "open files, net.core.somaxconn",
            f"room for {config.agi.session_limit:,} connections, and {config.agi.backlog:,} that wait",
        )


def _admits(config: Config, host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True  # a name: nobody knows what it will stand for
    return any(address in network for network in config.agi.networks if network.version == address.version)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
