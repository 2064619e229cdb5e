"""One side of one SIP call: its dialog, its audio, and the events that tell what happened to it.

A leg decides nothing: `sip.py` plays the story and tells the leg, which keeps the state, passes each event on and sums
the call up in a `CallReport`. Knows the RTP session that it owns; does not touch the SIP socket.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Self

from agi_bridge.simulator.rtp import RtpSession
from agi_bridge.simulator.sip_message import NameAddress, Sdp, SipMessage, answer_sdp, offer_sdp
from agi_bridge.simulator.tone import SILENCE_HZ

Address = tuple[str, int]
Party = Literal["us", "them"]

GIVE_UP_AFTER_T1 = 64  # RFC 3261: every transaction ends 64·T1 after it began
SLOWEST_T1 = 8  # T2 in multiples of T1
RESPONSES_WAITING = 64
_STATUS_LINE = re.compile(rb"SIP/2\.0 ([1-6][0-9]{2})\b")


@dataclass(frozen=True, kw_only=True)
class CallEvent:
    """Something that happened to the call *call_id*, *at* seconds of `time.monotonic()`."""

    call_id: str
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, kw_only=True)
class Invited(CallEvent):
    """The INVITE was sent (caller) or arrived (agent); *user* is the DID or the agent's user part."""

    user: str
    caller_number: str
    caller_name: str


@dataclass(frozen=True, kw_only=True)
class Ringing(CallEvent):
    """A provisional *status* above 100: 180, or 183 with early audio."""

    status: int


@dataclass(frozen=True, kw_only=True)
class Answered(CallEvent):
    """The call stands: 200 received (caller), acknowledged (agent)."""


@dataclass(frozen=True, kw_only=True)
class AudioHeard(CallEvent):
    """The tone *hz* was recognised in the decoded audio, by the time *packets* RTP packets had come."""

    hz: int
    packets: int


@dataclass(frozen=True, kw_only=True)
class Refused(CallEvent):
    """A final *status* of 300 or more ended the call before it began."""

    status: int


@dataclass(frozen=True, kw_only=True)
class ReferAnswered(CallEvent):
    """The far side answered our REFER with this final *status*; None: not at all."""

    status: int | None


@dataclass(frozen=True, kw_only=True)
class ReferEnded(CallEvent):
    """The far side has told, in a NOTIFY, with which final *status* the move that our REFER asked for ended."""

    status: int


@dataclass(frozen=True, kw_only=True)
class HungUp(CallEvent):
    """Somebody put the phone down, while it rang or after the answer."""

    by: Party


EventCallback = Callable[[CallEvent], None]


@dataclass(frozen=True, kw_only=True)
class CallReport:
    """One finished call as one side saw it."""

    call_id: str
    user: str
    caller_number: str
    caller_name: str
    status: int | None  # final status of the INVITE; None when there was none
    hung_up_by: Party | None
    heard_hz: tuple[int, ...]  # the tones recognised, in order
    packets_sent: int
    packets_received: int  # with G.711 audio
    packets_malformed: int
    events: tuple[CallEvent, ...]

    @property
    def answered(self) -> bool:
        return any(isinstance(event, Answered) for event in self.events)

    @property
    def provisional(self) -> tuple[int, ...]:
        """Provisional statuses above 100, in order."""
        return tuple(event.status for event in self.events if isinstance(event, Ringing))


