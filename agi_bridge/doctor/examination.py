"""One run of the doctor: gathers everything at once, within a bounded time, and lets the checks judge it.

Every gatherer runs in a thread of its own that the process does not wait for at its end: a name that DNS does not answer for
half a minute must not hold up the report. Whatever a gatherer raises, and whoever is late, becomes a finding.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from agi_bridge import __version__
from agi_bridge.doctor.bridge_checks import check_bridge, check_config
from agi_bridge.doctor.bridge_gatherer import gather_bridge
from agi_bridge.doctor.console import USUAL_SOCKETS, NoConsole, ami_console, socket_console
from agi_bridge.doctor.facts import AgentFacts, Expected, RegionFacts
from agi_bridge.doctor.finding import Check, Finding, Part, Severity, fine, masked
from agi_bridge.doctor.millis_checks import check_millis
from agi_bridge.doctor.millis_gatherer import MOST_AGENTS, gather_agent, gather_region
from agi_bridge.doctor.pbx_checks import check_pbx, check_ping
from agi_bridge.doctor.pbx_gatherer import address_of, address_towards_the_internet, gather_pbx, ping_from
from agi_bridge.doctor.sip_checks import check_sip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agi_bridge.config import Config
    from agi_bridge.doctor.console import Console
    from agi_bridge.errors import Problem

T = TypeVar("T")

# All of it, and one question in it.
LONGEST_SECONDS = 4.0
QUESTION_SECONDS = 2.5

# Agents are asked for by so many threads, one after the other in each.
_ASKING_FOR_AGENTS = 8

# What is left to judge in, when gathering must end.
_JUDGING_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Patient:
    """What is to be examined. `config` is None where there is none that can be used; `problems` then says why."""

    config_path: str
    config: Config | None
    problems: Sequence[Problem] = ()
    has_secrets: bool = True  # keys and secrets were read with the configuration
    parts: frozenset[Part] = frozenset(Part)
    console: Path | None = None  # a control socket that was named
    usual_sockets: Sequence[str] = USUAL_SOCKETS


def examine(patient: Patient) -> list[Finding]:
    """Look at everything at once and return the findings, masked."""
    deadline = time.monotonic() + LONGEST_SECONDS
    findings = list(_of_config(patient)) if Part.BRIDGE in patient.parts else []
    findings += gathered(_work(patient, deadline), deadline)
    return [masked(finding, _secrets(patient.config)) for finding in findings]


def gathered(work: Iterable[tuple[Check, Callable[[], list[Finding]]]], deadline: float) -> list[Finding]:
    """Do all the *work* at once and return its findings; what fails, or is not done by *deadline*, is a finding too.

    Each piece stands with the check that is named when nothing comes of it.
    """
    findings = []
    for check, underway in [(check, _Underway(piece)) for check, piece in work]:
        try:
            findings += underway.result(deadline)
        except TimeoutError:
            findings.append(_unfinished(check, "it took too long"))
        except Exception as error:
            findings.append(_unfinished(check, f"{type(error).__name__}: {error}"))
    return findings


class _Underway(Generic[T]):
    """Work that has begun in a thread which nobody waits for longer than they want to."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._done = queue.SimpleQueue[tuple[T | None, Exception | None]]()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._done.put((work(), None))
        except Exception as error:
            self._done.put((None, error))

    def result(self, deadline: float) -> T:
        """Return what the work returned, or raise what it raised; TimeoutError where it is late."""
        try:
            value, error = self._done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        if error is not None:
            raise error
        return cast("T", value)


def _work(patient: Patient, deadline: float) -> Iterator[tuple[Check, Callable[[], list[Finding]]]]:
    config = patient.config
    if config and Part.MILLIS in patient.parts:
        yield Check.MILLIS_REGION, partial(_of_millis, config, deadline)
    if config and Part.BRIDGE in patient.parts:
        yield Check.BRIDGE_RUNNING, partial(_of_bridge, config)
    if Part.PBX in patient.parts:
        consoles = list(_consoles(patient, deadline))
        for name, open_console, address in consoles:
            yield Check.PBX_CONSOLE, partial(_of_pbx, patient, name, open_console, address)
        if not consoles:
            yield Check.PBX_CONSOLE, lambda: [_no_pbx()]


def _of_config(patient: Patient) -> Iterator[Finding]:
    config = patient.config
    warnings = config.warnings if config else ()
    yield from check_config(
        patient.config_path, patient.problems, warnings, len(config.rules.rules) if config else None
    )


def _of_bridge(config: Config) -> list[Finding]:
    hosts = [pbx.ami_host for pbx in config.pbxs]
    return list(check_bridge(config, gather_bridge(config, QUESTION_SECONDS), __version__, hosts))


