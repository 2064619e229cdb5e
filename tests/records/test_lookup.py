"""Callers looked up in a database of the operator's own, the same on SQLite and on a real PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from agi_bridge.config import PrefetchSettings
from agi_bridge.errors import LookupFailed
from agi_bridge.records.lookup import SqlLookup
from agi_bridge.records.store import database_url

QUERY = "SELECT name, visits, 1.5 AS score FROM people WHERE phone = :caller_number"


def with_people(url: str) -> str:
    """Fill a database, and return its address as the configuration has it."""
    engine = sqlalchemy.create_engine(database_url(url, "", Path()))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE people (phone TEXT, name TEXT, visits INTEGER)"))
        connection.execute(sqlalchemy.text("INSERT INTO people VALUES ('+15557654321', 'Ada', 7)"))
    engine.dispose()
    return url


@asynccontextmanager
async def lookup(url: str, sql: str = QUERY, **settings: Any) -> AsyncIterator[SqlLookup]:
    async with SqlLookup(PrefetchSettings(sql=sql, database_url=with_people(url), **settings)) as opened:
        yield opened


async def test_row_is_found_by_what_is_known(store_url: str):
    """The columns are names, and a value may be a number; nobody of that number is nothing."""
    async with lookup(store_url) as people:
        assert await people.find({"caller_number": "+15557654321"}) == {"name": "Ada", "visits": 7, "score": 1.5}
        assert await people.find({"caller_number": "+1"}) == {}
        assert await people.find({}) == {}


async def test_caller_is_no_part_of_the_query(store_url: str):
    """Whatever a caller sends is a value, and stays one."""
    async with lookup(store_url) as people:
        assert await people.find({"caller_number": "' OR '1'='1"}) == {}


@pytest.mark.parametrize(
    "sql", ["DELETE FROM people", "UPDATE people SET name = :caller_name", "DROP TABLE people", "SELEC"]
)
async def test_query_changes_nothing(store_url: str, sql: str):
    """The database itself refuses, and the rest goes on."""
    async with lookup(store_url, sql) as people:
        with pytest.raises(LookupFailed, match="the query of sql under \\[prefetch\\] failed: "):
            await people.find({"caller_name": "Eve"})
    async with SqlLookup(PrefetchSettings(sql=QUERY, database_url=store_url)) as people:
        assert (await people.find({"caller_number": "+15557654321"}))["name"] == "Ada"


SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS most FROM n",
    "postgresql": "SELECT pg_sleep(60)",
}


async def test_query_that_takes_too_long_is_broken_off(store_url: str):
    """The database stops it, so that no thread is held for ever."""
    async with lookup(store_url, SLOW[store_url.partition(":")[0]], timeout_seconds=0.2) as people:
        with pytest.raises(LookupFailed):
            await people.find({})


async def test_database_that_is_not_there(tmp_path: Path):
    """One clear error, and no file is made by looking."""
    settings = PrefetchSettings(sql=QUERY, database_url=f"sqlite:///{tmp_path}/none.sqlite")
    async with SqlLookup(settings) as people:
        with pytest.raises(LookupFailed, match="unable to open"):
            await people.find({})

    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - one look


async def test_too_many_at_once_are_refused(store_url: str):
    """A lookup that has no place fails at once, and nobody waits."""
    async with lookup(store_url, lookup_limit=1) as people:
        assert people._places.acquire(blocking=False)
        with pytest.raises(LookupFailed, match="lookup_limit"):
            await people.find({})
