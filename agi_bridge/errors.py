"""Every error that the bridge raises on purpose, each naming whose fault it is and the outcome it means.

    BridgeError
    ├── ConfigError              the operator: the configuration, every problem at once
    ├── CannotListen             the operator: an address that is taken, or not ours
    ├── NotRunning               the operator: no bridge answers where one is asked
    ├── ApiRefused               the operator: a running bridge does not do what a command asks of it
    ├── WorkerFailed             the operator: a worker process that did not start
    ├── RecordsError             the operator: the database of records is away, or cannot be ours
    │   ├── NoRecordsYet         nothing has been recorded so far, so nothing is known
    │   └── RecordRefused        a record that the database does not take, whenever it is asked
    ├── LookupFailed             the operator: what is asked about callers does not answer as it should
    ├── CannotPlace              the operator: Asterisk's files are not such that our part could be put into them
    ├── AgiError
    │   ├── AgiProtocolError     whoever connected: not AGI, or forged
    │   ├── AgiRefused           Asterisk did not carry out a command
    │   ├── AgiTimeout           Asterisk left a command unanswered
    │   ├── CallerHungUp         the caller left; nobody's fault
    │   └── SessionLost          the connection closed before the conversation was over
    ├── AmiError
    │   ├── AmiUnreachable       no connection to a PBX's manager interface, or one that broke
    │   ├── AmiRefused           the operator: the manager interface does not let us log in
    │   ├── AmiTimeout           an action was not answered in time
    │   ├── AmiBusy              our own limit: too many actions under way
    │   ├── AmiNonsense          whoever answered: not Asterisk's manager interface, or forged
    │   └── AmiRejected          Asterisk did not carry out an action
    │       ├── NoSuchChannel    the channel it was about is gone
    │       ├── NotAnswered      nobody answered the call that was to be started
    │       └── NotPermitted     the operator: the manager user lacks a class
    ├── ControlError             whoever asks for something, of a live call or for a new one, that cannot be
    │   ├── NoPbx                no PBX is configured, by which alone it could be done
    │   ├── NoSuchCall           an id of no call of ours
    │   ├── CallOver             the call was over before it could be done
    │   ├── NoSuchTransfer       a destination that is not on the list
    │   ├── AlreadyTransferred   the caller is on the way elsewhere
    │   ├── OriginateOff         the operator has not switched calls to others on
    │   ├── NoSuchRule           no outbound rule of that name, or none that allows that agent
    │   ├── NumberNotAllowed     a number that may not be called
    │   ├── TooManyOriginates    the limit of a minute is reached
    │   │   └── DailyLimitReached  or that of the day
    │   └── CannotCount          the operator: the count of the day cannot be kept
    ├── NotDelivered             a webhook's target: it did not take an event
    ├── UnsafeText               a text that must not reach an AGI command, an AMI action or a dial string
    └── MillisError
        ├── MillisUnreachable    no connection, or one that broke
        ├── MillisTimeout        no answer within the deadline
        ├── MillisBusy           our own limit: too many registrations under way
        ├── MillisDown           every region is known to be down, so none was asked
        ├── MillisRefused        an HTTP status that says no
        └── MillisNonsense       an answer without a usable SIP URI
            └── BadSipUri        a SIP URI off the allow-list

Errors of libraries are translated into these once, in the shell that calls the library.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar

from agi_bridge.call import Outcome, Reason, Result

TOO_MANY_REQUESTS = 429
# Bad gateway, unavailable, gateway timeout: what stands before the API says that the API is not there.
GATEWAY_ERRORS = frozenset({502, 503, 504})
# Who asks, where, and how often: what is wrong whatever is said.
_NOT_ABOUT_THE_BODY = frozenset({401, 403, 404, 405, 410, TOO_MANY_REQUESTS, *GATEWAY_ERRORS})


class BridgeError(Exception):
    """The root of the tree; never raised itself."""

    outcome: ClassVar[Outcome] = Outcome(Result.BRIDGE, Reason.INTERNAL_ERROR)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend in the configuration: where, what, and what to do."""

    path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{self.path}: {self.message}{hint}"


