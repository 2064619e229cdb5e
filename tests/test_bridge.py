"""The story of one call: one test an outcome, with two small fakes, the PBX's conversation and Millis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from agi_bridge import config
from agi_bridge.agi.protocol import Request
from agi_bridge.bridge import Bridge, Visit
from agi_bridge.call import Outcome, Report
from agi_bridge.errors import (
    AgiRefused,
    AgiTimeout,
    BridgeError,
    CallerHungUp,
    MillisBusy,
    MillisDown,
    MillisNonsense,
    MillisRefused,
    MillisTimeout,
    MillisUnreachable,
    SessionLost,
)
from agi_bridge.millis.models import Registration
from agi_bridge.records.joining import FACTS

CONFIG = """
[numbers]
default_country = "US"

[defaults]
fallback = "queues,600,1"

[[route]]
name = "blocked"
caller = "+15550000666"
reject = true

[[route]]
name = "sales"
did = ["+15551230001"]
agent_id = "-Nsales"
ring_timeout_seconds = 25
max_duration_seconds = 600
dial_options = "g"
fallback = "reception,s,1"
metadata = { team = "sales", tier = "${DB(tier/${CALLERID(num)})}" }
"""

GOOD = Registration("call-1", "sip:call-1@sip.millis.ai", "us-west")


class FakeSession:
    """Asterisk's side, remembered: what was set, in order, and how the session ended."""

    def __init__(self, verb: str = "route", did: str = "15551230001", **fields: str) -> None:
        defaults = {
            "network_script": verb,
            "request": f"agi://bridge/{verb}",
            "channel": "PJSIP/trunk-00000001",
            "uniqueid": "1700000000.1",
            "callerid": "+15557654321",
            "calleridname": "Ada",
            "callingpres": "0",
            "dnid": did,
            "context": "from-trunk",
            "language": "en",
        }
        self.request = Request(defaults | fields)
        self.peer = "127.0.0.1"
        self.hung_up = False
        self.failed = False
        self.closed = False
        self.set: dict[str, str] = {}
        self.executed: list[tuple[str, str]] = []
        self.values: dict[str, str] = {"${CHANNEL(linkedid)}": "1700000000.1"}
        self.asked: list[str] = []
        self.round_trips: list[list[str]] = []
        self.errors: dict[str, BaseException] = {}
        self.on_execute: Callable[[], None] = lambda: None

    async def set_variables(self, variables: Mapping[str, str]) -> None:
        """Set variables, and wait until Asterisk has."""
        self.begin_set_variables(variables)

    def begin_set_variables(self, variables: Mapping[str, str]) -> None:
        """Remember variables, or raise what the test has planted for one of them."""
        for name, value in variables.items():
            if name in self.errors:
                raise self.errors[name]
            self.set[name] = str(value)
        self.round_trips.append(list(variables))

    async def get_full_variable(self, expression: str) -> str | None:
        """Answer each part of the question as Asterisk's URIENCODE would."""
        if "the question" in self.errors:
            raise self.errors["the question"]
        self.asked.append(expression)
        parts = [part.removeprefix("${URIENCODE(").removesuffix(")}") for part in expression.split("|")]
        return "|".join(quote(self.values.get(part, ""), safe="") for part in parts)

    async def execute(self, application: str, argument: str) -> str:
        """Remember an application."""
        if application in self.errors:
            raise self.errors[application]
        self.executed.append((application, argument))
        self.on_execute()
        return "-1"

    @asynccontextmanager
    async def caller_waiting(self) -> AsyncIterator[None]:
        """Let `hang_up` interrupt what goes on inside."""
        try:
            async with asyncio.timeout(None) as self._until_hung_up:
                yield
        except TimeoutError:
            raise CallerHungUp("gone") from None

    def hang_up(self) -> None:
        """Leave, as the caller."""
        self.hung_up = True
        self._until_hung_up.reschedule(asyncio.get_running_loop().time())

    def fail(self) -> None:
        """Note the FAILURE line."""
        self.failed = True

    def close(self) -> None:
        """Note the end."""
        self.closed = True


class FakeMillis:
    """Millis, answering as the test says, and remembering what it was told."""

    def __init__(self, answer: Registration | Exception = GOOD) -> None:
        self.answer = answer
        self.bodies: list[Mapping[str, Any]] = []
        self.regions: list[tuple[str, ...]] = []
        self.abandoned: list[tuple[str, str]] = []
        self.on_register: Callable[[], None] = lambda: None
        self.cancelled = False

    async def register(self, account: str, regions: Sequence[str], body: Mapping[str, Any]) -> Registration:
        """Answer one registration."""
        self.bodies.append(body)
        self.regions.append(tuple(regions))
        self.on_register()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def abandon(self, account: str, registration: Registration) -> None:
        """Note whose registration nobody dials."""
        self.abandoned.append((account, registration.call_id))


class SilentMillis(FakeMillis):
    """Millis that never answers; *on_asked* is called when it begins not to."""

    def __init__(self, on_asked: Callable[[], None]) -> None:
        super().__init__()
        self.on_asked = on_asked

    async def register(self, account: str, regions: Sequence[str], body: Mapping[str, Any]) -> Registration:
        """Wait until given up."""
        self.on_asked()
        try:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
        finally:
            self.cancelled = True


def a_bridge(millis: FakeMillis | None = None, text: str = CONFIG, recorder: "FakeRecorder | None" = None) -> Bridge:
    """Return a bridge whose clock advances by an eighth of a second each time it is read."""
    loaded = config.load(text, {"MILLIS_API_KEY": "k"}, lambda name: b"")
    ticks = iter(range(1000))
    now = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
    return Bridge(loaded, millis or FakeMillis(), now=lambda: now, clock=lambda: next(ticks) / 8, recorder=recorder)


