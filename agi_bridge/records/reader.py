"""Reads the records for whoever asks while the bridge serves, in one thread that the event loop does not wait for.

A shell. The database is opened by the first question, and anew after one that failed. Answers come within a time limit, or are
RecordsErrors; more questions than a few are refused, so that a slow database cannot gather them.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

from agi_bridge.errors import RecordsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from agi_bridge.records.store import Store

Found = TypeVar("Found")

# One answer takes milliseconds; who finds so many before them would wait in vain.
_MOST_WAITING = 32


class RecordReader:
    """Asks a store that *open_store* opens for reading."""

    def __init__(self, open_store: Callable[[], Store], timeout_seconds: float) -> None:
        self._open_store = open_store
        self._timeout_seconds = timeout_seconds
        self._store: Store | None = None
        self._places = threading.BoundedSemaphore(_MOST_WAITING)

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, "records reader")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is under way ends within the database's own time limit; nobody waits for it any more.
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    async def ask(self, question: Callable[[Store], Found]) -> Found:
        """Return what *question* finds in the store; raise RecordsError."""
        if not self._places.acquire(blocking=False):
            raise RecordsError("the database of records is slow, and too many wait for it")
        answer = self._thread.submit(self._answered, question)
        answer.add_done_callback(lambda _: self._places.release())
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            raise RecordsError(f"the database of records does not answer within {self._timeout_seconds:g} s") from None

    def _answered(self, question: Callable[[Store], Found]) -> Found:
        try:
            if self._store is None:
                self._store = self._open_store()
            return question(self._store)
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()
