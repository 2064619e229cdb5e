"""The database of records, SQLite or PostgreSQL: writes batches, reads pages, forgets in time.

The only module that asks the database anything; errors of SQLAlchemy become ours here. One process at a time writes, on both
databases, so that joining a report to its record needs no second thought. It blocks, and must not be called where calls are
answered.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy
from sqlalchemy import delete, event, func, insert, or_, select, tuple_, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from agi_bridge.call import CallRecord, Reason, Report
from agi_bridge.errors import NoRecordsYet, RecordRefused, RecordsError
from agi_bridge.records.joining import END_NOT_REPORTED, LATEST, SAID, Joined, joined, with_masked_numbers
from agi_bridge.records.migration import migrate, version_of
from agi_bridge.records.report_line import from_line, to_line
from agi_bridge.records.schema import MATCHED_BY, VERSIONS, calls, unmatched, without_end

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sqlalchemy import URL, ColumnElement, Connection, Engine, Row, Select

    from agi_bridge.call import Fact
    from agi_bridge.records.selection import Selection

_RECORD = tuple(calls.c[field.name] for field in fields(CallRecord))

# Any number will do, as long as nobody else's program in the same database takes it.
_WRITERS_LOCK = 4573_4574


def database_url(text: str | None, password: str, folder: Path) -> URL:
    """Return where the records are: as *text* says, else a file in *folder*."""
    if not text:
        return sqlalchemy.URL.create("sqlite", database=str(folder / "records.sqlite"))
    url = sqlalchemy.make_url(text)
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
        return url.set(password=password) if password else url
    return url


class Store:
    """An open database, of the newest version. Used by one thread."""

    def __init__(self, url: URL, timeout_seconds: float) -> None:
        self.version = VERSIONS[-1]
        self.version_before: str | None = None
        self.name = url.render_as_string(hide_password=True).replace("postgresql+psycopg:", "postgresql:")
        self._path = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        self._engine = _sqlite(url, timeout_seconds) if self._path else _postgresql(url, timeout_seconds)

    @classmethod
    def open_for_writing(cls, url: URL, timeout_seconds: float) -> Self:
        """Open the database and bring it to the newest version; raise RecordsError, and then nothing has changed."""
        store = cls(url, timeout_seconds)
        try:
            store.version_before = store._migrate()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open_for_reading(cls, url: URL, timeout_seconds: float) -> Self:
        """Open a database that is there, and change nothing; raise RecordsError."""
        store = cls(url, timeout_seconds)
        try:
            store._check()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _migrate(self) -> str | None:
        with self._told():
            if self._path:
                _make_file(self._path)
            with self._writing() as connection:
                if not self._path:
                    connection.execute(sqlalchemy.text("SET LOCAL statement_timeout = 0"))
                return migrate(connection)

    def _check(self) -> None:
        if self._path and not self._path.exists():
            raise NoRecordsYet(f"there are no records in {self._path}; the bridge makes it when it starts")
        with self._reading() as connection:
            version = version_of(connection)
        if version != VERSIONS[-1]:
            raise (RecordsError if version else NoRecordsYet)(
                f"the database {self.name} has version {version or 'none'}, and this agi-bridge reads {VERSIONS[-1]}; "
                "agi-bridge migrate brings it there"
            )

    def write(self, reports: Sequence[Report], *, mask_numbers: bool = False) -> int:
        """Join *reports* to their records in one transaction, and return how many records changed.

        What Millis says of a call that is not known is kept aside, and joined once the call is known. With *mask_numbers*,
        records that begin here are masked from their beginning. Raises RecordRefused where the fault is with a report, else
        RecordsError; either way nothing was written.
        """
        ours = [report for report in reports if not report.of_millis]
        of_millis = [report for report in reports if report.of_millis]
        with self._told(), self._writing() as connection:
            known = self._known(connection, {report.bridge_call_id for report in reports})
            after = dict(known)
            for report in ours:
                after[report.bridge_call_id] = joined(
                    after.get(report.bridge_call_id), report, mask_numbers=mask_numbers
                )
            waiting = [(report, "") for report in of_millis]
            waiting += self._waiting(connection, [after[report.bridge_call_id].record for report in ours])
            if waiting:
                self._match(connection, known, after, waiting)
            changed = [each for key, each in after.items() if each is not known.get(key)]
            if changed:
                revision = connection.scalar(select(func.max(calls.c.revision))) or 0
                rows = [_to_row(each) | {"revision": revision + place} for place, each in enumerate(changed, 1)]
                _insert(connection, [row for row in rows if row["bridge_call_id"] not in known])
                _update(connection, [row for row in rows if row["bridge_call_id"] in known])
            return len(changed)

    def _waiting(self, connection: Connection, records: Sequence[CallRecord]) -> list[tuple[Report, str]]:
        """Return what has been kept aside and may belong to *records*, each with its digest."""
        if not records or connection.scalar(select(unmatched.c.digest).limit(1)) is None:
            return []
        ids = {name: {getattr(record, name) for record in records} - {None} for name in MATCHED_BY}
        fits = or_(*(unmatched.c[name].in_(some) for name, some in ids.items() if some))
        rows = connection.execute(select(unmatched.c.report, unmatched.c.digest).where(fits))
        return [(from_line(row.report.encode()), row.digest) for row in rows]

    def _match(
        self,
        connection: Connection,
        known: dict[str, Joined],
        after: dict[str, Joined],
        waiting: Sequence[tuple[Report, str]],
    ) -> None:
        """Join what Millis says to the calls that it is about, in *after*; keep aside what is about none."""
        found = self._by_ids_of_millis(connection, [report for report, _ in waiting], after)
        missing = set(found.values()) - after.keys()
        known |= (more := self._known(connection, missing))
        after |= more
        aside, matched = {}, []
        for report, digest in waiting:
            call = report.bridge_call_id if report.bridge_call_id in after else _call_of(report, found)
            if call:
                after[call] = joined(after[call], replace(report, bridge_call_id=call))
                matched.append(digest)
            elif not digest:
                line = to_line(report)
                aside[sha256(line).hexdigest()] = (report, line)
        if any(matched):
            connection.execute(delete(unmatched).where(unmatched.c.digest.in_(filter(None, matched))))
        if aside:
            there = set(connection.scalars(select(unmatched.c.digest).where(unmatched.c.digest.in_(aside))))
            rows = [_aside(digest, *aside[digest]) for digest in aside.keys() - there]
            if rows:
                connection.execute(insert(unmatched), rows)

    def _by_ids_of_millis(
        self, connection: Connection, reports: Sequence[Report], after: Mapping[str, Joined]
    ) -> dict[tuple[str, str], str]:
        """Return our ids by Millis's own: of a session, and of a registration unless several calls have it."""
        names = ("millis_session_id", "millis_call_id")
        wanted = {name: {report.facts.get(name) for report in reports} - {None} for name in names}
        fits = [calls.c[name].in_(ids) for name, ids in wanted.items() if ids]
        if not fits:
            return {}
        columns = [calls.c.bridge_call_id, *(calls.c[name] for name in names)]
        holders = {row.bridge_call_id: row for row in connection.execute(select(*columns).where(or_(*fits)))}
        held = [(call, name, getattr(row, name)) for call, row in holders.items() for name in names]
        held += [(call, name, getattr(each.record, name)) for call, each in after.items() for name in names]
        found: dict[tuple[str, str], set[str]] = {}
        for call, name, millis_id in held:
            if millis_id:
                found.setdefault((name, millis_id), set()).add(call)
        return {key: next(iter(its)) for key, its in found.items() if len(its) == 1}

    def call(self, bridge_call_id: str) -> CallRecord | None:
        """Return one record, None where there is none; raise RecordsError."""
        return self._one(calls.c.bridge_call_id == bridge_call_id)

    def call_of_session(self, millis_session_id: str) -> CallRecord | None:
        """Return the record of the call that Millis knows by that id, None where there is none; raise RecordsError."""
        return self._one(calls.c.millis_session_id == millis_session_id)

    def _one(self, which: ColumnElement[bool]) -> CallRecord | None:
        with self._told(), self._reading() as connection:
            row = connection.execute(
                select(*_RECORD).where(which).order_by(calls.c.received_at.desc()).limit(1)
            ).first()
        return CallRecord(*row) if row else None

    def first_without_millis(self, since: datetime, until: datetime) -> datetime | None:
        """Return when the first call of that time came of whose end Millis has not told, None where there is none."""
        query = select(func.min(calls.c.received_at)).where(
            calls.c.received_at >= since,
            calls.c.received_at < until,
            calls.c.as_of_millis_status.is_(None),
            or_(calls.c.dialstatus == "ANSWER", calls.c.reason == Reason.LEFT_DURING_DIAL, without_end),
        )
        with self._told(), self._reading() as connection:
            first: datetime | None = connection.scalar(query)
            return first

    def close_calls(self, now: datetime, grace_seconds: float, limit: int) -> int:
        """Mark at most *limit* calls whose end nobody has reported though they must be over; return how many.

        An end that is reported later still counts, because it is the later word.
        """
        due = select(calls).where(without_end, calls.c.received_at < now - timedelta(seconds=grace_seconds))
        with self._told(), self._writing() as connection:
            closing = []
            for row in connection.execute(due.order_by(calls.c.received_at)):
                known = _joined(row)
                beyond = timedelta(seconds=grace_seconds + (known.record.longest_seconds or 0))
                if known.record.received_at + beyond < now:
                    closing.append(joined(known, _closing(known)))
                if len(closing) == limit:
                    break
            revision = connection.scalar(select(func.max(calls.c.revision))) or 0
            _update(connection, [_to_row(each) | {"revision": revision + at} for at, each in enumerate(closing, 1)])
            return len(closing)

    def forget_unmatched(self, before: datetime, limit: int) -> int:
        """Delete at most *limit* of what has been kept aside since before that time; return how many; raise RecordsError."""
        oldest = select(unmatched.c.digest).where(unmatched.c.kept_at < before).order_by(unmatched.c.kept_at)
        with self._told(), self._writing() as connection:
            return connection.execute(delete(unmatched).where(unmatched.c.digest.in_(oldest.limit(limit)))).rowcount

    def unmatched(self) -> int:
        """Return how much is kept aside; raise RecordsError."""
        with self._told(), self._reading() as connection:
            return connection.scalar(select(func.count()).select_from(unmatched)) or 0

    def up(self, followed: Collection[str], limit: int) -> list[CallRecord]:
        """Return at most *limit* records of calls whose end nobody has reported, and of those of *followed*, the latest first.

        Raises RecordsError.
        """
        query = select(*_RECORD).where(or_(without_end, calls.c.bridge_call_id.in_(followed)))
        query = query.order_by(calls.c.received_at.desc()).limit(limit)
        with self._told(), self._reading() as connection:
            return [CallRecord(*row) for row in connection.execute(query)]

    def page(
        self, selection: Selection, limit: int, *, newest_first: bool, after: tuple[datetime, str] | None = None
    ) -> list[CallRecord]:
        """Return at most *limit* records in the order of time, from behind the one that *after* names; raise RecordsError."""
        order = (calls.c.received_at, calls.c.bridge_call_id)
        query = _selected(selection).order_by(*(column.desc() if newest_first else column for column in order))
        if after is not None:
            query = query.where(tuple_(*order) < after if newest_first else tuple_(*order) > after)
        with self._told(), self._reading() as connection:
            return [CallRecord(*row) for row in connection.execute(query.limit(limit))]

    def all(self, selection: Selection, page_size: int = 1_000) -> Iterator[CallRecord]:
        """Yield every record in the order of time, with no more than a page of them in memory; raise RecordsError."""
        page = self.page(selection, page_size, newest_first=False)
        while page:
            yield from page
            last = page[-1]
            page = self.page(selection, page_size, newest_first=False, after=(last.received_at, last.bridge_call_id))

    def latest_revision(self) -> int:
        """Return the revision of the latest change; raise RecordsError."""
        with self._told(), self._reading() as connection:
            return connection.scalar(select(func.max(calls.c.revision))) or 0

    def changed_since(self, revision: int, selection: Selection, limit: int) -> tuple[list[CallRecord], int]:
        """Return the records changed after *revision*, in that order, and the latest of their revisions; raise RecordsError."""
        query = _selected(selection).add_columns(calls.c.revision).where(calls.c.revision > revision)
        with self._told(), self._reading() as connection:
            rows = connection.execute(query.order_by(calls.c.revision).limit(limit)).all()
        return [CallRecord(*row[:-1]) for row in rows], rows[-1].revision if rows else revision

    def forget_calls(self, before: datetime, limit: int) -> int:
        """Delete at most *limit* records of calls that came before that time; return how many; raise RecordsError."""
        oldest = select(calls.c.bridge_call_id).where(calls.c.received_at < before).order_by(calls.c.received_at)
        with self._told(), self._writing() as connection:
            return connection.execute(delete(calls).where(calls.c.bridge_call_id.in_(oldest.limit(limit)))).rowcount

    def mask_numbers(self, before: datetime, limit: int) -> int:
        """Mask the callers of at most *limit* calls that came before that time; return how many; raise RecordsError."""
        due = select(calls).where(~calls.c.numbers_masked, calls.c.received_at < before).order_by(calls.c.received_at)
        with self._told(), self._writing() as connection:
            rows = connection.execute(due.limit(limit)).all()
            _update(
                connection, [_to_row(with_masked_numbers(_joined(row))) | {"revision": row.revision} for row in rows]
            )
            return len(rows)

    def drop_transcripts(self, before: datetime, limit: int) -> int:
        """Delete transcript and recording link of at most *limit* calls that came before that time; likewise."""
        has_words = or_(calls.c.transcript.is_not(None), calls.c.recording_url.is_not(None))
        due = select(calls.c.bridge_call_id).where(has_words, calls.c.received_at < before)
        due = due.order_by(calls.c.received_at).limit(limit)
        dropped = update(calls).where(calls.c.bridge_call_id.in_(due)).values(dict.fromkeys(SAID))
        with self._told(), self._writing() as connection:
            return connection.execute(dropped).rowcount

    def _known(self, connection: Connection, ids: set[str]) -> dict[str, Joined]:
        rows = connection.execute(select(calls).where(calls.c.bridge_call_id.in_(ids)))
        return {row.bridge_call_id: _joined(row) for row in rows}

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Hold the one transaction that may write."""
        with self._engine.connect() as connection:
            if self._path:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(select(func.pg_advisory_xact_lock(_WRITERS_LOCK)))
            yield connection
            connection.commit()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in our words, and without the data, what is wrong with the database."""
        try:
            yield
        except (DataError, IntegrityError) as error:
            raise RecordRefused(f"{self.name}: {_why(error)}") from error
        except DBAPIError as error:
            raise RecordsError(f"{self.name}: {_why(error)}") from error
        except StatementError as error:
            raise RecordRefused(f"{self.name}: {_why(error)}") from error
        except (OverflowError, ValueError) as error:  # what the drivers say of a value that fits no column
            raise RecordRefused(f"{self.name}: {error}") from error
        except (SQLAlchemyError, OSError) as error:
            raise RecordsError(f"{self.name}: {error}") from error


