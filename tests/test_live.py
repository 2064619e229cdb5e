"""The calls that are up: the word of a real database, corrected by PBXs that say what they are planted to say."""

from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from agi_bridge.call import Report
from agi_bridge.errors import AmiError, AmiUnreachable, NoPbx, RecordsError
from agi_bridge.live import MOST_SHOWN, Live
from agi_bridge.pbx.action import ChannelRow
from agi_bridge.pbx.channels import Channels
from agi_bridge.records.reader import RecordReader
from agi_bridge.records.store import Store, database_url
from tests.records.reports import routed

READ_SECONDS = 10.0


def row(name: str, uniqueid: str, linkedid: str) -> ChannelRow:
    return ChannelRow(name, uniqueid, linkedid, "Up", "b1", "Dial", "from-trunk", "100")


@dataclass
class FakePbx:
    """A PBX with the channels that it is given, or none to be asked; `channels` is what this process follows there."""

    rows: list[ChannelRow] = field(default_factory=list)
    error: AmiError | None = None
    channels: Channels = field(default_factory=partial(Channels, 100))

    @property
    def ami(self) -> "FakePbx":
        return self

    async def core_show_channels(self) -> Sequence[ChannelRow]:
        if self.error:
            raise self.error
        return self.rows

    async def getvar(self, variable: str, channel: str = "") -> str:
        return ""

    async def setvar(self, channel: str, variable: str, value: str) -> None: ...
    async def redirect(self, channel: str, place: str) -> None: ...
    async def hangup(self, channel: str, cause: int | None = None) -> None: ...


@dataclass
class Pbxs:
    """The PBXs by name."""

    connections: dict[str, FakePbx]


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[RecordReader]:
    """Read a database of three calls in the PBX "hq", of which c1 is the latest, and one of another PBX."""
    url = database_url("", "", tmp_path)
    with closing(Store.open_for_writing(url, READ_SECONDS)) as store:
        store.write([call("c1", 3), call("c2", 2), call("c3", 1), call("far", 0, pbx="branch")])
    async with RecordReader(partial(Store.open_for_reading, url, READ_SECONDS), READ_SECONDS) as reader:
        yield reader


def call(name: str, minute: int, pbx: str = "hq") -> Report:
    return routed(name, 60 * minute, pbx=pbx)


async def shown(live: Live) -> list[tuple[str, list[str]]]:
    """Return the id of each call, with the names of its channels."""
    calls = (await live.shown())["calls"]
    return [(call["bridge_call_id"], [channel["name"] for channel in call["channels"]]) for call in calls]


async def test_pbx_corrects_the_records(reader: RecordReader):
    """A call that the PBX does not have is over, though nobody reported it; of another PBX only the records are known."""
    hq = FakePbx([row("PJSIP/trunk-1", "c1.1", "c1.1"), row("PJSIP/millis-2", "c1.2", "c1.1"), row("SIP/x", "x", "x")])

    assert await shown(Live(Pbxs({"hq": hq}), reader)) == [("c1", ["PJSIP/trunk-1", "PJSIP/millis-2"]), ("far", [])]


async def test_call_whose_caller_has_left_is_over(reader: RecordReader):
    """An agent's leg that outlives the caller for a moment makes no call."""
    hq = FakePbx([row("PJSIP/millis-2", "c1.2", "c1.1")])

    assert await shown(Live(Pbxs({"hq": hq}), reader)) == [("far", [])]


@pytest.mark.parametrize("pbxs", [{}, {"hq": FakePbx(error=AmiUnreachable("away"))}], ids=["none", "away"])
async def test_where_no_pbx_can_be_asked_the_records_have_the_word(reader: RecordReader, pbxs: dict[str, FakePbx]):
    """Any process shows every call, the latest first, with what is known of it."""
    live = Live(Pbxs(pbxs), reader)

    assert await shown(live) == [("c1", []), ("c2", []), ("c3", []), ("far", [])]
    said = await live.shown()
    assert said["complete"]
    assert {name: said["calls"][0][name] for name in ("pbx", "uniqueid", "did", "rule")} == {
        "pbx": "hq",
        "uniqueid": "c1.1",
        "did": "+15551230001",
        "rule": "sales",
    }


