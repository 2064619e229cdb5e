"""Calls that we make: what is refused before anything is dialled, and what is told of the rest."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from agi_bridge import config
from agi_bridge.allowance import Allowance
from agi_bridge.call import Outcome, Report
from agi_bridge.errors import (
    AmiError,
    AmiRejected,
    AmiTimeout,
    AmiUnreachable,
    BridgeError,
    CannotCount,
    DailyLimitReached,
    NoSuchRule,
    NotAnswered,
    NumberNotAllowed,
    OriginateOff,
    TooManyOriginates,
)
from agi_bridge.outbound import Outbound
from agi_bridge.pbx.action import Originated, Origination
from agi_bridge.web.metrics import Visited

PATIENCE_SECONDS = 20.0
TO = "+12125550100"
ORIGINATE = """
[originate]
pbx = "hq"
trunk = "PJSIP/{digits}@carrier"
caller_id = "+15551230001"
allow = "+1212"
ring_timeout_seconds = 7
detect_machine = "hang-up"
"""
TOML = """
[numbers]
default_country = "US"

[[pbx]]
name = "hq"
ami_secret_env = "S"

[[route]]
name = "reminder"
direction = "outbound"
agent_id = "-Nreminder"
agents = "-Nother"
fallback = "c,s,1"

[[route]]
name = "sales"
agent_id = "-Nsales"
fallback = "c,s,1"
"""


class Cast:
    """The PBX, what counts and what records; each does as it is told, and remembers."""

    def __init__(self) -> None:
        self.connected = True
        self.dialled: list[Origination] = []
        self.before: Exception | None = None  # fails before the PBX has taken the order
        self.takes_the_order, self.has_the_order = asyncio.Event(), asyncio.Event()
        self.takes_the_order.set()
        self.answered = asyncio.get_running_loop().create_future()
        self.full: BridgeError | None = None
        self.taken: list[Allowance] = []
        self.ends: list[Outcome] = []
        self.reports: list[Report] = []
        self.reported = asyncio.Event()

    async def originate(
        self, bridge_call_id: str, call: Origination, on_begun: Callable[[], None] = lambda: None
    ) -> Originated:
        self.dialled.append(call)
        self.has_the_order.set()
        await self.takes_the_order.wait()
        if self.before:
            raise self.before
        on_begun()
        await self.answered
        return Originated("PJSIP/carrier-1", bridge_call_id)

    async def take(self, allowance: Allowance) -> None:
        if self.full:
            raise self.full
        self.taken.append(allowance)

    def ended(self, visit: Visited, outcome: Outcome, total_seconds: float) -> None:
        self.ends.append(outcome)

    def add(self, report: Report) -> None:
        self.reports.append(report)
        self.reported.set()


@pytest.fixture
async def cast() -> Cast:
    return Cast()


def outbound_of(cast: Cast, text: str = ORIGINATE) -> Outbound:
    loaded = config.load(TOML + text, {"MILLIS_API_KEY": "k", "S": "s"}, lambda name: b"")
    counts = Counter[tuple[str, str]]()
    return Outbound(loaded, cast, {"hq": cast}, counts, lambda: datetime(2026, 3, 4, tzinfo=UTC), cast, cast)


@pytest.fixture
async def outbound(cast: Cast) -> AsyncIterator[Outbound]:
    async with outbound_of(cast) as outbound:
        yield outbound


async def test_number_is_dialled_through_the_trunk_and_led_to_our_context(cast: Cast, outbound: Outbound):
    """The PBX is told the number, our own, how long to ring, and what the dialplan has to know; the ids are one."""
    attempt = await outbound.originate("(212) 555-0100", "reminder", "-Nother")
    [call] = cast.dialled

    assert attempt.number == TO
    assert call == Origination(
        "PJSIP/12125550100@carrier",
        "millis-originated,s,1",
        "<+15551230001>",
        7,
        {
            "MILLIS_ORIGINATED": attempt.bridge_call_id,
            "MILLIS_CALLED": TO,
            "MILLIS_CALLING": "+15551230001",
            "MILLIS_OUTBOUND_RULE": "reminder",
            "MILLIS_OUTBOUND_AGENT": "-Nother",
            "MILLIS_DETECT_MACHINE": "hang-up",
        },
        attempt.bridge_call_id,
    )
    assert len(cast.taken) == 1


@pytest.mark.parametrize(
    ("asked", "error", "code"),
    [
        (("+13125550100", "reminder"), NumberNotAllowed, "number-not-allowed"),
        (("911", "reminder"), NumberNotAllowed, "number-not-allowed"),
        ((TO, "nobody"), NoSuchRule, "no-such-rule"),
        ((TO, "sales"), NoSuchRule, "no-such-rule"),
        ((TO, "reminder", "-Nsales"), NoSuchRule, "no-such-rule"),
    ],
    ids=["off the prefixes", "emergency", "no such rule", "an inbound rule", "an agent that the rule does not allow"],
)
async def test_what_cannot_be_is_neither_counted_nor_dialled(
    cast: Cast, outbound: Outbound, asked: tuple[str, ...], error: type[BridgeError], code: str
):
    """One clear error; the log line has its code, and not the number."""
    with capture_logs() as logs, pytest.raises(error):
        await outbound.originate(*asked)
    assert (cast.dialled, cast.taken) == ([], [])
    assert [(line["verb"], line["outcome"]) for line in logs] == [("originate", code)]
    assert asked[0] not in str(logs)


async def test_without_the_table_nobody_is_called(cast: Cast):
    """Calls to others are off by default."""
    with pytest.raises(OriginateOff, match="this bridge calls nobody"):
        await outbound_of(cast, "").originate(TO, "reminder")
    assert (cast.dialled, cast.taken) == ([], [])


@pytest.mark.parametrize(
    ("full", "code"),
    [
        (TooManyOriginates("full"), "originate-rate-limit"),
        (DailyLimitReached("full"), "originate-daily-limit"),
        (CannotCount("disk"), "cannot-count"),
    ],
)
async def test_call_beyond_a_limit_is_not_dialled(cast: Cast, outbound: Outbound, full: BridgeError, code: str):
    """Each limit has its error, its line and its counter."""
    cast.full = full
    with capture_logs() as logs, pytest.raises(type(full)):
        await outbound.originate(TO, "reminder")
    assert cast.dialled == []
    assert logs[0]["outcome"] == code
    assert outbound._counts == {("originate", code): 1}


async def test_pbx_that_is_away_costs_no_count(cast: Cast, outbound: Outbound):
    """Nothing was dialled, so nothing is counted."""
    cast.connected = False
    with pytest.raises(AmiUnreachable):
        await outbound.originate(TO, "reminder")
    assert (cast.dialled, cast.taken) == ([], [])


@pytest.mark.parametrize(
    "error", [AmiRejected("Permission denied"), AmiTimeout("no answer")], ids=["refused", "silent"]
)
async def test_order_that_the_pbx_does_not_take_is_told_to_who_asked(cast: Cast, outbound: Outbound, error: AmiError):
    """Whoever asks gets the error, and there is no line of a call."""
    cast.before = error
    with capture_logs() as logs, pytest.raises(type(error)):
        await outbound.originate(TO, "reminder")
    assert [line["event"] for line in logs] == ["control"]
    assert cast.reports == []


def not_answered(cause: int | None) -> NotAnswered:
    error = NotAnswered("no")
    error.hangup_cause = cause
    return error


@pytest.mark.parametrize(
    ("error", "result", "reason", "dialstatus"),
    [
        (None, "completed", "called-answered", None),
        (not_answered(17), "caller", "called-busy", "BUSY"),
        (not_answered(19), "caller", "called-no-answer", "NOANSWER"),
        (not_answered(34), "pbx", "called-unreachable", "CONGESTION"),
        (not_answered(1), "pbx", "called-unreachable", "CHANUNAVAIL"),
        (not_answered(None), "pbx", "called-unreachable", "CHANUNAVAIL"),
        (AmiUnreachable("gone", sent=True), "unknown", "called-unknown", None),
    ],
)
async def test_what_became_of_the_call_is_told_once(
    cast: Cast, outbound: Outbound, error: Exception | None, result: str, reason: str, dialstatus: str | None
):
    """A line, a count and a report for its record, each with the same outcome."""
    with capture_logs() as logs:
        attempt = await outbound.originate(TO, "reminder")
        if error:
            cast.answered.set_exception(error)
        else:
            cast.answered.set_result(None)
        await asyncio.wait_for(cast.reported.wait(), PATIENCE_SECONDS)
    [line] = [line for line in logs if line["event"] == "call"]
    [report] = cast.reports

    assert (line["verb"], line["result"], line["reason"]) == ("originate", result, reason)
    assert (line["did"], line["caller_number"], line["rule"]) == (TO, "+15551230001", "reminder")
    assert line.get("dialstatus") == dialstatus
    assert (report.bridge_call_id, report.facts["reason"]) == (attempt.bridge_call_id, reason)
    assert report.facts.get("dialstatus") == dialstatus
    assert [outcome.reason for outcome in cast.ends] == [reason]


@pytest.mark.parametrize(
    ("before", "reason"),
    [(None, "called-answered"), (AmiRejected("Permission denied"), "called-unknown")],
    ids=["answered", "refused by the PBX"],
)
async def test_whoever_asks_and_goes_away_leaves_the_call_its_line(
    cast: Cast, outbound: Outbound, before: Exception | None, reason: str
):
    """What becomes of the call is told once, as of any other, and that nobody waited for the answer."""
    cast.before = before
    cast.takes_the_order.clear()
    asked = asyncio.create_task(outbound.originate(TO, "reminder"))
    await asyncio.wait_for(cast.has_the_order.wait(), PATIENCE_SECONDS)
    with capture_logs() as logs:
        asked.cancel()
        await asyncio.wait([asked])
        cast.takes_the_order.set()
        cast.answered.set_result(None)
        await asyncio.wait_for(cast.reported.wait(), PATIENCE_SECONDS)

    assert [(line["event"], line.get("outcome"), line.get("reason")) for line in logs] == [
        ("control", "given-up", None),
        ("call", None, reason),
    ]
    assert [report.facts["reason"] for report in cast.reports] == [reason]


async def test_bridge_that_stops_leaves_the_ringing_to_the_pbx(cast: Cast):
    """It waits for nobody, and says that it does not know."""
    with capture_logs() as logs:
        async with outbound_of(cast) as outbound:
            await outbound.originate(TO, "reminder")
    assert [line["reason"] for line in logs if line["event"] == "call"] == ["bridge-stopped"]
