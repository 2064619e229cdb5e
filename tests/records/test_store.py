"""The database of records, the same on SQLite and on a real PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from agi_bridge.call import Report
from agi_bridge.errors import RecordRefused, RecordsError
from agi_bridge.records.selection import Selection
from agi_bridge.records.store import Store, database_url
from tests.records.reports import NOON, ended, routed, told_by_millis

EVERYTHING = Selection()


def opened(url: str) -> Store:
    return Store.open_for_writing(database_url(url, "", Path()), timeout_seconds=10)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with closing(opened(store_url)) as store:
        yield store


def ids(store: Store, selection: Selection = EVERYTHING) -> list[str]:
    return [record.bridge_call_id for record in store.all(selection)]


def test_reports_become_one_record(store: Store):
    """Two reports of a call make one record, whichever database keeps it, and it comes back as it went in."""
    assert store.write([routed(), ended()]) == 1
    (record,) = store.all(EVERYTHING)

    assert (record.received_at, record.ended_at) == (NOON, NOON + timedelta(seconds=30))
    assert (record.did, record.setup_seconds, record.hangup_cause, record.caller_withheld) == (
        "+15551230001",
        0.08,
        16,
        False,
    )
    assert record.millis_cost is None


def test_a_report_that_comes_twice_changes_nothing(store: Store):
    """What is read again after a crash is written once: no record changes, and nobody who follows is told."""
    store.write([routed(), ended()])
    revision = store.latest_revision()

    assert store.write([ended(), routed()]) == 0
    assert store.latest_revision() == revision


def test_order_of_arrival_does_not_matter(store: Store):
    """The end of a call may be written before its beginning, and what Millis says before either."""
    for report in (told_by_millis(), ended(), routed()):
        store.write([report])
    store.write([routed("c2"), ended("c2"), told_by_millis("c2")])
    first, second = store.all(EVERYTHING)

    assert (first.reason, first.rule, first.millis_cost) == ("answered", "sales", 0.12)
    assert (second.reason, second.rule, second.millis_cost) == ("answered", "sales", 0.12)


def test_several_processes_write_the_same_calls(store_url: str):
    """Four writers, each with half of what there is to say of each call, lose nothing to each other."""
    calls = [f"c{number}" for number in range(30)]

    def write(make: Callable[[str], Report], which: slice) -> None:
        with closing(opened(store_url)) as store:
            for call in calls[which]:
                store.write([make(call)])

    work = [(make, which) for make in (routed, ended) for which in (slice(0, 20), slice(10, 30))]
    threads = [threading.Thread(target=write, args=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(opened(store_url)) as store:
        records = list(store.all(EVERYTHING))

    assert sorted(record.bridge_call_id for record in records) == sorted(calls)
    assert {(record.rule, record.reason) for record in records} == {("sales", "answered")}


def test_what_the_database_does_not_take_is_refused_and_nothing_is_written(store: Store):
    """A number beyond its column is the report's fault, not the database's, which goes on."""
    with pytest.raises(RecordRefused):
        store.write([routed("c1"), ended("c2", hangup_cause=2**80)])

    assert ids(store) == []
    assert store.write([routed("c1")]) == 1


# Reading


def a_day(store: Store) -> None:
    """Write a call an hour, of three rules in turn, every fourth of them in vain."""
    for hour in range(24):
        failed = {"result": "millis", "reason": "millis-timeout"} if hour % 4 == 3 else {}
        report = routed(f"c{hour:02}", hour * 3600, rule=f"rule{hour % 3}", did=f"+1555123000{hour % 2}", **failed)
        store.write([report])


@pytest.mark.parametrize(
    ("selection", "hours"),
    [
        (Selection(), range(24)),
        (Selection(since=NOON + timedelta(hours=5), until=NOON + timedelta(hours=8)), (5, 6, 7)),
        (Selection(rule="rule1"), range(1, 24, 3)),
        (Selection(did="+15551230001", reason="millis-timeout"), range(3, 24, 4)),
        (Selection(did="+15551230000", result="millis"), ()),
        (Selection(rule="rule0", result="millis", since=NOON + timedelta(hours=4)), (15,)),
        (Selection(caller_number="+15557654321", until=NOON + timedelta(hours=1)), (0,)),
        (Selection(caller_number="+1"), ()),
    ],
)
def test_records_are_selected(store: Store, selection: Selection, hours: range):
    """Every condition holds for what is read, `since` included and `until` not."""
    a_day(store)

    assert ids(store, selection) == [f"c{hour:02}" for hour in hours]


def test_pages_follow_each_other(store: Store):
    """The newest come first or the oldest do, and the next page begins behind the last record, also of one moment."""
    store.write([routed(f"c{number}", seconds=number // 3) for number in range(10)])

    page = store.page(EVERYTHING, 4, newest_first=True)
    rest = store.page(EVERYTHING, 9, newest_first=True, after=(page[-1].received_at, page[-1].bridge_call_id))
    assert [record.bridge_call_id for record in page + rest] == [f"c{number}" for number in reversed(range(10))]
    assert [record.bridge_call_id for record in store.all(EVERYTHING, page_size=3)] == [f"c{n}" for n in range(10)]


def test_changes_are_followed(store: Store):
    """Whoever follows sees each change once, in order, also of calls that began long before."""
    store.write([routed("c1"), routed("c2")])
    changed, revision = store.changed_since(0, EVERYTHING, 100)
    assert {record.bridge_call_id for record in changed} == {"c1", "c2"}
    assert store.changed_since(revision, EVERYTHING, 100) == ([], revision)
    store.write([ended("c1"), routed("c3", rule="other")])
    first, after_first = store.changed_since(revision, EVERYTHING, 1)
    second, _ = store.changed_since(after_first, EVERYTHING, 1)

    assert {record.bridge_call_id for record in first + second} == {"c1", "c3"}
    assert [r.rule for r in store.changed_since(revision, Selection(rule="other"), 9)[0]] == ["other"]


def test_an_index_serves_every_condition(store: Store):
    """No question of the commands reads the whole table: the plan of each names an index of its own."""
    a_day(store)
    is_sqlite = store.name.startswith("sqlite")
    plans = []
    with store._engine.connect() as connection:
        if not is_sqlite:
            # With a few rows, reading them all is cheapest.
            connection.execute(sqlalchemy.text("SET enable_seqscan = off"))
        for name in ("did", "caller_number", "rule", "result", "reason"):
            explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
            question = f"{explain} SELECT * FROM calls WHERE {name} = 'x' ORDER BY received_at DESC, bridge_call_id DESC LIMIT 20"
            plans.append((name, " ".join(str(row) for row in connection.execute(sqlalchemy.text(question)))))

    for name, plan in plans:
        assert f"calls_by_{name}" in plan
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan


# Forgetting


def test_old_calls_are_forgotten_in_batches(store: Store):
    """The oldest go first, no more than asked at a time, and none that is not old enough."""
    a_day(store)
    noon_and_six_hours = NOON + timedelta(hours=6)

    assert [store.forget_calls(noon_and_six_hours, 4) for _ in range(3)] == [4, 2, 0]
    assert ids(store)[0] == "c06"


def test_numbers_of_old_calls_are_masked_once(store: Store):
    """Who called is hidden, what was called is not, followers are not told, and a report that comes late stays masked."""
    a_day(store)
    revision = store.latest_revision()
    before = NOON + timedelta(hours=3)

    assert [store.mask_numbers(before, 2) for _ in range(3)] == [2, 1, 0]
    store.write([ended("c00", caller_number="+15557654321")])
    first, *_, last = store.all(EVERYTHING)
    assert (first.caller_number, first.caller_name, first.did) == ("+155******21", None, "+15551230000")
    assert (last.caller_number, last.caller_name) == ("+15557654321", "Ada")
    assert len(store.changed_since(revision, EVERYTHING, 100)[0]) == 1


def test_numbers_may_be_masked_from_the_beginning(store: Store):
    """Then no full number ever gets into the database."""
    store.write([routed()], mask_numbers=True)
    store.write([ended()])

    assert next(store.all(EVERYTHING)).caller_number == "+155******21"


def test_transcripts_of_old_calls_are_dropped(store: Store):
    """What was said goes, in text and in sound; what it cost stays."""
    store.write([routed("c1"), told_by_millis("c1", 0, recording_url="https://x/1")])
    store.write([routed("c2", 3600), told_by_millis("c2", 3600)])

    assert [store.drop_transcripts(NOON + timedelta(minutes=1), 10) for _ in range(2)] == [1, 0]
    old, new = store.all(EVERYTHING)
    assert (old.transcript, old.recording_url, old.millis_cost) == (None, None, 0.12)
    assert new.transcript == "Hello."


# What goes wrong


def test_records_that_are_not_there_are_not_made_by_reading(tmp_path: Path):
    """Whoever asks for records before there are any is told where they were looked for, and leaves nothing behind."""
    with pytest.raises(RecordsError, match=r"there are no records in .*records\.sqlite"):
        Store.open_for_reading(database_url(None, "", tmp_path), 5)

    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_read_after_it_is_migrated(postgres_url: str):
    """Reading never migrates; it says which command does."""
    url = database_url(postgres_url, "", Path())
    with pytest.raises(RecordsError, match=r"has version none.*agi-bridge migrate"):
        Store.open_for_reading(url, 5)
    opened(postgres_url).close()
    with closing(Store.open_for_reading(url, 5)) as store:
        assert ids(store) == []


def test_a_database_that_is_away_is_told_without_its_password():
    """The message names the place and the trouble, in one line."""
    url = database_url("postgresql://agi:hunter2@127.0.0.1:1/calls", "", Path())
    with pytest.raises(RecordsError) as told:
        Store.open_for_writing(url, 2)

    assert str(told.value).startswith("postgresql://agi:***@127.0.0.1:1/calls: connection failed")
    assert "\n" not in str(told.value)


def test_a_file_that_is_no_database_is_told(tmp_path: Path):
    """What stands in the place of the database is left as it is."""
    path = tmp_path / "records.sqlite"
    path.write_text("my notes\n" * 100)
    with pytest.raises(RecordsError, match="file is not a database"):
        Store.open_for_writing(database_url(None, "", tmp_path), 5)

    assert path.read_text() == "my notes\n" * 100


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path):
    """The error names the folder."""
    (tmp_path / "file").touch()
    with pytest.raises(RecordsError, match="Not a directory"):
        Store.open_for_writing(database_url(None, "", tmp_path / "file" / "records"), 5)


def test_the_database_is_for_the_bridge_alone(tmp_path: Path):
    """Nobody else on the machine reads who called."""
    opened(f"sqlite:///{tmp_path}/new/records.sqlite").close()

    assert (tmp_path / "new/records.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "password", "name"),
    [
        (None, "", "sqlite:////state/records.sqlite"),
        ("sqlite:////data/calls.sqlite", "", "sqlite:////data/calls.sqlite"),
        ("postgresql://agi@db/calls", "hunter2", "postgresql://agi:***@db/calls"),
        ("postgresql://agi@db/calls?sslmode=require", "", "postgresql://agi@db/calls?sslmode=require"),
    ],
)
def test_the_database_is_where_the_configuration_says(text, password, name):
    """Without a word it is a file in the folder of records; a password is never shown."""
    url = database_url(text, password, Path("/state"))
    shown = url.render_as_string(hide_password=True).replace("postgresql+psycopg", "postgresql")

    assert shown == name


# What Millis says


def of_session(call: str = "", seconds: float = 0, **facts: Any) -> Report:
    """Return the end of a call as Millis tells it, by our id or without it."""
    return told_by_millis(call, seconds, **{"millis_session_id": None, **facts})


@pytest.mark.parametrize(
    "report",
    [
        of_session("c1"),
        of_session(millis_call_id="call-1"),
        of_session(millis_session_id="s1", millis_call_id="call-9"),
        of_session("foreign", millis_call_id="call-1"),
    ],
    ids=["our id", "the registration", "the session", "the id of another bridge"],
)
def test_what_millis_says_finds_its_call(store: Store, report: Report):
    """By our id first, else by the session that the beginning taught us, else by the registration."""
    store.write([routed("c1", millis_call_id="call-1"), routed("c2", 1, millis_call_id="call-2")])
    store.write([Report("c1", NOON, {"millis_session_id": "s1"})])

    assert store.write([report]) == 1
    first, second = store.all(EVERYTHING)
    assert (first.millis_status, second.millis_status, store.unmatched()) == ("user-ended", None, 0)


@pytest.mark.parametrize("name", ["bridge_call_id", "millis_call_id", "millis_session_id"])
def test_what_is_about_no_known_call_waits_for_it(store: Store, name: str):
    """The end of a call may come before anything else of it is written; nobody sees a record until then."""
    report = {
        "bridge_call_id": of_session("c1"),
        "millis_call_id": of_session(millis_call_id="x1"),
        "millis_session_id": of_session(millis_session_id="x1"),
    }[name]
    assert store.write([report, report]) == 0
    assert (ids(store), store.unmatched()) == ([], 1)

    store.write([routed("c1", millis_call_id="x1")])
    store.write([Report("c1", NOON, {"uniqueid": "c1.1"}), Report("c1", NOON, {"millis_session_id": "x1"})])
    store.write([ended("c1")])
    (record,) = store.all(EVERYTHING)
    assert (record.millis_cost, record.reason, store.unmatched()) == (0.12, "answered", 0)


def test_registration_of_two_calls_names_neither(store: Store):
    """Where it is not certain which call is meant, nothing is joined."""
    store.write([routed("c1", millis_call_id="x"), routed("c2", millis_call_id="x")])

    assert store.write([of_session(millis_call_id="x")]) == 0
    assert store.unmatched() == 1


def test_what_millis_says_twice_changes_nothing(store: Store):
    """A webhook that is sent again, or a beginning that is replayed after the end, leaves the record as it is."""
    beginning = Report("c1", NOON, {"millis_session_id": "s1"})
    store.write([routed(), beginning, told_by_millis(), ended()])
    revision = store.latest_revision()

    assert store.write([told_by_millis(), beginning, told_by_millis(millis_cost=9.0)]) == 0
    assert store.latest_revision() == revision
    assert next(store.all(EVERYTHING)).transcript == "Hello."


def test_what_waits_in_vain_is_forgotten(store: Store):
    """Agents may take calls of others, whose ends are none of ours."""
    store.write([of_session("foreign"), of_session("other")])
    now = datetime.now(UTC)

    assert store.forget_unmatched(now - timedelta(minutes=1), 10) == 0
    assert [store.forget_unmatched(now + timedelta(minutes=1), 1) for _ in range(3)] == [1, 1, 0]


def test_a_call_is_found_by_either_id(store: Store):
    """Whoever asks for a live call learns which PBX it is in."""
    store.write([routed("c1", pbx="hq"), Report("c1", NOON, {"millis_session_id": "s1"})])

    found = (store.call("c1"), store.call_of_session("s1"))
    assert {(call.bridge_call_id, call.pbx, call.uniqueid) for call in found if call} == {("c1", "hq", "c1.1")}
    assert (store.call("c2"), store.call_of_session("s2")) == (None, None)


def test_calls_that_are_up_are_found(store: Store):
    """A call is up from its first report to that of its end, and longer where the PBX still has its channels; the latest first."""
    store.write([*(routed(f"c{number}", number) for number in range(4)), ended("c0"), ended("c1")])

    assert [record.bridge_call_id for record in store.up([], 9)] == ["c3", "c2"]
    assert [record.bridge_call_id for record in store.up(["c1", "c3"], 9)] == ["c3", "c2", "c1"]
    assert [record.bridge_call_id for record in store.up(["c1"], 1)] == ["c3"]


def test_a_call_whose_end_nobody_reported_is_closed(store: Store):
    """Once it must be over, its record says so; one that may still be up, or has ended, is left alone."""
    store.write([routed("lost", longest_seconds=600), routed("long", longest_seconds=7_200)])
    store.write([routed("over", longest_seconds=600), ended("over"), routed("vain", result="millis", reason="busy")])
    later = NOON + timedelta(seconds=1_300)

    assert [store.close_calls(later, 600, 10) for _ in range(2)] == [1, 0]
    reasons = {record.bridge_call_id: (record.result, record.reason) for record in store.all(EVERYTHING)}
    assert reasons == {
        "lost": ("unknown", "end-not-reported"),
        "long": ("completed", "routed"),
        "over": ("completed", "answered"),
        "vain": ("millis", "busy"),
    }


def test_an_end_that_comes_late_still_counts(store: Store):
    """A node that was away for a day brings the ends of its calls, and they are the later word."""
    store.write([routed(longest_seconds=600)])
    store.close_calls(NOON + timedelta(days=1), 600, 10)
    store.write([ended()])

    assert next(store.all(EVERYTHING)).reason == "answered"


def test_first_call_without_its_end_at_millis(store: Store):
    """The backfill begins at the first answered call that Millis has not told about; others are no reason to ask."""
    until = NOON + timedelta(days=1)
    assert store.first_without_millis(NOON, until) is None

    store.write([routed("c1"), ended("c1"), told_by_millis("c1"), routed("c2", 60, result="millis", reason="busy")])
    assert store.first_without_millis(NOON, until) is None

    store.write([routed("c3", 120), ended("c3", 150)])
    assert store.first_without_millis(NOON, until) == NOON + timedelta(seconds=120)
