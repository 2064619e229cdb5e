"""What Millis says when a call is over, and what it says of calls that nobody knows."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add columns for it, a table for what waits for its call, and the indexes by which both are found."""
    for column in (
        sa.Column("longest_seconds", sa.Integer),
        sa.Column("millis_cost_breakdown", sa.Text),
        sa.Column("millis_error", sa.Text),
        sa.Column("as_of_millis_status", _TIME),
    ):
        op.add_column("calls", column)
    # Until now one word of Millis stood for both.
    op.execute("UPDATE calls SET as_of_millis_status = as_of_millis_session_id")
    op.drop_index("calls_with_transcript", "calls")
    for name, condition in (
        ("with_words", "transcript IS NOT NULL OR recording_url IS NOT NULL"),
        ("without_end", "as_of_dialstatus IS NULL AND reason LIKE 'routed%'"),
    ):
        where = sa.text(condition)
        op.create_index(f"calls_{name}", "calls", ["received_at"], sqlite_where=where, postgresql_where=where)
    op.create_table(
        "unmatched",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("kept_at", _TIME, nullable=False),
        sa.Column("bridge_call_id", sa.Text),
        sa.Column("millis_call_id", sa.Text),
        sa.Column("millis_session_id", sa.Text),
        sa.Column("report", sa.Text, nullable=False),
    )
    op.create_index("unmatched_by_time", "unmatched", ["kept_at"])
    for name in ("bridge_call_id", "millis_call_id", "millis_session_id"):
        op.create_index(f"unmatched_by_{name}", "unmatched", [name])
