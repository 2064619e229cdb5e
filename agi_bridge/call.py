"""The nouns of the bridge: a call, its caller, and how it ended.

Pure values. Nothing here knows AGI's wire format, HTTP, the clock or the log; the words are those of `docs/glossary.md`.
A `Call` is made once, when the dialplan asks, and an `Outcome` is what every call ends in, exactly once. Each session `Report`s
what it knows of its call, and a `CallRecord` is all of it together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import TypeAlias

    from agi_bridge.agi.protocol import Request
    from agi_bridge.numbers import Numbers

    Fact: TypeAlias = str | float | bool | datetime | None

# Asterisk prints "unknown" for a number or name that is invalid or empty (res_agi.c, setup_env, S_COR).
NOT_SENT_WORDS = frozenset({"", "unknown", "unavailable"})

# What carriers write for somebody who does not want to be known; chan_pjsip passes it on as if it were a number.
WITHHELD_WORDS = frozenset({"anonymous", "restricted", "withheld", "private"})

# What AMD() takes whoever answers for; it may not be sure.
ANSWERED_BY = frozenset({"human", "machine", "unsure"})

# Asterisk's own limit for an extension (AST_MAX_EXTENSION); an argument may be longer, a number cannot.
_LONGEST_DID = 80

# Bits 0x60 of the presentation: 0x20 restricted by the caller, 0x40 not available (include/asterisk/callerid.h).
_PRESENTATION_WITHHELD = 0x60


class Result(StrEnum):
    """Who decided how the call went: the closed set that alarms are built on."""

    COMPLETED = "completed"
    CALLER = "caller"
    OPERATOR = "operator"
    PBX = "pbx"
    BRIDGE = "bridge"
    MILLIS = "millis"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why, as a slug for people: the closed set behind `MILLIS_REASON`; `docs/dialplan.md` explains each one."""

    ROUTED = "routed"
    ROUTED_FAILOVER = "routed-failover"
    ROUTED_STANDBY = "routed-standby"
    ROUTED_REDIAL = "routed-redial"
    ANSWERED = "answered"
    TRANSFERRED = "transferred"
    TRANSFER_ANSWERED = "transfer-answered"
    TRANSFER_UNANSWERED = "transfer-unanswered"
    PONG = "pong"
    CALLER_HUNG_UP = "caller-hung-up"
    LEFT_DURING_DIAL = "left-during-dial"
    NO_RULE = "no-rule"
    BLOCKED_CALLER = "blocked-caller"
    UNKNOWN_VERB = "unknown-verb"
    MILLIS_UNREACHABLE = "millis-unreachable"
    MILLIS_TIMEOUT = "millis-timeout"
    MILLIS_DOWN = "millis-down"
    MILLIS_REFUSED = "millis-refused"
    MILLIS_NONSENSE = "millis-nonsense"
    BAD_URI = "bad-uri"
    AGENT_BUSY = "agent-busy"
    AGENT_NO_ANSWER = "agent-no-answer"
    AGENT_CONGESTION = "agent-congestion"
    AGENT_UNAVAILABLE = "agent-unavailable"
    AGENT_DROPPED = "agent-dropped"
    DIAL_REFUSED = "dial-refused"
    NEVER_DIALLED = "never-dialled"
    END_NOT_REPORTED = "end-not-reported"
    CALLED_ANSWERED = "called-answered"
    CALLED_BUSY = "called-busy"
    CALLED_NO_ANSWER = "called-no-answer"
    CALLED_UNREACHABLE = "called-unreachable"
    CALLED_UNKNOWN = "called-unknown"
    ANSWERED_BY_MACHINE = "answered-by-machine"
    BUSY = "busy"
    AGI_PROTOCOL = "agi-protocol"
    AGI_TIMEOUT = "agi-timeout"
    SESSION_LOST = "session-lost"
    BRIDGE_STOPPED = "bridge-stopped"
    INTERNAL_ERROR = "internal-error"


