"""Calls that we make: a number is dialled through a trunk of a PBX, and whoever answers meets an agent.

What is asked for is judged here, whole, before anything is dialled: that calls are switched on, the rule, the number, the limits.
The answered call goes to the dialplan, which asks the bridge with `route` like any other; so this knows nothing of Millis, and a
bridge that restarts meanwhile loses no call. The PBX, and what counts and records, are the Protocols below.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import structlog

from agi_bridge.allowance import allowed_number
from agi_bridge.bridge import BRIDGE_STOPPED
from agi_bridge.call import Report, Result
from agi_bridge.control import Noted
from agi_bridge.dialplan import CALLED_ANSWERED, CALLED_UNKNOWN, dialstatus_of_cause, outcome_of_called, through_trunk
from agi_bridge.errors import AmiError, AmiUnreachable, NoSuchRule, NotAnswered, OriginateOff, UnsafeText
from agi_bridge.pbx.action import Origination
from agi_bridge.routing import Route

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from types import TracebackType

    from agi_bridge.allowance import Allowance
    from agi_bridge.bridge import Recorder
    from agi_bridge.call import Outcome
    from agi_bridge.config import Config, OriginateSettings
    from agi_bridge.pbx.action import Originated
    from agi_bridge.routing import Rule
    from agi_bridge.web.metrics import Visited

log = structlog.get_logger(__name__)

# Where the shipped dialplan takes over whoever has answered.
_PLACE = "millis-originated,s,1"


class Dialler(Protocol):
    """A PBX that can be asked to dial; `pbx.connection.Connection` is one."""

    @property
    def connected(self) -> bool: ...
    async def originate(
        self, bridge_call_id: str, call: Origination, on_begun: Callable[[], None] = ...
    ) -> Originated: ...


class Count(Protocol):
    """What counts the calls that we start, and says when they are enough; `ledger.Ledger` does."""

    async def take(self, allowance: Allowance) -> None: ...


class Meter(Protocol):
    """What counts calls by their outcomes; `web.metrics.Metrics` is one."""

    def ended(self, visit: Visited, outcome: Outcome, total_seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that we have started: to which number, and for which rule and agent. For the meter, it is a visit."""

    bridge_call_id: str
    number: str
    rule: Rule
    agent_id: str
    settings: OriginateSettings
    asked_at: datetime
    verb: str = "originate"
    region: str = ""
    millis_seconds: float = 0.0
    setup_seconds: float | None = None

    @property
    def route(self) -> Route:
        """Return the route that the call takes once somebody has answered."""
        return Route(self.rule, self.rule.fallback)

    def origination(self) -> Origination:
        """Return what the PBX is asked for. Asterisk's id of the channel is our id of the call."""
        settings = self.settings
        return Origination(
            through_trunk(settings.trunk, self.number),
            _PLACE,
            f"<{settings.caller_id}>",
            settings.ring_timeout_seconds,
            {
                "MILLIS_ORIGINATED": self.bridge_call_id,
                "MILLIS_CALLED": self.number,
                "MILLIS_CALLING": settings.caller_id,
                "MILLIS_OUTBOUND_RULE": self.rule.name,
                "MILLIS_OUTBOUND_AGENT": self.agent_id,
                "MILLIS_DETECT_MACHINE": "" if settings.detect_machine == "off" else settings.detect_machine,
            },
            self.bridge_call_id,
        )


