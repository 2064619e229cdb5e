"""Looks up a caller in a database of the operator's own, with the query that the configuration gives.

A shell, and here because SQLAlchemy is. The query is the operator's, its parameters are bound and never part of its text, and
the database is told to change nothing. It runs in a few threads, and is broken off by the database itself when its time is up.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from agi_bridge.errors import LookupFailed
from agi_bridge.metadata import LOOKUP_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from sqlalchemy import Engine

    from agi_bridge.config import PrefetchSettings

_THREADS = 4
# How many steps of its own SQLite goes between two looks at the clock; some microseconds.
_STEPS_BETWEEN_LOOKS = 1_000


class SqlLookup:
    """Asks the database of the settings, from where it is entered to where it is left."""

    def __init__(self, settings: PrefetchSettings) -> None:
        self._settings = settings
        self._places = threading.BoundedSemaphore(settings.lookup_limit)
        self._opening = threading.Lock()
        self._engine: Engine | None = None

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(_THREADS, "lookup")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        if self._engine is not None:
            self._engine.dispose()

    async def find(self, known: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the first row for what is *known* of a call by its columns, nothing where there is none; raise LookupFailed."""
        if not self._places.acquire(blocking=False):
            raise LookupFailed("lookup_limit under [prefetch] is reached")
        row = self._threads.submit(self._row, {name: known.get(name, "") for name in LOOKUP_NAMES})
        row.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(row)

    def _row(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError, StatementError

        assert self._settings.sql is not None  # noqa: S101 - else there is no such lookup
        try:
            with self._opened().connect() as connection:
                if connection.dialect.name == "sqlite":
                    _stop_after(connection.connection.driver_connection, self._settings.timeout_seconds)
                row = connection.execute(text(self._settings.sql), parameters).mappings().first()
        except SQLAlchemyError as error:
            said = error.orig if isinstance(error, StatementError) else error
            raise LookupFailed(f"the query of sql under [prefetch] failed: {str(said).splitlines()[0]}") from error
        return {name: float(value) if isinstance(value, Decimal) else value for name, value in (row or {}).items()}

    def _opened(self) -> Engine:
        # SQLAlchemy takes half a second to load, which nobody waits for at a start.
        from sqlalchemy import create_engine, make_url

        with self._opening:
            if self._engine is None:
                settings = self._settings
                url = make_url(settings.database_url or "")
                if url.get_backend_name() == "sqlite":
                    url = url.set(database=f"file:{quote(url.database or '')}", query={"mode": "ro", "uri": "true"})
                    options: dict[str, Any] = {"timeout": settings.timeout_seconds}
                else:
                    password = settings.secrets[1].get_secret_value()
                    url = url.set(drivername="postgresql+psycopg", password=password or url.password)
                    milliseconds = round(settings.timeout_seconds * 1000)
                    limits = f"-c default_transaction_read_only=on -c statement_timeout={milliseconds}"
                    # libpq takes no less than two seconds; whoever asked has gone on by then.
                    options = {"connect_timeout": 2, "application_name": "agi-bridge", "options": limits}
                self._engine = create_engine(url, connect_args=options, pool_size=_THREADS, max_overflow=0)
            return self._engine


def _stop_after(connection: Any, seconds: float) -> None:
    """Have SQLite break off what takes longer than that."""
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS_BETWEEN_LOOKS)
