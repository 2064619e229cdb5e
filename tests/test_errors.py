"""Every error: its place in the tree, the outcome it means, and the text that an operator reads."""

import re

import pytest

from agi_bridge import errors
from agi_bridge.call import Outcome, Reason, Result, Status
from agi_bridge.errors import (
    AgiError,
    AgiProtocolError,
    AgiRefused,
    AgiTimeout,
    AlreadyTransferred,
    AmiBusy,
    AmiError,
    AmiNonsense,
    AmiRefused,
    AmiRejected,
    AmiTimeout,
    AmiUnreachable,
    ApiRefused,
    BadSipUri,
    BridgeError,
    CallerHungUp,
    CallOver,
    CannotCount,
    CannotListen,
    CannotPlace,
    ConfigError,
    ControlError,
    DailyLimitReached,
    LookupFailed,
    MillisBusy,
    MillisDown,
    MillisError,
    MillisNonsense,
    MillisRefused,
    MillisTimeout,
    MillisUnreachable,
    NoPbx,
    NoRecordsYet,
    NoSuchCall,
    NoSuchChannel,
    NoSuchRule,
    NoSuchTransfer,
    NotAnswered,
    NotDelivered,
    NotPermitted,
    NotRunning,
    NumberNotAllowed,
    OriginateOff,
    Problem,
    RecordRefused,
    RecordsError,
    SessionLost,
    TooManyOriginates,
    UnsafeText,
    WorkerFailed,
)

OUTCOMES: dict[type[BridgeError], tuple[Result, Reason]] = {
    BridgeError: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    CannotListen: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    CannotPlace: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    RecordsError: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    NoRecordsYet: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    RecordRefused: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    NotDelivered: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    NotRunning: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    ApiRefused: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    WorkerFailed: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    ConfigError: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    **dict.fromkeys(
        (
            *(LookupFailed, NotAnswered, OriginateOff, NoSuchRule, NumberNotAllowed),
            *(TooManyOriginates, DailyLimitReached, CannotCount),
        ),
        (Result.BRIDGE, Reason.INTERNAL_ERROR),
    ),
    AgiError: (Result.PBX, Reason.AGI_PROTOCOL),
    AgiProtocolError: (Result.PBX, Reason.AGI_PROTOCOL),
    AgiRefused: (Result.PBX, Reason.AGI_PROTOCOL),
    AgiTimeout: (Result.PBX, Reason.AGI_TIMEOUT),
    CallerHungUp: (Result.CALLER, Reason.CALLER_HUNG_UP),
    SessionLost: (Result.PBX, Reason.SESSION_LOST),
    **dict.fromkeys(
        (
            *(AmiError, AmiUnreachable, AmiRefused, AmiTimeout, AmiBusy, AmiNonsense),
            *(AmiRejected, NoSuchChannel, NotPermitted),
        ),
        (Result.BRIDGE, Reason.INTERNAL_ERROR),
    ),
    **dict.fromkeys(
        (ControlError, NoPbx, NoSuchCall, CallOver, NoSuchTransfer, AlreadyTransferred),
        (Result.BRIDGE, Reason.INTERNAL_ERROR),
    ),
    UnsafeText: (Result.BRIDGE, Reason.INTERNAL_ERROR),
    MillisError: (Result.MILLIS, Reason.MILLIS_UNREACHABLE),
    MillisUnreachable: (Result.MILLIS, Reason.MILLIS_UNREACHABLE),
    MillisTimeout: (Result.MILLIS, Reason.MILLIS_TIMEOUT),
    MillisBusy: (Result.BRIDGE, Reason.BUSY),
    MillisDown: (Result.MILLIS, Reason.MILLIS_DOWN),
    MillisRefused: (Result.MILLIS, Reason.MILLIS_REFUSED),
    MillisNonsense: (Result.MILLIS, Reason.MILLIS_NONSENSE),
    BadSipUri: (Result.MILLIS, Reason.BAD_URI),
}


def family(error: type[BridgeError]) -> list[type[BridgeError]]:
    """Return *error* and all that descend from it, in the order in which they were defined."""
    return [error, *(descendant for child in error.__subclasses__() for descendant in family(child))]


@pytest.mark.parametrize(("error", "outcome"), OUTCOMES.items())
def test_error_states_its_outcome(error, outcome):
    """Each error says whose doing it was and why, and none of them loses the call."""
    assert error.outcome == Outcome(*outcome)
    assert error.outcome.status is Status.FALLBACK


def test_every_error_is_in_the_table():
    """No error is without a stated outcome."""
    ours = [error for error in family(BridgeError) if error.__module__ == errors.__name__]
    assert set(ours) == set(OUTCOMES)


def test_tree_is_drawn_as_it_is():
    """The picture at the top of the module shows every error below its parent, and nothing else."""
    path: list[str] = []
    drawn = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│├└─ ]*)(\w+)(?: {2}|$)", line):
            depth = len(found[1]) // 4
            path = [*path[:depth], found[2]]
            drawn.append((path[-2] if depth else "Exception", path[-1]))
    assert sorted(drawn) == sorted((error.__mro__[1].__name__, error.__name__) for error in OUTCOMES)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MillisRefused(402, "no credit"), "HTTP 402: no credit"),
        (MillisRefused(503, ""), "HTTP 503"),
        (ConfigError([Problem("agi.listen", "is wrong")]), "agi.listen: is wrong"),
        (
            ConfigError([Problem("agi.listen", "is wrong", "mend it"), Problem("route", "is missing")]),
            "agi.listen: is wrong (mend it)\nroute: is missing",
        ),
    ],
)
def test_error_reads_as_a_sentence(error, text):
    """An operator reads what happened, and what to do where that is known."""
    assert str(error) == text


def test_error_says_how_the_regions_before_it_failed():
    """What was tried before stands in front of what ended the call."""
    error = MillisRefused(503, "")
    error.region, error.earlier = "eu-west", ("us-west: known to be down",)
    assert str(error) == "us-west: known to be down; eu-west: HTTP 503"


@pytest.mark.parametrize(
    ("error", "elsewhere", "shows_outage"),
    [
        (MillisUnreachable(""), True, True),
        (MillisTimeout(""), True, False),
        (MillisDown(""), True, False),
        (MillisNonsense(""), True, False),
        (MillisBusy(""), False, False),
        (BadSipUri(""), False, False),
        *((MillisRefused(status, ""), False, False) for status in (301, 400, 401, 402, 403, 404, 409, 422)),
        (MillisRefused(429, ""), True, False),
        (MillisRefused(500, ""), True, False),
        *((MillisRefused(status, ""), True, True) for status in (502, 503, 504)),
    ],
    ids=repr,
)
def test_error_says_who_else_may_take_the_call(error, elsewhere, shows_outage):
    """Each error of Millis says whether another region may do better, and whether the region itself is in trouble."""
    assert (error.elsewhere, error.shows_outage) == (elsewhere, shows_outage)


def test_details_can_be_read_without_parsing_the_text():
    """The status and the problems are there as values."""
    problem = Problem("agi.listen", "is wrong")
    assert MillisRefused(402, "no credit").status == 402
    assert ConfigError([problem]).problems == [problem]
