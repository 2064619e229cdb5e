"""The story of one call, from the dialplan's question to the answer that it acts on.

The dialplan asks with a verb: `route` (decide, register, say what to dial), `dial` (the same, and dial), `ended` (how it
went), `transferred` (how it went with whom the agent sent the caller to), `ping`. Whatever happens on the way, the dialplan is
told `MILLIS_STATUS` last, or the session fails so that it can tell; and every call ends in exactly one `Outcome`, in one line of
the log and in one report for its record.

It knows Asterisk and Millis, and who counts and records, only as the Protocols below. Decisions are made in `routing`,
`metadata` and `dialplan`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from agi_bridge import metadata
from agi_bridge.call import Call, Outcome, Reason, Report, Result, Status
from agi_bridge.dialplan import (
    TRANSFERRED,
    WARNING_VARIABLES,
    SipUri,
    dial_options,
    dial_string,
    outcome_of_dial,
    outcome_of_transfer,
    safe_call_id,
)
from agi_bridge.errors import BridgeError, CallerHungUp, MillisError
from agi_bridge.routing import Route, choose_route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from agi_bridge.agi.protocol import Request
    from agi_bridge.call import Fact
    from agi_bridge.config import Config
    from agi_bridge.millis.models import Registration
    from agi_bridge.routing import Agent, Rule, Welcome

log = structlog.get_logger(__name__)

ROUTED = Outcome(Result.COMPLETED, Reason.ROUTED)
ROUTED_FAILOVER = Outcome(Result.COMPLETED, Reason.ROUTED_FAILOVER)
ROUTED_STANDBY = Outcome(Result.COMPLETED, Reason.ROUTED_STANDBY)
ROUTED_REDIAL = Outcome(Result.COMPLETED, Reason.ROUTED_REDIAL)
PONG = Outcome(Result.COMPLETED, Reason.PONG)
UNKNOWN_VERB = Outcome(Result.OPERATOR, Reason.UNKNOWN_VERB)
INTERNAL_ERROR = Outcome(Result.BRIDGE, Reason.INTERNAL_ERROR)
# The call itself goes on in Asterisk; we shall not learn how.
BRIDGE_STOPPED = Outcome(Result.UNKNOWN, Reason.BRIDGE_STOPPED)
# With AGIEXITONHANGUP, Asterisk leaves before it can be asked whether the agent had answered; `ended` tells.
LEFT_DURING_DIAL = Outcome(Result.CALLER, Reason.LEFT_DURING_DIAL)

# What is asked for a call, and so has its place in the record of one.
_RECORDED = frozenset({"route", "dial", "ended", "transferred"})

# How much longer than our own limit the dialplan's watchdog waits, as in site/extensions.conf.
_AFTER_SETUP_SECONDS = 0.5

# Option S of Dial ends a call in time; where a PBX cannot carry it out, the watchdog does, so much later.
_AFTER_LONGEST_CALL_SECONDS = 5

# There is nothing to explain to the dialplan.
_AS_USUAL = frozenset({Reason.ROUTED, Reason.ANSWERED, Reason.PONG})

# The verbs that only report; the dialplan goes on by itself.
_REPORTS = frozenset({"ended", "transferred"})

# How Dial went, in our words and in Asterisk's. The dialplan says it with `ended`; where it does not, Asterisk is asked.
_AFTER_DIAL = {
    "bridge_call_id": "MILLIS_BRIDGE_CALL_ID",
    "millis_call_id": "MILLIS_CALL_ID",
    "dialstatus": "DIALSTATUS",
    "hangup_cause": "HANGUPCAUSE",
    "answered_seconds": "ANSWEREDTIME",
    "dialled_seconds": "DIALEDTIME",
    "hangup_source": "CHANNEL(hangupsource)",
}


class Session(Protocol):
    """What the story needs of the conversation with Asterisk; `agi.session.AgiSession` is one."""

    request: Request
    peer: str
    hung_up: bool

    def begin_set_variables(self, variables: Mapping[str, str]) -> None: ...
    async def set_variables(self, variables: Mapping[str, str]) -> None: ...
    async def get_full_variable(self, expression: str) -> str | None: ...
    async def execute(self, application: str, argument: str) -> str: ...
    def caller_waiting(self) -> AbstractAsyncContextManager[object]: ...
    def fail(self) -> None: ...
    def close(self) -> None: ...


class Registrar(Protocol):
    """What the story needs of Millis; `millis.regions.Regions` is one."""

    async def register(self, account: str, regions: Sequence[str], body: Mapping[str, Any]) -> Registration: ...
    async def abandon(self, account: str, registration: Registration) -> None: ...


class Watcher(Protocol):
    """What follows the channels of calls in their PBX; `pbx.pbxs.Pbxs` is one."""

    def follow(self, peer: str, bridge_call_id: str, channel: str, uniqueid: str, linkedid: str) -> None: ...
    def name_of(self, peer: str) -> str: ...


class Meter(Protocol):
    """What counts calls; `web.metrics.Metrics` is one."""

    def ended(self, visit: Visit, outcome: Outcome, total_seconds: float) -> None: ...


class Recorder(Protocol):
    """What makes records of reports; `records.keeper.Records` is one. It neither waits nor raises."""

    def add(self, report: Report) -> None: ...


@dataclass(slots=True)
class Visit:
    """What is known of a call so far; in the end, its line in the log. Times are in seconds of one monotonic clock.

    `config` is the one that held when the call came in. `to_tell` are the channel variables that the dialplan still has to
    be told, together with the status. `orphaned` is true while Millis may hold a registration that nobody dials, and
    `registration` is kept as long.
    `setup_seconds` is known apart from the whole only where the verb goes on to dial; there `reported` is true once the set-up
    has gone into the record, while the caller talks. `reached_by` are the ways by which the
    agent was reached at each attempt, the usual one included.
    """

    config: Config
    verb: str
    uniqueid: str
    channel: str
    received_at: datetime
    started: float
    bridge_call_id: str
    call: Call | None = None
    route: Route | None = None
    registration: Registration | None = None
    region: str = ""
    orphaned: bool = False
    millis_call_id: str = ""
    linkedid: str = ""
    decided_seconds: float | None = None
    millis_seconds: float = 0.0
    registered_seconds: float | None = None
    setup_seconds: float | None = None
    dial: Mapping[str, str] = field(default_factory=dict)
    transfer: str = ""
    redial: str = ""
    to_tell: dict[str, str] = field(default_factory=dict)
    dial_arguments: str = ""
    longest_dial_seconds: int = 0
    reached_by: set[Reason] = field(default_factory=set)
    detail: str = ""
    reported: bool = False

    @property
    def watchdog(self) -> str:
        """Return the seconds of the dialplan's watchdog while the caller waits for us; a little more than our own limit."""
        return f"{self.config.agi.setup_timeout_seconds + _AFTER_SETUP_SECONDS:g}"

    def line(self, outcome: Outcome, ended: float) -> dict[str, str | float | None]:
        """Return the fields of the call's line; what does not apply to it is left out."""
        line: dict[str, str | float | None] = {
            "verb": self.verb,
            "bridge_call_id": self.bridge_call_id,
            "uniqueid": self.uniqueid,
            "result": outcome.result,
            "reason": outcome.reason,
        }
        if self.call is not None:
            line |= {"did": self.call.did, "caller_number": self.call.caller.number, "channel": self.call.channel}
        if self.route is not None:
            line |= {"rule": self.route.rule_name, "fallback": self.route.fallback}
        if self.call is not None and outcome.reason is Reason.NO_RULE:
            line["did_received"] = self.call.did_received
            nearest = self.route.nearest if self.route else None
            if nearest is not None:
                line |= {"nearest_rule": nearest.name, "nearest_did": nearest.number}
        if self.region:
            line["region"] = self.region
        if self.millis_call_id:
            line["millis_call_id"] = self.millis_call_id
        line |= self.dial
        if self.transfer:
            line["transfer"] = self.transfer
        if self.millis_seconds:
            line["millis_ms"] = round(self.millis_seconds * 1000, 1)
        line["total_ms"] = round((ended - self.started) * 1000, 1)
        if self.orphaned:
            line["orphaned"] = True
        if self.detail:
            line["detail"] = self.detail
        return line

    def report(self, outcome: Outcome, ended: float, pbx: str) -> Report:
        """Return what this session, of the PBX of that name, has to say for the call's record, in the words of `CallRecord`."""
        facts: dict[str, Fact] = {"uniqueid": self.uniqueid, "channel": self.channel, "pbx": pbx or None}
        if self.call is not None:
            facts |= self._decision(self.call, ended)
        if self.dial:
            facts |= self._after_dial(self.received_at + timedelta(seconds=ended - self.started))
        if self.transfer:
            facts["transfer"] = self.transfer
        # A caller who has left, and one whom the rule refuses, go nowhere; of the others the dialplan takes care.
        gone = outcome.result is Result.CALLER or outcome.status is Status.REJECT
        facts |= {
            "result": outcome.result,
            "reason": outcome.reason,
            "fallback_taken": outcome.status is Status.FALLBACK and not gone,
        }
        passed = timedelta(seconds=ended - self.started if self.reported else 0)
        return Report(self.bridge_call_id, self.received_at + passed, facts)

    def _after_dial(self, ended_at: datetime) -> dict[str, Fact]:
        dialstatus, answered_seconds = self.dial["dialstatus"] or None, _whole(self.dial["answered_seconds"])
        if self.verb == "transferred":
            return {
                "transfer_dialstatus": dialstatus,
                "transfer_answered_seconds": answered_seconds,
                "transfer_ended_at": ended_at,
            }
        return {
            "dialstatus": dialstatus,
            "hangup_cause": _whole(self.dial["hangup_cause"]),
            "dialled_seconds": _whole(self.dial["dialled_seconds"]),
            "answered_seconds": answered_seconds,
            "hung_up_by": self.dial["hung_up_by"] or None,
            "ended_at": ended_at,
        }

    def _decision(self, call: Call, ended: float) -> dict[str, Fact]:
        agent = self.route.answering.agent_for(call) if self.route and self.route.answering else None
        return {
            "verb": self.verb,
            "linkedid": self.linkedid or None,
            "did": call.did,
            "caller_number": call.caller.number,
            "caller_name": call.caller.name,
            "caller_withheld": call.caller.withheld,
            "rdnis": call.rdnis,
            "rule": (self.route and self.route.rule_name) or None,
            "fallback": (self.route and self.route.fallback) or None,
            "agent_id": agent.agent_id if agent else None,
            "account": agent.account if agent else None,
            "region": self.region or None,
            "millis_call_id": self.millis_call_id or None,
            "failover": Reason.ROUTED_FAILOVER in self.reached_by,
            "standby": Reason.ROUTED_STANDBY in self.reached_by,
            "redialled": Reason.ROUTED_REDIAL in self.reached_by or bool(call.arguments.get("redial")),
            "orphaned": self.orphaned,
            "decided_seconds": _rounded(self.decided_seconds),
            "millis_seconds": _rounded(self.millis_seconds) or None,
            "registered_seconds": _rounded(self.registered_seconds),
            "longest_seconds": self.longest_dial_seconds or None,
            "setup_seconds": _rounded(ended - self.started if self.setup_seconds is None else self.setup_seconds),
            "detail": self.detail or None,
        }


