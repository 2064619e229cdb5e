"""The way of a database to the newest version, the same on SQLite and on a real PostgreSQL."""

import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from agi_bridge.errors import RecordsError
from agi_bridge.records.migration import FOLDER
from agi_bridge.records.schema import VERSIONS, metadata
from agi_bridge.records.selection import Selection
from agi_bridge.records.store import Store, database_url
from tests.records.reports import routed


def opened(url: str) -> Store:
    return Store.open_for_writing(database_url(url, "", Path()), timeout_seconds=10)


def execute(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Run statements past the bridge, and return the rows of the last one."""
    engine = sqlalchemy.create_engine(database_url(url, "", Path()))
    rows: list[tuple[object, ...]] = []
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(sqlalchemy.text(statement))
            rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


def tables(url: str) -> set[str]:
    engine = sqlalchemy.create_engine(database_url(url, "", Path()))
    names = set(sqlalchemy.inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_versions_are_those_of_the_migrations():
    """The list of versions that this program knows is the way that Alembic goes, to its end."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    way = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]

    assert tuple(reversed(way)) == VERSIONS


def test_migrations_make_what_the_schema_describes(store_url: str):
    """After all migrations, the database has every table, column and index of schema.py, and no other."""
    opened(store_url).close()
    engine = sqlalchemy.create_engine(database_url(store_url, "", Path()))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    engine.dispose()

    assert differences == []


def test_an_empty_database_is_made_and_then_left_alone(store_url: str):
    """The first opening makes the table; the next finds the newest version and changes nothing."""
    with closing(opened(store_url)) as store:
        assert store.version_before is None
        store.write([routed()])
    with closing(opened(store_url)) as store:
        assert store.version_before == VERSIONS[-1]
        assert len(list(store.all(Selection()))) == 1


def test_several_processes_may_open_an_empty_database_at_once(store_url: str):
    """One of them makes the table, and the others wait for it."""
    failures: list[Exception] = []

    def open_it() -> None:
        try:
            opened(store_url).close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert tables(store_url) == {"calls", "unmatched", "alembic_version"}


@pytest.mark.parametrize("open_it", [Store.open_for_writing, Store.open_for_reading])
def test_a_database_of_a_newer_version_is_refused_in_one_sentence_and_left_as_it_is(store_url: str, open_it):
    """After a downgrade nothing is written to what an older program does not understand, and nothing is read from it."""
    with closing(opened(store_url)) as store:
        store.write([routed()])
    execute(store_url, "UPDATE alembic_version SET version_num = '9999'", "ALTER TABLE calls ADD COLUMN mood TEXT")
    before = execute(store_url, "SELECT * FROM calls")

    with pytest.raises(RecordsError, match=r"has version 9999, which a newer agi-bridge made.*nothing was changed"):
        open_it(database_url(store_url, "", Path()), 5)

    assert execute(store_url, "SELECT * FROM calls") == before
    assert execute(store_url, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_table_of_somebody_else_is_left_alone(store_url: str):
    """A database in which the name is taken is not ours to change."""
    execute(store_url, "CREATE TABLE calls (mine TEXT)", "INSERT INTO calls VALUES ('x')")
    with pytest.raises(RecordsError, match="has a table calls that is not ours"):
        opened(store_url)

    assert execute(store_url, "SELECT * FROM calls") == [("x",)]
    assert tables(store_url) == {"calls"}


def test_a_migration_that_fails_changes_nothing(store_url: str):
    """All of it happens in one transaction: where its last step fails, its first has not happened."""
    execute(
        store_url, "CREATE TABLE other (received_at TEXT)", "CREATE INDEX calls_with_transcript ON other (received_at)"
    )
    with pytest.raises(RecordsError, match=r"calls_with_transcript.* already exists"):
        opened(store_url)

    assert tables(store_url) == {"other"}
