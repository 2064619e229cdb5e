"""The story of one call, from the dialplan's question to the answer that it acts on.

The dialplan asks with a verb: `route` (decide, register, say what to dial), `dial` (the same, and dial), `ended` (how it
went), `ping`. Whatever happens on the way, the dialplan is told `MILLIS_STATUS` last, or the session fails so that it can
tell; and every call ends in exactly one `Outcome`, in one line of the log.

It knows Asterisk and Millis only as the two Protocols below. Decisions are made in `routing`, `metadata` and `dialplan`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from agi_bridge import metadata
from agi_bridge.call import Call, Outcome, Reason, Result, Status
from agi_bridge.dialplan import SipUri, dial_options, dial_string, outcome_of_dial, safe_call_id
from agi_bridge.errors import BridgeError, CallerHungUp
from agi_bridge.routing import Route, choose_route

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from agi_bridge.agi.protocol import Request
    from agi_bridge.config import Config
    from agi_bridge.millis.models import Registration
    from agi_bridge.routing import Agent

log = structlog.get_logger(__name__)

ROUTED = Outcome(Result.COMPLETED, Reason.ROUTED)
PONG = Outcome(Result.COMPLETED, Reason.PONG)
UNKNOWN_VERB = Outcome(Result.OPERATOR, Reason.UNKNOWN_VERB)
INTERNAL_ERROR = Outcome(Result.BRIDGE, Reason.INTERNAL_ERROR)
# The call itself goes on in Asterisk; we shall not learn how.
BRIDGE_STOPPED = Outcome(Result.UNKNOWN, Reason.BRIDGE_STOPPED)
# With AGIEXITONHANGUP, Asterisk leaves before it can be asked whether the agent had answered; `ended` tells.
LEFT_DURING_DIAL = Outcome(Result.CALLER, Reason.LEFT_DURING_DIAL)

# What is asked of Asterisk once Dial is over.
_ASKED_AFTER_DIAL = (
    "MILLIS_BRIDGE_CALL_ID",
    "MILLIS_CALL_ID",
    "DIALSTATUS",
    "HANGUPCAUSE",
    "ANSWEREDTIME",
    "DIALEDTIME",
    "CHANNEL(hangupsource)",
)


class Session(Protocol):
    """What the story needs of the conversation with Asterisk; `agi.session.AgiSession` is one."""

    request: Request
    hung_up: bool

    def begin_set_variables(self, variables: Mapping[str, str]) -> None: ...
    async def set_variables(self, variables: Mapping[str, str]) -> None: ...
    async def get_full_variable(self, expression: str) -> str | None: ...
    async def execute(self, application: str, argument: str) -> str: ...
    def caller_waiting(self) -> AbstractAsyncContextManager[object]: ...
    def fail(self) -> None: ...
    def close(self) -> None: ...


class Registrar(Protocol):
    """What the story needs of Millis; `millis.client.MillisClient` is one."""

    async def register(self, account: str, region: str, body: Mapping[str, Any]) -> Registration: ...


class Meter(Protocol):
    """What counts calls; `web.metrics.Metrics` is one."""

    def ended(self, visit: Visit, outcome: Outcome, total_seconds: float) -> None: ...


@dataclass(slots=True)
class Visit:
    """What is known of a call so far; in the end, its line in the log. Times are in seconds of one monotonic clock.

    `to_tell` are the channel variables that the dialplan still has to be told, together with the status. A call keeps the
    `config` that it began with. `setup_seconds` is only known apart from the whole where the verb goes on to dial.
    """

    verb: str
    uniqueid: str
    started: float
    config: Config
    bridge_call_id: str = field(default_factory=lambda: secrets.token_hex(16))
    call: Call | None = None
    route: Route | None = None
    millis_call_id: str = ""
    region: str = ""
    millis_seconds: float = 0.0
    setup_seconds: float | None = None
    dial: Mapping[str, str] = field(default_factory=dict)
    to_tell: dict[str, str] = field(default_factory=dict)
    dial_arguments: str = ""
    detail: str = ""

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
        if self.millis_call_id:
            line["millis_call_id"] = self.millis_call_id
        line |= self.dial
        if self.millis_seconds:
            line["millis_ms"] = round(self.millis_seconds * 1000, 1)
        line["total_ms"] = round((ended - self.started) * 1000, 1)
        if self.detail:
            line["detail"] = self.detail
        return line


class Bridge:
    """Answers sessions, any number at once. Holds no state of a call: the bridge may restart while calls go on."""

    def __init__(
        self,
        config: Config,
        millis: Registrar,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        meter: Meter | None = None,
    ) -> None:
        self._config = config
        self._millis = millis
        self._now = now
        self._clock = clock
        self._meter = meter

    def reconfigure(self, config: Config) -> None:
        """Take another configuration for calls to come."""
        self._config = config

    async def handle(self, session: Session) -> None:
        """Answer one session. Whatever fails, the dialplan learns it and goes on; nothing but cancellation is raised."""
        visit = Visit(session.request.verb, session.request["uniqueid"], self._clock(), self._config)
        outcome = BRIDGE_STOPPED  # which is what remains if we are cancelled
        try:
            decided = await self._decided(session, visit)
            outcome = await self._told(session, visit, decided)
        finally:
            session.close()
            write = log.info if outcome.result in (Result.COMPLETED, Result.CALLER) else log.warning
            ended = self._clock()
            write("call", **visit.line(outcome, ended))
            self._count(visit, outcome, ended - visit.started)

    def _count(self, visit: Visit, outcome: Outcome, total_seconds: float) -> None:
        """Count a call that is over; nothing that goes wrong in the counting may reach it."""
        if self._meter is not None:
            try:
                self._meter.ended(visit, outcome, total_seconds)
            except Exception:
                log.exception("a call was not counted", bridge_call_id=visit.bridge_call_id)

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
        if visit.verb == "ended" or session.hung_up:
            return outcome
        if outcome.status is not Status.OK:
            visit.to_tell["MILLIS_REASON"] = outcome.reason
        try:
            await session.set_variables(visit.to_tell | {"MILLIS_STATUS": outcome.status})
        except Exception as error:
            session.fail()
            untold = _outcome_of(error, visit)
            return untold if outcome.status is Status.OK else outcome
        return outcome

    async def _answer(self, session: Session, visit: Visit) -> Outcome:
        match visit.verb:
            case "route" | "dial":
                async with session.caller_waiting():
                    outcome = await self._set_up(session, visit)
                return await self._dial(session, visit) if visit.verb == "dial" and outcome is ROUTED else outcome
            case "ended":
                return await self._ended(session, visit)
            case "ping":
                return PONG
            case _:
                visit.to_tell["MILLIS_FALLBACK"] = visit.config.rules.default_fallback
                return UNKNOWN_VERB

    async def _set_up(self, session: Session, visit: Visit) -> Outcome:
        """Decide, register with Millis, and put together what Dial needs; return ROUTED, or why nothing is dialled."""
        config = visit.config
        did = await self._asked_did(session, config)
        call = visit.call = Call.from_request(session.request, config.rules.numbers, visit.bridge_call_id, did)
        route = visit.route = choose_route(config.rules, call)
        visit.to_tell |= _before_dial(call, route)
        if route.answering is None:
            return route.refusal or INTERNAL_ERROR
        agent, dialling = route.answering.agent, route.answering.dialling
        body = await self._registration(session, visit, call, agent)
        registration = await self._register(session, visit, agent, body)
        visit.millis_call_id = safe_call_id(registration.call_id)
        dial = dial_string(dialling.endpoint, SipUri.parse(registration.sip_uri, config.millis.allowed_hosts))
        visit.to_tell |= {"MILLIS_CALL_ID": visit.millis_call_id, "MILLIS_DIAL": dial}
        visit.dial_arguments = f"{dial},{dialling.ring_timeout_seconds},{dial_options(dialling)}"
        return ROUTED

    async def _asked_did(self, session: Session, config: Config) -> str | None:
        expression = config.numbers.did_expression
        if expression is None:
            return None
        asked = (expression,)
        return metadata.answers(await session.get_full_variable(metadata.question(asked)), asked)[expression]

    async def _registration(self, session: Session, visit: Visit, call: Call, agent: Agent) -> dict[str, Any]:
        asked = metadata.expressions(agent)
        values = metadata.answers(await session.get_full_variable(metadata.question(asked)), asked)
        limit = visit.config.metadata.value_limit_characters
        return metadata.registration(call, agent, metadata.build(call, agent, values, self._now(), limit))

    async def _register(self, session: Session, visit: Visit, agent: Agent, body: Mapping[str, Any]) -> Registration:
        """Register the call; what does not depend on the answer is told to the dialplan meanwhile.

        So it costs the caller nothing, and a bridge that dies here has already named the rule's own fallback.
        """
        session.begin_set_variables(visit.to_tell)
        visit.to_tell = {}
        asked_at = self._clock()
        visit.region = agent.region
        try:
            return await self._millis.register(agent.account, agent.region, body)
        finally:
            visit.millis_seconds = self._clock() - asked_at

    async def _dial(self, session: Session, visit: Visit) -> Outcome:
        """Dial from here, for a dialplan of one line. The watchdog would end the conversation, so it goes first."""
        await session.set_variables(visit.to_tell | {"TIMEOUT(absolute)": "0"})
        visit.to_tell = {}
        visit.setup_seconds = self._clock() - visit.started
        try:
            await session.execute("Dial", visit.dial_arguments)
        except CallerHungUp:
            return LEFT_DURING_DIAL
        return await self._ended(session, visit)

    async def _ended(self, session: Session, visit: Visit) -> Outcome:
        """Learn how the dialled call went; Asterisk's own words go into the call's line."""
        asked = tuple(f"${{{name}}}" for name in _ASKED_AFTER_DIAL)
        values = metadata.answers(await session.get_full_variable(metadata.question(asked)), asked)
        said = dict(zip(_ASKED_AFTER_DIAL, values.values(), strict=True))
        visit.bridge_call_id = safe_call_id(said["MILLIS_BRIDGE_CALL_ID"]) or visit.bridge_call_id
        visit.millis_call_id = safe_call_id(said["MILLIS_CALL_ID"])
        visit.dial = {
            "dialstatus": said["DIALSTATUS"],
            "hangup_cause": said["HANGUPCAUSE"],
            "answered_seconds": said["ANSWEREDTIME"],
            "dialled_seconds": said["DIALEDTIME"],
            "hung_up_by": _side(said["CHANNEL(hangupsource)"], session.request["channel"], said["DIALSTATUS"]),
        }
        return outcome_of_dial(said["DIALSTATUS"], said["HANGUPCAUSE"])


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
        known["MILLIS_DIAL_OPTIONS"] = dial_options(dialling)
    return known


def _side(hangup_source: str, channel: str, dialstatus: str) -> str:
    """Return who hung up: CHANNEL(hangupsource) names a channel; it is empty where a limit ended the call, or nobody has."""
    if not hangup_source:
        return "pbx" if dialstatus == "ANSWER" else ""
    return "caller" if hangup_source == channel else "agent"