def _why(error: StatementError) -> str:
    """Return the first line of what the database says; the rest may show the statement, and so the data."""
    said = str(error.orig or error).strip() or type(error).__name__
    return said.splitlines()[0]


def _call_of(report: Report, found: Mapping[tuple[str, str], str]) -> str:
    """Return the call that Millis means by its own ids, "" where that is not known."""
    for name in ("millis_session_id", "millis_call_id"):
        if call := found.get((name, str(report.facts.get(name)))):
            return call
    return ""


def _aside(digest: str, report: Report, line: bytes) -> dict[str, Any]:
    return {
        "digest": digest,
        "kept_at": datetime.now(UTC),
        "bridge_call_id": report.bridge_call_id or None,
        "millis_call_id": report.facts.get("millis_call_id"),
        "millis_session_id": report.facts.get("millis_session_id"),
        "report": line.decode(),
    }


def _closing(known: Joined) -> Report:
    """Return the word that a call must be over: a little later than the last one about it, and earlier than any other."""
    at = known.as_of["result"] + timedelta(microseconds=1)
    facts: dict[str, Fact] = {
        "result": END_NOT_REPORTED.result.value,
        "reason": END_NOT_REPORTED.reason.value,
        "fallback_taken": False,
    }
    return Report(known.record.bridge_call_id, at, facts)


