"""How the reports of one call become its record, in whatever order and however often they arrive.

Pure. The facts of a record stand in groups that are reported together; of two reports that speak of a group, the one whose
session began later counts. So a report that arrives twice changes nothing, and the order of arrival does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from agi_bridge.call import CallRecord, Outcome, Reason, Result
from agi_bridge.numbers import mask, mask_within

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from agi_bridge.call import Report

# What is known of a call that must be over, and of whose end nobody has told.
END_NOT_REPORTED = Outcome(Result.UNKNOWN, Reason.END_NOT_REPORTED)

# Who came: reported by every session of the call, and true as the first of them told it.
INTRODUCTION = ("uniqueid", "channel", "pbx")

# What was decided for the call, and how long that took: by `route` and `dial`. After a redial, what was decided last.
DECISION = (
    "verb",
    "linkedid",
    "did",
    "caller_number",
    "caller_name",
    "caller_withheld",
    "rdnis",
    "rule",
    "agent_id",
    "account",
    "region",
    "millis_call_id",
    "orphaned",
    "fallback",
    "decided_seconds",
    "millis_seconds",
    "registered_seconds",
    "setup_seconds",
    "longest_seconds",
    "detail",
)

# How the agent's leg went: by `ended` and `dial`.
DIAL = ("dialstatus", "hangup_cause", "dialled_seconds", "answered_seconds", "hung_up_by", "ended_at")

# How the whole went, by every session.
OUTCOME = ("result", "reason", "fallback_taken")

# Where the agent sent the caller, and how that went: by `ended` and `transferred`.
TRANSFER = ("transfer",)
TRANSFERRED = ("transfer_dialstatus", "transfer_answered_seconds", "transfer_ended_at")

# By which session of Millis: told when the agent begins to talk, and again at the end.
SESSION = ("millis_session_id",)

# What Millis tells when its part is over.
MILLIS = (
    "millis_duration_seconds",
    "millis_cost",
    "millis_cost_breakdown",
    "millis_status",
    "millis_error",
    "transcript",
    "recording_url",
)

# What was said, in text and in sound.
SAID = ("transcript", "recording_url")

# Once true, always true.
STICKY = ("failover", "standby", "redialled")

# The groups of which the latest word counts, each with the fact that no report of the group leaves out.
LATEST = {
    "verb": DECISION,
    "dialstatus": DIAL,
    "result": OUTCOME,
    "transfer": TRANSFER,
    "transfer_dialstatus": TRANSFERRED,
    "millis_session_id": SESSION,
    "millis_status": MILLIS,
}

FACTS = frozenset(field.name for field in fields(CallRecord)) - {"bridge_call_id", "received_at"}
assert frozenset(INTRODUCTION + STICKY + sum(LATEST.values(), ())) == FACTS  # noqa: S101 - one list, in two orders


@dataclass(frozen=True, slots=True)
class Joined:
    """A record, and what must be known of it to join one more report: how late the word is that counts in each group.

    `as_of` has the fact by which a group is known, and when the session began that reported it last.
    """

    record: CallRecord
    as_of: Mapping[str, datetime]
    numbers_masked: bool = False


def joined(known: Joined | None, report: Report, *, mask_numbers: bool = False) -> Joined:
    """Return what is known of a call once *report* has come in too; *known* itself where it tells nothing new.

    With *mask_numbers*, a record that begins here is masked from its beginning.
    """
    if known is None:
        known = Joined(CallRecord(report.bridge_call_id, report.at), {}, mask_numbers)
    record, facts = known.record, report.facts
    new: dict[str, Any] = {name: True for name in STICKY if facts.get(name)}
    as_of = dict(known.as_of)
    introduced = record.uniqueid is not None
    if "uniqueid" in facts and (not introduced or report.at < record.received_at):
        new |= {"received_at": report.at} | {name: facts.get(name) for name in INTRODUCTION}
    elif not introduced:
        new["received_at"] = min(record.received_at, report.at)
    for key, group in LATEST.items():
        if key in facts and (key not in as_of or report.at > as_of[key]):
            as_of[key] = report.at
            new |= {name: facts.get(name) for name in group}
    after = Joined(replace(record, **new), as_of, known.numbers_masked)
    if known.numbers_masked:
        after = with_masked_numbers(after)
    return known if after == known else after


def with_masked_numbers(known: Joined) -> Joined:
    """Return the same without what names the caller; done again, it changes nothing."""
    record = known.record
    masked = replace(
        record,
        caller_number=record.caller_number and mask(record.caller_number),
        caller_name=None,
        rdnis=record.rdnis and mask(record.rdnis),
        channel=record.channel and mask_within(record.channel),
        detail=record.detail and mask_within(record.detail),
    )
    return Joined(masked, known.as_of, numbers_masked=True)


def without_transcript(report: Report) -> Report:
    """Return the same without what was said, in text and in sound."""
    return replace(report, facts={name: fact for name, fact in report.facts.items() if name not in SAID})