class ConfigError(BridgeError):
    """The configuration cannot be used; `problems` holds every reason."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class CannotListen(BridgeError):
    """An address to listen on is not to be had."""

    @classmethod
    def on(cls, address: object, number: int | None, why: str, see: str) -> CannotListen:
        """Say what to do about the error of this *number*, which is of the system's; *see* names the key of the address."""
        match number:
            case errno.EADDRINUSE:
                why += "; is another bridge running?"
            case errno.EADDRNOTAVAIL:
                why = "it is none of the addresses of this machine."
            case _:
                why += "."
        return cls(f"cannot listen on {address}: {why} See {see}")


class NotRunning(BridgeError):
    """No bridge answers at the address, or something else does. *may_be_done* says that what was asked may have happened."""

    def __init__(self, message: str, *, may_be_done: bool = False) -> None:
        super().__init__(message)
        self.may_be_done = may_be_done


class ApiRefused(BridgeError):
    """A running bridge said no, and *code* is its word for why."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class WorkerFailed(BridgeError):
    """A worker process ended before it was ready for the first time."""


class RecordsError(BridgeError):
    """The records of calls cannot be read or written now; no call is touched by that."""


class NoRecordsYet(RecordsError):
    """The database of records is not there, or is still empty; the bridge makes it a moment after its first start."""


class RecordRefused(RecordsError):
    """The database is well, but does not take what it was given."""


class LookupFailed(BridgeError):
    """Nothing was found out about a caller; the call goes on without it."""


class CannotPlace(BridgeError):
    """Our part cannot be put into Asterisk's files, or taken out of them, as they are; nothing has been changed."""


class AgiError(BridgeError):
    """The conversation with Asterisk failed."""

    outcome = Outcome(Result.PBX, Reason.AGI_PROTOCOL)


class AgiProtocolError(AgiError):
    """The bytes that came cannot be an honest AGI conversation; the connection is of no further use."""


class AgiRefused(AgiError):
    """Asterisk did not carry out a command."""


class AgiTimeout(AgiError):
    """Asterisk did not finish the conversation in time."""

    outcome = Outcome(Result.PBX, Reason.AGI_TIMEOUT)


class CallerHungUp(AgiError):
    """The channel is no longer ours: the caller hung up, or the PBX took the call elsewhere."""

    outcome = Outcome(Result.CALLER, Reason.CALLER_HUNG_UP)


class SessionLost(AgiError):
    """Asterisk closed the connection before we were done."""

    outcome = Outcome(Result.PBX, Reason.SESSION_LOST)


class AmiError(BridgeError):
    """Something asked of a PBX's manager interface did not come about; no call is decided by that.

    Where `may_be_done` is true, the PBX may have carried it out all the same.
    """

    may_be_done = False


class AmiUnreachable(AmiError):
    """There is no connection, or it broke before an answer came; *sent* says that the action had gone out."""

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.may_be_done = sent


class AmiRefused(AmiError):
    """The user or the secret is wrong, or the user may not come from here."""


class AmiTimeout(AmiError):
    """An action was sent, and not answered in time."""

    may_be_done = True


class AmiBusy(AmiError):
    """Our own limit on actions under way is reached; an action does not queue."""


class AmiNonsense(AmiError):
    """What came is not what a manager interface says, or cannot be told from a forgery."""


class AmiRejected(AmiError):
    """Asterisk answered that it did not carry out the action."""


class NoSuchChannel(AmiRejected):
    """The channel is gone: the call is over, or it never was."""


class NotAnswered(AmiRejected):
    """The call that was to be started did not come about. `hangup_cause` is None where nobody said why."""

    hangup_cause: int | None = None


class NotPermitted(AmiRejected):
    """The user of the manager interface lacks a class that the action needs."""


class ControlError(BridgeError):
    """What was asked for cannot be done; nothing has changed. The text is for whoever asked."""

    code: ClassVar[str] = ""


class NoPbx(ControlError):
    """There is no [[pbx]] in the configuration, so no live call can be seen or moved."""

    code = "no-pbx"


class NoSuchCall(ControlError):
    """The id is of no call of ours."""

    code = "no-such-call"


