"""The record of a call beside what Asterisk itself writes of it: the same call, the same story."""

import asyncio
import csv
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from lab import Asterisk, Pbx, PostgresServer, SiteSettings, find_postgres

from agi_bridge.call import CallRecord
from agi_bridge.errors import RecordsError
from agi_bridge.records.selection import Selection
from agi_bridge.records.store import Store, database_url
from agi_bridge.simulator.sip import HungUp, Invited, ReferEnded, SipAgent
from tests.asterisk.stage import (
    AGENT,
    CALLER_NUMBER,
    DID,
    LOBBY,
    ONELINE_DID,
    RECEPTION,
    REJECTED_DID,
    Stage,
    set_stage,
)
from tests.asterisk.test_originate import OURS, THEIRS, Customer, hang_up
from tests.asterisk.test_pbx import hq, table, until
from tests.asterisk.test_tools import MORE as TOOLS
from tests.asterisk.test_tools import TOKEN
from tests.web.asking import ask, bearer

T = TypeVar("T")

PATIENCE_SECONDS = 30.0
CDR_FIELDS = (
    "uniqueid",
    "linkedid",
    "src",
    "dst",
    "channel",
    "disposition",
    "billsec",
    "duration",
    "start",
    "answer",
    "end",
    "userfield",
)
TIMES = ("start", "answer", "end")
MAPPING = ",".join("${CSV_QUOTE(${CDR(" + (f"{name},u" if name in TIMES else name) + ")})}" for name in CDR_FIELDS)
FILES = {
    "cdr.conf": "[general]\nenable = yes\nunanswered = yes\ncongestion = yes\n",
    "cdr_custom.conf": f"[mappings]\ncalls.csv => {MAPPING}\n",
}


MODULES = (Path(__file__).parents[2] / "asterisk-conf" / "modules.conf").read_text()


def with_files(site: SiteSettings, modules: str, files: Mapping[str, str] | None = None) -> SiteSettings:
    """Return the same site with other modules and further files."""
    return replace(site, files={"modules.conf": modules, **(files or {})})


@pytest.fixture(scope="module")
def cdr_pbx(asterisk: Asterisk, site: SiteSettings) -> Iterator[Pbx]:
    """A PBX that writes call records of its own."""
    backend = "\nload = res_cdrel_custom.so\nload = cdr_custom.so\n"
    with asterisk.start(with_files(site, MODULES + backend, FILES)) as pbx:
        yield pbx


