"""The record of a call beside what Asterisk itself writes of it: the same call, the same story."""

import asyncio
import csv
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from lab import Asterisk, Pbx, SiteSettings

from agi_bridge.call import CallRecord
from agi_bridge.errors import RecordsError
from agi_bridge.records.selection import Selection
from agi_bridge.records.store import Store, database_url
from agi_bridge.simulator.sip import Invited
from tests.asterisk.stage import (
    CALLER_NUMBER,
    DID,
    ONELINE_DID,
    REJECTED_DID,
    Stage,
    set_stage,
)

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
    "userfield",
)
MAPPING = ",".join("${CSV_QUOTE(${CDR(" + (f"{name},u" if name == "start" else name) + ")})}" for name in CDR_FIELDS)
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


async def _until(found: Callable[[], T | None]) -> T:
    """Look again and again, because neither a file nor a database tells anybody that it has changed."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (result := found()) is None:  # noqa: ASYNC110 - nothing could set an event
            await asyncio.sleep(0.2)
    return result


class Scene:
    """A stage whose PBX and whose bridge both keep records."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.more = f'[records]\nfolder = "{folder}"\ngather_seconds = 0\nbatch_seconds = 0.01\n'
        self._folder = folder
        self._cdrs = stage.pbx.folder / "log/cdr-custom/calls.csv"
        self._cdrs.parent.mkdir(exist_ok=True)
        self._earlier = len(self._rows())

    async def record(self, **fields: object) -> CallRecord:
        """Wait for a record with these *fields*, and return it."""
        return await _until(lambda: self._found(fields))

    async def cdrs(self, count: int) -> list[dict[str, str]]:
        """Wait until Asterisk has written so many records, and return them."""
        return await _until(lambda: rows if len(rows := self._rows()[self._earlier :]) >= count else None)

    def _rows(self) -> list[dict[str, str]]:
        if not self._cdrs.exists():
            return []
        with self._cdrs.open(newline="") as file:
            return [dict(zip(CDR_FIELDS, row, strict=True)) for row in csv.reader(file)]

    def _found(self, fields: dict[str, object]) -> CallRecord | None:
        try:
            with closing(Store.open_for_reading(database_url(None, "", self._folder), 5)) as store:
                records = list(store.all(Selection()))
        except RecordsError:  # the bridge has not made it yet
            return None
        return next((each for each in records if all(getattr(each, name) == fields[name] for name in fields)), None)


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
