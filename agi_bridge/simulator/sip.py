"""Both ends of the one phone call that the demo and the tests play: the Millis SIP agent and the caller on the trunk.

`SipAgent` answers INVITEs and speaks a tone; `place_call` dials, speaks another, and reports what it heard. A small but
honest user agent over UDP and IPv4: CANCEL, re-INVITE, UPDATE and retransmissions are there; registration, digest
authentication, TLS, 100rel and proxies (Record-Route) are not. Knows nothing of AGI, Millis or the bridge.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType

from agi_bridge.simulator.rtp import RtpSession
from agi_bridge.simulator.sip_endpoint import (
    ALLOW,
    REMEMBERED,
    T1_SECONDS,
    Headers,
    SipEndpoint,
    came,
    new_branch,
    new_token,
)
from agi_bridge.simulator.sip_leg import (
    GIVE_UP_AFTER_T1,
    Address,
    Answered,
    AudioHeard,
    CallEvent,
    CallReport,
    EventCallback,
    HungUp,
    Invited,
    Leg,
    ReferAnswered,
    ReferEnded,
    Refused,
    Retransmission,
    Ringing,
)
from agi_bridge.simulator.sip_message import NameAddress, Sdp, SipMessage, sip_uri, user_of
from agi_bridge.simulator.tone import AGENT_TONE_HZ, CALLER_TONE_HZ

__all__ = [
    "AgentBehaviour",
    "Answered",
    "AudioHeard",
    "CallEvent",
    "CallReport",
    "CallerBehaviour",
    "HungUp",
    "Invited",
    "ReferAnswered",
    "ReferEnded",
    "Refused",
    "Ringing",
    "SipAgent",
    "SipCaller",
    "place_call",
]

log = logging.getLogger(__name__)

MAX_CALLS = 32
LONGEST_CALL_SECONDS = 300.0
SAY_HEARD_AFTER_SECONDS = 0.5  # time for the caller to recognise the tone before it
RESOLVE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class AgentBehaviour:
    """How a `SipAgent` treats a call."""

    ring_seconds: float = 0.0
    refuse_status: int | None = None  # refuse with this status, after ringing for ring_seconds
    redirect_to: str = ""  # the Contact URI of a 3xx
    ignore_invite: bool = False  # send nothing at all, as a dead host would
    speaks_hz: int | None = AGENT_TONE_HZ  # None: answer and say nothing
    listens_for_hz: tuple[int, ...] = (CALLER_TONE_HZ,)
    silent_after_seconds: float | None = None  # say nothing more then, as a person does after a word of greeting
    # Spoken once the caller was heard: who hears this tone knows that audio goes both ways.
    heard_hz: int | None = None
    refer_to: str = ""  # a SIP URI: ask for the call to be moved there, once the ACK is in
    refer_after_seconds: float = 0.0  # how long after the ACK
    hang_up_after_seconds: float = LONGEST_CALL_SECONDS  # 0: BYE as soon as the ACK is in


@dataclass(frozen=True, kw_only=True)
class CallerBehaviour:
    """How a `SipCaller` makes a call."""

    answer_timeout_seconds: float = 30.0  # then it hangs up, with a CANCEL if anyone has responded at all
    talk_seconds: float = 2.0  # after the answer; then it hangs up, unless the far side was first
    speaks_hz: int | None = CALLER_TONE_HZ
    listens_for_hz: tuple[int, ...] = (AGENT_TONE_HZ,)
    headers: Headers = ()  # further ones for the INVITE, such as ("X-Account", "42")


class SipAgent(SipEndpoint):
    """The Millis SIP agent: answers whoever calls, as `behaviour` says at that moment. An async context manager.

    *accepts* says which users (the part before '@') exist; any other is refused with 404.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        behaviour: AgentBehaviour | None = None,
        accepts: Callable[[str], bool] | None = None,
        on_event: EventCallback | None = None,
        max_calls: int = MAX_CALLS,
        t1_seconds: float = T1_SECONDS,
    ) -> None:
        super().__init__(host, port, on_event=on_event, t1_seconds=t1_seconds)
        self.behaviour = behaviour or AgentBehaviour()
        self._accepts = accepts
        self._max_calls = max_calls
        self._tasks: set[asyncio.Task[None]] = set()
        self._reports: asyncio.Queue[CallReport] = asyncio.Queue(maxsize=REMEMBERED)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await super().__aexit__(kind, error, trace)

    async def next_report(self, timeout_seconds: float = 10.0) -> CallReport:
        """Return the oldest finished call not yet taken, waiting for one; raise TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            return await self._reports.get()

    def _invited(self, invite: SipMessage, address: Address) -> None:
        required = invite.tokens("Require") - {"timer"}
        if invite.call_id in self._legs:
            return self._respond(invite, address, 482)
        if len(self._legs) >= self._max_calls:
            return self._respond(invite, address, 503)
        if required:
            return self._respond(invite, address, 420, headers=(("Unsupported", ", ".join(sorted(required))),))
        behaviour = self.behaviour
        caller = NameAddress.parse(invite.get("From"))
        leg = Leg(
            Invited(
                call_id=invite.call_id, user=user_of(invite.uri), caller_number=caller.user, caller_name=caller.name
            ),
            local=f"{invite.get('To')};tag={new_token()}",
            remote=invite.get("From"),
            target=NameAddress.parse(invite.get("Contact")).uri or caller.uri,
            address=address,
            host=self._host_towards(address),
            speaks_hz=behaviour.speaks_hz,
            on_event=self._on_event,
        )
        if behaviour.ignore_invite:
            return self._remember((invite.call_id, invite.branch, "INVITE"), lambda: None)
        self._respond(invite, address, 100)
        self._legs[leg.call_id] = leg
        task = asyncio.create_task(self._take(leg, invite, behaviour))
        self._tasks.add(task)
        task.add_done_callback(self._taken)
        return None

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("the simulated agent failed in a call", exc_info=task.exception())

    async def _take(self, leg: Leg, invite: SipMessage, behaviour: AgentBehaviour) -> None:
        async with self._life_of(leg):
            try:
                refusal = await self._ring(leg, invite, behaviour)
                if refusal is None:
                    await self._talk(leg, invite, behaviour)
                else:
                    await self._refuse(leg, invite, refusal, behaviour.redirect_to)
            except BaseException:
                if leg.status is None:
                    self._respond(invite, leg.address, 480)  # once: better than to let it ring with nobody there
                raise
        if self._reports.full():
            self._reports.get_nowait()
        self._reports.put_nowait(leg.report())

    async def _ring(self, leg: Leg, invite: SipMessage, behaviour: AgentBehaviour) -> int | None:
        """Ring, and return the status to refuse with; None to answer."""
        if self._accepts and not self._accepts(user_of(invite.uri)):
            return 404
        if invite.body and not Sdp.find(invite.body):
            return 488
        if behaviour.ring_seconds or behaviour.refuse_status is None:
            self._respond(invite, leg.address, 180, leg=leg)
            leg.happened(Ringing(call_id=leg.call_id, status=180))
            await came(leg.over, behaviour.ring_seconds)
        return 487 if leg.over.is_set() else behaviour.refuse_status

    async def _refuse(self, leg: Leg, invite: SipMessage, status: int, redirect_to: str) -> None:
        leg.status = status
        headers = (("Contact", f"<{redirect_to}>"),) if status // 100 == 3 else ()
        self._respond(invite, leg.address, status, leg=leg, headers=headers)
        if not leg.over.is_set():
            leg.happened(Refused(call_id=leg.call_id, status=status))
        await came(leg.acked, self._longest_wait)

    async def _talk(self, leg: Leg, invite: SipMessage, behaviour: AgentBehaviour) -> None:
        leg.rtp = await RtpSession.open(self.address[0], behaviour.listens_for_hz, leg.heard)
        leg.status = 200
        self._respond(invite, leg.address, 200, leg=leg, body=leg.answer(invite.body))
        if await came(leg.acked, self._longest_wait) and not leg.over.is_set():
            leg.confirm()
            if behaviour.refer_to and not await came(leg.over, behaviour.refer_after_seconds):
                status = await self._ask(leg, "REFER", self._contact(leg), ("Refer-To", f"<{behaviour.refer_to}>"))
                leg.happened(ReferAnswered(call_id=leg.call_id, status=status))
            await self._converse(leg, behaviour)
        if leg.hung_up_by != "them":
            await self._bye(leg)

    async def _converse(self, leg: Leg, behaviour: AgentBehaviour) -> None:
        """Talk until the caller hangs up, or for as long as the agent likes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(behaviour.hang_up_after_seconds):
                if behaviour.silent_after_seconds is not None and not await came(
                    leg.over, behaviour.silent_after_seconds
                ):
                    leg.be_silent()
                if behaviour.heard_hz is not None:
                    await leg.hearing.wait()
                    if not await came(leg.over, SAY_HEARD_AFTER_SECONDS):
                        leg.speak(behaviour.heard_hz)
                await leg.over.wait()