class Status(StrEnum):
    """What the dialplan does next: the values of `MILLIS_STATUS`."""

    OK = "ok"
    FALLBACK = "fallback"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: whose doing, and why."""

    result: Result
    reason: Reason

    @property
    def status(self) -> Status:
        """Return what the dialplan does next; whatever is not a success or a refusal by rule is a fallback."""
        if self.result is Result.COMPLETED:
            return Status.OK
        if self.reason in (Reason.BLOCKED_CALLER, Reason.ANSWERED_BY_MACHINE):
            return Status.REJECT
        return Status.FALLBACK


@dataclass(frozen=True, slots=True)
class CallerId:
    """Who is calling. A withheld or missing number is None here and nowhere spelled "unknown" again.

    `number` is E.164 where the number can be read as one, else the text as it came; `received` is always as it came.
    """

    number: str | None
    name: str | None
    withheld: bool
    received: str | None

    @classmethod
    def from_request(cls, request: Request, numbers: Numbers) -> CallerId:
        """Read the caller from an AGI environment, whose presentation decides whether the number may be used at all."""
        withheld = _restricted(request["callingpres"]) or request["callerid"].strip().lower() in WITHHELD_WORDS
        number = None if withheld else _sent(request["callerid"])
        name = None if withheld else _sent(request["calleridname"])
        return cls(number and (numbers.normalise(number) or number), name, withheld, number)


@dataclass(frozen=True, slots=True)
class Call:
    """One caller's visit, as the dialplan introduced it.

    `did` is E.164 where it can be read as a number of the default country, else as it came; `did_received` is always as
    it came. `arguments` are the AGI arguments and the query of the AGI address, by name.
    """

    bridge_call_id: str
    did: str
    did_received: str
    caller: CallerId
    rdnis: str | None
    channel: str
    uniqueid: str
    context: str
    language: str
    arguments: Mapping[str, str]

    @property
    def is_outbound(self) -> bool:
        """Return whether we have called: then `did` is the number of whom we called, and `caller` are we."""
        return self.arguments.get("direction") == "outbound"

    @property
    def answered_by(self) -> str:
        """Return what answered an outbound call, "" where nobody listened for that."""
        said = self.arguments.get("answered_by", "") if self.is_outbound else ""
        return said if said in ANSWERED_BY else ""

    @classmethod
    def from_request(cls, request: Request, numbers: Numbers, bridge_call_id: str, did: str | None = None) -> Call:
        """Make the call out of an AGI environment.

        The called number is, in this order: *did* (a configured dialplan expression), the `did` argument, `agi_dnid`,
        `agi_extension`. The last is only where AGI() was called, so it is right just in contexts of one number each;
        for the same reason a `context` argument outranks `agi_context`, which may be a subroutine's.
        """
        received = (
            _sent(did)
            or _sent(request.arguments.get("did"))
            or _sent(request["dnid"])
            or _sent(request["extension"])
            or ""
        )[:_LONGEST_DID]
        return cls(
            bridge_call_id=bridge_call_id,
            did=numbers.normalise(received) or received,
            did_received=received,
            caller=CallerId.from_request(request, numbers),
            rdnis=_sent(request["rdnis"]),
            channel=request["channel"],
            uniqueid=request["uniqueid"],
            context=request.arguments.get("context") or request["context"],
            language=request["language"],
            arguments=request.arguments,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What one session, or later Millis, says of a call: names of a `CallRecord` and their values.

    `at` is when the session began, in UTC; a session that dials reports a second time, at its end. Where two reports of a call
    say different things, the later `at` counts, whichever arrives first. Millis may not know our id of the call: then
    `bridge_call_id` is "", and its own ids among the facts say which call is meant.
    """

    bridge_call_id: str
    at: datetime
    facts: Mapping[str, Fact]

    @property
    def of_millis(self) -> bool:
        """Return whether Millis says it, which does not make a call known."""
        return "uniqueid" not in self.facts and bool({"millis_session_id", "millis_status"} & self.facts.keys())


@dataclass(frozen=True, slots=True)
class CallRecord:
    """Our data about one call, joined from its reports. None is what nobody has reported; `docs/records.md` has each field.

    `decided_seconds`, `registered_seconds` and `setup_seconds` count from the moment the call was received, or received again
    for a redial; `millis_seconds` is Millis's share of them.
    """

    bridge_call_id: str
    received_at: datetime
    pbx: str | None = None
    channel: str | None = None
    uniqueid: str | None = None
    linkedid: str | None = None
    did: str | None = None
    caller_number: str | None = None
    caller_name: str | None = None
    caller_withheld: bool | None = None
    rdnis: str | None = None
    verb: str | None = None
    rule: str | None = None
    agent_id: str | None = None
    account: str | None = None
    region: str | None = None
    millis_call_id: str | None = None
    failover: bool = False
    standby: bool = False
    redialled: bool = False
    orphaned: bool | None = None
    fallback: str | None = None
    decided_seconds: float | None = None
    millis_seconds: float | None = None
    registered_seconds: float | None = None
    setup_seconds: float | None = None
    longest_seconds: int | None = None
    detail: str | None = None
    dialstatus: str | None = None
    hangup_cause: int | None = None
    dialled_seconds: int | None = None
    answered_seconds: int | None = None
    hung_up_by: str | None = None
    ended_at: datetime | None = None
    result: str | None = None
    reason: str | None = None
    fallback_taken: bool | None = None
    transfer: str | None = None
    transfer_dialstatus: str | None = None
    transfer_answered_seconds: int | None = None
    transfer_ended_at: datetime | None = None
    millis_session_id: str | None = None
    millis_duration_seconds: float | None = None
    millis_cost: float | None = None
    millis_cost_breakdown: str | None = None
    millis_status: str | None = None
    millis_error: str | None = None
    transcript: str | None = None
    recording_url: str | None = None


def _sent(text: str | None) -> str | None:
    """Return *text* without its outer blanks, or None for every way in which Asterisk says that nothing was sent."""
    text = (text or "").strip()
    return None if text.lower() in NOT_SENT_WORDS else text


def _restricted(presentation: str) -> bool:
    return presentation[:3].isdecimal() and bool(int(presentation[:3]) & _PRESENTATION_WITHHELD)