async def _until(found: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """Look again and again, because neither a file nor a database tells anybody that it has changed."""
    async with asyncio.timeout(seconds):
        while (result := found()) is None:  # noqa: ASYNC110 - nothing could set an event
            await asyncio.sleep(0.2)
    return result


class Scene:
    """A stage whose PBX and whose bridge both keep records."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.more = f'[records]\nfolder = "{folder}"\ngather_seconds = 0\nbatch_seconds = 0.01\n'
        self.folder = folder
        self._cdrs = stage.pbx.folder / "log/cdr-custom/calls.csv"
        self._cdrs.parent.mkdir(exist_ok=True)
        self._earlier = len(self._rows())

    async def record(self, **fields: object) -> CallRecord:
        """Wait for a record with these *fields*, and return it."""
        return await _until(lambda: self._found(fields))

    async def cdrs(self, count: int, uniqueid: str = "") -> list[dict[str, str]]:
        """Wait until Asterisk has written so many records, of one channel if it is named, and return them in their order."""

        def found() -> list[dict[str, str]] | None:
            rows = [row for row in self._rows()[self._earlier :] if uniqueid in ("", row["uniqueid"])]
            return sorted(rows, key=lambda row: float(row["start"])) if len(rows) >= count else None

        return await _until(found)

    def _rows(self) -> list[dict[str, str]]:
        if not self._cdrs.exists():
            return []
        with self._cdrs.open(newline="") as file:
            return [dict(zip(CDR_FIELDS, row, strict=True)) for row in csv.reader(file)]

    def records(self, url: str = "") -> list[CallRecord]:
        """Return what the bridge has recorded so far, in a database of its own or in that at *url*."""
        try:
            with closing(Store.open_for_reading(database_url(url or None, "", self.folder), 5)) as store:
                return list(store.all(Selection()))
        except RecordsError:  # the bridge has not made it yet
            return []

    def _found(self, fields: dict[str, object]) -> CallRecord | None:
        return next(
            (each for each in self.records() if all(getattr(each, name) == fields[name] for name in fields)), None
        )


@asynccontextmanager
async def set_scene(pbx: Pbx, folder: Path) -> AsyncIterator[Scene]:
    async with set_stage(pbx) as stage:
        yield Scene(stage, folder)


@pytest.fixture
async def scene(cdr_pbx: Pbx, tmp_path: Path) -> AsyncIterator[Scene]:
    """The PBX with everyone around it, and a folder for the records of one test."""
    async with set_scene(cdr_pbx, tmp_path) as scene:
        yield scene


def assert_same_call(record: CallRecord, cdr: dict[str, str]) -> None:
    """Compare what both know of who called whom and when."""
    assert cdr["userfield"] == record.bridge_call_id
    assert (cdr["uniqueid"], cdr["channel"]) == (record.uniqueid, record.channel)
    assert cdr["src"] == record.caller_number == CALLER_NUMBER
    assert abs(record.received_at.timestamp() - float(cdr["start"])) < 1


async def test_an_answered_call(scene: Scene):
    """Both say that the agent answered, for how many seconds, and who was who; the caller hung up, says the record."""
    async with scene.stage.bridge(more=scene.more):
        await scene.stage.call(talk_seconds=1.2, listens_for_hz=())
        record = await scene.record(reason="answered")
        (cdr,) = await scene.cdrs(1)

    assert_same_call(record, cdr)
    assert record.linkedid == cdr["linkedid"]
    assert (record.did, cdr["dst"]) == (f"+{DID}", DID)
    assert (record.dialstatus, cdr["disposition"]) == ("ANSWER", "ANSWERED")
    assert (str(record.answered_seconds), str(record.dialled_seconds)) == (cdr["billsec"], cdr["duration"])
    assert (record.hangup_cause, record.hung_up_by, record.fallback_taken) == (16, "caller", False)
    assert record.millis_call_id == scene.stage.millis.issued[0]["call_id"]


async def test_an_agent_that_is_busy(scene: Scene):
    """The record names the agent's fault and the fallback that was taken; both of Asterisk's dials carry our id."""
    scene.stage.agent_does(refuse_status=486)
    async with scene.stage.bridge(more=scene.more, sales="redial = false"):
        await scene.stage.call()
        record = await scene.record(reason="agent-busy")
        cdrs = await scene.cdrs(2)

    for cdr in cdrs:
        assert_same_call(record, cdr)
    assert {cdr["disposition"] for cdr in cdrs} == {"BUSY", "ANSWERED"}
    assert (record.result, record.dialstatus, record.hangup_cause) == ("millis", "BUSY", 17)
    assert (record.fallback, record.fallback_taken) == ("reception,s,1", True)


async def test_a_caller_who_hangs_up_while_it_rings(scene: Scene):
    """Both know that nobody answered; the record knows that it was the caller who had enough."""
    scene.stage.agent_does(ring_seconds=30)
    async with scene.stage.bridge(more=scene.more):
        async with scene.stage.calling():
            await scene.stage.line("route")
            await scene.stage.saw("agent", Invited)
        record = await scene.record(result="caller")
        (cdr,) = await scene.cdrs(1)

    assert_same_call(record, cdr)
    assert cdr["disposition"] == "NO ANSWER"
    assert (record.dialstatus, record.hung_up_by, record.fallback_taken) == ("CANCEL", "caller", False)


async def test_a_call_that_is_redialled(scene: Scene):
    """Two dials are one call: the record tells of the second, and that there was a first."""
    scene.stage.agent_does(refuse_status=503)
    async with scene.stage.bridge(more=scene.more, second_region=True):
        await scene.stage.call()
        record = await scene.record(reason="answered")
        cdrs = await scene.cdrs(2)

    for cdr in cdrs:
        assert_same_call(record, cdr)
    assert {cdr["disposition"] for cdr in cdrs} == {"CONGESTION", "ANSWERED"}
    assert (record.redialled, record.region, record.dialstatus) == (True, "eu-west", "ANSWER")


async def test_a_call_that_millis_refuses(scene: Scene):
    """No agent was dialled: what Asterisk has is the fallback, under our id, and the record says whose fault it was."""
    scene.stage.millis_does("status=402")
    async with scene.stage.bridge(more=scene.more):
        await scene.stage.call()
        record = await scene.record(reason="millis-refused")
        (cdr,) = await scene.cdrs(1)

    assert_same_call(record, cdr)
    assert (record.result, record.fallback_taken, record.dialstatus) == ("millis", True, None)


async def test_a_refused_caller(scene: Scene):
    """The rule says no: nobody is dialled, and there is no fallback."""
    async with scene.stage.bridge(more=scene.more):
        await scene.stage.call(REJECTED_DID)
        record = await scene.record(reason="blocked-caller")
        (cdr,) = await scene.cdrs(1)

    assert_same_call(record, cdr)
    assert (record.rule, record.fallback_taken, cdr["disposition"] == "ANSWERED") == ("nobody", False, False)


async def test_a_dialplan_of_one_line(scene: Scene):
    """Where the bridge dials by itself, the hangup handler tells how it went, and all of it is one record."""
    async with scene.stage.bridge(more=scene.more):
        await scene.stage.call(ONELINE_DID, talk_seconds=1.2, listens_for_hz=())
        record = await scene.record(verb="dial", reason="answered")
        (cdr,) = await scene.cdrs(1)

    assert_same_call(record, cdr)
    assert (record.dialstatus, cdr["disposition"]) == ("ANSWER", "ANSWERED")
    assert str(record.answered_seconds) == cdr["billsec"]


# What an agent or an operator asks for.


@asynccontextmanager
async def asked(scene: Scene, **toml: Any) -> AsyncIterator[None]:
    """Run a bridge that can be asked, and that can ask the PBX."""
    stage = scene.stage
    more = table(stage.pbx.manager_port) + TOOLS + scene.more
    async with stage.bridge(web='["127.0.0.1:0"]', more=more, **toml):
        await until(lambda: hq(stage).connected)
        yield


@asynccontextmanager
async def talking(scene: Scene, hz: int = AGENT) -> AsyncIterator[str]:
    """Let the caller talk with the agent, or whoever speaks *hz*, for a second and more; yield our id of the call."""
    async with scene.stage.calling():
        await scene.stage.heard("caller", hz)
        channel = (await scene.stage.shown("core show channels concise", r"(PJSIP/trunk-[0-9a-f]+)!"))[1]
        await scene.stage.shown(f"core show channel {channel}", r"Elapsed Time: 0h0m([2-9]|\d\d)s")
        yield (await scene.stage.line("route"))["bridge_call_id"]


async def operator(stage: Stage, call: str, verb: str, **said: str) -> None:
    """Ask over the API."""
    answer = await ask(stage.web, "POST", f"/api/v1/calls/{call}/{verb}", said, **bearer(TOKEN))
    assert answer[0] == 200


def seconds_between(cdr: dict[str, str], since: str, until: str) -> float:
    return float(cdr[until]) - float(cdr[since])


def assert_agents_leg(record: CallRecord, cdr: dict[str, str]) -> None:
    """Compare what both know of an agent that answered, and of when it had the caller no longer."""
    assert_same_call(record, cdr)
    assert (record.did, cdr["dst"]) == (f"+{DID}", DID)
    assert (record.dialstatus, cdr["disposition"]) == ("ANSWER", "ANSWERED")
    assert record.ended_at is not None
    assert abs(record.ended_at.timestamp() - float(cdr["end"])) < 1


async def assert_sent_on(scene: Scene) -> None:
    """Compare what both know of a caller who has left, after the agent had sent them on to "sales"."""
    record = await scene.record(reason="transfer-answered")
    first, *_, last = await scene.cdrs(3, record.uniqueid or "")
    assert_agents_leg(record, first)
    assert_same_call(record, last | {"start": first["start"]})
    assert (record.transfer, record.transfer_dialstatus, last["disposition"]) == ("sales", "ANSWER", "ANSWERED")
    assert record.transfer_ended_at is not None
    assert abs(record.transfer_ended_at.timestamp() - float(last["end"])) < 1
    assert abs((record.transfer_answered_seconds or 0) - seconds_between(last, "answer", "end")) <= 1
    assert (record.result, record.fallback_taken, record.answered_seconds) == ("completed", False, None)


async def test_a_caller_who_is_sent_on(scene: Scene):
    """The agent's leg is Asterisk's first record of the call; the last is with whom the caller was sent to, just as long."""
    async with asked(scene):
        async with talking(scene) as call:
            await operator(scene.stage, call, "transfer", to="sales")
            await scene.stage.heard("caller", LOBBY)
        await assert_sent_on(scene)


async def test_a_caller_whom_the_agent_refers(scene: Scene):
    """REFER leaves the same records, Asterisk's and ours, and needs nobody to ask."""
    stage = scene.stage
    stage.agent_does(refer_to=f"sip:sales@{stage.pbx.address}", refer_after_seconds=1.2)
    async with stage.bridge(more=scene.more):
        async with stage.calling():
            await stage.heard("caller", LOBBY)
        await assert_sent_on(scene)


async def test_a_caller_whom_the_agent_refers_elsewhere(scene: Scene):
    """What is not on the list leaves no trace: one record of Asterisk and one of ours, of an agent who talked on."""
    stage = scene.stage
    stage.agent_does(refer_to=f"sip:lobby@{stage.pbx.address}", refer_after_seconds=0.5)
    async with stage.bridge(more=scene.more):
        async with stage.calling():
            await stage.saw("agent", ReferEnded)
        record = await scene.record(reason="answered")
        (cdr,) = await scene.cdrs(1, record.uniqueid or "")

    assert_agents_leg(record, cdr)
    assert (record.transfer, record.hung_up_by, str(record.answered_seconds)) == (None, "caller", cdr["billsec"])


@pytest.mark.parametrize(
    ("behaviour", "dialstatus", "disposition"),
    [({"refuse_status": 486}, "BUSY", "BUSY"), ({"ring_seconds": 30.0}, "NOANSWER", "NO ANSWER")],
    ids=["busy", "unanswered"],
)
async def test_a_caller_whom_nobody_takes(scene: Scene, behaviour: dict[str, Any], dialstatus: str, disposition: str):
    """Asterisk's second record is of whom the caller did not reach, the third of the fallback; ours says both."""
    scene.stage.desk_does("lobby", **behaviour)
    async with asked(scene):
        async with talking(scene) as call:
            await operator(scene.stage, call, "transfer", to="sales")
            await scene.stage.heard("caller", RECEPTION)
        record = await scene.record(reason="transfer-unanswered")
        first, second, third = await scene.cdrs(3, record.uniqueid or "")

    assert_agents_leg(record, first)
    assert {cdr["userfield"] for cdr in (second, third)} == {record.bridge_call_id}
    assert (record.transfer, record.transfer_dialstatus, second["disposition"]) == ("sales", dialstatus, disposition)
    assert record.transfer_ended_at is not None
    assert abs(record.transfer_ended_at.timestamp() - float(second["end"])) < 1
    assert (record.transfer_answered_seconds, record.result, record.fallback_taken) == (None, "pbx", True)
    assert third["disposition"] == "ANSWERED"


async def test_a_caller_who_hangs_up_on_the_way(scene: Scene):
    """Both know that whom the caller was sent to did not answer; the record knows that the caller had enough."""
    scene.stage.desk_does("lobby", ring_seconds=30.0)
    async with asked(scene):
        async with talking(scene) as call:
            await operator(scene.stage, call, "transfer", to="sales")
            await scene.stage.saw("lobby", Invited)
        record = await scene.record(result="caller")
        first, second = await scene.cdrs(2, record.uniqueid or "")

    assert_agents_leg(record, first)
    assert (record.transfer_dialstatus, second["disposition"]) == ("CANCEL", "NO ANSWER")
    assert (record.reason, record.transfer_answered_seconds, record.fallback_taken) == ("caller-hung-up", None, False)
    assert second["userfield"] == record.bridge_call_id


async def test_a_caller_of_the_fallback_who_is_sent_on(scene: Scene):
    """What became of the agent's leg stays in the record, beside whom the caller has reached in the end."""
    stage = scene.stage
    stage.agent_does(refuse_status=486)
    async with asked(scene, sales="redial = false"):
        async with talking(scene, RECEPTION) as call:
            await operator(stage, call, "transfer", to="sales")
            await stage.heard("caller", LOBBY)
        record = await scene.record(reason="transfer-answered")
        first, *_, last = await scene.cdrs(4, record.uniqueid or "")

    assert_same_call(record, first)
    assert (record.dialstatus, record.hangup_cause, first["disposition"]) == ("BUSY", 17, "BUSY")
    assert (record.transfer_dialstatus, last["disposition"]) == ("ANSWER", "ANSWERED")
    assert abs((record.transfer_answered_seconds or 0) - seconds_between(last, "answer", "end")) <= 1


async def test_a_call_that_an_operator_ends(scene: Scene):
    """Both have the conversation in full; the record says that it was the PBX that hung up."""
    async with asked(scene):
        async with talking(scene) as call:
            await operator(scene.stage, call, "hangup")
            await scene.stage.saw("caller", HungUp)
        record = await scene.record(reason="answered")
        (cdr,) = await scene.cdrs(1)

    assert_agents_leg(record, cdr)
    assert (str(record.answered_seconds), str(record.dialled_seconds)) == (cdr["billsec"], cdr["duration"])
    assert (record.hung_up_by, record.hangup_cause) == ("pbx", 16)


# Calls that we make. Asterisk's id of the channel is our id of the call.


@pytest.fixture
async def customer(scene: Scene, tmp_path: Path) -> AsyncIterator[Customer]:
    """Whom the bridge calls."""
    scene.stage.events["customer"] = []
    async with SipAgent(on_event=scene.stage.seen_by("customer")) as phone:
        yield Customer(scene.stage, phone, tmp_path)
        await scene.stage.quiet()


def assert_same_outbound_call(record: CallRecord, cdr: dict[str, str]) -> None:
    """Compare what both know of whom we called and when."""
    assert cdr["uniqueid"] == record.uniqueid == record.bridge_call_id
    assert (cdr["src"], record.caller_number, record.did) == (OURS, OURS, THEIRS)
    assert abs(record.received_at.timestamp() - float(cdr["start"])) < 1


async def test_a_call_that_we_make(scene: Scene, customer: Customer):
    """Whom we called talks with the agent: one record of each, and they agree on how long."""
    customer.does()
    async with customer.bridge(records=scene.more):
        _, started = await customer.is_called()
        await scene.stage.heard("customer", AGENT)
        channel = (await scene.stage.shown("core show channels concise", r"(PJSIP/desk-[0-9a-f]+)!millis"))[1]
        await scene.stage.shown(f"core show channel {channel}", r"Elapsed Time: 0h0m([2-9]|\d\d)s")
        await hang_up(customer)
        record = await scene.record(reason="answered")
        (cdr,) = await scene.cdrs(1)

    assert_same_outbound_call(record, cdr)
    assert cdr["userfield"] == record.bridge_call_id == started["bridge_call_id"]
    assert (record.dialstatus, cdr["disposition"]) == ("ANSWER", "ANSWERED")
    assert record.ended_at is not None
    assert abs(record.ended_at.timestamp() - float(cdr["end"])) < 1
    assert abs((record.answered_seconds or 0) - int(cdr["billsec"])) <= 1


@pytest.mark.parametrize(
    ("behaviour", "reason", "dialstatus", "disposition"),
    [
        ({"refuse_status": 486}, "called-busy", "BUSY", "BUSY"),
        ({"ring_seconds": 30.0}, "called-no-answer", "NOANSWER", "NO ANSWER"),
    ],
    ids=["busy", "unanswered"],
)
async def test_a_call_that_we_make_in_vain(
    scene: Scene, customer: Customer, behaviour: dict[str, Any], reason: str, dialstatus: str, disposition: str
):
    """Both know that nobody took it, and when it was over; there is one record of each."""
    customer.does(**behaviour)
    async with customer.bridge(records=scene.more, seconds=1):
        await customer.is_called()
        record = await scene.record(reason=reason)
        (cdr,) = await scene.cdrs(1)

    assert_same_outbound_call(record, cdr)
    assert (record.dialstatus, cdr["disposition"], cdr["billsec"]) == (dialstatus, disposition, "0")
    assert record.ended_at is not None
    assert abs(record.ended_at.timestamp() - float(cdr["end"])) < 1
    assert record.answered_seconds is None


async def test_a_call_beyond_the_limit_has_no_record(scene: Scene, customer: Customer):
    """What was not dialled is in neither; the call before it is in both."""
    customer.does(refuse_status=486)
    async with customer.bridge("daily_limit = 1", records=scene.more):
        first, second = await customer.is_called(), await customer.is_called()
        record = await scene.record()
        cdrs = await scene.cdrs(1)

    assert (first[0], second[0]) == (200, 429)
    assert (
        [cdr["uniqueid"] for cdr in cdrs]
        == [record.bridge_call_id]
        == [each.bridge_call_id for each in scene.records()]
    )


# A database that is away.

CALLS_PER_SECOND = 20
# To see a longer one, set it in the environment.
OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "5"))


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that a test may stop."""
    with find_postgres().start() as server:
        yield server


async def call_at_a_rate(stage: Stage, enough: asyncio.Event) -> None:
    """Let callers come, one after the other and each for a moment, until it is *enough*."""
    began, number = asyncio.get_running_loop().time(), 0
    async with asyncio.TaskGroup() as callers:
        while not enough.is_set():
            callers.create_task(stage.call(talk_seconds=0.4, speaks_hz=None))
            number += 1
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began + number / CALLS_PER_SECOND):
                    await enough.wait()


def last_words(stage: Stage) -> dict[str, str]:
    """Return how each call ended, by the lines of the bridge's log."""
    return {line["bridge_call_id"]: line["reason"] for line in stage.lines if line.get("verb") in ("route", "ended")}