def _of_millis(config: Config, deadline: float) -> list[Finding]:
    rules = [rule for rule in config.rules.rules if not rule.reject]
    pairs = dict.fromkeys((region, rule.agent.account) for rule in rules for region in rule.agent.regions)
    asked = {pair: _Underway(partial(gather_region, config, *pair, QUESTION_SECONDS)) for pair in pairs}
    named: dict[tuple[str, str, str], list[str]] = {}
    for rule in rules:
        agent = rule.agent
        if agent.agent_id and agent.account in config.api_keys:
            named.setdefault((agent.agent_id, agent.account, agent.regions[0]), []).append(rule.name)
    wanted = list(named.items())[:MOST_AGENTS]
    shares = [wanted[start::_ASKING_FOR_AGENTS] for start in range(_ASKING_FOR_AGENTS)]
    agents = [_Underway(partial(_agents, config, share, deadline)) for share in shares if share]
    # Something of the time must be left to judge what came.
    until = deadline - _JUDGING_SECONDS
    regions = [_region(config, *pair, underway, until) for pair, underway in asked.items()]
    known = [facts for underway in agents for facts in _soon_enough(underway, until)]
    not_asked = len(named) - len(known)
    return list(check_millis(config, regions, known, not_asked))


def _agents(
    config: Config, share: Sequence[tuple[tuple[str, str, str], list[str]]], deadline: float
) -> list[AgentFacts]:
    facts = []
    for (agent_id, account, region), rules in share:
        left = deadline - _JUDGING_SECONDS - time.monotonic()
        if left > 0:
            facts.append(gather_agent(config, agent_id, account, region, tuple(rules), min(QUESTION_SECONDS, left)))
    return facts


def _soon_enough(underway: _Underway[list[AgentFacts]], until: float) -> list[AgentFacts]:
    try:
        return underway.result(until)
    except TimeoutError:
        return []


def _region(config: Config, region: str, account: str, underway: _Underway[RegionFacts], until: float) -> RegionFacts:
    try:
        return underway.result(until)
    except TimeoutError:
        # Each step has its limit but for DNS.
        return RegionFacts(region, config.millis.url(region), account, "no answer in time; does DNS answer?")


def _consoles(
    patient: Patient, deadline: float
) -> Iterator[tuple[str, Callable[[], AbstractContextManager[Console]], str]]:
    """Yield each PBX: how it is called, what opens its console, and its address as far as it is known."""
    until = deadline - _JUDGING_SECONDS
    if patient.console is None and patient.config:
        for pbx in patient.config.pbxs:
            where = f"{pbx.name} ({pbx.ami_address})"
            yield where, partial(ami_console, pbx, until), address_of(pbx.ami_host)
    if (not (patient.config and patient.config.pbxs) or patient.console) and (path := _socket(patient)):
        console = socket_console(path, until)
        yield str(path), lambda: nullcontext(console), address_towards_the_internet()


def _socket(patient: Patient) -> Path | None:
    """Return the control socket of the Asterisk on this machine, if there is one."""
    return patient.console or next((path for path in map(Path, patient.usual_sockets) if path.exists()), None)


def _of_pbx(
    patient: Patient, name: str, open_console: Callable[[], AbstractContextManager[Console]], address: str
) -> list[Finding]:
    expected = _expected(patient)
    try:
        with open_console() as console:
            facts = gather_pbx(console, expected, address)
            ping = ping_from(console, facts)
    except NoConsole as error:
        return [_without_console(error, patient)]
    findings = [
        fine(Check.PBX_CONSOLE, "the console", f"Asterisk answers at {name}"),
        *check_pbx(facts, expected),
        *check_sip(facts, expected),
        check_ping(ping, facts),
    ]
    several = patient.config is not None and len(patient.config.pbxs) > 1
    return [replace(each, found=f"{name}: {each.found}") if several else each for each in findings]


def _expected(patient: Patient) -> Expected:
    return Expected.of(patient.config, knows_secret=patient.has_secrets) if patient.config else Expected()


def _no_pbx() -> Finding:
    return Finding(
        Severity.INFO,
        Check.PBX_CONSOLE,
        " and ".join(USUAL_SOCKETS[:1]),
        "no PBX was looked at: no Asterisk runs on this machine, and the configuration has no [[pbx]]",
        "what is wrong there cannot be seen from here",
        "run `agi-bridge doctor --only pbx` on the PBX, or describe it under [[pbx]]",
    )


def _without_console(error: NoConsole, patient: Patient) -> Finding:
    asked_for = patient.console is not None or (patient.config is not None and patient.config.pbxs)
    return Finding(
        Severity.WARNING if asked_for else Severity.INFO,
        Check.PBX_CONSOLE,
        "the console of Asterisk",
        str(error),
        "nothing of the PBX was looked at",
        error.remedy,
    )


def _unfinished(check: Check, why: str) -> Finding:
    return Finding(
        Severity.WARNING,
        check,
        f"everything about {check.part}",
        f"could not be looked at: {why}",
        f"what is wrong with {check.part} is not known",
        "try again; if it stays, please report it with the output of agi-bridge doctor --json",
    )


def _secrets(config: Config | None) -> list[str]:
    """Return what must never be told, whoever quotes it."""
    if config is None:
        return []
    of_pbxs = [pbx.secret for pbx in config.pbxs]
    return [secret.get_secret_value() for secret in (*config.api_keys.values(), config.agi.secret, *of_pbxs)]
