"""What takes the reports of calls, and sees to it that they become records, whatever the database does meanwhile.

Calls hand their reports over and go on; nothing here ever makes them wait or fail. One thread appends what has come to the
spool, and another brings the spool into the database. So there is one way for every report, used all the time, and a bridge
that was killed, or a database that was away, is nothing but a spool that is read later. Both threads tell the log by way of
the event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import structlog

from agi_bridge.errors import RecordRefused, RecordsError
from agi_bridge.records.joining import without_transcript
from agi_bridge.records.report_line import from_line, to_line
from agi_bridge.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from agi_bridge.call import Report
    from agi_bridge.config import RecordSettings
    from agi_bridge.records.store import Store

log = structlog.get_logger(__name__)

# How soon a spool that could not be written, and a database that was away, is tried again; the pauses for the database grow.
_SPOOL_PAUSE_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.5

# Of lines about lost reports; the counter leaves none out.
_LOSS_LOG_SECONDS = 10.0

# How often the spools of processes that are gone are looked for, and records that have become too old.
_ABANDONED_SECONDS = 60.0
_FORGETTING_SECONDS = 600.0
_FORGETTING_BATCH = 500

# What does not get into the database in this time after the last call is left in the spool.
_CLOSING_SECONDS = 2.0

# Loading what speaks with databases takes a processor for half a second and more. The first callers after a restart do not
# share it with that; and where the process is stopped again before, the next one writes what has come.
_SETTLING_SECONDS = 1.0


class Records:
    """Takes reports from where it is entered to where it is left; what is not in the database then waits in the spool.

    *folder* is where the spool is, and *open_store* opens the database; both are used in threads of ours alone. *forgets* is
    true for the one process of several that forgets what has become too old.
    """

    def __init__(
        self,
        settings: RecordSettings,
        folder: Path,
        open_store: Callable[[], Store],
        *,
        forgets: bool = True,
        settling_seconds: float = _SETTLING_SECONDS,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._open_store = open_store
        self._forgets = forgets
        self._settling_seconds = settling_seconds
        self._queue: deque[Report] = deque()
        # Reports on their way from memory to the spool; and to the database, where the spool cannot be written.
        self._being_saved: list[Report] = []
        self._in_hand: list[Report] = []
        self._spool: Spool | None = None
        self._inherited: list[Spool] = []
        self._come, self._saved = threading.Event(), threading.Event()
        self._stopping, self._nothing_more_comes = threading.Event(), threading.Event()
        self._spool_trouble = ""
        self._database_trouble = ""
        self._begun = False
        self._inherits_at = self._forgets_at = self._tells_loss_at = 0.0
        self._losses_left_out = 0
        self._counts = dict.fromkeys(("taken", "written", "lost", "set_aside"), 0)
        self._threads = [
            threading.Thread(target=work, name=f"records {name}", daemon=True)
            for name, work in (("spool", self._fill_spool), ("writer", self._empty_spool))
        ]

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have all that has come spooled, and as much of it written as a few seconds allow."""
        self._closes_at = time.monotonic() + _CLOSING_SECONDS
        self._stopping.set()
        self._come.set()
        self._saved.set()
        await asyncio.to_thread(self._join)
        if self.queued:
            self._counts["lost"] += self.queued
            log.error(
                "reports of calls are lost with the end of the process", lost=self.queued, why=self._spool_trouble
            )
        if self.waiting_bytes:
            log.warning("records wait in the spool", bytes=self.waiting_bytes, folder=str(self._folder))

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(_CLOSING_SECONDS)

    def add(self, report: Report) -> None:
        """Take *report*. Neither waits nor raises; where there is no room, the report is lost, told and counted."""
        if len(self._queue) >= self._settings.queue_limit:
            self._lose()
            return
        self._counts["taken"] += 1
        self._queue.append(report)
        if not self._come.is_set():
            self._come.set()

    @property
    def queued(self) -> int:
        """Return how many reports are in memory alone."""
        return len(self._queue) + len(self._being_saved) + len(self._in_hand)

    @property
    def waiting_bytes(self) -> int:
        """Return how much stands in spools of ours and not yet in the database."""
        return sum(spool.waiting_bytes for spool in self._spools())

    @property
    def counts(self) -> Mapping[str, int]:
        """Return what has happened to reports so far, by the names of the counters."""
        return dict(self._counts)

    @property
    def spool_is_well(self) -> bool:
        """Return whether reports are being saved on disk."""
        return not self._spool_trouble

    @property
    def database_is_well(self) -> bool:
        """Return whether reports become records."""
        return not self._database_trouble

    def _lose(self) -> None:
        self._counts["lost"] += 1
        now = time.monotonic()
        if now < self._tells_loss_at:
            self._losses_left_out += 1
            return
        why = self._spool_trouble or "the disk of the spool does not keep up"
        log.error("the report of a call is lost: queue_limit is reached", why=why, left_out=self._losses_left_out)
        self._tells_loss_at, self._losses_left_out = now + _LOSS_LOG_SECONDS, 0

    # The thread that fills the spool.

    def _fill_spool(self) -> None:
        self._come.set()  # so that a spool that cannot be written is told before it is needed
        while not self._nothing_more_comes.is_set():
            self._come.wait()
            # What comes meanwhile shares one write, and one wait for the disk.
            self._stopping.wait(self._settings.gather_seconds)
            self._come.clear()
            last = self._stopping.is_set()  # asked after the clearing, or a stop in between would not be heard
            if not self._save_all() and not last:
                self._stopping.wait(_SPOOL_PAUSE_SECONDS)
                self._come.set()
            self._saved.set()
            if last:
                self._nothing_more_comes.set()

    def _save_all(self) -> bool:
        """Append all that has come to the spool; return false where it cannot be written, and then nothing is lost."""
        batch = self._being_saved
        try:
            if self._spool is None:
                name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
                self._spool = Spool.create(self._folder, name, self._settings.spool_limit_bytes)
            while self._queue:
                while self._queue and len(batch) < self._settings.batch_limit:
                    with suppress(IndexError):  # the other thread takes them too, where the spool could not be written
                        batch.append(self._queue.popleft())
                self._spool.append(b"".join(map(to_line, batch)))
                batch.clear()
        except OSError as error:
            self._queue.extendleft(reversed(batch))
            batch.clear()
            self._spool_fails(_said(error, self._folder))
            return False
        except Exception as error:
            # Nobody knows which of them it was, and the next batch must not suffer from it.
            self._counts["lost"] += len(batch)
            self._tell("error", "reports of calls are lost", lost=len(batch), exc_info=error)
            batch.clear()
        if self._spool_trouble:
            self._spool_trouble = ""
            self._tell("warning", "the spool of records can be written again")
        return True

    def _spool_fails(self, why: str) -> None:
        told, self._spool_trouble = self._spool_trouble, why
        if self._begun and why != told:
            self._tell("error", "the spool of records cannot be written; reports of calls wait in memory", why=why)

    # The thread that empties it into the database.

    def _empty_spool(self) -> None:
        self._saved.wait()
        store: Store | None = None
        pause = _FIRST_PAUSE_SECONDS
        settled = not (self._settling_seconds and self._stopping.wait(self._settling_seconds))
        while settled:
            try:
                store = store or self._opened()
                self._inherit()
                self._write_all(store)
                self._is_back()
                pause = _FIRST_PAUSE_SECONDS
                if self._forgets and not self._stopping.is_set():
                    self._forget(store)
            except Exception as error:
                self._is_away(error)
                if store is not None:
                    store.close()
                    store = None
            if self._stopping.is_set() and self._is_over():
                break
            if self._database_trouble:
                self._stopping.wait(pause)
                pause = min(2 * pause, self._settings.retry_seconds)
            else:
                self._saved.wait(_ABANDONED_SECONDS)
                self._stopping.wait(self._settings.batch_seconds)
            self._saved.clear()
        self._nothing_more_comes.wait(_CLOSING_SECONDS)
        for spool in self._spools():
            spool.close()
        if store is not None:
            store.close()

    def _opened(self) -> Store:
        store = self._open_store()
        self._tell("info", "records are kept", database=store.name, folder=str(self._folder))
        if not self._begun:
            self._begun = True
            if self._spool_trouble:
                self._spool_trouble, why = "", self._spool_trouble
                self._spool_fails(why)
        return store

    def _is_over(self) -> bool:
        """Return whether there is nothing left to write, or no hope to write it soon."""
        self._nothing_more_comes.wait(_CLOSING_SECONDS)
        late = time.monotonic() > self._closes_at
        return bool(late or self._database_trouble) or not (self.waiting_bytes or self.queued)

    def _is_away(self, error: Exception) -> None:
        foreseen = isinstance(error, RecordsError)
        told, self._database_trouble = self._database_trouble, str(error) or type(error).__name__
        if self._database_trouble == told:
            return
        fields: dict[str, Any] = {"why": str(error)} if foreseen else {"exc_info": error}
        self._begun = True
        if self._spool_trouble:
            event = "records cannot be kept; reports of calls wait in memory"
            self._tell("error", event, spool=self._spool_trouble, **fields)
        else:
            self._tell("error", "the database of records is away; reports of calls wait in the spool", **fields)

    def _is_back(self) -> None:
        if self._database_trouble:
            self._database_trouble = ""
            self._tell("warning", "the database of records is back, and has all that waited")

    def _inherit(self) -> None:
        """Take over the spools of processes that are gone."""
        now = time.monotonic()
        if now < self._inherits_at:
            return
        self._inherits_at = now + _ABANDONED_SECONDS
        taken, failures = Spool.abandoned(self._folder, self._settings.spool_limit_bytes)
        self._inherited += taken
        for spool in taken:
            if spool.waiting_bytes:
                event = "reports of calls that an earlier process left are written"
                self._tell("info", event, spool=str(spool.path), bytes=spool.waiting_bytes)
        for error in failures:
            self._tell("error", "the spool of an earlier process cannot be read", why=_said(error, self._folder))

    def _spools(self) -> list[Spool]:
        return [*self._inherited, *([self._spool] if self._spool else [])]

    def _write_all(self, store: Store) -> None:
        for spool in self._spools():
            self._write_spool(store, spool)
            if spool is not self._spool:
                self._inherited.remove(spool)
                spool.close()
        while self._in_hand or (self._spool_trouble and self._queue):
            while self._queue and len(self._in_hand) < self._settings.batch_limit:
                with suppress(IndexError):  # the other thread tries its spool again meanwhile
                    self._in_hand.append(self._queue.popleft())
            try:
                self._write(store, self._in_hand)
            except RecordsError:
                self._queue.extendleft(reversed(self._in_hand))
                raise
            finally:
                self._in_hand = []

    def _write_spool(self, store: Store, spool: Spool) -> None:
        while spool.waiting_bytes and not (self._stopping.is_set() and time.monotonic() > self._closes_at):
            try:
                lines, end = spool.read(self._settings.batch_limit)
                reports, spoilt = _read(lines)
                self._write(store, reports)
                for line, why in spoilt:
                    self._set_aside(line, why)
                spool.forget(end)
            except OSError as error:
                raise RecordsError(f"the spool cannot be read: {_said(error, spool.path)}") from error

    def _write(self, store: Store, reports: Sequence[Report]) -> None:
        """Write *reports*, all but those that the database does not take; raise RecordsError if it is away."""
        if self._settings.drop_transcripts_after_days == 0:
            reports = [without_transcript(report) for report in reports]
        try:
            store.write(reports, mask_numbers=self._settings.mask_numbers_after_days == 0)
            self._counts["written"] += len(reports)
        except RecordRefused as error:
            if len(reports) == 1:
                self._set_aside(to_line(reports[0]), str(error))
                return
            middle = len(reports) // 2
            self._write(store, reports[:middle])
            self._write(store, reports[middle:])

    def _set_aside(self, line: bytes, why: str) -> None:
        """Keep a line that no database takes, for a person to look at."""
        path = self._folder / "set-aside.jsonl"
        self._counts["set_aside"] += 1
        self._tell("error", "the report of a call cannot become a record, and is set aside", why=why, file=str(path))
        with suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with open(descriptor, "ab") as aside:
                aside.write(line.rstrip(b"\n") + b"\n")

    def _forget(self, store: Store) -> None:
        """Forget what has become too old, batch by batch, until there is no more or new reports have come."""
        if time.monotonic() < self._forgets_at:
            return
        settings = self._settings
        drop_after = settings.drop_transcripts_after_days
        for days, forget in (
            (settings.keep_days or None, store.forget_calls),
            (settings.mask_numbers_after_days, store.mask_numbers),
            (drop_after, store.drop_transcripts),
            # What is kept aside may hold transcripts too.
            (min(filter(None, (settings.unmatched_keep_days, drop_after))), store.forget_unmatched),
        ):
            if days is None:
                continue
            before = datetime.now(UTC) - timedelta(days=days)
            while forget(before, _FORGETTING_BATCH) == _FORGETTING_BATCH:
                if self._saved.is_set():
                    return
        closed = store.close_calls(datetime.now(UTC), settings.close_calls_after_seconds, _FORGETTING_BATCH)
        if closed:
            self._tell("warning", "calls are closed whose end was never reported", calls=closed)
        self._forgets_at = time.monotonic() + _FORGETTING_SECONDS

    def _tell(self, level: str, event: str, **fields: Any) -> None:
        """Write a line of the log from the event loop, where all lines come from."""
        with suppress(RuntimeError):  # the loop is closed, and with it the log
            self._loop.call_soon_threadsafe(partial(getattr(log, level), event, **fields), context=self._context)


def _read(lines: Sequence[bytes]) -> tuple[list[Report], list[tuple[bytes, str]]]:
    """Return the reports in *lines*, and the lines that are none, each with what is wrong with it."""
    reports: list[Report] = []
    spoilt: list[tuple[bytes, str]] = []
    for line in lines:
        try:
            reports.append(from_line(line))
        except ValueError as error:
            spoilt.append((line, str(error)))
    return reports, spoilt


def _said(error: OSError, path: Path) -> str:
    return f"{path}: {error.strerror}" if error.strerror else str(error)