class Retransmission:
    """A message sent again at T1, 2·T1, 4·T1 … until stopped, for 64·T1 at most (timers A, E and G)."""

    def __init__(self, send: Callable[[], None], t1_seconds: float, *, slowest_t1: float = SLOWEST_T1) -> None:
        self._send, self._slowest = send, slowest_t1 * t1_seconds
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + GIVE_UP_AFTER_T1 * t1_seconds
        self._timer = self._loop.call_later(t1_seconds, self._again, t1_seconds)

    def _again(self, waited: float) -> None:
        self._send()
        wait = min(2 * waited, self._slowest)
        if self._loop.time() + wait < self._until:
            self._timer = self._loop.call_later(wait, self._again, wait)

    def stop(self) -> None:
        self._timer.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class Leg:
    """One side of one call, from its INVITE to its report."""

    def __init__(
        self,
        invited: Invited,
        *,
        local: str,
        remote: str,
        target: str,
        address: Address,
        host: str,
        speaks_hz: int | None,
        on_event: EventCallback | None,
    ) -> None:
        self.call_id = invited.call_id
        self.local, self.remote = (local, remote)  # From and To values, each with its tag once that is known
        self.target = target  # the URI of requests to the far side
        self.address = address  # where its datagrams come from
        self.host = host  # our own address as it sees us
        self.cseq = secrets.randbelow(1000) + 1
        self.status: int | None = None  # the INVITE's final status
        self.confirmed = False
        self.hung_up_by: Party | None = None
        self.over = asyncio.Event()
        self.acked = asyncio.Event()
        self.hearing = asyncio.Event()  # set by the first tone that is recognised
        self.responses: asyncio.Queue[SipMessage | None] = asyncio.Queue(RESPONSES_WAITING)  # None: hang up
        self.rtp: RtpSession | None = None
        self._invited, self._speaks_hz, self._on_event = invited, speaks_hz, on_event
        self._far_sdp: Sdp | None = None
        self._sdp_version = 0
        self._final: Retransmission | None = None
        self._final_cseq = 0
        self._events: list[CallEvent] = []
        self.happened(invited)

    def happened(self, event: CallEvent) -> None:
        self._events.append(event)
        if self._on_event:
            self._on_event(event)

    def heard(self, hz: int) -> None:
        packets = self.rtp.packets_received if self.rtp else 0
        self.happened(AudioHeard(call_id=self.call_id, hz=hz, packets=packets))
        self.hearing.set()

    def speak(self, hz: int) -> None:
        """Speak another tone from now on."""
        self._speaks_hz = hz
        self._speak()

    def be_silent(self) -> None:
        """Say nothing until told to, but go on sending, as a phone does."""
        self.speak(SILENCE_HZ)

    def confirm(self) -> None:
        """Begin the conversation: from now on we speak."""
        self.confirmed = True
        self.happened(Answered(call_id=self.call_id))
        self._speak()

    def refer_told(self, body: bytes) -> None:
        """Take the far side's word on our REFER: a status line, RFC 3515 2.4.5. Whoever has sent a call away leaves it."""
        told = _STATUS_LINE.match(body)
        if told and int(told[1]) >= 200:
            self.happened(ReferEnded(call_id=self.call_id, status=int(told[1])))
            if int(told[1]) < 300:
                self.hang_up("us")

    def hang_up(self, by: Party) -> None:
        """Note who ended the call, and wake whoever waits on this leg. Only the first counts."""
        if self.over.is_set():
            return
        self.hung_up_by = by
        self.happened(HungUp(call_id=self.call_id, by=by))
        self.over.set()
        self.acked.set()
        self.hearing.set()
        self.responded(None)

    def responded(self, response: SipMessage | None) -> None:
        """Queue a response to our INVITE; beyond the bound it is lost, as UDP may lose it."""
        if not self.responses.full():
            self.responses.put_nowait(response)

    def await_ack(self, cseq: int, final: Retransmission) -> None:
        """Keep our *final* response to the INVITE of *cseq* going until `acknowledged`."""
        if self._final:
            self._final.stop()
        self._final, self._final_cseq = final, cseq
        self.acked.clear()

    def acknowledged(self, ack: SipMessage) -> None:
        if self._final and ack.cseq == self._final_cseq:
            self._final.stop()
            self.acked.set()
            if ack.body and self.status == 200:  # the answer to an offer that went out in our 200
                self.follow(Sdp.parse(ack.body))

    def has_dialog_of(self, request: SipMessage) -> bool:
        tags = NameAddress.parse(self.local).tag, NameAddress.parse(self.remote).tag
        return (request.to_tag, request.from_tag) == tags

    def offer(self) -> bytes:
        """Return an SDP of ours; the leg must have its RTP session by now."""
        self._sdp_version += 1
        return offer_sdp(self.host, self.rtp.port if self.rtp else 0, self._sdp_version)

    def answer(self, offer: bytes) -> bytes:
        """Return our SDP for the far side's, and follow it; raise SipSyntaxError if we have nothing in common."""
        if not offer:
            return self.offer()
        sdp = Sdp.parse(offer)
        self.follow(sdp)
        self._sdp_version += 1
        return answer_sdp(sdp, self.host, self.rtp.port if self.rtp else 0, self._sdp_version)

    def follow(self, far_sdp: Sdp) -> None:
        """Speak where and how the far side now says."""
        self._far_sdp = far_sdp
        self._speak()

    def _speak(self) -> None:
        if not self.rtp or not self._far_sdp:
            return
        self.rtp.pause()
        if self.confirmed and self._speaks_hz is not None and self._far_sdp.hears:
            self.rtp.speak((self._far_sdp.host, self._far_sdp.port), self._far_sdp.codec, self._speaks_hz)

    async def close(self) -> None:
        if self._final:
            self._final.stop()
        if self.rtp:
            await self.rtp.close()

    def report(self) -> CallReport:
        """Sum up a closed leg."""
        return CallReport(
            call_id=self.call_id,
            user=self._invited.user,
            caller_number=self._invited.caller_number,
            caller_name=self._invited.caller_name,
            status=self.status,
            hung_up_by=self.hung_up_by,
            heard_hz=self.rtp.heard_hz if self.rtp else (),
            packets_sent=self.rtp.packets_sent if self.rtp else 0,
            packets_received=self.rtp.packets_received if self.rtp else 0,
            packets_malformed=self.rtp.packets_malformed if self.rtp else 0,
            events=tuple(self._events),
        )