class Bridge:
    """Answers sessions, any number at once. Holds no state of a call: the bridge may restart while calls go on."""

    def __init__(
        self,
        config: Config,
        millis: Registrar,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        meter: Meter | None = None,
        recorder: Recorder | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self._config = config
        self._millis = millis
        self._now = now
        self._clock = clock
        self._meter = meter
        self._recorder = recorder
        self._watcher = watcher

    def reconfigure(self, config: Config) -> None:
        """Take other rules for calls to come; each call keeps those that it began with."""
        self._config = config

    async def handle(self, session: Session) -> None:
        """Answer one session. Whatever fails, the dialplan learns it and goes on; nothing but cancellation is raised."""
        request = session.request
        # A dialplan that asks a second time for one call says which it is.
        bridge_call_id = safe_call_id(request.arguments.get("bridge_call_id", "")) or secrets.token_hex(16)
        visit = Visit(
            self._config,
            request.verb,
            request["uniqueid"],
            request["channel"],
            self._now(),
            self._clock(),
            bridge_call_id,
        )
        outcome = BRIDGE_STOPPED  # which is what remains if we are cancelled
        try:
            decided = await self._decided(session, visit)
            outcome = await self._told(session, visit, decided)
        finally:
            session.close()
            well = outcome.result in (Result.COMPLETED, Result.CALLER) and outcome is not ROUTED_STANDBY
            write = log.info if well else log.warning
            ended = self._clock()
            write("call", **visit.line(outcome, ended))
            self._count(visit, outcome, ended - visit.started)
            self._record(session, visit, outcome, ended)
        if visit.orphaned and visit.registration and visit.route and visit.route.rule:
            await self._millis.abandon(visit.route.rule.agent.account, visit.registration)

    def _count(self, visit: Visit, outcome: Outcome, total_seconds: float) -> None:
        """Count a call that is over; nothing that goes wrong in the counting may reach it."""
        if self._meter is not None:
            try:
                self._meter.ended(visit, outcome, total_seconds)
            except Exception:
                log.exception("a call was not counted", bridge_call_id=visit.bridge_call_id)

    def _record(self, session: Session, visit: Visit, outcome: Outcome, ended: float) -> None:
        """Hand over what the session has to say for the call's record; likewise."""
        if self._recorder is not None and visit.verb in _RECORDED:
            try:
                pbx = self._watcher.name_of(session.peer) if self._watcher else ""
                self._recorder.add(visit.report(outcome, ended, pbx))
            except Exception:
                log.exception("a call was not recorded", bridge_call_id=visit.bridge_call_id)

    def _follow(self, session: Session, call: Call, linkedid: str = "") -> None:
        """Have the call's channels followed in its PBX; nothing that goes wrong there may reach the call."""
        if self._watcher is not None:
            try:
                self._watcher.follow(session.peer, call.bridge_call_id, call.channel, call.uniqueid, linkedid)
            except Exception:
                log.exception("a call is not followed", bridge_call_id=call.bridge_call_id)

    async def _decided(self, session: Session, visit: Visit) -> Outcome:
        """Do what the verb asks; every failure is an outcome."""
        try:
            return await self._answer(session, visit)
        except Exception as error:
            return _outcome_of(error, visit)

    async def _told(self, session: Session, visit: Visit, outcome: Outcome) -> Outcome:
        """Set the variables on which the dialplan decides, `MILLIS_STATUS` last; return what has become of the call.

        Where they cannot be set, the session fails: the dialplan then goes on with AGISTATUS=FAILURE and an empty status.
        """
        if visit.verb in _REPORTS or session.hung_up:
            return outcome
        if outcome.reason not in _AS_USUAL:
            visit.to_tell["MILLIS_REASON"] = outcome.reason
        try:
            await session.set_variables(visit.to_tell | {"MILLIS_STATUS": outcome.status})
        except Exception as error:
            session.fail()
            untold = _outcome_of(error, visit)
            return untold if outcome.status is Status.OK else outcome
        if outcome.status is Status.OK:
            visit.orphaned = False  # the dialplan dials it
        return outcome

    def _answer(self, session: Session, visit: Visit) -> Awaitable[Outcome]:
        """Return the work that the verb asks for, to be awaited."""
        match visit.verb:
            case "route":
                return self._route(session, visit)
            case "dial":
                return self._set_up_and_dial(session, visit)
            case "ended":
                return self._ended(session, visit)
            case "transferred":
                return _at_once(_transferred(session, visit))
            case "ping":
                return _at_once(PONG)
            case _:
                visit.to_tell["MILLIS_FALLBACK"] = visit.config.rules.default_fallback
                return _at_once(UNKNOWN_VERB)

    async def _route(self, session: Session, visit: Visit) -> Outcome:
        async with session.caller_waiting():
            return await self._set_up(session, visit)

    async def _set_up(self, session: Session, visit: Visit) -> Outcome:
        """Decide who answers, and see to it that the agent can be dialled; return how, or why nothing is dialled."""
        rules = visit.config.rules
        is_outbound = session.request.arguments.get("direction") == "outbound"
        # Where the called number stands in a call that came in says nothing of one that we made.
        did = None if is_outbound else await self._asked_did(session, visit.config)
        call = visit.call = Call.from_request(session.request, rules.numbers, visit.bridge_call_id, did)
        self._follow(session, call)
        route = visit.route = choose_route(rules, call)
        visit.decided_seconds = self._clock() - visit.started
        visit.to_tell |= _before_dial(call, route)
        if route.answering is None:
            return route.refusal or INTERNAL_ERROR
        return await self._connect(session, visit, call, route.answering, call.arguments.get("redial", ""))

    async def _connect(self, session: Session, visit: Visit, call: Call, rule: Rule, failed_region: str) -> Outcome:
        """Register with Millis and put together what Dial needs; where the API is down, dial the rule's standby URI.

        *failed_region* is the one whose agent leg was dialled in vain, "" for a call's first attempt. There is no third.
        """
        agent, dialling = rule.agent_for(call), rule.dialling
        body = await self._registration(session, visit, call, agent)
        if rule.welcome and not failed_region:
            await self._welcome(session, visit, rule.welcome)
        elif rule.welcome and visit.verb == "dial":
            await self._while_waiting(session, rule.welcome)
        regions = agent.regions_after(failed_region) if failed_region else agent.regions
        visit.redial = visit.millis_call_id = ""
        try:
            registration = await self._register(session, visit, agent.account, regions, body)
        except MillisError as error:
            if agent.standby_uri is None or not error.elsewhere:
                raise
            uri, outcome = agent.standby_uri, ROUTED_STANDBY
            visit.detail = str(error)
        else:
            visit.millis_call_id = safe_call_id(registration.call_id)
            visit.detail = "; ".join(registration.earlier)
            uri = SipUri.parse(registration.sip_uri, visit.config.millis.allowed_hosts)
            if failed_region:
                outcome = ROUTED_REDIAL
            else:
                outcome = ROUTED_FAILOVER if registration.earlier else ROUTED
                visit.redial = registration.region if dialling.redial else ""
        visit.reached_by.add(outcome.reason)
        dial = dial_string(dialling.endpoint, uri)
        visit.to_tell |= {
            "MILLIS_CALL_ID": visit.millis_call_id,
            "MILLIS_REDIAL": visit.redial,
            "MILLIS_DIAL": dial,
        }
        visit.dial_arguments = f"{dial},{dialling.ring_timeout_seconds},{dial_options(dialling, rule.welcome.music)}"
        visit.longest_dial_seconds = (
            dialling.ring_timeout_seconds + dialling.max_duration_seconds + _AFTER_LONGEST_CALL_SECONDS
        )
        return outcome

    async def _welcome(self, session: Session, visit: Visit, welcome: Welcome) -> None:
        """Answer, and let the caller hear what the rule wants heard before the agent is called.

        The prompt comes before the registration, whose SIP URI may not keep; so the dialplan's watchdog is given the time
        of the prompt, and set to its usual time again with what is told next.
        """
        prompt_timeout = f"{visit.config.agi.prompt_timeout_seconds:g}"
        patient = {"TIMEOUT(absolute)": prompt_timeout} if welcome.prompt else {}
        await session.set_variables(visit.to_tell | {"MILLIS_MUSIC": welcome.music} | patient)
        visit.to_tell = {"TIMEOUT(absolute)": visit.watchdog} if welcome.prompt else {}
        await session.execute("Answer", "")
        if welcome.prompt:
            await session.execute("Playback", welcome.prompt)
        await self._while_waiting(session, welcome)

    async def _while_waiting(self, session: Session, welcome: Welcome) -> None:
        """Let the caller, who has been answered, hear music or ringing: 180 would be silence now."""
        if welcome.music:
            await session.execute("StartMusicOnHold", welcome.music)
        else:
            await session.execute("Ringing", "")

    async def _asked_did(self, session: Session, config: Config) -> str | None:
        expression = config.numbers.did_expression
        if expression is None:
            return None
        asked = (expression,)
        return metadata.answers(await session.get_full_variable(metadata.question(asked)), asked)[expression]

    async def _registration(self, session: Session, visit: Visit, call: Call, agent: Agent) -> dict[str, Any]:
        asked = metadata.expressions(agent)
        values = metadata.answers(await session.get_full_variable(metadata.question(asked)), asked)
        visit.linkedid = values[metadata.LINKEDID]
        self._follow(session, call, values[metadata.LINKEDID])
        limit = visit.config.metadata.value_limit_characters
        return metadata.registration(call, agent, metadata.build(call, agent, values, self._now(), limit))

    async def _register(
        self, session: Session, visit: Visit, account: str, regions: Sequence[str], body: Mapping[str, Any]
    ) -> Registration:
        """Register the call; what does not depend on the answer is told to the dialplan meanwhile.

        So it costs the caller nothing, and a bridge that dies here has already named the rule's own fallback.
        """
        if visit.to_tell:
            session.begin_set_variables(visit.to_tell)
            visit.to_tell = {}
        asked_at = self._clock()
        visit.registration, visit.region = None, ""
        visit.orphaned = True  # which is what remains if the caller leaves before the answer comes
        try:
            registration = visit.registration = await self._millis.register(account, regions, body)
        except MillisError as error:
            visit.orphaned = error.may_be_registered
            raise
        finally:
            answered_at = self._clock()
            visit.millis_seconds = answered_at - asked_at
        visit.registered_seconds = answered_at - visit.started
        visit.region = registration.region
        return registration

    async def _set_up_and_dial(self, session: Session, visit: Visit) -> Outcome:
        """Dial from here, for a dialplan of one line; once more where the agent leg failed and the rule allows it."""
        async with session.caller_waiting():
            outcome = await self._set_up(session, visit)
        if outcome.status is not Status.OK:
            return outcome
        outcome = await self._dial(session, visit, outcome)
        if outcome.status is Status.OK or outcome is LEFT_DURING_DIAL or not visit.redial:
            return outcome
        assert visit.call is not None and visit.route is not None and visit.route.rule is not None  # noqa: S101, PT018 - it was dialled
        visit.to_tell["TIMEOUT(absolute)"] = visit.watchdog
        try:
            async with session.caller_waiting():
                again = await self._connect(session, visit, visit.call, visit.route.rule, visit.redial)
        finally:
            # Where nothing is dialled any more, it must not cut off the fallback.
            visit.to_tell["TIMEOUT(absolute)"] = "0"
        return await self._dial(session, visit, again)

    async def _dial(self, session: Session, visit: Visit, set_up: Outcome) -> Outcome:
        """Dial and return how that went. The watchdog would end the conversation, so until then it guards its longest end."""
        await session.set_variables(visit.to_tell | {"TIMEOUT(absolute)": str(visit.longest_dial_seconds)})
        visit.to_tell = {}
        visit.orphaned, visit.registration = False, None
        now = self._clock()
        if visit.setup_seconds is None:
            visit.setup_seconds = now - visit.started
        # Whoever asks for the call while it is up finds it in the records.
        self._record(session, visit, set_up, now)
        visit.reported = True
        try:
            await session.execute("Dial", visit.dial_arguments)
            visit.to_tell = {"TIMEOUT(absolute)": "0"}
            return await self._ended(session, visit)
        except CallerHungUp:
            return LEFT_DURING_DIAL

    async def _ended(self, session: Session, visit: Visit) -> Outcome:
        """Learn how the dialled call went; Asterisk's own words go into the call's line."""
        said = session.request.arguments
        if visit.verb != "ended" or "dialstatus" not in said:
            said = await self._asked_after_dial(session)
        _note_dial(visit, said, session.request["channel"])
        if visit.transfer:
            return TRANSFERRED
        # Who hung up so early that the legs were not yet joined, Asterisk does not say; but the caller is never nobody.
        dropped = visit.dial["hung_up_by"] != "caller" and visit.dial["answered_seconds"] == "0"
        return outcome_of_dial(visit.dial["dialstatus"], visit.dial["hangup_cause"], dropped=dropped)

    async def _asked_after_dial(self, session: Session) -> Mapping[str, str]:
        """Ask Asterisk how Dial went; return it by the names of the arguments with which `ended` may say the same."""
        asked = tuple(f"${{{name}}}" for name in _AFTER_DIAL.values())
        answers = metadata.answers(await session.get_full_variable(metadata.question(asked)), asked)
        return dict(zip(_AFTER_DIAL, answers.values(), strict=True))


def _whole(said: str) -> int | None:
    """Return a number that Asterisk gives as text; None for what is none."""
    return int(said) if said.isascii() and said.isdecimal() else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


async def _at_once(outcome: Outcome) -> Outcome:
    return outcome


def _transferred(session: Session, visit: Visit) -> Outcome:
    """Return how it went with the place in the PBX that the agent had sent the caller to."""
    _note_dial(visit, session.request.arguments, session.request["channel"])
    return outcome_of_transfer(visit.dial["dialstatus"])


def _note_dial(visit: Visit, said: Mapping[str, str], channel: str) -> None:
    """Put what Dial said into the call's line, in Asterisk's own words."""
    visit.bridge_call_id = safe_call_id(said.get("bridge_call_id", "")) or visit.bridge_call_id
    visit.millis_call_id = safe_call_id(said.get("millis_call_id", ""))
    visit.transfer = said.get("transfer", "")
    dial = {name: said.get(name, "") for name in ("dialstatus", "hangup_cause", "answered_seconds", "dialled_seconds")}
    # A caller who was sent elsewhere has not hung up, and nor has anybody else.
    sent_away = visit.verb == "ended" and visit.transfer
    side = "" if sent_away else _side(said.get("hangup_source", ""), channel, dial["dialstatus"])
    visit.dial = {**dial, "hung_up_by": side}


def _outcome_of(error: Exception, visit: Visit) -> Outcome:
    """Return the outcome that *error* means; one that nobody foresaw is told in full."""
    if isinstance(error, BridgeError):
        visit.detail = str(error)
        return error.outcome
    log.error("unexpected failure", bridge_call_id=visit.bridge_call_id, uniqueid=visit.uniqueid, exc_info=error)
    return INTERNAL_ERROR


def _before_dial(call: Call, route: Route) -> dict[str, str]:
    """Return the variables that are known as soon as the route is."""
    known = {"MILLIS_BRIDGE_CALL_ID": call.bridge_call_id, "MILLIS_FALLBACK": route.fallback}
    if route.answering is not None:
        dialling = route.answering.dialling
        known["MILLIS_DIAL_TIMEOUT"] = str(dialling.ring_timeout_seconds)
        known["MILLIS_DIAL_OPTIONS"] = dial_options(dialling, route.answering.welcome.music)
        if dialling.warning_seconds:
            known |= WARNING_VARIABLES
    return known


def _side(hangup_source: str, channel: str, dialstatus: str) -> str:
    """Return who hung up: CHANNEL(hangupsource) names a channel; it is empty where a limit ended the call, or nobody has.

    After a redial it may still name the agent's leg of the first attempt; and only a caller ends a Dial with CANCEL.
    """
    if not hangup_source:
        return "pbx" if dialstatus == "ANSWER" else ""
    if dialstatus == "CANCEL":
        return "caller"
    return "caller" if hangup_source == channel else "agent"
