"""What Millis says of a session, in its webhooks and its call logs, as a report for the call's record.

Pure. Every field may be missing, null or of another type than documented, and new ones appear without notice; what cannot be
read is left out, and only a body that names no call raises ValueError. A report is as late as the session itself, by Millis's
word or by ours, so that one that comes again changes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agi_bridge.call import Report
from agi_bridge.dialplan import safe_call_id
from agi_bridge.metadata import printable

if TYPE_CHECKING:
    from agi_bridge.call import Fact

# What says nothing of when it was counts less than whatever does.
_UNDATED = datetime(1970, 1, 1, tzinfo=UTC)

# The states of a call at Millis that is not over.
UNDER_WAY = frozenset({"registered", "queued", "dispatching", "provider_queued", "initiated", "ringing", "in-progress"})

_LONGEST_ID = 128
_LONGEST_WORD = 64
_LONGEST_ERROR = 1_000
_LONGEST_URL = 2_048
_LONGEST_BREAKDOWN = 4_000
LONGEST_TRANSCRIPT = 400_000

# No time in seconds is so great before the year 5138, so it is milliseconds.
_LEAST_MILLISECONDS = 1e11


def report_of_start(said: Mapping[str, Any]) -> Report:
    """Return what the query of the prefetch webhook says: which session of Millis our call has.

    It holds `session_id`, `agent_id`, `from`, `to` and, beside them, the metadata that we gave to the call. Numbers are not
    looked at: which of the two is the caller's, the documentation tells both ways.
    """
    return _report(said, said, {}, _time(said.get("called_at")))


def report_of_end(said: Mapping[str, Any]) -> Report:
    """Return what the webhook at the end of a call, or a call log, says.

    {"session_id": "s1", "call_id": "call-1", "ts": 1782907200.5, "duration": 31, "call_status": "user-ended",
     "cost_breakdown": [{"type": "llm", "provider": "openai", "credit": 0.01}], "chat": "[{\\"role\\": …}]",
     "recording": {"recording_url": "https://…"}, "metadata": {"bridge_call_id": "…"}, "error_message": null}
    """
    metadata = _parsed(said.get("metadata"))
    recording = said.get("recording")
    costs = _costs(said.get("cost_breakdown"))
    facts: dict[str, Fact] = {
        "millis_duration_seconds": _amount(said.get("duration")),
        "millis_cost": round(sum(credit for _, credit in costs), 6) if costs else None,
        "millis_cost_breakdown": _breakdown(costs),
        "millis_status": _text(said.get("call_status"), _LONGEST_WORD),
        "millis_error": _text(said.get("error_message"), _LONGEST_ERROR),
        "transcript": _transcript(said.get("chat")),
        "recording_url": _url(recording.get("recording_url") if isinstance(recording, Mapping) else recording),
    }
    return _report(said, metadata if isinstance(metadata, Mapping) else {}, facts, _time(said.get("ts")))


def _report(
    said: Mapping[str, Any], metadata: Mapping[str, Any], facts: dict[str, Fact], at: datetime | None
) -> Report:
    ours = metadata.get("bridge_call_id")
    bridge_call_id = safe_call_id(ours.strip()) if isinstance(ours, str) else ""
    ids = {f"millis_{name}": _text(said.get(name), _LONGEST_ID) for name in ("session_id", "call_id")}
    if not (bridge_call_id or any(ids.values())):
        raise ValueError("neither session_id nor call_id nor our bridge_call_id in the metadata says which call it is")
    return Report(bridge_call_id, at or _UNDATED, {name: its for name, its in ids.items() if its} | facts)


def _text(value: Any, limit: int) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**18 else None
    return (printable(value.strip(), limit) or None) if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _amount(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and number >= 0 else None


def _time(value: Any) -> datetime | None:
    number = _number(value)
    try:
        if number is not None:
            return datetime.fromtimestamp(number / 1000 if number > _LEAST_MILLISECONDS else number, UTC)
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _parsed(value: Any) -> Any:
    """Return a value that may have come as JSON inside a text; the text where it is none."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _costs(value: Any) -> list[tuple[Mapping[str, Any], float]]:
    """Return the items that name a credit, each with it."""
    value = _parsed(value)
    items = [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
    return [(item, credit) for item in items if (credit := _number(item.get("credit"))) is not None]


def _breakdown(costs: list[tuple[Mapping[str, Any], float]]) -> str | None:
    """Return the items as JSON, those that do not fit left out."""
    text = ""
    for item, credit in costs:
        named = {name: _text(item.get(name), _LONGEST_WORD) for name in ("type", "provider")}
        one = json.dumps({name: text for name, text in named.items() if text} | {"credit": credit})
        if len(text) + len(one) > _LONGEST_BREAKDOWN:
            break
        text += f", {one}" if text else one
    return f"[{text}]" if text else None


def _transcript(value: Any) -> str | None:
    """Return what was said as lines, each with the role of who said it; Millis sends a list, or one as JSON inside a text."""
    value = _parsed(value)
    if isinstance(value, str):
        return value[:LONGEST_TRANSCRIPT].strip() or None
    if not isinstance(value, list):
        return None
    lines: list[str] = []
    left = LONGEST_TRANSCRIPT
    for turn in value:
        content = turn.get("content") if isinstance(turn, Mapping) else None
        if not isinstance(content, str) or not content.strip():
            continue
        line = f"{_text(turn.get('role'), _LONGEST_WORD) or 'unknown'}: {' '.join(content[:left].split())}"
        lines.append(line[:left])
        left -= len(line) + 1
        if left <= 0:
            break
    return "\n".join(lines) or None


def _url(value: Any) -> str | None:
    text = _text(value, _LONGEST_URL + 1)
    return text if text and text.startswith(("https://", "http://")) and len(text) <= _LONGEST_URL else None