class Outbound:
    """Starts calls while it is entered. Left, it no longer learns what becomes of them; the PBX goes on."""

    def __init__(
        self,
        config: Config,
        count: Count,
        pbxs: Mapping[str, Dialler],
        counts: Counter[tuple[str, str]],
        now: Callable[[], datetime],
        meter: Meter | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._pbxs = pbxs
        self._counts = counts
        self._now = now
        self._meter = meter
        self._recorder = recorder
        self._ringing: set[asyncio.Task[None]] = set()
        self.reconfigure(config, count)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._ringing:
            task.cancel()
        if self._ringing:
            await asyncio.wait(self._ringing)

    def reconfigure(self, config: Config, count: Count) -> None:
        """Take other rules and limits, for calls to come."""
        self._config, self._count = config, count

    async def originate(self, to: str, rule_name: str, agent_id: str = "") -> Attempt:
        """Start a call, and return it once the PBX dials; raise ControlError or AmiError, and then nothing is dialled.

        An AmiError with `may_be_done` is the exception. What becomes of the call is in the log and in its record.
        """
        bridge_call_id = secrets.token_hex(16)
        rule = self._config.rules.outbound.get(rule_name)
        with Noted(self._counts, "originate", bridge_call_id, rule=rule.name if rule else ""):
            settings = self._config.originate
            if settings is None:
                raise OriginateOff("this bridge calls nobody: there is no [originate] in its configuration")
            if rule is None:
                known = ", ".join(self._config.rules.outbound) or "none at all"
                raise NoSuchRule(f"there is no outbound rule of that name; there are: {known}")
            if agent_id and agent_id not in (rule.agent.agent_id, *rule.agents):
                raise NoSuchRule(f"the rule {rule.name} allows no agent but those that agents of it names")
            # In a thread: the plans of short numbers are loaded when they are first asked for, which takes a tenth of a second.
            number = await asyncio.to_thread(allowed_number, settings.allowance, self._config.rules.numbers, to)
            dialler = self._pbxs[settings.pbx]
            # Before it is counted, because nothing would be dialled.
            if not dialler.connected:
                raise AmiUnreachable(f"{settings.pbx}: there is no connection to its manager interface now")
            await self._count.take(settings.allowance)
            attempt = Attempt(bridge_call_id, number, rule, agent_id, settings, self._now())
            await self._begun(attempt, dialler)
            return attempt

    async def _begun(self, attempt: Attempt, dialler: Dialler) -> None:
        """Have the PBX dial, and return when it does; the ringing goes on in a task of its own."""
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._ring(attempt, dialler, begun))
        self._ringing.add(task)
        task.add_done_callback(self._ringing.discard)
        await begun

    async def _ring(self, attempt: Attempt, dialler: Dialler, begun: asyncio.Future[None]) -> None:
        def begin() -> None:
            if not begun.done():
                begun.set_result(None)

        outcome, facts = BRIDGE_STOPPED, dict[str, str | int | None]()  # which is what remains if we are cancelled
        try:
            await dialler.originate(attempt.bridge_call_id, attempt.origination(), begin)
            outcome = CALLED_ANSWERED
        except NotAnswered as error:
            dialstatus = dialstatus_of_cause(error.hangup_cause)
            outcome, facts = (
                outcome_of_called(dialstatus),
                {"dialstatus": dialstatus, "hangup_cause": error.hangup_cause},
            )
        except (AmiError, UnsafeText) as error:
            if not begun.done():
                begun.set_exception(error)
                return
            outcome, facts = CALLED_UNKNOWN, {"detail": str(error)}
        finally:
            # Whoever asked hears of an order that was not taken; where they have gone, this is all that tells of it.
            if begun.cancelled() or not (begun.done() and begun.exception()):
                begin()
                self._note(attempt, outcome, facts)

    def _note(self, attempt: Attempt, outcome: Outcome, facts: Mapping[str, str | int | None]) -> None:
        """Write the call's line, count it and report it; nothing that goes wrong here may reach anybody."""
        now = self._now()
        seconds = (now - attempt.asked_at).total_seconds()
        write = log.info if outcome.result in (Result.COMPLETED, Result.CALLER) else log.warning
        write(
            "call",
            verb=attempt.verb,
            bridge_call_id=attempt.bridge_call_id,
            uniqueid=attempt.bridge_call_id,
            result=outcome.result,
            reason=outcome.reason,
            did=attempt.number,
            caller_number=attempt.settings.caller_id,
            rule=attempt.rule.name,
            **facts,
            total_ms=round(seconds * 1000, 1),
        )
        try:
            if self._meter is not None:
                self._meter.ended(attempt, outcome, seconds)
            if self._recorder is not None:
                self._recorder.add(_report(attempt, outcome, facts, now))
        except Exception:
            log.exception("a call was not counted or recorded", bridge_call_id=attempt.bridge_call_id)


def _report(attempt: Attempt, outcome: Outcome, facts: Mapping[str, str | int | None], now: datetime) -> Report:
    """Return what is known of the call for its record. It is older than any that the dialplan causes, so those count more."""
    agent = attempt.rule.agent
    dialled = {**facts, "ended_at": now} if "dialstatus" in facts else facts
    return Report(
        attempt.bridge_call_id,
        attempt.asked_at,
        {
            "uniqueid": attempt.bridge_call_id,
            "channel": None,
            "pbx": attempt.settings.pbx,
            "verb": attempt.verb,
            "did": attempt.number,
            "caller_number": attempt.settings.caller_id,
            "rule": attempt.rule.name,
            "agent_id": attempt.agent_id or agent.agent_id,
            "account": agent.account,
            **dialled,
            "result": outcome.result,
            "reason": outcome.reason,
            "fallback_taken": False,
        },
    )
