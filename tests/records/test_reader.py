"""Records are read while the bridge serves, and never wait for a database that does not answer."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from agi_bridge.errors import RecordsError
from agi_bridge.records.reader import RecordReader
from agi_bridge.records.store import Store, database_url
from tests.records.reports import routed


def opening(url: str) -> Callable[[], Store]:
    return partial(Store.open_for_reading, database_url(url, "", Path()), 5)


async def test_records_are_read(store_url: str):
    """What has been written is found, question by question, and what comes meanwhile too."""
    with closing(Store.open_for_writing(database_url(store_url, "", Path()), 5)) as store:
        store.write([routed("c1")])
        async with RecordReader(opening(store_url), 5) as reader:
            assert await reader.ask(lambda store: store.call("c2")) is None
            store.write([routed("c2")])
            found = await reader.ask(lambda store: store.call("c2"))

    assert found is not None


async def test_database_that_comes_later_is_found(tmp_path: Path):
    """Until there are records each question says so; the bridge makes them a moment after it starts."""
    url = f"sqlite:///{tmp_path}/records.sqlite"
    async with RecordReader(opening(url), 5) as reader:
        with pytest.raises(RecordsError, match="there are no records in"):
            await reader.ask(Store.unmatched)
        Store.open_for_writing(database_url(url, "", Path()), 5).close()
        assert await reader.ask(Store.unmatched) == 0


async def test_nobody_waits_for_a_slow_database(tmp_path: Path):
    """Each question has its time, and beyond a few they are refused at once; afterwards all is well again."""
    url = f"sqlite:///{tmp_path}/records.sqlite"
    Store.open_for_writing(database_url(url, "", Path()), 5).close()
    stuck = threading.Event()
    async with RecordReader(opening(url), 0.05) as reader:
        try:
            questions = [reader.ask(lambda _: stuck.wait(20)) for _ in range(40)]
            said = await asyncio.gather(*questions, return_exceptions=True)
        finally:
            stuck.set()
        late = [error for error in said if "does not answer within 0.05 s" in str(error)]
        refused = [error for error in said if "too many wait" in str(error)]
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await reader.ask(Store.unmatched) == 0
                    break
                except RecordsError:
                    continue

    assert (len(late), len(refused)) == (32, 8)