def _selected(selection: Selection) -> Select[Any]:
    query = select(*_RECORD)
    if selection.since is not None:
        query = query.where(calls.c.received_at >= selection.since)
    if selection.until is not None:
        query = query.where(calls.c.received_at < selection.until)
    for name in ("did", "caller_number", "rule", "result", "reason"):
        value = getattr(selection, name)
        if value is not None:
            query = query.where(calls.c[name] == value)
    return query


def _joined(row: Row[Any]) -> Joined:
    known = row._asdict()
    as_of = {key: time for key in LATEST if (time := known[f"as_of_{key}"]) is not None}
    record = CallRecord(**{column.name: known[column.name] for column in _RECORD})
    return Joined(record, as_of, known["numbers_masked"])


def _to_row(known: Joined) -> dict[str, Any]:
    as_of = {f"as_of_{key}": known.as_of.get(key) for key in LATEST}
    facts = {column.name: getattr(known.record, column.name) for column in _RECORD}
    return facts | as_of | {"numbers_masked": known.numbers_masked}


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(calls), rows)


def _update(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        which = calls.c.bridge_call_id == sqlalchemy.bindparam("which")
        connection.execute(update(calls).where(which), [row | {"which": row["bridge_call_id"]} for row in rows])


def _sqlite(url: URL, timeout_seconds: float) -> Engine:
    # Without isolation_level, the driver begins no transactions of its own: those of ours begin as writers at once.
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": timeout_seconds, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # A writer does not keep readers waiting; and what is committed stays through a power cut.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    return engine


def _postgresql(url: URL, timeout_seconds: float) -> Engine:
    milliseconds = round(timeout_seconds * 1000)
    limits = f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds}"
    return sqlalchemy.create_engine(
        url,
        connect_args={
            "connect_timeout": max(round(timeout_seconds), 2),
            "tcp_user_timeout": milliseconds,
            "application_name": "agi-bridge",
            "options": limits,
        },
    )


def _make_file(path: Path) -> None:
    """Make an empty database that nobody else can read; as root, for the owner of its folder."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        owner = path.parent.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:
            os.chown(path, owner.st_uid, owner.st_gid)
