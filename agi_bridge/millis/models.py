"""What Millis answers, made into values. Pure: bytes in, a `Registration` or an error out; no HTTP.

Millis's OpenAPI file gives the answer to `POST /register_sip_call` no schema, its prose says `sip_uri`, its example `sip`
(https://docs.millis.ai/integration/sip.md), so whatever honest reading there is, is taken.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from agi_bridge.errors import MillisNonsense

REGIONS = {
    "us-west": "https://api-west.millis.ai",
    "eu-west": "https://api-eu-west.millis.ai",
}

_SIP_URI = re.compile(r"sips?:", re.IGNORECASE)
_ANY_SIP_URI = re.compile(r"(sips?:)[^\s\"'<>]+", re.IGNORECASE)
_DETAIL_CHARACTERS = 200
_LONGEST_SECONDS = 9  # digits: some thirty years


@dataclass(frozen=True, slots=True)
class Registration:
    """A call that Millis expects: its id, and the SIP URI to dial at once. The URI admits whoever knows it.

    Of a standby URI, which Millis keeps for calls to come, it is the same two. `region` is the one that gave it; `earlier` says how those failed that were asked before.
    """

    call_id: str
    sip_uri: str
    region: str = ""
    earlier: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Registration(call_id={self.call_id!r})"


@dataclass(frozen=True, slots=True)
class CallLogs:
    """A page of what Millis knows of past calls, and where the next one begins, "" after the last."""

    sessions: tuple[dict[str, Any], ...]
    next_cursor: str = ""


def parse_call_logs(body: bytes) -> CallLogs:
    """Read the answer to `GET /call-logs`; raise MillisNonsense where it holds no list.

    {"histories": [{"session_id": …}], "next_cursor": 1782907200.5}
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise MillisNonsense(f"the answer is not JSON: {_excerpt(body)}") from None
    histories = answer.get("histories") if isinstance(answer, dict) else None
    if not isinstance(histories, list):
        raise MillisNonsense("the answer has no list of call logs")
    cursor = answer.get("next_cursor")
    known = isinstance(cursor, str | int | float) and not isinstance(cursor, bool)
    return CallLogs(tuple(each for each in histories if isinstance(each, dict)), str(cursor) if known else "")


def parse_registration(body: bytes, region: str = "") -> Registration:
    """Read the answer of *region* to a registration; raise MillisNonsense where it names no SIP URI."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise MillisNonsense(f"the answer is not JSON: {_excerpt(body)}") from None
    if not isinstance(answer, dict):
        raise MillisNonsense(f"the answer is a JSON {type(answer).__name__}, not an object")
    named = (answer.get("sip_uri"), answer.get("sip"), *answer.values())
    texts = (value.strip().strip("<>").strip() for value in named if isinstance(value, str))
    uri = next((text for text in texts if _SIP_URI.match(text)), None)
    if uri is None:
        raise MillisNonsense(f"the answer names no SIP URI; its keys are {_tellable(str(sorted(answer)[:10]))}")
    call_id = answer.get("call_id")
    if not isinstance(call_id, str) or not call_id:
        call_id = uri.partition(":")[2].partition("@")[0]
    return Registration(call_id, uri, region)


def retry_after_seconds(text: str) -> float:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3); 0 for none, and for a date, which no caller waits for."""
    return float(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_SECONDS else 0.0


def error_detail(body: bytes) -> str:
    """Return what an error answer says, for the log: FastAPI's `detail`, a string or a list, else the text's beginning.

    Of a list only place and message are taken; FastAPI also repeats the input, which may hold phone numbers.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return _excerpt(body)
    named = (answer.get(name) for name in ("detail", "message", "error")) if isinstance(answer, dict) else ()
    detail = next((value for value in named if value), "")
    if isinstance(detail, list):
        return _tellable("; ".join(map(_validation_message, detail[:5])))
    return _tellable(str(detail))


def _validation_message(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    place = item.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else "?"
    return f"{where}: {item.get('msg', '?')}"


def _excerpt(body: bytes) -> str:
    return _tellable(body[: _DETAIL_CHARACTERS * 4].decode("utf-8", "replace")) or "empty"


def _tellable(text: str) -> str:
    """Return the beginning of *text* as a log may show it: on one line, without control signs, without a SIP URI."""
    text = "".join(sign if sign.isprintable() else " " for sign in text[: _DETAIL_CHARACTERS * 4])
    return _ANY_SIP_URI.sub(r"\1…", text)[:_DETAIL_CHARACTERS]
