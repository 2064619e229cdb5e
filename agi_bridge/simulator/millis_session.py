"""The sessions of the simulated Millis: what it tells of its own accord when an agent begins and when a call is over.

It sends the two webhooks in the shapes that the vendor's public documentation gives, and remembers each session for
`GET /call-logs`. What is said in a session is invented here; which session there is, the agent's SIP leg tells.
"""

import asyncio
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from agi_bridge.simulator.sip_leg import Answered, CallEvent, HungUp, Invited

__all__ = ["SimulatedSessions", "Target"]

log = logging.getLogger(__name__)

_MOST_SESSIONS = 10_000
_TIMEOUT_SECONDS = 5.0
_PAGE = 20
_MOST_ON_A_PAGE = 100
_COSTS = (
    ("llm", "openai", 0.0061),
    ("tts", "elevenlabs", 0.012),
    ("stt", "deepgram", 0.0022),
    ("platform", "millis", 0.01),
)
_CHAT = (("assistant", "Hello, how can I help you?"), ("user", "I would like to speak with somebody."))


@dataclass(frozen=True, slots=True)
class Target:
    """Where the webhooks go, and with which token; no address, no webhooks."""

    url: str = ""
    token: str = ""


class SimulatedSessions:
    """Every session of the simulated Millis, from ``async with`` to its end."""

    def __init__(self, target: Target = Target()) -> None:
        self.target = target
        self.answers: list[dict[str, Any]] = []  # to the prefetch webhook
        self._sessions: OrderedDict[str, dict[str, Any]] = OrderedDict()  # by call id
        self._users: dict[str, str] = {}  # by the id of the SIP leg
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.settled()
        await self._http.close()

    async def settled(self) -> None:
        """Wait until every webhook that is under way has been answered."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_TIMEOUT_SECONDS)

    def register(self, call_id: str, body: Mapping[str, Any]) -> None:
        """Remember a registration: the session that its call will be."""
        self._sessions[call_id] = {
            "session_id": f"session-{secrets.token_hex(8)}",
            "call_id": call_id,
            "agent_id": body.get("agent_id"),
            "metadata": dict(body.get("metadata") or {}),
            "voip": {"provider": "sip", "from": body.get("from_phone"), "to": body.get("to_phone")},
            "ts": time.time(),
            "duration": None,
            "call_status": "registered",
        }
        while len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)

    def session_id(self, call_id: str) -> str:
        """Return the session of a call."""
        return str(self._sessions[call_id]["session_id"])

    def hear(self, event: CallEvent) -> None:
        """Take what happened to the agent's leg: who answers begins a session, and who hangs up ends it."""
        match event:
            case Invited():
                self._users[event.call_id] = event.user
            case Answered() if self._users.get(event.call_id) in self._sessions:
                self._do(self.begin(self._users[event.call_id]))
            case HungUp() if self._users.get(event.call_id) in self._sessions:
                self._do(self.end(self._users.pop(event.call_id), "agent-ended" if event.by == "us" else "user-ended"))

    async def begin(self, call_id: str) -> None:
        """Begin the session of a call, and tell with the first webhook."""
        session = self._sessions[call_id]
        session |= {"ts": time.time(), "call_status": "in-progress"}
        voip = session["voip"]
        query = {
            "session_id": session["session_id"],
            "agent_id": session["agent_id"] or "",
            "from": voip["from"] or "",
            "to": voip["to"] or "",
        }
        answer = await self._send("GET", "/webhooks/prefetch", params=query | session["metadata"])
        if answer is not None:
            self.answers.append(answer)
            session["metadata"] |= answer.get("metadata") or {}

    async def end(self, call_id: str, status: str = "user-ended") -> None:
        """End the session of a call, and tell with the second webhook."""
        session = self._sessions[call_id]
        if session["call_status"] != "in-progress":
            return
        session |= {
            "duration": round(time.time() - session["ts"], 3),
            "call_status": status,
            "error_message": None,
            # A list inside a text, as documented.
            "chat": json.dumps([{"role": role, "content": content} for role, content in _CHAT]),
            "cost_breakdown": [
                {"type": kind, "provider": provider, "credit": credit} for kind, provider, credit in _COSTS
            ],
            "recording": {"recording_url": f"https://recordings.example/{session['session_id']}.mp3"},
            "function_calls": [],
            "chars_used": 64,
        }
        await self._send("POST", "/webhooks/end-of-call", json=session)

    def logs(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of the sessions, the latest first, as `GET /call-logs` does."""
        limit = min(int(query.get("limit", _PAGE)), _MOST_ON_A_PAGE)
        before = float(query.get("start_after_ts", "inf"))
        since = float(query.get("start_time", 0))
        found = [each for each in self._sessions.values() if since <= each["ts"] < before]
        page = sorted(found, key=lambda each: -each["ts"])[:limit]
        more = len(found) > len(page)
        return {"histories": page, "next_cursor": page[-1]["ts"] if more else None}

    def _do(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, method: str, path: str, **content: Any) -> dict[str, Any] | None:
        if not self.target.url:
            return None
        headers = {"Authorization": f"Bearer {self.target.token}"}
        try:
            async with self._http.request(method, self.target.url + path, headers=headers, **content) as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.warning("webhook %s failed: %s", path, str(error) or type(error).__name__)
            return None
        if response.status != 200:
            log.warning("webhook %s: status %s", path, response.status)
            return None
        return dict(answer)