async def test_what_this_process_follows_needs_no_question(reader: RecordReader):
    """Events say sooner than any list who is there, with the record where there is one already."""
    hq = FakePbx(error=AmiUnreachable("away"))
    hq.channels.follow("c2", "PJSIP/trunk-1", "c2.1")
    hq.channels.follow("new", "PJSIP/trunk-9", "9.1")
    calls = {call["bridge_call_id"]: call for call in (await Live(Pbxs({"hq": hq}), reader).shown())["calls"]}

    assert set(calls) == {"c1", "c2", "c3", "far", "new"}
    assert (calls["c2"]["rule"], calls["c2"]["channels"][0]["name"]) == ("sales", "PJSIP/trunk-1")
    assert (calls["new"]["rule"], calls["new"]["received_at"], calls["new"]["uniqueid"]) == (None, None, "9.1")


async def test_without_records_each_shows_its_own(tmp_path: Path):
    """Records that are switched off, not there yet or away take nothing from what is followed; only the last leaves gaps."""

    def away() -> Store:
        raise RecordsError("away")

    hq = FakePbx()
    hq.channels.follow("new", "PJSIP/trunk-9", "9.1")
    none_yet = partial(Store.open_for_reading, database_url("", "", tmp_path), READ_SECONDS)
    async with RecordReader(none_yet, READ_SECONDS) as none, RecordReader(away, READ_SECONDS) as gone:
        said = [await Live(Pbxs({"hq": hq}), reader).shown() for reader in (None, none, gone)]

    assert [[call["bridge_call_id"] for call in each["calls"]] for each in said] == [["new"]] * 3
    assert [each["complete"] for each in said] == [True, True, False]


async def test_list_has_an_end(tmp_path: Path):
    """With more calls than a list shows, the latest are shown, and that these are not all."""
    url = database_url("", "", tmp_path)
    with closing(Store.open_for_writing(url, READ_SECONDS)) as store:
        store.write([call(f"c{number}", number) for number in range(MOST_SHOWN + 2)])
    async with RecordReader(partial(Store.open_for_reading, url, READ_SECONDS), READ_SECONDS) as reader:
        said = await Live(Pbxs({}), reader).shown()

    assert (len(said["calls"]), said["complete"]) == (MOST_SHOWN, False)
    assert said["calls"][0]["bridge_call_id"] == f"c{MOST_SHOWN + 1}"


async def test_call_is_found_where_its_record_says(reader: RecordReader):
    """Another process follows the call; the PBX that the record names knows its channel by now."""
    hq = FakePbx([row("PJSIP/trunk-1", "c1.1", "c1.1")])
    live = Live(Pbxs({"hq": hq}), reader)
    found = await live.find("c1")

    assert found is not None
    assert (found.bridge_call_id, found.pbx, found.channel) == ("c1", hq, "PJSIP/trunk-1")
    assert [await live.find(name) for name in ("c2", "far", "none", "../c1")] == [None] * 4


async def test_call_that_is_followed_is_found_by_its_events(reader: RecordReader):
    """No list is asked for; a caller who has hung up is found no more."""
    hq = FakePbx(error=AmiUnreachable("away"))
    hq.channels.follow("c1", "PJSIP/trunk-1", "c1.1")
    found = await Live(Pbxs({"hq": hq}), reader).find("c1")

    assert found is not None
    assert found.channel == "PJSIP/trunk-1"


async def test_without_a_pbx_it_is_said_that_none_is_configured(reader: RecordReader):
    """A call that could never be reached is not called unknown, nor an empty list a list of calls."""
    with pytest.raises(NoPbx, match=r"^there is no \[\[pbx\]\] in the configuration, .* a call be sent on or ended$"):
        await Live(Pbxs({}), reader).find("c1")
    with pytest.raises(NoPbx, match=r"where no records are kept$"):
        await Live(Pbxs({})).shown()
