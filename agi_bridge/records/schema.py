"""The table of calls, for SQLite and PostgreSQL alike, whose rows are records and what joining needs to know; and what is unmatched.

It describes the newest version; `migrations/` has the way there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

# Every version that this program knows, in order; the last one is what it works with.
VERSIONS = ("0001", "0002")


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC; SQLite keeps it without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        time: datetime = value
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


metadata = MetaData()

calls = Table(
    "calls",
    metadata,
    Column("bridge_call_id", Text, primary_key=True),
    Column("received_at", UtcTime, nullable=False),
    Column("pbx", Text),
    Column("channel", Text),
    Column("uniqueid", Text),
    Column("linkedid", Text),
    Column("did", Text),
    Column("caller_number", Text),
    Column("caller_name", Text),
    Column("caller_withheld", Boolean),
    Column("rdnis", Text),
    Column("verb", Text),
    Column("rule", Text),
    Column("agent_id", Text),
    Column("account", Text),
    Column("region", Text),
    Column("millis_call_id", Text),
    Column("failover", Boolean, nullable=False),
    Column("standby", Boolean, nullable=False),
    Column("redialled", Boolean, nullable=False),
    Column("orphaned", Boolean),
    Column("fallback", Text),
    Column("decided_seconds", Double),
    Column("millis_seconds", Double),
    Column("registered_seconds", Double),
    Column("setup_seconds", Double),
    Column("longest_seconds", Integer),
    Column("detail", Text),
    Column("dialstatus", Text),
    Column("hangup_cause", Integer),
    Column("dialled_seconds", Integer),
    Column("answered_seconds", Integer),
    Column("hung_up_by", Text),
    Column("ended_at", UtcTime),
    Column("result", Text),
    Column("reason", Text),
    Column("fallback_taken", Boolean),
    Column("transfer", Text),
    Column("transfer_dialstatus", Text),
    Column("transfer_answered_seconds", Integer),
    Column("transfer_ended_at", UtcTime),
    Column("millis_session_id", Text),
    Column("millis_duration_seconds", Double),
    Column("millis_cost", Double),
    Column("millis_cost_breakdown", Text),
    Column("millis_status", Text),
    Column("millis_error", Text),
    Column("transcript", Text),
    Column("recording_url", Text),
    # How late the word is that counts, by the fact that names its group; see joining.py.
    Column("as_of_verb", UtcTime),
    Column("as_of_dialstatus", UtcTime),
    Column("as_of_result", UtcTime),
    Column("as_of_transfer", UtcTime),
    Column("as_of_transfer_dialstatus", UtcTime),
    Column("as_of_millis_session_id", UtcTime),
    Column("as_of_millis_status", UtcTime),
    Column("numbers_masked", Boolean, nullable=False),
    # Greater than that of every change before it, whichever call it was; whoever follows asks for what is greater.
    Column("revision", BigInteger, nullable=False),
)

# What is asked for by these comes page by page in the order of time, so that is in each index. The first four have few values
# each; the others of them stand behind the time, so that conditions that are seldom met together are judged in the index.
FILTERED = ("did", "rule", "result", "reason", "caller_number")
_OF_FEW_VALUES = FILTERED[:4]
# What somebody else's data is joined by.
LOOKED_UP = ("uniqueid", "linkedid", "millis_call_id", "millis_session_id")

Index("calls_by_time", calls.c.received_at, calls.c.bridge_call_id)
for name in FILTERED:
    others = [each for each in _OF_FEW_VALUES if each != name and name in _OF_FEW_VALUES]
    Index(f"calls_by_{name}", *(calls.c[each] for each in (name, "received_at", "bridge_call_id", *others)))
for name in LOOKED_UP:
    Index(f"calls_by_{name}", calls.c[name])
Index("calls_by_revision", calls.c.revision)
# These two hold only what the forgetting has yet to come to.
_unmasked, _with_words = text("NOT numbers_masked"), text("transcript IS NOT NULL OR recording_url IS NOT NULL")
Index("calls_to_mask", calls.c.received_at, sqlite_where=_unmasked, postgresql_where=_unmasked)
Index("calls_with_words", calls.c.received_at, sqlite_where=_with_words, postgresql_where=_with_words)
# And this one the calls that are up, or whose end nobody has reported.
without_end = text("as_of_dialstatus IS NULL AND reason LIKE 'routed%'")
Index("calls_without_end", calls.c.received_at, sqlite_where=without_end, postgresql_where=without_end)

# What Millis has said of sessions that belong to no call of the table, or not yet.
unmatched = Table(
    "unmatched",
    metadata,
    # Made of the report itself, so that one that comes twice is kept once.
    Column("digest", Text, primary_key=True),
    Column("kept_at", UtcTime, nullable=False),
    Column("bridge_call_id", Text),
    Column("millis_call_id", Text),
    Column("millis_session_id", Text),
    Column("report", Text, nullable=False),
)
MATCHED_BY = ("bridge_call_id", "millis_call_id", "millis_session_id")
Index("unmatched_by_time", unmatched.c.kept_at)
for name in MATCHED_BY:
    Index(f"unmatched_by_{name}", unmatched.c[name])