async def play(session: FakeSession, millis: FakeMillis | None = None, text: str = CONFIG) -> dict[str, Any]:
    """Let the bridge answer *session*, and return the call's line in the log."""
    with capture_logs() as lines:
        await a_bridge(millis, text).handle(session)
    (line,) = [line for line in lines if line["event"] == "call"]
    return dict(line)


async def test_a_routed_call_gets_everything_that_dial_needs_and_the_status_last():
    """The dialplan gets dial string, time-out, options, ids and fallback; MILLIS_STATUS comes after all of them."""
    session = FakeSession()
    line = await play(session)

    bridge_call_id = line["bridge_call_id"]
    assert list(session.set.items()) == [
        ("MILLIS_BRIDGE_CALL_ID", bridge_call_id),
        ("MILLIS_FALLBACK", "reception,s,1"),
        ("MILLIS_DIAL_TIMEOUT", "25"),
        ("MILLIS_DIAL_OPTIONS", "iS(600)g"),
        ("MILLIS_CALL_ID", "call-1"),
        ("MILLIS_REDIAL", "us-west"),
        ("MILLIS_DIAL", "PJSIP/millis/sip:call-1@sip.millis.ai"),
        ("MILLIS_STATUS", "ok"),
    ]
    assert session.closed
    assert not session.failed


async def test_what_does_not_need_millis_is_told_while_it_answers():
    """Two round trips set everything: one beside the registration, so that a bridge that dies in it has named the fallback."""
    session = FakeSession()
    await play(session)

    assert session.round_trips == [
        ["MILLIS_BRIDGE_CALL_ID", "MILLIS_FALLBACK", "MILLIS_DIAL_TIMEOUT", "MILLIS_DIAL_OPTIONS"],
        ["MILLIS_CALL_ID", "MILLIS_REDIAL", "MILLIS_DIAL", "MILLIS_STATUS"],
    ]


async def test_millis_is_told_who_called_what_and_the_rules_own_keys():
    """The registration carries the standard metadata, the rule's literals, and what Asterisk evaluated."""
    session = FakeSession()
    session.values["${DB(tier/${CALLERID(num)})}"] = "gold, really"
    millis = FakeMillis()
    line = await play(session, millis)

    assert millis.bodies == [
        {
            "agent_id": "-Nsales",
            "metadata": {
                "bridge_call_id": line["bridge_call_id"],
                "uniqueid": "1700000000.1",
                "linkedid": "1700000000.1",
                "did": "+15551230001",
                "caller_number": "+15557654321",
                "caller_name": "Ada",
                "caller_withheld": "false",
                "rdnis": "",
                "channel": "PJSIP/trunk-00000001",
                "context": "from-trunk",
                "language": "en",
                "direction": "inbound",
                "answered_by": "",
                "called_at": "2026-11-20T09:30:00.000+00:00",
                "team": "sales",
                "tier": "gold, really",
            },
            "include_metadata_in_prompt": False,
            "from_phone": "+15557654321",
            "to_phone": "+15551230001",
        }
    ]


async def test_all_of_a_rules_expressions_cost_one_round_trip():
    """Linkedid and metadata expressions are asked in a single GET FULL VARIABLE, each URI-encoded."""
    session = FakeSession()
    await play(session)

    assert session.asked == ["${URIENCODE(${CHANNEL(linkedid)})}|${URIENCODE(${DB(tier/${CALLERID(num)})})}"]


async def test_the_did_may_come_from_a_dialplan_expression():
    """Where the configuration names an expression, it outranks what AGI says of the called number."""
    session = FakeSession(did="s")
    session.values["${FROM_DID}"] = "5551230001"
    line = await play(session, text=CONFIG.replace("[numbers]", '[numbers]\ndid_expression = "${FROM_DID}"'))

    assert line["rule"] == "sales"


async def test_the_line_of_a_call_tells_its_story():
    """One line holds who, which rule, what came of it, and how long Millis and the whole took."""
    line = await play(FakeSession())

    line.pop("bridge_call_id")
    assert line == {
        "event": "call",
        "log_level": "info",
        "verb": "route",
        "uniqueid": "1700000000.1",
        "result": "completed",
        "reason": "routed",
        "did": "+15551230001",
        "caller_number": "+15557654321",
        "channel": "PJSIP/trunk-00000001",
        "rule": "sales",
        "fallback": "reception,s,1",
        "region": "us-west",
        "millis_call_id": "call-1",
        "millis_ms": 125.0,
        "total_ms": 500.0,
    }


async def test_a_call_that_no_rule_matches_falls_back_and_names_the_nearest_rule():
    """No rule is an outcome of its own; the line shows the number as it came, as it was read, and the nearest rule."""
    session = FakeSession(did="15551239999")
    line = await play(session)

    assert (session.set["MILLIS_STATUS"], session.set["MILLIS_REASON"]) == ("fallback", "no-rule")
    assert session.set["MILLIS_FALLBACK"] == "queues,600,1"
    assert (line["result"], line["did_received"], line["did"]) == ("operator", "15551239999", "+15551239999")
    assert (line["nearest_rule"], line["nearest_did"]) == ("sales", "+15551230001")


async def test_a_blocked_caller_is_rejected_before_millis_is_asked():
    """A rule with reject says so to the dialplan, and costs nothing."""
    session, millis = FakeSession(callerid="+15550000666"), FakeMillis()
    line = await play(session, millis)

    assert (session.set["MILLIS_STATUS"], session.set["MILLIS_REASON"]) == ("reject", "blocked-caller")
    assert line["result"] == "operator"
    assert millis.bodies == []


