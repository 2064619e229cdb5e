"""A UDP port that speaks SIP: transactions, their retransmissions, and the requests that arrive within a call.

What the agent and the caller of `sip.py` have in common (RFC 3261 sections 8, 12 and 17). It answers, and sends within
a call, to where the far side's datagrams come from (RFC 3581), and leaves session timers to the side that wants them
(RFC 4028). It does not know who calls whom, nor why. What makes no sense is dropped and counted here, and never raised.
"""

import asyncio
import logging
import re
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self, cast

from agi_bridge.simulator.sip_leg import GIVE_UP_AFTER_T1, Address, EventCallback, Leg, Retransmission
from agi_bridge.simulator.sip_message import SipMessage, SipSyntaxError

log = logging.getLogger(__name__)

Headers = tuple[tuple[str, str], ...]

T1_SECONDS = 0.5  # RFC 3261 17.1.1.1: an estimate of the round trip; every other timer is a multiple of it
REMEMBERED = 512  # transactions whose last message is kept for a retransmission
ALLOW = ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO")


async def came(event: asyncio.Event, seconds: float) -> bool:
    """Wait for *event*, no longer than *seconds*; say whether it came."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return event.is_set()


def new_token() -> str:
    return secrets.token_hex(8)


def new_branch() -> str:
    return f"z9hG4bK{new_token()}"  # the prefix by which RFC 3261 knows its own


class SipEndpoint(asyncio.DatagramProtocol):
    """One UDP port that speaks SIP: what the agent and the caller have in common."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        on_event: EventCallback | None = None,
        t1_seconds: float = T1_SECONDS,
    ) -> None:
        self.malformed = 0  # datagrams dropped because they made no sense
        self._bind = (host, port)
        self._on_event = on_event
        self._t1 = t1_seconds
        self._longest_wait = GIVE_UP_AFTER_T1 * t1_seconds
        self._transport: asyncio.DatagramTransport
        self._closed: asyncio.Future[None]
        self._legs: dict[str, Leg] = {}  # by Call-ID
        # Server transactions, by Call-ID, branch and method; and the ACKs of our own INVITEs, by Call-ID and CSeq.
        self._sent: dict[tuple[str | int, ...], Callable[[], None]] = {}
        self._awaiting: dict[tuple[str, str], Callable[[SipMessage], None]] = {}  # client transactions: branch, method

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._closed = loop.create_future()
        # Bound here, because not every event loop says why it could not.
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            bound.bind(self._bind)
            await loop.create_datagram_endpoint(lambda: self, sock=bound)
        except BaseException:
            bound.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()
        await self._closed

    @property
    def address(self) -> Address:
        host, port = self._transport.get_extra_info("sockname")[:2]
        return str(host), int(port)

    @property
    def port(self) -> int:
        return self.address[1]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # which asyncio's own transport does not inherit

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed.done():  # whoever waited for it may have been cancelled
            self._closed.set_result(None)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if not data.strip(b"\r\n\0 "):
            return  # a NAT keep-alive
        try:
            message = SipMessage.parse(data)
            if message.status:
                self._response_received(message)
            else:
                self._request_received(message, addr)
        except SipSyntaxError as error:
            self.malformed += 1
            log.debug("dropped a datagram from %s: %s", addr, error)

    def _host_towards(self, address: Address) -> str:
        """Return our own address as *address* sees it, also when we are bound to all of them."""
        if self.address[0] != "0.0.0.0":  # noqa: S104 - a comparison
            return self.address[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # chooses a route; sends nothing
            return str(probe.getsockname()[0])

    def _send(self, message: SipMessage, address: Address) -> Callable[[], None]:
        """Send the message and return what sends the same bytes again."""
        datagram = message.encode()

        def send() -> None:
            if not self._transport.is_closing():
                self._transport.sendto(datagram, address)

        send()
        return send

    def _remember(self, key: tuple[str | int, ...], send: Callable[[], None]) -> None:
        self._sent[key] = send
        if len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]

    # --- the server side: requests in, responses out

    def _request_received(self, request: SipMessage, address: Address) -> None:
        leg = self._legs.get(request.call_id)
        if request.method == "ACK":
            if leg and leg.has_dialog_of(request):
                leg.acknowledged(request)
            return
        if again := self._sent.get((request.call_id, request.branch, request.method)):
            again()
        elif request.method == "CANCEL":
            cancels = leg and (request.call_id, request.branch, "INVITE") in self._sent
            self._respond(request, address, 200 if cancels else 481)
            if leg and cancels and leg.status is None:
                leg.hang_up("them")
        elif request.to_tag:
            if leg and leg.has_dialog_of(request):
                self._request_in_dialog(leg, request, address)
            else:
                self._respond(request, address, 481)
        elif request.method == "INVITE":
            self._invited(request, address)
        else:
            self._respond(request, address, 200 if request.method == "OPTIONS" else 405, headers=(ALLOW,))

    def _invited(self, invite: SipMessage, address: Address) -> None:
        """Take a call, or here: take none."""
        self._respond(invite, address, 480)

    def _request_in_dialog(self, leg: Leg, request: SipMessage, address: Address) -> None:
        if request.method == "BYE":
            self._respond(request, address, 200)
            leg.hang_up("them")
        elif request.method == "NOTIFY":
            self._respond(request, address, 200)
            leg.refer_told(request.body)
        elif request.method in ("INVITE", "UPDATE"):
            try:
                body = leg.answer(request.body) if request.body or request.method == "INVITE" else b""
            except SipSyntaxError:
                self._respond(request, address, 488)
            else:
                self._respond(request, address, 200, leg=leg, body=body)
        else:
            known = request.method in ("OPTIONS", "INFO")
            self._respond(request, address, 200 if known else 405, headers=(ALLOW,))

    def _respond(
        self,
        request: SipMessage,
        address: Address,
        status: int,
        *,
        leg: Leg | None = None,
        headers: Headers = (),
        body: bytes = b"",
    ) -> None:
        """Send a response; a final one to an INVITE of *leg* goes on until its ACK, 64·T1 at most."""
        to = request.get("To")
        if status > 100 and not request.to_tag:
            to = leg.local if leg else f"{to};tag={new_token()}"
        top, *others = request.all("Via")
        top = re.sub(r";\s*rport(?=[;,\s]|$)", f";rport={address[1]};received={address[0]}", top, count=1)
        if leg and status < 300:
            headers = (*headers, self._contact(leg), ALLOW)
        if leg and status // 100 == 2:
            headers = (*headers, ("Supported", "timer"), *_session_timer(request))
        message = SipMessage(
            request.method,
            (
                *(("Via", via) for via in (top, *others)),
                ("From", request.get("From")),
                ("To", to),
                ("Call-ID", request.call_id),
                ("CSeq", request.get("CSeq")),
                *headers,
            ),
            status=status,
            body=body,
        )
        send = self._send(message, address)
        self._remember((request.call_id, request.branch, request.method), send)
        if leg and request.method == "INVITE" and status >= 200:
            leg.await_ack(request.cseq, Retransmission(send, self._t1))

    # --- the client side: requests out, responses in

    def _response_received(self, response: SipMessage) -> None:
        if waiting := self._awaiting.get((response.branch, response.method)):
            waiting(response)
        if response.method == "INVITE" and response.status >= 200:
            ack = self._sent.get((response.call_id, response.cseq))
            if ack:
                ack()  # the far side missed the first one

    def _request(
        self, leg: Leg, method: str, branch: str, *, headers: Headers = (), body: bytes = b""
    ) -> Callable[[], None]:
        """Send a request of *leg*'s dialog and return what sends it again."""
        message = SipMessage(
            method,
            (
                ("Via", f"SIP/2.0/UDP {leg.host}:{self.port};rport;branch={branch}"),
                ("Max-Forwards", "70"),
                ("From", leg.local),
                ("To", leg.remote),
                ("Call-ID", leg.call_id),
                ("CSeq", f"{leg.cseq} {method}"),
                *headers,
            ),
            uri=leg.target,
            body=body,
        )
        return self._send(message, leg.address)

    async def _bye(self, leg: Leg) -> None:
        """Hang up, and wait until the far side knows, or can no longer be told."""
        leg.hang_up("us")
        await self._ask(leg, "BYE")

    async def _ask(self, leg: Leg, method: str, *headers: tuple[str, str]) -> int | None:
        """Send a request of *leg*'s dialog and return its final status; None when none came in time."""
        leg.cseq += 1
        branch = new_branch()
        answered = asyncio.Event()
        statuses: list[int] = []

        def note(response: SipMessage) -> None:
            if response.status >= 200:
                statuses.append(response.status)
                answered.set()

        self._awaiting[branch, method] = note
        try:
            with Retransmission(self._request(leg, method, branch, headers=headers), self._t1):
                await came(answered, self._longest_wait)
        finally:
            del self._awaiting[branch, method]
        return statuses[0] if statuses else None

    def _contact(self, leg: Leg) -> tuple[str, str]:
        return "Contact", f"<sip:{leg.host}:{self.port}>"

    @asynccontextmanager
    async def _life_of(self, leg: Leg) -> AsyncIterator[None]:
        """Whatever ends the call's story, close the leg, and do not leave the far side in a call with nobody."""
        try:
            yield
        except BaseException:
            if leg.confirmed and not leg.over.is_set():
                leg.hang_up("us")
                leg.cseq += 1
                self._request(leg, "BYE", new_branch())  # once: nobody is left to wait for the answer
            raise
        finally:
            del self._legs[leg.call_id]
            await leg.close()


def _session_timer(request: SipMessage) -> Headers:
    """Let the side that asked for a session timer keep it."""
    seconds, _, parameters = request.get("Session-Expires").partition(";")
    if not seconds or "timer" not in request.tokens("Supported") or "refresher=uas" in parameters:
        return ()
    return ("Require", "timer"), ("Session-Expires", f"{seconds.strip()};refresher=uac")
