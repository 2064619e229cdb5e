"""Which call of ours a session of Millis belongs to, as the prefetch webhook told. Pure; bounded; of this process alone."""

from __future__ import annotations

MOST_SESSIONS = 50_000


class MillisSessions:
    """Our ids by those of Millis; beyond *limit* the pair known longest is forgotten."""

    def __init__(self, limit: int = MOST_SESSIONS) -> None:
        self._limit = limit
        self._calls: dict[str, str] = {}

    def learn(self, session_id: str, bridge_call_id: str) -> None:
        """Note that the session belongs to the call; what was noted first stays."""
        if session_id not in self._calls and len(self._calls) >= self._limit:
            del self._calls[next(iter(self._calls))]
        self._calls.setdefault(session_id, bridge_call_id)

    def bridge_call_id(self, session_id: str) -> str:
        """Return the call of a session, "" where it is not known."""
        return self._calls.get(session_id, "")
