"""The table of calls."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make it, with its indexes."""
    op.create_table(
        "calls",
        sa.Column("bridge_call_id", sa.Text, primary_key=True),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("pbx", sa.Text),
        sa.Column("channel", sa.Text),
        sa.Column("uniqueid", sa.Text),
        sa.Column("linkedid", sa.Text),
        sa.Column("did", sa.Text),
        sa.Column("caller_number", sa.Text),
        sa.Column("caller_name", sa.Text),
        sa.Column("caller_withheld", sa.Boolean),
        sa.Column("rdnis", sa.Text),
        sa.Column("verb", sa.Text),
        sa.Column("rule", sa.Text),
        sa.Column("agent_id", sa.Text),
        sa.Column("account", sa.Text),
        sa.Column("region", sa.Text),
        sa.Column("millis_call_id", sa.Text),
        sa.Column("failover", sa.Boolean, nullable=False),
        sa.Column("standby", sa.Boolean, nullable=False),
        sa.Column("redialled", sa.Boolean, nullable=False),
        sa.Column("orphaned", sa.Boolean),
        sa.Column("fallback", sa.Text),
        sa.Column("decided_seconds", sa.Double),
        sa.Column("millis_seconds", sa.Double),
        sa.Column("registered_seconds", sa.Double),
        sa.Column("setup_seconds", sa.Double),
        sa.Column("detail", sa.Text),
        sa.Column("dialstatus", sa.Text),
        sa.Column("hangup_cause", sa.Integer),
        sa.Column("dialled_seconds", sa.Integer),
        sa.Column("answered_seconds", sa.Integer),
        sa.Column("hung_up_by", sa.Text),
        sa.Column("ended_at", _TIME),
        sa.Column("result", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("fallback_taken", sa.Boolean),
        sa.Column("transfer", sa.Text),
        sa.Column("transfer_dialstatus", sa.Text),
        sa.Column("transfer_answered_seconds", sa.Integer),
        sa.Column("transfer_ended_at", _TIME),
        sa.Column("millis_session_id", sa.Text),
        sa.Column("millis_duration_seconds", sa.Double),
        sa.Column("millis_cost", sa.Double),
        sa.Column("millis_status", sa.Text),
        sa.Column("transcript", sa.Text),
        sa.Column("recording_url", sa.Text),
        sa.Column("as_of_verb", _TIME),
        sa.Column("as_of_dialstatus", _TIME),
        sa.Column("as_of_result", _TIME),
        sa.Column("as_of_transfer", _TIME),
        sa.Column("as_of_transfer_dialstatus", _TIME),
        sa.Column("as_of_millis_session_id", _TIME),
        sa.Column("numbers_masked", sa.Boolean, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("calls_by_time", "calls", ["received_at", "bridge_call_id"])
    op.create_index("calls_by_caller_number", "calls", ["caller_number", "received_at", "bridge_call_id"])
    few = ("did", "rule", "result", "reason")
    for name in few:
        others = [each for each in few if each != name]
        op.create_index(f"calls_by_{name}", "calls", [name, "received_at", "bridge_call_id", *others])
    for name in ("uniqueid", "linkedid", "millis_call_id", "millis_session_id"):
        op.create_index(f"calls_by_{name}", "calls", [name])
    op.create_index("calls_by_revision", "calls", ["revision"])
    for name, condition in (("to_mask", "NOT numbers_masked"), ("with_transcript", "transcript IS NOT NULL")):
        where = sa.text(condition)
        op.create_index(f"calls_{name}", "calls", ["received_at"], sqlite_where=where, postgresql_where=where)