class CallOver(ControlError):
    """The call was over before it could be done."""

    code = "call-over"


class NoSuchTransfer(ControlError):
    """The destination is not on the operator's list."""

    code = "no-such-transfer"


class AlreadyTransferred(ControlError):
    """The caller is on the way elsewhere already."""

    code = "already-transferred"


class NotDelivered(BridgeError):
    """The target of a webhook did not take an event; *status* is what it answered, None where it did not."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_away(self) -> bool:
        """Return whether another event would fare no better now."""
        return self.status is None or self.status in _NOT_ABOUT_THE_BODY


class OriginateOff(ControlError):
    """There is no [originate] in the configuration."""

    code = "originate-off"


class NoSuchRule(ControlError):
    """No outbound rule has that name, or it does not allow that agent."""

    code = "no-such-rule"


class NumberNotAllowed(ControlError):
    """The number is none, or may not be called."""

    code = "number-not-allowed"


class TooManyOriginates(ControlError):
    """As many calls were started within a minute as may be."""

    code = "originate-rate-limit"


class DailyLimitReached(TooManyOriginates):
    """As many calls were started today as may be."""

    code = "originate-daily-limit"


class CannotCount(ControlError):
    """Calls cannot be counted, so none is started."""

    code = "cannot-count"


class UnsafeText(BridgeError):
    """A text holds something that AGI, AMI or Dial would take for more than text."""


class MillisError(BridgeError):
    """The call could not be registered with Millis.

    `region` is the one that was asked, and `earlier` says how those failed that were asked before it. Where `elsewhere` is true, something other than
    the asked region may still take the call: another region, or the rule's standby URI. Where `shows_outage` is true, the
    region itself is in trouble, and not merely this call. Where `may_be_registered` is true, one of the regions asked may
    hold a registration for this call all the same.
    """

    outcome = Outcome(Result.MILLIS, Reason.MILLIS_UNREACHABLE)
    elsewhere = True
    shows_outage = False
    may_be_registered = False
    region: str = ""
    earlier: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = super().__str__()
        return "; ".join((*self.earlier, f"{self.region}: {said}")) if self.earlier else said


class MillisUnreachable(MillisError):
    """No connection could be made, or it broke before an answer came; *sent* says that the question had gone out."""

    shows_outage = True

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.may_be_registered = sent


class MillisTimeout(MillisError):
    """Millis did not answer within the deadline."""

    # No sign of an outage by itself: it may be one agent whose own services are slow. A probe tells.
    outcome = Outcome(Result.MILLIS, Reason.MILLIS_TIMEOUT)
    may_be_registered = True


class MillisBusy(MillisError):
    """Our own limit on registrations under way is reached; the call does not queue."""

    outcome = Outcome(Result.BRIDGE, Reason.BUSY)
    elsewhere = False


class MillisDown(MillisError):
    """Every region that may be asked is known to be down; the caller does not wait to learn it again."""

    outcome = Outcome(Result.MILLIS, Reason.MILLIS_DOWN)


class MillisRefused(MillisError):
    """Millis answered with an HTTP status that is not a success; *retry_after_seconds* is its own advice, if it gave any."""

    outcome = Outcome(Result.MILLIS, Reason.MILLIS_REFUSED)

    def __init__(self, status: int, detail: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(f"HTTP {status}: {detail}" if detail else f"HTTP {status}")
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        # What is wrong with the key, the credit or the request is wrong everywhere.
        self.elsewhere = status >= 500 or status == TOO_MANY_REQUESTS
        # A 500 may be about one agent alone, and must not keep the calls of others from this region.
        self.shows_outage = status in GATEWAY_ERRORS


class MillisNonsense(MillisError):
    """Millis answered with success, but not with a SIP URI that could be dialled."""

    outcome = Outcome(Result.MILLIS, Reason.MILLIS_NONSENSE)
    may_be_registered = True


class BadSipUri(MillisNonsense):
    """The SIP URI is off the allow-list and must not be dialled."""

    outcome = Outcome(Result.MILLIS, Reason.BAD_URI)
    elsewhere = False