async def test_a_database_that_is_stopped_under_calls(scene: Scene, own_postgres: PostgresServer):
    """Callers come while PostgreSQL is stopped, and meet the agent; afterwards each of Asterisk's calls has its record, once."""
    stage, url = scene.stage, own_postgres.url("postgres")
    stage.agent_does(speaks_hz=None)

    async def more_calls(seconds: float) -> None:
        goal = len(last_words(stage)) + seconds * CALLS_PER_SECOND
        await _until(lambda: len(last_words(stage)) >= goal or None, PATIENCE_SECONDS + 4 * seconds)

    more = f'[records]\nurl = "{url}"\nfolder = "{scene.folder}"\nretry_seconds = 0.5\n'
    async with stage.bridge(more=more, default_limits=True):
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as together:
            together.create_task(call_at_a_rate(stage, enough))
            await more_calls(2)
            await asyncio.to_thread(own_postgres.stop)
            await more_calls(OUTAGE_SECONDS)
            await asyncio.to_thread(own_postgres.start)
            await more_calls(2)
            enough.set()
        await stage.quiet()
        expected = last_words(stage)
        await stage.line_with("event", "the database of records is back, and has all that waited")
        await _until(lambda: {each.reason for each in scene.records(url)} == set(expected.values()) or None)
        records = scene.records(url)
        cdrs = await scene.cdrs(len(expected))

    assert await stage.line_with("event", "the database of records is away; reports of calls wait in the spool")
    assert [record.bridge_call_id for record in records] == list(dict.fromkeys(each.bridge_call_id for each in records))
    assert {record.bridge_call_id: record.reason for record in records} == expected
    assert set(expected.values()) == {"answered"}
    assert Counter(cdr["userfield"] for cdr in cdrs) == Counter(expected.keys())
    for cdr in cdrs:
        assert_same_call(next(each for each in records if each.bridge_call_id == cdr["userfield"]), cdr)


async def test_without_cdr_functions_calls_go_on(asterisk: Asterisk, site: SiteSettings, tmp_path: Path):
    """A PBX without func_cdr takes calls all the same; with the field left empty it has nothing to complain of either."""
    with asterisk.start(with_files(site, MODULES.replace("load = func_cdr.so\n", ""))) as pbx:
        async with set_scene(pbx, tmp_path) as scene:
            async with scene.stage.bridge(more=scene.more):
                call = await scene.stage.call()
            complaints = scene.stage.problems()
            scene.stage.set_global("MILLIS_CDR_FIELD", '""')
            async with scene.stage.bridge(more=scene.more):
                again = await scene.stage.call()
                await scene.record(reason="answered")

            assert (call.status, again.status) == (200, 200)
            assert len(complaints) > 0
            assert scene.stage.problems() == complaints
