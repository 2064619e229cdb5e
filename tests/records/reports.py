"""Reports of calls as the bridge makes them, for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from agi_bridge.call import Report

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def routed(call: str = "c1", seconds: float = 0, **facts: Any) -> Report:
    """Return what `route` reports of a call that begins so long after noon."""
    told: dict[str, Any] = {
        "uniqueid": f"{call}.1",
        "channel": "PJSIP/trunk-00000001",
        "verb": "route",
        "linkedid": f"{call}.1",
        "did": "+15551230001",
        "caller_number": "+15557654321",
        "caller_name": "Ada",
        "caller_withheld": False,
        "rule": "sales",
        "region": "us-west",
        "fallback": "reception,s,1",
        "setup_seconds": 0.08,
        "result": "completed",
        "reason": "routed",
        "fallback_taken": False,
    }
    return Report(call, NOON + timedelta(seconds=seconds), told | facts)


def ended(call: str = "c1", seconds: float = 30, **facts: Any) -> Report:
    """Return what `ended` reports of a call that ends so long after noon."""
    at = NOON + timedelta(seconds=seconds)
    told: dict[str, Any] = {
        "uniqueid": f"{call}.1",
        "channel": "PJSIP/trunk-00000001",
        "dialstatus": "ANSWER",
        "hangup_cause": 16,
        "dialled_seconds": 30,
        "answered_seconds": 28,
        "hung_up_by": "caller",
        "ended_at": at,
        "result": "completed",
        "reason": "answered",
        "fallback_taken": False,
    }
    return Report(call, at, told | facts)


def transferred(call: str = "c1", seconds: float = 50, **facts: Any) -> Report:
    """Return what `transferred` reports of a call that ends, so long after noon, with somebody of the PBX."""
    at = NOON + timedelta(seconds=seconds)
    told: dict[str, Any] = {
        "uniqueid": f"{call}.1",
        "channel": "PJSIP/trunk-00000001",
        "transfer": "sales",
        "transfer_dialstatus": "ANSWER",
        "transfer_answered_seconds": 20,
        "transfer_ended_at": at,
        "result": "completed",
        "reason": "transfer-answered",
        "fallback_taken": False,
    }
    return Report(call, at, told | facts)


def told_by_millis(call: str = "c1", seconds: float = 40, **facts: Any) -> Report:
    """Return what Millis says of a call, later."""
    told: dict[str, Any] = {
        "millis_session_id": "s1",
        "millis_cost": 0.12,
        "millis_status": "user-ended",
        "transcript": "Hello.",
    }
    return Report(call, NOON + timedelta(seconds=seconds), told | facts)