class SipCaller(SipEndpoint):
    """A phone behind a trunk: places calls from one UDP port. An async context manager."""

    def hang_up(self) -> None:
        """Hang up every call: CANCEL one that rings, BYE one that was answered."""
        for leg in list(self._legs.values()):
            leg.hang_up("us")

    async def call(
        self,
        target: Address,
        did: str,
        *,
        caller_number: str | None = None,
        caller_name: str = "",
        behaviour: CallerBehaviour | None = None,
    ) -> CallReport:
        """Call *did* at *target* and return when the call is over, however it ended.

        No *caller_number* means a withheld one. Raises OSError when *target* has no address, SipSyntaxError when a
        number, name or header has a line break.
        """
        behaviour = behaviour or CallerBehaviour()
        address = await _resolve(target)
        host = self._host_towards(address)
        number_uri = sip_uri(caller_number, host, self.port) if caller_number else "sip:anonymous@anonymous.invalid"
        uri = sip_uri(did, *address)
        leg = Leg(
            Invited(
                call_id=f"{new_token()}@{host}", user=did, caller_number=caller_number or "", caller_name=caller_name
            ),
            local=str(NameAddress(caller_name, number_uri, f";tag={new_token()}")),
            remote=f"<{uri}>",
            target=uri,
            address=address,
            host=host,
            speaks_hz=behaviour.speaks_hz,
            on_event=self._on_event,
        )
        self._legs[leg.call_id] = leg
        async with self._life_of(leg):
            leg.rtp = await RtpSession.open(self.address[0], behaviour.listens_for_hz, leg.heard)
            await self._dial(leg, behaviour)
        return leg.report()

    async def _dial(self, leg: Leg, behaviour: CallerBehaviour) -> None:
        branch = new_branch()
        self._awaiting[branch, "INVITE"] = leg.responded
        try:
            response = await self._final_response(leg, branch, behaviour)
        finally:
            del self._awaiting[branch, "INVITE"]
        if not response:
            return
        leg.status = response.status
        leg.remote = response.get("To")
        if response.status >= 300:
            self._remember((leg.call_id, leg.cseq), self._request(leg, "ACK", branch))
            if not leg.over.is_set():
                leg.happened(Refused(call_id=leg.call_id, status=response.status))
            return
        leg.target = NameAddress.parse(response.get("Contact")).uri or leg.target
        self._remember((leg.call_id, leg.cseq), self._request(leg, "ACK", new_branch()))
        answer = Sdp.find(response.body)
        if answer and not leg.over.is_set():
            leg.follow(answer)
            leg.confirm()
            await came(leg.over, behaviour.talk_seconds)
        if leg.hung_up_by != "them":
            await self._bye(leg)

    async def _final_response(self, leg: Leg, branch: str, behaviour: CallerBehaviour) -> SipMessage | None:
        """Send the INVITE and return its final response; None when none came in time.

        A hang-up waits for the first provisional response, because before it a CANCEL could overtake the INVITE.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + behaviour.answer_timeout_seconds
        proceeding = cancelled = False
        with ExitStack() as sending:
            headers = (self._contact(leg), ALLOW, ("Supported", "timer"), *behaviour.headers)
            send = self._request(leg, "INVITE", branch, headers=headers, body=leg.offer())
            invite = sending.enter_context(Retransmission(send, self._t1, slowest_t1=GIVE_UP_AFTER_T1))
            while True:
                try:
                    async with asyncio.timeout_at(give_up_at):
                        response = await leg.responses.get()
                except TimeoutError:
                    if leg.over.is_set() or not proceeding:
                        leg.hang_up("us")
                        return None
                    leg.hang_up("us")
                except asyncio.CancelledError:
                    if proceeding:
                        self._request(leg, "CANCEL", branch)
                    raise
                else:
                    if response and response.status >= 200:
                        return response
                    if response:
                        proceeding = True
                        invite.stop()
                        if response.status > 100:
                            leg.happened(Ringing(call_id=leg.call_id, status=response.status))
                if leg.over.is_set() and proceeding and not cancelled:
                    cancelled = True
                    give_up_at = loop.time() + self._longest_wait
                    sending.enter_context(Retransmission(self._request(leg, "CANCEL", branch), self._t1))


async def _resolve(target: Address) -> Address:
    """Return the IPv4 address of a host given by name or number."""
    async with asyncio.timeout(RESOLVE_SECONDS):
        found = await asyncio.get_running_loop().getaddrinfo(*target, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    host, port = found[0][4][:2]
    return str(host), int(port)


async def place_call(
    target: Address,
    did: str,
    *,
    caller_number: str | None = None,
    caller_name: str = "",
    behaviour: CallerBehaviour | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    on_event: EventCallback | None = None,
) -> CallReport:
    """Place one call, as `SipCaller.call` does, from a port of its own."""
    async with SipCaller(host, port, on_event=on_event) as caller:
        return await caller.call(target, did, caller_number=caller_number, caller_name=caller_name, behaviour=behaviour)
