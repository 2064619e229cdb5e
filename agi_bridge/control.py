"""What may be done with a live call: send its caller to a place of the list, or end it.

Each verb names a call by our id and nothing else by which the PBX could be moved elsewhere: a destination is a name of the
list, and Asterisk knows by itself where that leads. A call is found through the Protocol below; who asks, and how, is the
business of `web`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from agi_bridge import transfer
from agi_bridge.errors import (
    AlreadyTransferred,
    AmiError,
    BridgeError,
    CallOver,
    ControlError,
    NoSuchCall,
    NoSuchChannel,
    NoSuchTransfer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agi_bridge.transfer import Transfer

log = structlog.get_logger(__name__)

# Where the shipped dialplan takes over; the name of the list is the extension.
_TRANSFER_PLACE = "millis-transfer,{},1"

# Set by the dialplan once Dial has ended, for whatever reason: the caller is not the agent's any more.
_AGENT_IS_GONE = "MILLIS_REPORTING"

# Where a caller is for a moment, from the answer to Redirect until the dialplan has set the mark that follows; the mark stays
# until whoever they were sent to has not answered.
_ON_THE_WAY_CONTEXT = "millis-transfer"
_SENT_ELSEWHERE = "MILLIS_TRANSFER"

# The hangup cause of everyday (Q.850).
_NORMAL_CLEARING = 16

_ON_THE_WAY = "the caller is being sent elsewhere already"
_WITH_SOMEBODY_ELSE = "the caller is with somebody else now"

# The longest value that AMI and the dialplan carry without a thought.
_LONGEST_SUMMARY = 250


class Pbx(Protocol):
    """What is asked of a call's PBX; `pbx.ami.Ami` is one. Every method may raise an AmiError."""

    async def getvar(self, variable: str, channel: str = "") -> str: ...
    async def setvar(self, channel: str, variable: str, value: str) -> None: ...
    async def redirect(self, channel: str, place: str) -> None: ...
    async def hangup(self, channel: str, cause: int | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A call that is up: its PBX, and the caller's channel there."""

    bridge_call_id: str
    pbx: Pbx
    channel: str


class LiveCalls(Protocol):
    """What knows the calls that are up."""

    async def find(self, bridge_call_id: str) -> LiveCall | None: ...


class Control:
    """The verbs. `counts` has how often each was asked for, by what came of it."""

    def __init__(self, transfers: Iterable[Transfer], calls: LiveCalls) -> None:
        self._calls = calls
        self.counts = Counter[tuple[str, str]]()
        self._moving: set[str] = set()  # calls about which the PBX is being asked
        self.reconfigure(transfers)

    def reconfigure(self, transfers: Iterable[Transfer]) -> None:
        """Take another list of destinations."""
        self.transfers = {each.name: each for each in transfers}

    async def transfer(
        self, bridge_call_id: str, name: str, reason: str = "", summary: str = "", *, by_agent: bool = False
    ) -> Transfer:
        """Send the caller to a destination of the list; return it. Raise ControlError or AmiError where it did not happen.

        A language model may be late: *by_agent*, only a caller who is still with it is sent on. An operator may send on one
        who is in a fallback.
        """
        with Noted(self.counts, "transfer", bridge_call_id, transfer=name if name in self.transfers else ""):
            wanted = self.transfers.get(name)
            if wanted is None:
                known = ", ".join(self.transfers) or "none at all"
                raise NoSuchTransfer(f"there is no such destination; there are: {known}")
            call = await self._found(bridge_call_id)
            # A second request would take the caller away from whoever has just answered.
            if bridge_call_id in self._moving:
                raise AlreadyTransferred(_ON_THE_WAY)
            self._moving.add(bridge_call_id)
            try:
                if await _is_sent_elsewhere(call):
                    raise AlreadyTransferred(_ON_THE_WAY)
                if by_agent and await call.pbx.getvar(_AGENT_IS_GONE, call.channel):
                    raise AlreadyTransferred(_WITH_SOMEBODY_ELSE)
                # Inherited by the legs that the transfer rings.
                await call.pbx.setvar(call.channel, "__MILLIS_TRANSFER_REASON", transfer.shown(reason))
                said = transfer.shown(summary, _LONGEST_SUMMARY)
                await call.pbx.setvar(call.channel, "__MILLIS_TRANSFER_SUMMARY", said)
                await call.pbx.redirect(call.channel, _TRANSFER_PLACE.format(wanted.name))
            finally:
                self._moving.discard(bridge_call_id)
            return wanted

    async def hang_up(self, bridge_call_id: str, *, by_agent: bool = False) -> None:
        """End a call. Raise ControlError or AmiError where it did not happen.

        An agent may say goodbye after it has sent its caller on: *by_agent*, only a caller who is still with it is hung up.
        """
        with Noted(self.counts, "hangup", bridge_call_id):
            call = await self._found(bridge_call_id)
            if by_agent and (
                bridge_call_id in self._moving
                or await _is_sent_elsewhere(call)
                or await call.pbx.getvar(_AGENT_IS_GONE, call.channel)
            ):
                raise AlreadyTransferred(_WITH_SOMEBODY_ELSE)
            await call.pbx.hangup(call.channel, _NORMAL_CLEARING)

    async def _found(self, bridge_call_id: str) -> LiveCall:
        call = await self._calls.find(bridge_call_id)
        if call is None:
            raise NoSuchCall("there is no call of that id now")
        return call


async def _is_sent_elsewhere(call: LiveCall) -> bool:
    # In this order: the dialplan leaves the one only after it has set the other.
    if await call.pbx.getvar("CONTEXT", call.channel) == _ON_THE_WAY_CONTEXT:
        return True
    return bool(await call.pbx.getvar(_SENT_ELSEWHERE, call.channel))


class Noted:
    """Counts one request and writes its line, whatever comes of it, also where whoever asked has gone.

    A channel that is gone means that the call is over.
    """

    def __init__(self, counts: Counter[tuple[str, str]], verb: str, bridge_call_id: str, **facts: str) -> None:
        self._counts, self._verb = counts, verb
        self._facts = {"bridge_call_id": bridge_call_id, **{name: fact for name, fact in facts.items() if fact}}

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NoSuchChannel):
            self._note("call-over")
            raise CallOver("the call is over") from error
        if isinstance(error, ControlError):
            self._note(error.code)
        elif isinstance(error, AmiError):
            self._note("pbx-failed", why=str(error))
        elif isinstance(error, BridgeError):
            self._note("refused", why=str(error))
        elif isinstance(error, asyncio.CancelledError):
            self._note("given-up")
        elif error is None:
            self._note("done")

    def _note(self, outcome: str, **more: str) -> None:
        self._counts[self._verb, outcome] += 1
        write = log.info if outcome == "done" else log.warning
        write("control", verb=self._verb, outcome=outcome, **self._facts, **more)
