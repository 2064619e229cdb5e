"""What Millis tells of its own accord: `/webhooks/prefetch` when an agent begins, `/webhooks/end-of-call` when a call is over.

The first teaches us which session of Millis a call of ours has, and may be answered with more metadata; the agent waits for
that answer, so it comes in time, if need be empty. Both become reports for the call's record. Reading what Millis says is the
business of `millis/session_report`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiohttp import web

from agi_bridge import metadata
from agi_bridge.access import Scope
from agi_bridge.errors import BridgeError
from agi_bridge.millis.session_report import report_of_end, report_of_start
from agi_bridge.web.guard import Guard, refusal
from agi_bridge.web.tools import json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agi_bridge.call import Report

log = structlog.get_logger(__name__)

PREFETCH, END_OF_CALL = "/webhooks/prefetch", "/webhooks/end-of-call"


class Sessions(Protocol):
    """What remembers which call a session of Millis belongs to; `millis.sessions.MillisSessions` does."""

    def learn(self, session_id: str, bridge_call_id: str) -> None: ...


class Recorder(Protocol):
    """What makes records of reports; `records.keeper.Records` is one. It neither waits nor raises."""

    def add(self, report: Report) -> None: ...


class Lookup(Protocol):
    """What knows more of a caller; may raise BridgeError or TimeoutError."""

    async def find(self, known: Mapping[str, str]) -> Mapping[str, Any]: ...


class MillisWebhooks:
    """The two webhooks, for whoever has a token with the scope `millis`.

    `counts` has how many came and what was made of them; without a *recorder* nothing is recorded, without a *lookup* nothing
    is added.
    """

    def __init__(
        self,
        guard: Guard,
        sessions: Sessions,
        recorder: Recorder | None,
        lookup: Lookup | None,
        *,
        lookup_seconds: float,
        value_limit_characters: int,
    ) -> None:
        self._guard, self._sessions, self._recorder, self._lookup = guard, sessions, recorder, lookup
        self._lookup_seconds, self._limit = lookup_seconds, value_limit_characters
        self.counts = Counter[tuple[str, str]]()

    def routes(self) -> list[web.RouteDef]:
        """Return what the server is to answer."""
        return [web.get(PREFETCH, self._prefetch), web.post(END_OF_CALL, self._end_of_call)]

    async def _prefetch(self, request: web.Request) -> web.Response:
        if refused := self._guard.refused(request, Scope.MILLIS):
            return refused
        try:
            report = report_of_start(request.query)
        except ValueError as error:
            # An agent may take calls of others too; it must not fail for want of an answer.
            self._note("prefetch", "no-call", why=str(error))
            return web.json_response({})
        session_id = report.facts.get("millis_session_id")
        if report.bridge_call_id and isinstance(session_id, str):
            self._sessions.learn(session_id, report.bridge_call_id)
            self._record(report)
            self._note("prefetch", "learnt", bridge_call_id=report.bridge_call_id, millis_session_id=session_id)
        else:
            self._note("prefetch", "not-ours", millis_session_id=session_id)
        extra = await self._looked_up(dict(request.query), report.bridge_call_id)
        return web.json_response({"metadata": extra} if extra else {})

    async def _end_of_call(self, request: web.Request) -> web.Response:
        if refused := self._guard.refused(request, Scope.MILLIS):
            return refused
        try:
            report = report_of_end(await json_object(request))
        except ValueError as error:
            self._note("end-of-call", "bad-body", why=str(error))
            return refusal(400, "bad-body", str(error))
        self._record(report)
        self._note(
            "end-of-call",
            "taken",
            bridge_call_id=report.bridge_call_id,
            millis_session_id=report.facts.get("millis_session_id"),
            millis_status=report.facts.get("millis_status"),
        )
        return web.json_response({"done": True})

    def _record(self, report: Report) -> None:
        if self._recorder is not None:
            self._recorder.add(report)

    async def _looked_up(self, known: Mapping[str, str], bridge_call_id: str) -> dict[str, str]:
        """Return what the lookup adds to the metadata; nothing where it fails or takes too long."""
        if self._lookup is None or not bridge_call_id:
            return {}
        try:
            async with asyncio.timeout(self._lookup_seconds):
                found = await self._lookup.find(known)
        except (BridgeError, TimeoutError) as error:
            late = isinstance(error, TimeoutError)
            why = f"no answer within {self._lookup_seconds:g} s" if late else str(error)
            self._note("lookup", "timeout" if late else "failed", bridge_call_id=bridge_call_id, why=why)
            return {}
        extra = metadata.looked_up(found, self._limit)
        self._note("lookup", "found" if extra else "nothing", bridge_call_id=bridge_call_id)
        return extra

    def _note(self, what: str, outcome: str, **facts: Any) -> None:
        self.counts[what, outcome] += 1
        write = log.warning if outcome in ("bad-body", "failed", "timeout", "no-call") else log.info
        write("told by Millis", webhook=what, outcome=outcome, **{name: fact for name, fact in facts.items() if fact})