@pytest.mark.parametrize(
    ("error", "result", "reason"),
    [
        (MillisUnreachable("x"), "millis", "millis-unreachable"),
        (MillisTimeout("x"), "millis", "millis-timeout"),
        (MillisRefused(402, "no credit"), "millis", "millis-refused"),
        (MillisNonsense("x"), "millis", "millis-nonsense"),
        (MillisBusy("x"), "bridge", "busy"),
        (RuntimeError("a fault of our own"), "bridge", "internal-error"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_whatever_millis_does_the_call_takes_its_rules_fallback(error: Exception, result: str, reason: str):
    """Every failure becomes status fallback with its own reason, and the rule's destination is known."""
    session = FakeSession()
    line = await play(session, FakeMillis(error))

    assert (session.set["MILLIS_STATUS"], session.set["MILLIS_REASON"]) == ("fallback", reason)
    assert session.set["MILLIS_FALLBACK"] == "reception,s,1"
    assert (line["result"], line["reason"]) == (result, reason)
    assert "MILLIS_DIAL" not in session.set


@pytest.mark.parametrize(
    "uri",
    [
        "sip:a@sip.millis.ai&Local/x@ctx",
        "sip:a@sip.millis.ai,3,iU(ctx)",
        "sip:a@sip.millis.ai?X-Any=1",
        "sip:a@sip.millis.ai\nx",
        "sip:a@evil.example",
    ],
    ids=["another destination", "other options", "a header", "a line feed", "a foreign host"],
)
async def test_a_sip_uri_off_the_allow_list_is_never_dialled(uri: str):
    """The call falls back with bad-uri, and the URI reaches neither a variable nor the log."""
    session = FakeSession()
    line = await play(session, FakeMillis(Registration("call-1", uri)))

    assert (session.set["MILLIS_STATUS"], session.set["MILLIS_REASON"]) == ("fallback", "bad-uri")
    assert "MILLIS_DIAL" not in session.set
    assert uri not in repr(line)


async def test_a_call_id_that_is_no_plain_word_is_not_passed_on():
    """A call id from Millis that could be more than text leaves its variable empty; the call goes on."""
    session = FakeSession()
    await play(session, FakeMillis(Registration('x"\n', "sip:call-1@sip.millis.ai")))

    assert session.set["MILLIS_CALL_ID"] == ""
    assert session.set["MILLIS_STATUS"] == "ok"


async def test_a_caller_who_hangs_up_ends_the_registration_and_is_told_nothing():
    """When the caller leaves while Millis thinks, the request is cancelled and no variable is set any more."""
    session = FakeSession()
    millis = SilentMillis(on_asked=session.hang_up)
    line = await play(session, millis)

    assert millis.cancelled
    assert "MILLIS_STATUS" not in session.set
    assert (line["result"], line["reason"], line["log_level"]) == ("caller", "caller-hung-up", "info")
    assert session.closed


@pytest.mark.parametrize(
    ("error", "reason"),
    [(SessionLost("x"), "session-lost"), (AgiTimeout("x"), "agi-timeout"), (AgiRefused("x"), "agi-protocol")],
    ids=["lost", "timed out", "refused"],
)
async def test_a_dialplan_that_cannot_be_told_gets_the_failure_line(error: BridgeError, reason: str):
    """Where not even a variable can be set, AGISTATUS=FAILURE is what is left to say."""
    session = FakeSession()
    session.errors = {"MILLIS_FALLBACK": error, "MILLIS_REASON": error}
    line = await play(session)

    assert session.failed
    assert (line["result"], line["reason"]) == ("pbx", reason)


async def test_a_defect_while_telling_the_dialplan_still_fails_the_session():
    """Even an unforeseen exception in the last step leaves the dialplan with AGISTATUS=FAILURE."""
    session = FakeSession()
    session.errors = {"MILLIS_STATUS": RuntimeError("a fault of our own")}
    await play(session)

    assert session.failed


@pytest.mark.parametrize(
    ("error", "result", "reason"),
    [
        (SessionLost("gone"), "pbx", "session-lost"),
        (AgiRefused("MSet ended with -2"), "pbx", "agi-protocol"),
        (RuntimeError("a fault of our own"), "bridge", "internal-error"),
    ],
    ids=["lost", "refused", "a defect"],
)
async def test_a_call_that_could_not_be_told_is_not_called_routed(error: Exception, result: str, reason: str):
    """When the last variables do not arrive, the dialplan takes its fallback, and the line does not claim otherwise."""
    session = FakeSession()
    session.errors = {"MILLIS_STATUS": error}
    line = await play(session)

    assert (line["result"], line["reason"]) == (result, reason)


async def test_a_bridge_that_stops_while_telling_the_dialplan_still_writes_the_calls_line():
    """Cancelled at the very last step, the call has an outcome too."""
    session = FakeSession()
    session.errors = {"MILLIS_STATUS": asyncio.CancelledError()}
    with capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await a_bridge().handle(session)

    assert [line["reason"] for line in lines] == ["bridge-stopped"]


async def test_a_question_that_fails_still_names_the_rules_own_fallback():
    """When Asterisk cannot be asked for the metadata, the caller goes where the rule says all the same."""
    session = FakeSession()
    session.errors = {"the question": AgiRefused("520")}
    line = await play(session)

    assert (session.set["MILLIS_FALLBACK"], session.set["MILLIS_STATUS"]) == ("reception,s,1", "fallback")
    assert line["reason"] == "agi-protocol"


async def test_a_caller_who_leaves_during_dial_is_told_from_one_who_never_got_there():
    """With AGIEXITONHANGUP the bridge cannot ask any more; the line says so, and leaves the rest to `ended`."""
    session = FakeSession("dial")
    session.errors = {"Dial": CallerHungUp("gone")}
    line = await play(session)

    assert (line["result"], line["reason"]) == ("caller", "left-during-dial")


async def test_the_line_of_a_bad_uri_names_the_call_to_ask_millis_about():
    """Millis's id of the call is in the line even when its SIP URI is refused."""
    line = await play(FakeSession(), FakeMillis(Registration("call-1", "sip:a@evil.example")))

    assert line["millis_call_id"] == "call-1"


async def test_dial_moves_the_watchdog_and_dials_with_the_same_safety():
    """The dial verb lets the dialplan's time limit guard the longest call, takes it away afterwards, and quotes for Dial."""
    session = FakeSession("dial")
    session.values["${DIALSTATUS}"] = "ANSWER"
    limits = []
    session.on_execute = lambda: limits.append(session.set["TIMEOUT(absolute)"])
    line = await play(session)

    assert limits == [str(25 + 600 + 5)]

    assert session.executed == [("Dial", "PJSIP/millis/sip:call-1@sip.millis.ai,25,iS(600)g")]
    assert session.set["TIMEOUT(absolute)"] == "0"
    assert session.set["MILLIS_STATUS"] == "ok"
    assert (line["result"], line["reason"], line["dialstatus"]) == ("completed", "answered", "ANSWER")


@pytest.mark.parametrize(
    ("dialstatus", "hangup_cause", "reason"),
    [
        ("BUSY", "17", "agent-busy"),
        ("BUSY", "0", "agent-unavailable"),
        ("NOANSWER", "19", "agent-no-answer"),
        ("CONGESTION", "34", "agent-congestion"),
        ("CHANUNAVAIL", "21", "agent-unavailable"),
        ("INVALIDARGS", "0", "dial-refused"),
        ("", "", "never-dialled"),
    ],
)
async def test_dial_sends_an_unanswered_call_to_the_fallback(dialstatus: str, hangup_cause: str, reason: str):
    """Every DIALSTATUS but ANSWER becomes status fallback with the reason that it means."""
    session = FakeSession("dial")
    session.values |= {"${DIALSTATUS}": dialstatus, "${HANGUPCAUSE}": hangup_cause}
    await play(session)

    assert (session.set["MILLIS_STATUS"], session.set["MILLIS_REASON"]) == ("fallback", reason)


async def test_a_session_lost_during_dial_is_recorded_as_lost():
    """When Asterisk goes away during EXEC Dial, the outcome says so and nothing pretends to know more."""
    session = FakeSession("dial")
    session.errors["Dial"] = SessionLost("gone")
    line = await play(session)

    assert (line["result"], line["reason"]) == ("pbx", "session-lost")


async def test_a_bridge_that_stops_during_dial_still_writes_the_calls_line():
    """A call whose session is cut off by our own end has an outcome too, and the cancellation goes on."""
    session = FakeSession("dial")
    session.errors["Dial"] = asyncio.CancelledError()
    with capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await a_bridge().handle(session)

    assert [(line["result"], line["reason"]) for line in lines] == [("unknown", "bridge-stopped")]
    assert session.closed


# What the caller hears meanwhile.


async def test_a_welcome_comes_before_the_registration():
    """Prompt and music are heard before Millis is asked, for its SIP URI may not keep; the watchdog waits for the prompt."""
    session, millis = FakeSession(), FakeMillis()
    millis.on_register = lambda: session.executed.append(("register", ""))
    await play(session, millis, CONFIG.replace('"-Nsales"', '"-Nsales"\nprompt = "custom/hello"\nmusic = "jazz"'))

    assert session.executed == [
        ("Answer", ""),
        ("Playback", "custom/hello"),
        ("StartMusicOnHold", "jazz"),
        ("register", ""),
    ]
    assert session.round_trips[0][-2:] == ["MILLIS_MUSIC", "TIMEOUT(absolute)"]
    assert (session.set["MILLIS_MUSIC"], session.set["TIMEOUT(absolute)"]) == ("jazz", "6")
    assert session.set["MILLIS_DIAL_OPTIONS"] == "iS(600)m(jazz)g"


async def test_an_answer_alone_leaves_the_watchdog_as_it_is():
    """Without a prompt nothing takes long enough to need more time."""
    session = FakeSession()
    await play(session, text=CONFIG.replace('"-Nsales"', '"-Nsales"\nanswer = true'))

    assert session.executed == [("Answer", ""), ("Ringing", "")]
    assert "TIMEOUT(absolute)" not in session.set


async def test_nobody_is_welcomed_twice():
    """A second attempt goes straight to Millis."""
    session = FakeSession(arg_1="redial=us-west")
    await play(session, text=CONFIG.replace('"-Nsales"', '"-Nsales"\nprompt = "custom/hello"'))

    assert session.executed == []


async def test_a_warning_before_the_end_says_how_it_sounds():
    """Dial's option L plays what these variables name, to the caller alone."""
    session = FakeSession()
    await play(session, text=CONFIG.replace('"-Nsales"', '"-Nsales"\nwarning_seconds = 30'))

    assert session.set["MILLIS_DIAL_OPTIONS"] == "iS(600)L(600000:30000)g"
    assert session.set["LIMIT_WARNING_FILE"] == "beep"
    assert (session.set["LIMIT_PLAYAUDIO_CALLER"], session.set["LIMIT_PLAYAUDIO_CALLEE"]) == ("yes", "no")


# The rungs of the ladder.


async def test_rules_regions_are_asked_in_their_order():
    """The rule's own region comes first, and the other stands behind it."""
    millis = FakeMillis()
    await play(FakeSession(), millis, CONFIG.replace("[numbers]", '[millis]\nregion = "eu-west"\n[numbers]'))

    assert millis.regions == [("eu-west", "us-west")]


async def test_a_rule_without_failover_stays_in_its_region():
    """Where the law keeps calls in one region, the other is not asked."""
    millis = FakeMillis()
    await play(FakeSession(), millis, CONFIG.replace('"-Nsales"', '"-Nsales"\nfailover = false'))

    assert millis.regions == [("us-west",)]


async def test_a_call_that_the_second_region_took_says_so():
    """The dialplan and the line learn which rung answered, and the line how the first region failed."""
    session = FakeSession()
    line = await play(session, FakeMillis(replace(GOOD, region="eu-west", earlier=("us-west: HTTP 503",))))

    assert (session.set["MILLIS_STATUS"], session.set["MILLIS_REASON"]) == ("ok", "routed-failover")
    assert (line["result"], line["reason"]) == ("completed", "routed-failover")
    assert (line["region"], line["detail"]) == ("eu-west", "us-west: HTTP 503")


STANDBY = CONFIG.replace('"-Nsales"', '"-Nsales"\nstandby_uri = "sip:standby@sip.millis.ai"')


@pytest.mark.parametrize(
    "error", [MillisUnreachable("x"), MillisTimeout("x"), MillisRefused(503, ""), MillisDown("x"), MillisNonsense("x")]
)
async def test_the_standby_uri_is_dialled_when_the_api_is_down(error: Exception):
    """With the API down and a standby URI, the call reaches an agent; the line says how, and why."""
    session = FakeSession()
    line = await play(session, FakeMillis(error), STANDBY)

    assert session.set["MILLIS_DIAL"] == "PJSIP/millis/sip:standby@sip.millis.ai"
    assert (session.set["MILLIS_STATUS"], session.set["MILLIS_REASON"]) == ("ok", "routed-standby")
    assert (session.set["MILLIS_CALL_ID"], session.set["MILLIS_REDIAL"]) == ("", "")
    assert (line["reason"], line["detail"], line["log_level"]) == ("routed-standby", str(error), "warning")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(MillisRefused(402, "no credit"), "millis-refused"), (MillisBusy("x"), "busy")],
    ids=["refused", "busy"],
)
async def test_the_standby_uri_mends_no_refusal(error: Exception, reason: str):
    """A call that is refused for its own sake, or that is one too many, takes its fallback."""
    session = FakeSession()
    await play(session, FakeMillis(error), STANDBY)

    assert (session.set["MILLIS_STATUS"], session.set["MILLIS_REASON"]) == ("fallback", reason)


async def test_a_redial_asks_the_other_region_and_keeps_the_calls_id():
    """Asked again after a failed agent leg, the bridge registers elsewhere, and allows no third attempt."""
    session = FakeSession(arg_1="redial=us-west", arg_2="bridge_call_id=abc123")
    millis = FakeMillis(replace(GOOD, region="eu-west"))
    line = await play(session, millis)

    assert millis.regions == [("eu-west",)]
    assert (session.set["MILLIS_STATUS"], session.set["MILLIS_REASON"]) == ("ok", "routed-redial")
    assert session.set["MILLIS_REDIAL"] == ""
    assert session.set["MILLIS_BRIDGE_CALL_ID"] == line["bridge_call_id"] == "abc123"


async def test_a_redial_where_there_is_one_region_registers_there_again():
    """The old SIP URI may be spent, so even in the same region the call is registered anew."""
    session, millis = FakeSession(arg_1="redial=us-west"), FakeMillis()
    await play(session, millis, CONFIG.replace('"-Nsales"', '"-Nsales"\nfailover = false'))

    assert millis.regions == [("us-west",)]


async def test_a_rule_may_forbid_the_redial():
    """With `redial = false` the dialplan is not told to come again."""
    session = FakeSession()
    await play(session, text=CONFIG.replace('"-Nsales"', '"-Nsales"\nredial = false'))

    assert session.set["MILLIS_REDIAL"] == ""


async def test_an_id_from_the_dialplan_that_is_no_plain_word_is_not_taken():
    """What cannot be an id of ours is replaced by a new one."""
    line = await play(FakeSession(arg_1="bridge_call_id=%22%20or%0A"))

    assert len(line["bridge_call_id"]) == 32


async def test_dial_tries_a_failed_agent_leg_once_more():
    """The one-line variant climbs the same rung by itself, once."""
    session, millis = FakeSession("dial"), FakeMillis()
    session.values["${DIALSTATUS}"] = "CONGESTION"
    line = await play(session, millis)

    assert millis.regions == [("us-west", "eu-west"), ("eu-west",)]
    assert [application for application, _ in session.executed] == ["Dial", "Dial"]
    assert ["TIMEOUT(absolute)"] in session.round_trips  # the watchdog is back while the caller waits once more
    assert (session.set["MILLIS_STATUS"], line["reason"]) == ("fallback", "agent-congestion")


async def test_dial_leaves_no_watchdog_behind_when_the_second_registration_fails():
    """What guards the caller's second wait must not end the conversation with the fallback."""
    session, millis = FakeSession("dial"), FakeMillis()
    session.values["${DIALSTATUS}"] = "CONGESTION"
    session.on_execute = lambda: setattr(millis, "answer", MillisUnreachable("gone"))
    line = await play(session, millis)

    assert (session.set["MILLIS_STATUS"], line["reason"]) == ("fallback", "millis-unreachable")
    assert session.set["TIMEOUT(absolute)"] == "0"


# Registrations that nobody dials.


async def test_a_registration_that_the_dialplan_did_not_hear_of_is_an_orphan():
    """When the last variables do not arrive, Millis's registration is abandoned, after the call's line."""
    session, millis = FakeSession(), FakeMillis()
    session.errors = {"MILLIS_STATUS": SessionLost("gone")}
    line = await play(session, millis)

    assert line["orphaned"]
    assert millis.abandoned == [("default", "call-1")]


async def test_a_registration_with_a_bad_uri_is_an_orphan():
    """What must not be dialled is abandoned too."""
    millis = FakeMillis(replace(GOOD, sip_uri="sip:a@evil.example"))
    line = await play(FakeSession(), millis)

    assert line["orphaned"]
    assert millis.abandoned == [("default", "call-1")]


async def test_a_caller_who_leaves_during_the_registration_may_leave_an_orphan():
    """Nobody knows whether Millis had registered the call; the line says that it may have."""
    session = FakeSession()
    millis = SilentMillis(on_asked=session.hang_up)
    line = await play(session, millis)

    assert line["orphaned"]
    assert millis.abandoned == []


async def test_a_call_that_is_dialled_leaves_no_orphan():
    """Neither `route` nor `dial` abandons what is dialled, however the dialling ends."""
    for session in (FakeSession("route"), FakeSession("dial")):
        millis = FakeMillis()
        line = await play(session, millis)

        assert "orphaned" not in line
        assert millis.abandoned == []


async def test_ended_joins_the_call_by_its_id_and_sets_nothing():
    """The report after the call finds our id in the channel, says what Dial said, and sets no variable."""
    session = FakeSession("ended")
    session.values = {
        "${MILLIS_BRIDGE_CALL_ID}": "abc123",
        "${MILLIS_CALL_ID}": "call-1",
        "${DIALSTATUS}": "CONGESTION",
        "${HANGUPCAUSE}": "34",
        "${DIALEDTIME}": "1",
        "${CHANNEL(hangupsource)}": "PJSIP/trunk-00000001",
    }
    line = await play(session)

    assert session.set == {}
    assert session.closed
    assert (line["bridge_call_id"], line["millis_call_id"]) == ("abc123", "call-1")
    assert (line["reason"], line["dialstatus"], line["hangup_cause"]) == ("agent-congestion", "CONGESTION", "34")
    assert line["hung_up_by"] == "caller"


async def test_ended_takes_the_dialplan_s_word_without_a_question():
    """A dialplan that says how the call went is not asked, so nobody can hang up in between."""
    session = FakeSession(
        "ended",
        arg_1="bridge_call_id=abc123",
        arg_2="dialstatus=ANSWER",
        arg_3="hangup_cause=16",
        arg_4="answered_seconds=42",
        arg_5="dialled_seconds=44",
        arg_6="hangup_source=PJSIP%2Ftrunk-00000001",
        arg_7="millis_call_id=call-1",
    )
    session.errors["the question"] = CallerHungUp("gone")
    line = await play(session)

    assert (line["result"], line["reason"]) == ("completed", "answered")
    assert (line["bridge_call_id"], line["millis_call_id"]) == ("abc123", "call-1")
    assert (line["dialstatus"], line["hangup_cause"], line["hung_up_by"]) == ("ANSWER", "16", "caller")
    assert (line["answered_seconds"], line["dialled_seconds"]) == ("42", "44")
    assert session.set == {}


async def test_ended_with_an_empty_dialstatus_was_never_dialled():
    """A dialplan that has nothing to say of Dial is not asked either."""
    session = FakeSession("ended", arg_1="dialstatus=", arg_2="hangup_cause=")
    line = await play(session)

    assert (line["reason"], session.asked) == ("never-dialled", [])


async def test_a_caller_whom_the_agent_sent_on_has_not_hung_up():
    """The agent's leg ended because it gave its caller away: that is a success, and nobody hung up."""
    session = FakeSession(
        "ended", arg_1="dialstatus=ANSWER", arg_2="answered_seconds=", arg_3="hangup_source=", arg_4="transfer=sales"
    )
    line = await play(session)

    assert (line["result"], line["reason"], line["transfer"]) == ("completed", "transferred", "sales")
    assert (line["hung_up_by"], session.set) == ("", {})


@pytest.mark.parametrize(
    ("dialstatus", "result", "reason"),
    [
        ("ANSWER", "completed", "transfer-answered"),
        ("NOANSWER", "pbx", "transfer-unanswered"),
        ("BUSY", "pbx", "transfer-unanswered"),
        ("CHANUNAVAIL", "pbx", "transfer-unanswered"),
        ("CANCEL", "caller", "caller-hung-up"),
        ("", "caller", "caller-hung-up"),
    ],
)
async def test_transferred_tells_who_answered_in_the_end(dialstatus: str, result: str, reason: str):
    """Whom the agent sent its caller to is reported apart from the agent's leg, joined by the call's id."""
    session = FakeSession(
        "transferred", arg_1="bridge_call_id=abc123", arg_2=f"dialstatus={dialstatus}", arg_3="transfer=sales"
    )
    line = await play(session)

    assert (line["bridge_call_id"], line["result"], line["reason"]) == ("abc123", result, reason)
    assert (line["transfer"], session.set, session.asked) == ("sales", {}, [])


async def test_dial_asks_how_it_went_whatever_the_arguments_say():
    """With `dial`, the arguments were there before the call, and so cannot know how it went."""
    session = FakeSession("dial", arg_1="dialstatus=BUSY")
    session.values["${DIALSTATUS}"] = "ANSWER"

    assert (await play(session))["reason"] == "answered"


@pytest.mark.parametrize(
    ("source", "answered_seconds", "reason"),
    [
        ("PJSIP/millis-00000002", "0", "agent-dropped"),
        ("", "0", "agent-dropped"),
        ("PJSIP/millis-00000002", "1", "answered"),
        ("PJSIP/trunk-00000001", "0", "answered"),
    ],
    ids=["by the agent at once", "by nobody whom Asterisk names", "by the agent later", "by the caller"],
)
async def test_an_agent_that_hangs_up_at_once_has_not_served_the_caller(
    source: str, answered_seconds: str, reason: str
):
    """An answer that the agent takes back within a second is a failure of the agent's."""
    session = FakeSession("ended")
    session.values = {
        "${DIALSTATUS}": "ANSWER",
        "${ANSWEREDTIME}": answered_seconds,
        "${CHANNEL(hangupsource)}": source,
    }

    assert (await play(session))["reason"] == reason


@pytest.mark.parametrize(
    ("source", "dialstatus", "side"),
    [
        ("PJSIP/trunk-00000001", "ANSWER", "caller"),
        ("PJSIP/trunk-00000001", "CANCEL", "caller"),
        ("PJSIP/millis-00000002", "CANCEL", "caller"),
        ("PJSIP/millis-00000002", "ANSWER", "agent"),
        ("", "ANSWER", "pbx"),
        ("", "BUSY", ""),
    ],
)
async def test_ended_tells_who_hung_up(source: str, dialstatus: str, side: str):
    """Asterisk's hangup source names a channel; a call that a limit ended has none, nor has one that goes on elsewhere."""
    session = FakeSession("ended")
    session.values = {"${DIALSTATUS}": dialstatus, "${CHANNEL(hangupsource)}": source}

    assert (await play(session))["hung_up_by"] == side


async def test_ping_is_answered():
    """The ping verb sets the status and nothing else."""
    session = FakeSession("ping")
    await play(session)

    assert session.set == {"MILLIS_STATUS": "ok"}


async def test_an_unknown_verb_sends_the_call_to_the_default_fallback():
    """A typing error in the dialplan loses no call."""
    session = FakeSession("rout")
    line = await play(session)

    assert session.set == {
        "MILLIS_FALLBACK": "queues,600,1",
        "MILLIS_REASON": "unknown-verb",
        "MILLIS_STATUS": "fallback",
    }
    assert line["verb"] == "rout"


# What counts calls, and another configuration


class FakeMeter:
    """Remembers what it was told, or fails as planted."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[tuple[str, str, str, str, float, float | None]] = []

    def ended(self, visit: Visit, outcome: Outcome, total_seconds: float) -> None:
        """Remember a call that is over."""
        if self.error is not None:
            raise self.error
        rule = visit.route.rule_name if visit.route else ""
        region = visit.region
        self.calls.append((visit.verb, rule, outcome.reason, region, total_seconds, visit.setup_seconds))


def a_counted_bridge(meter: FakeMeter) -> Bridge:
    loaded = config.load(CONFIG, {"MILLIS_API_KEY": "k"}, lambda name: b"")
    ticks = iter(range(1000))
    return Bridge(loaded, FakeMillis(), lambda: datetime.now(UTC), lambda: next(ticks) / 8, meter)


async def test_every_call_is_counted_once_with_its_times():
    """The meter hears of each call at its end: a dialled one with the time at which its dialling began."""
    meter = FakeMeter()
    bridge = a_counted_bridge(meter)
    for verb in ("route", "dial", "ping"):
        await bridge.handle(FakeSession(verb))

    assert meter.calls == [
        ("route", "sales", "routed", "us-west", 0.5, None),
        ("dial", "sales", "never-dialled", "us-west", 1.0, 0.5),
        ("ping", "", "pong", "", 0.125, None),
    ]


async def test_a_meter_that_fails_reaches_no_call():
    """What goes wrong in the counting is logged, and the caller hears nothing of it."""
    session = FakeSession()
    with capture_logs() as lines:
        await a_counted_bridge(FakeMeter(ValueError("full"))).handle(session)

    assert session.set["MILLIS_STATUS"] == "ok"
    assert [line["event"] for line in lines] == ["call", "a call was not counted"]


async def test_a_call_keeps_the_configuration_that_it_began_with():
    """A reload while Millis is asked changes neither the hosts that may be dialled nor anything else of the call."""
    stricter = config.load(f'[millis]\nallowed_hosts = "x"\n{CONFIG}', {"MILLIS_API_KEY": "k"}, lambda name: b"")

    class ReloadingMillis(FakeMillis):
        async def register(self, account: str, regions: Sequence[str], body: Mapping[str, Any]) -> Registration:
            bridge.reconfigure(stricter)
            return GOOD

    bridge = a_bridge(ReloadingMillis())
    first, second = FakeSession(), FakeSession()
    with capture_logs():
        await bridge.handle(first)
        await bridge.handle(second)

    assert (first.set["MILLIS_STATUS"], second.set["MILLIS_REASON"]) == ("ok", "bad-uri")


# What goes into the records


class FakeRecorder:
    """Remembers reports, or fails as planted."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.reports: list[Report] = []

    def add(self, report: Report) -> None:
        """Remember a report."""
        if self.error is not None:
            raise self.error
        self.reports.append(report)


async def reported(session: FakeSession, millis: FakeMillis | None = None) -> Mapping[str, Any]:
    """Let the bridge answer *session*, and return the facts that it reports."""
    recorder = FakeRecorder()
    with capture_logs():
        await a_bridge(millis, recorder=recorder).handle(session)
    (report,) = recorder.reports
    assert report.facts.keys() <= FACTS
    return report.facts


async def test_a_routed_call_reports_who_called_what_and_what_was_decided():
    """The report has the ids of all sides, the rule, the region and the time of each step."""
    facts = await reported(FakeSession(rdnis="15550009999"))

    assert facts == {
        "uniqueid": "1700000000.1",
        "channel": "PJSIP/trunk-00000001",
        "pbx": None,
        "verb": "route",
        "linkedid": "1700000000.1",
        "did": "+15551230001",
        "caller_number": "+15557654321",
        "caller_name": "Ada",
        "caller_withheld": False,
        "rdnis": "15550009999",
        "rule": "sales",
        "fallback": "reception,s,1",
        "agent_id": "-Nsales",
        "account": "default",
        "region": "us-west",
        "millis_call_id": "call-1",
        "failover": False,
        "standby": False,
        "redialled": False,
        "orphaned": False,
        "decided_seconds": 0.125,
        "millis_seconds": 0.125,
        "registered_seconds": 0.375,
        "setup_seconds": 0.5,
        "longest_seconds": 630,
        "detail": None,
        "result": "completed",
        "reason": "routed",
        "fallback_taken": False,
    }


async def test_a_call_that_millis_refuses_reports_whose_fault_it_is_and_that_it_takes_its_fallback():
    """The reason is Millis's, in its words, and the dialplan goes on with the fallback."""
    facts = await reported(FakeSession(), FakeMillis(MillisRefused(402, "out of credit")))

    assert (facts["result"], facts["reason"], facts["detail"]) == (
        "millis",
        "millis-refused",
        "HTTP 402: out of credit",
    )
    assert (facts["fallback"], facts["fallback_taken"]) == ("reception,s,1", True)
    assert (facts["millis_call_id"], facts["registered_seconds"]) == (None, None)


async def test_a_refused_caller_takes_no_fallback():
    """Whom the rule refuses, the dialplan hangs up on."""
    facts = await reported(FakeSession(callerid="+15550000666"))

    assert (facts["rule"], facts["reason"], facts["fallback_taken"]) == ("blocked", "blocked-caller", False)


async def test_a_caller_who_leaves_takes_no_fallback():
    """There is nobody left to go anywhere; Millis may hold a registration."""
    session = FakeSession()
    facts = await reported(session, SilentMillis(session.hang_up))

    assert (facts["result"], facts["fallback_taken"], facts["orphaned"]) == ("caller", False, True)


async def test_the_end_of_a_call_reports_how_the_agents_leg_went():
    """Asterisk's words become numbers where they are numbers, and the call is the one that was routed."""
    recorder = FakeRecorder()
    said = ("bridge_call_id=c1", "dialstatus=CHANUNAVAIL", "hangup_cause=20", "answered_seconds=", "dialled_seconds=3")
    session = FakeSession("ended", **{f"arg_{place}": argument for place, argument in enumerate(said, 1)})
    with capture_logs():
        await a_bridge(recorder=recorder).handle(session)
    (report,) = recorder.reports

    assert (report.bridge_call_id, report.facts["dialstatus"], report.facts["hangup_cause"]) == (
        "c1",
        "CHANUNAVAIL",
        20,
    )
    assert (report.facts["answered_seconds"], report.facts["dialled_seconds"]) == (None, 3)
    assert (report.facts["reason"], report.facts["fallback_taken"]) == ("agent-unavailable", True)
    assert "verb" not in report.facts


async def test_a_call_that_the_agent_sends_on_is_reported_in_two_parts():
    """The agent's leg and what came after it are told apart, and both name the place."""
    recorder = FakeRecorder()
    said = {
        "arg_1": "bridge_call_id=c1",
        "arg_2": "dialstatus=ANSWER",
        "arg_3": "transfer=sales",
        "arg_4": "answered_seconds=7",
    }
    with capture_logs():
        for verb in ("ended", "transferred"):
            await a_bridge(recorder=recorder).handle(FakeSession(verb, **said))
    first, second = (report.facts for report in recorder.reports)

    assert (first["transfer"], first["reason"], first["answered_seconds"]) == ("sales", "transferred", 7)
    assert (second["transfer"], second["reason"]) == ("sales", "transfer-answered")
    assert (second["transfer_dialstatus"], second["transfer_answered_seconds"]) == ("ANSWER", 7)
    assert "dialstatus" not in second
    assert second.keys() <= FACTS


async def test_who_only_asks_whether_the_bridge_is_there_is_no_call():
    """A ping, and a verb that is none, leave no record."""
    recorder = FakeRecorder()
    with capture_logs():
        for verb in ("ping", "nonsense"):
            await a_bridge(recorder=recorder).handle(FakeSession(verb))

    assert recorder.reports == []


async def test_a_recorder_that_fails_reaches_no_call():
    """What goes wrong in the recording is logged, and the caller hears nothing of it."""
    session = FakeSession()
    with capture_logs() as lines:
        await a_bridge(recorder=FakeRecorder(ValueError("full"))).handle(session)

    assert session.set["MILLIS_STATUS"] == "ok"
    assert [line["event"] for line in lines] == ["call", "a call was not recorded"]


# The call's channels, followed in its PBX.


class FakeWatcher:
    """Notes whom to follow, and stumbles if the test says so."""

    def __init__(self, error: Exception | None = None) -> None:
        self.followed: list[tuple[str, ...]] = []
        self._error = error

    def follow(self, peer: str, bridge_call_id: str, channel: str, uniqueid: str, linkedid: str) -> None:
        """Note a call, and what is known of its linkedid."""
        self.followed.append((peer, bridge_call_id, channel, uniqueid, linkedid))
        if self._error:
            raise self._error

    def name_of(self, peer: str) -> str:
        """Know one PBX."""
        return f"the PBX at {peer}"


async def followed(watcher: FakeWatcher, session: FakeSession) -> FakeSession:
    """Answer a session under the eyes of a watcher."""
    loaded = config.load(CONFIG, {"MILLIS_API_KEY": "k"}, lambda name: b"")
    watched = Bridge(loaded, FakeMillis(), lambda: datetime.now(UTC), lambda: 0.0, watcher=watcher)
    await watched.handle(session)
    return session


async def test_call_is_followed_in_its_pbx():
    """The PBX is known by its address, the caller's channel by its uniqueid, and the rest by the linkedid once that is known."""
    watcher, session = FakeWatcher(), FakeSession(arg_1="bridge_call_id=ours-42")
    session.peer = "10.0.0.7"
    session.values["${CHANNEL(linkedid)}"] = "1700000000.0"
    await followed(watcher, session)

    known = ("10.0.0.7", "ours-42", "PJSIP/trunk-00000001", "1700000000.1")
    assert watcher.followed == [(*known, ""), (*known, "1700000000.0")]


async def test_call_goes_on_where_it_cannot_be_followed():
    """Whatever goes wrong there, the caller reaches the agent."""
    session = await followed(FakeWatcher(RuntimeError("out of order")), FakeSession())

    assert session.set["MILLIS_STATUS"] == "ok"


async def test_a_report_names_the_pbx_that_the_call_came_from():
    """Where several PBXs are known, the record tells whose call it was."""
    recorder = FakeRecorder()
    session = FakeSession()
    loaded = config.load(CONFIG, {"MILLIS_API_KEY": "k"}, lambda name: b"")
    with capture_logs():
        await Bridge(
            loaded,
            FakeMillis(),
            lambda: datetime.now(UTC),
            lambda: 0.0,
            recorder=recorder,
            watcher=FakeWatcher(),
        ).handle(session)

    assert recorder.reports[0].facts["pbx"] == f"the PBX at {session.peer}"
