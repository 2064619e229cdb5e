"""`agi-bridge calls`, `export` and `migrate`: the records of calls."""

import json
import signal
from contextlib import closing

import pytest

from agi_bridge.cli.exit_code import DONE, FAILED, INTERRUPTED, MISUSED
from agi_bridge.records.store import Store, database_url
from tests.cli.program import program
from tests.records.reports import ended, routed


@pytest.fixture
def recorded(configured, tmp_path, monkeypatch):
    """Keep records of three calls in a folder beside the configuration."""
    monkeypatch.delenv("MILLIS_API_KEY")
    path = tmp_path / "bridge.toml"
    path.write_text(f'[records]\nfolder = "kept"\n{path.read_text()}')
    made = [
        routed("c1", 0),
        ended("c1", 30),
        routed("c2", 3600, rule="office", caller_number="+15550001111", caller_name="=1+1"),
        routed("c3", 7200, result="millis", reason="millis-timeout"),
    ]
    with closing(Store.open_for_writing(database_url(None, "", tmp_path / "kept"), 5)) as store:
        store.write(made)
        yield store


def shown(out):
    """Return the calls of a listing, by their ids."""
    return [line.split()[-1] for line in out.splitlines()[1:]]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ((), ["c1", "c2", "c3"]),
        (("--limit", "1"), ["c3"]),
        (("--rule", "office"), ["c2"]),
        (("--result", "millis"), ["c3"]),
        (("--reason", "answered"), ["c1"]),
        (("--caller", "555 000-1111"), ["c2"]),
        (("--did", "+15551230001", "--since", "2026-07-01T12:30+00:00"), ["c2", "c3"]),
        (("--since", "2026-07-01T12:30+00:00", "--until", "2026-07-01T13:30+00:00"), ["c2"]),
        (("--since", "1s"), []),
    ],
)
def test_calls_are_listed(run, recorded, options, ids):
    """The latest calls that meet every condition, the newest last; numbers are read as anybody writes them."""
    code, out, err = run("calls", *options)

    assert (code, err) == (DONE, "")
    assert out.startswith("received ")
    assert shown(out) == ids


def test_calls_as_json(run, recorded):
    """Each call is one object on one line, with every field."""
    code, out, _ = run("calls", "--json", "--limit", "2")
    second, third = map(json.loads, out.splitlines())

    assert code == DONE
    assert (second["bridge_call_id"], third["reason"], third["setup_seconds"]) == ("c2", "millis-timeout", 0.08)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_calls_are_exported(run, recorded, form):
    """The oldest come first, and the same conditions hold as for the listing."""
    code, out, err = run("export", "--format", form, "--until", "2026-07-01T13:30+00:00")
    first, second = out.splitlines()[-2:]

    assert (code, err) == (DONE, "")
    assert ("c1" in first, "c2" in second) == (True, True)
    assert ("'=1+1" in second) == (form == "csv")
    assert len(out.splitlines()) == (3 if form == "csv" else 2)


def test_calls_are_followed(recorded):
    """What changes after the listing is shown as it changes, until somebody interrupts."""
    with program("calls", "--follow", "--json", "--limit", "1") as process:
        assert json.loads(process.stdout.readline())["bridge_call_id"] == "c3"
        recorded.write([ended("c2", 4000)])
        changed = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == INTERRUPTED
        assert "Traceback" not in process.stderr.read()

    assert (changed["bridge_call_id"], changed["reason"], changed["rule"]) == ("c2", "answered", "office")


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("calls", "--since", "yesterday"), MISUSED, "must be such as 90m, 24h or 7d ago"),
        (("calls", "--reason", "nonsense"), MISUSED, "'nonsense' is not one of"),
        (("export",), MISUSED, "Missing option '--format'"),
        (("export", "--format", "xml"), MISUSED, "'xml' is not one of"),
        (("calls", "-c", "gone.toml"), MISUSED, "gone.toml: cannot be read"),
        (("calls",), FAILED, "there are no records in"),
        (("export", "--format", "csv"), FAILED, "there are no records in"),
    ],
)
def test_records_that_cannot_be_shown(run, tmp_path, monkeypatch, arguments, code, complaint):
    """What is wrong is told in a line, and nothing is made by asking."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    said = run(*arguments)

    assert (said[0], said[1]) == (code, "")
    assert complaint in said[2]
    assert not (tmp_path / "state").exists()


def test_database_of_a_newer_version(run, recorded):
    """Neither reading nor migrating touches it, and each says in one line what to do."""
    with recorded._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for arguments in (("calls",), ("export", "--format", "jsonl"), ("migrate",)):
        code, out, err = run(*arguments)
        assert (code, out) == (FAILED, "")
        assert err.startswith("agi-bridge: the database has version 9999, which a newer agi-bridge made")
        assert len(err.splitlines()) == 1
