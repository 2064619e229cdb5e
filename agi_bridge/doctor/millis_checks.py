"""Whether Millis will take calls: its regions, the key, the credit, the agents. Pure: facts in, findings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agi_bridge.doctor.finding import Check, Finding, Severity, fine
from agi_bridge.errors import TOO_MANY_REQUESTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from agi_bridge.config import Config
    from agi_bridge.doctor.facts import AgentFacts, RegionFacts

# Certificates are renewed a month before their end, as a rule; less means that something is stuck.
_FEW_DAYS = 10
# A clock that is minutes off makes certificates invalid, and logs of two machines hard to compare.
_SECONDS_OFF = 30
_MINUTES_OFF = 300
# Some ten minutes of talk, by Millis's published prices.
_LITTLE_CREDIT = 1.0
# What HTTP statuses say here.
_SUCCESS, _NOT_FOUND, _REFUSALS_OF_KEYS = 200, 404, (401, 403)
_REDIRECTS, _OUTAGES = range(300, 400), (TOO_MANY_REQUESTS, *range(500, 600))


def check_millis(
    config: Config, regions: Sequence[RegionFacts], agents: Sequence[AgentFacts], not_asked: int = 0
) -> Iterator[Finding]:
    """Yield what there is to say of Millis; *not_asked* agents were too many to ask for."""
    # A region is asked once for each account, and told of once.
    for region in {facts.region: facts for facts in reversed(regions)}.values():
        yield check_region(region, config.millis.seconds_for_one_region)
        yield from check_certificate(region)
    yield from check_clock(regions)
    yield from check_accounts(regions)
    yield from check_agents(agents, not_asked)
    yield from check_standby(config)


def check_region(facts: RegionFacts, patience_seconds: float) -> Finding:
    """Judge whether a region answers, and soon enough."""
    looked_at = f"GET {facts.url}/user/info"
    if facts.trouble_is_of_tls:
        # Told in full by the check of the certificate.
        return Finding(
            Severity.ERROR,
            Check.MILLIS_REGION,
            looked_at,
            f"{facts.region}: no secure connection",
            "no call can be registered there",
            "see millis-certificate",
        )
    if facts.trouble:
        return Finding(
            Severity.ERROR,
            Check.MILLIS_REGION,
            looked_at,
            f"{facts.region}: {facts.trouble}",
            "no call can be registered there; those that may go to the other region do, a little later",
            "is Millis down, or your way to it? Try: curl -v " + facts.url + "/user/info (DNS, firewall, proxy)",
        )
    times = f"connected in {facts.connect_ms:.0f} ms"
    times += f", TLS in {facts.tls_ms:.0f} ms" if facts.certificate_days is not None else ""
    told = f"{facts.region}: first byte after {facts.first_byte_ms:.0f} ms ({times})"
    if facts.status in _OUTAGES:
        return Finding(
            Severity.ERROR,
            Check.MILLIS_REGION,
            looked_at,
            f"{facts.region}: HTTP {facts.status} {facts.detail}".rstrip(),
            "calls are refused there, and go to the other region or their fallback",
            "wait, or ask Millis; 429 means too many requests",
        )
    if facts.status in _REDIRECTS:
        return Finding(
            Severity.ERROR,
            Check.MILLIS_REGION,
            looked_at,
            f"{facts.region}: HTTP {facts.status}, a redirect",
            "the bridge follows none, because the key must not travel to where an answer points",
            "correct base_url under [millis]",
        )
    if facts.first_byte_ms > patience_seconds * 1000 / 2:
        return Finding(
            Severity.WARNING,
            Check.MILLIS_REGION,
            looked_at,
            told,
            f"a call waits for {patience_seconds:g} s there before the other region is asked; every caller hears ringing so long",
            "choose the nearer region under [millis] or for the rule; look at the way to it with mtr",
        )
    return fine(Check.MILLIS_REGION, looked_at, told)


def check_certificate(facts: RegionFacts) -> Iterator[Finding]:
    """Judge the certificate of a region."""
    looked_at = f"the certificate of {facts.url}"
    if facts.trouble_is_of_tls:
        yield Finding(
            Severity.ERROR,
            Check.MILLIS_CERTIFICATE,
            looked_at,
            f"{facts.region}: {facts.trouble}",
            "the bridge gives its key to nobody whose certificate it cannot check",
            "is the clock right? Are the authorities installed (Debian: ca-certificates)? Behind a proxy that inspects TLS, "
            "add its authority to the system's, or name it with SSL_CERT_FILE",
        )
    elif facts.certificate_days is not None and facts.certificate_days < _FEW_DAYS:
        yield Finding(
            Severity.WARNING,
            Check.MILLIS_CERTIFICATE,
            looked_at,
            f"{facts.region}: valid for {facts.certificate_days:.0f} days more",
            "then no call can be registered",
            "Millis has to renew it, or whoever runs base_url",
        )
    elif facts.certificate_days is not None:
        yield fine(
            Check.MILLIS_CERTIFICATE, looked_at, f"{facts.region}: valid for {facts.certificate_days:.0f} days more"
        )


def check_clock(regions: Iterable[RegionFacts]) -> Iterator[Finding]:
    """Judge the clock of this machine by that of Millis; two regions that agree say it once."""
    told = [facts for facts in regions if facts.clock_ahead_seconds is not None]
    if not told:
        return
    facts = min(told, key=lambda each: abs(each.clock_ahead_seconds or 0.0))
    ahead = facts.clock_ahead_seconds or 0.0
    looked_at = f"the date that {facts.url} gives"
    if abs(ahead) < _SECONDS_OFF:
        yield fine(Check.MILLIS_CLOCK, looked_at, "this machine's clock is right")
        return
    yield Finding(
        Severity.ERROR if abs(ahead) >= _MINUTES_OFF else Severity.WARNING,
        Check.MILLIS_CLOCK,
        looked_at,
        f"this machine's clock is {abs(ahead):,.0f} s {'ahead' if ahead > 0 else 'behind'}",
        "certificates seem invalid, and the times of the log and of Millis cannot be compared",
        "let the system set its clock: timedatectl set-ntp true",
    )


def check_accounts(regions: Iterable[RegionFacts]) -> Iterator[Finding]:
    """Judge each account by the first region that says anything of it."""
    accounts: dict[str, RegionFacts] = {}
    for facts in regions:
        if facts.account and facts.status and facts.status not in _OUTAGES:
            accounts.setdefault(facts.account, facts)
    for account, facts in accounts.items():
        looked_at = f"GET {facts.url}/user/info, account {account}"
        if facts.status == _SUCCESS:
            yield fine(Check.MILLIS_KEY, looked_at, f'the key of the account "{account}" is accepted')
            yield check_credit(facts.body, account, looked_at)
            continue
        remedy = "compare it with the private key at app.millis.ai/settings/keys (the public key does not do)"
        if facts.status not in _REFUSALS_OF_KEYS:
            remedy += ", and base_url with the address of the API"
        yield Finding(
            Severity.ERROR,
            Check.MILLIS_KEY,
            looked_at,
            f'the key of the account "{account}" is refused: HTTP {facts.status} {facts.detail}'.rstrip(),
            "no call of this account can be registered",
            remedy,
        )


def check_credit(info: Mapping[str, Any], account: str, looked_at: str) -> Finding:
    """Judge what is left to spend. Millis documents the names of the fields, and not what they mean."""
    credit, used = _number(info.get("credit")), _number(info.get("used_credit"))
    refill = info.get("auto_refill")
    refills = isinstance(refill, dict) and refill.get("enabled") is True
    if credit is None:
        return Finding(Severity.INFO, Check.MILLIS_CREDIT, looked_at, f'Millis tells no credit of "{account}"')
    told = f'credit {credit:,.2f} of "{account}"' + (f", used {used:,.2f}" if used is not None else "")
    told += ", refilled by itself" if refills else ""
    if credit > _LITTLE_CREDIT or refills:
        return fine(Check.MILLIS_CREDIT, looked_at, told)
    return Finding(
        Severity.ERROR if credit <= 0 else Severity.WARNING,
        Check.MILLIS_CREDIT,
        looked_at,
        told,
        "without credit Millis refuses calls, or ends them, and callers take their fallback",
        "add credit, or have it refilled by itself, at app.millis.ai",
    )


def check_agents(agents: Sequence[AgentFacts], not_asked: int) -> Iterator[Finding]:
    """Judge the agents that rules name."""
    well = []
    for agent in agents:
        looked_at = f"GET /agents/{agent.agent_id} in {agent.region}"
        rules = ", ".join(agent.rules[:5])
        if agent.status == _SUCCESS and agent.state in ("", "active"):
            well.append(agent)
        elif agent.status == _SUCCESS:
            yield Finding(
                Severity.ERROR,
                Check.MILLIS_AGENT,
                looked_at,
                f"the agent {agent.agent_id} is {agent.state}",
                f"calls of {rules} do not reach it",
                "switch it on at app.millis.ai",
            )
        elif agent.status == _NOT_FOUND:
            yield Finding(
                Severity.ERROR,
                Check.MILLIS_AGENT,
                looked_at,
                f"there is no agent {agent.agent_id}",
                f"Millis refuses the calls of {rules}",
                "copy the id of the agent from app.millis.ai into agent_id; does it belong to the account of the rule?",
            )
        else:
            # A key that is refused, or a region that is down, is told by checks of their own.
            yield Finding(
                Severity.INFO,
                Check.MILLIS_AGENT,
                looked_at,
                f"not known: {agent.trouble or f'HTTP {agent.status} {agent.detail}'.rstrip()}",
                f"whether the calls of {rules} have an agent could not be seen",
            )
    if well:
        counted = "the agent is" if len(well) == 1 else f"{len(well)} agents are"
        told = "and active" if all(agent.state for agent in well) else "(whether it is active, Millis does not tell)"
        yield fine(Check.MILLIS_AGENT, "GET /agents/{id}", f"{counted} there {told}")
    if not_asked:
        yield Finding(
            Severity.INFO,
            Check.MILLIS_AGENT,
            "GET /agents/{id}",
            f"{not_asked} more agents were not asked for",
            "so many questions at once might be refused",
        )


def check_standby(config: Config) -> Iterator[Finding]:
    """Say which rules have a standby URI. Whether Millis still keeps it cannot be asked."""
    looked_at = "standby_uri in bridge.toml"
    rules = [rule for rule in config.rules.rules if not rule.reject]
    without = [rule.name for rule in rules if rule.agent.standby_uri is None]
    if not rules:
        return
    if not without:
        yield fine(Check.MILLIS_STANDBY, looked_at, "every rule has a standby; whether Millis keeps it cannot be asked")
        return
    yield Finding(
        Severity.INFO,
        Check.MILLIS_STANDBY,
        looked_at,
        f"{len(without)} of {len(rules)} rules without a standby: {', '.join(without[:5])}",
        "while no region's API answers, their callers take the fallback",
        f"agi-bridge standby create --rule {without[0]}",
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
