"""The SIP agent and the caller: with each other, and each with a far side whose every datagram the test writes.

Their endpoint and their legs (`sip_endpoint.py`, `sip_leg.py`) have no other life, and are tested here.
"""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from agi_bridge.simulator.sip import (
    AgentBehaviour,
    Answered,
    AudioHeard,
    CallerBehaviour,
    CallEvent,
    HungUp,
    Invited,
    ReferAnswered,
    Refused,
    Ringing,
    SipAgent,
    SipCaller,
    place_call,
)
from agi_bridge.simulator.sip_message import SipMessage, SipSyntaxError, offer_sdp
from agi_bridge.simulator.tone import AGENT_TONE_HZ, CALLER_TONE_HZ, HEARD_TONE_HZ

DID = "+15551230001"
SECONDS = 10
T1_SECONDS = 0.02
OFFER = offer_sdp("127.0.0.1", 9, 1)
TALK = CallerBehaviour(talk_seconds=1.0)
LISTEN = CallerBehaviour(talk_seconds=SECONDS)


class Events(asyncio.Queue[CallEvent]):
    """The events of the calls of one side, as a test waits for them."""

    def __call__(self, event):
        self.put_nowait(event)

    async def first(self, kind):
        async with asyncio.timeout(SECONDS):
            while not isinstance(event := await self.get(), kind):
                pass
        return event


class Wire(asyncio.DatagramProtocol):
    """A far side that says exactly what a test writes, and keeps what it is told."""

    def __init__(self):
        self.told: asyncio.Queue[SipMessage] = asyncio.Queue()
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.closed.set_result(None)

    def datagram_received(self, data, address):
        self.near_side = address
        self.told.put_nowait(SipMessage.parse(data))

    async def next(self):
        async with asyncio.timeout(SECONDS):
            return await self.told.get()

    async def until(self, *wanted):
        """Return the first message that is a request of that method or a response of that status."""
        while (message := await self.next()).status not in wanted and (message.status or message.method) not in wanted:
            pass
        return message

    def say(self, datagram, address):
        self.transport.sendto(datagram, address)

    def ask(self, agent, method, *, branch="z9hG4bK1", cseq=1, to_tag="", call_id="call-1", more=(), body=b""):
        host, port = self.transport.get_extra_info("sockname")
        headers = (
            ("Via", f"SIP/2.0/UDP {host}:{port};rport;branch={branch}"),
            ("From", '"Ann" <sip:+15557654321@127.0.0.1>;tag=ours'),
            ("To", f"<sip:agent@127.0.0.1>{to_tag and ';tag='}{to_tag}"),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", f"<sip:{host}:{port}>"),
            *more,
        )
        self.say(SipMessage(method, headers, uri="sip:agent@127.0.0.1", body=body).encode(), agent.address)

    def reply(self, request, status, *, body=b""):
        host, port = self.transport.get_extra_info("sockname")
        kept = tuple((name, request.get(name)) for name in ("Via", "From", "Call-ID", "CSeq"))
        headers = (*kept, ("To", f"{request.get('To')};tag=theirs"), ("Contact", f"<sip:{host}:{port}>"))
        self.say(SipMessage(request.method, headers, status=status, body=body).encode(), self.near_side)


@asynccontextmanager
async def wire():
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Wire, ("127.0.0.1", 0))
    try:
        yield protocol
    finally:
        transport.close()
        await protocol.closed


@asynccontextmanager
async def call_to_wire(behaviour=LISTEN):
    """A caller that has sent its INVITE to a wire: the wire, the INVITE, the caller, and the call in the making."""
    async with wire() as far_side, SipCaller(t1_seconds=T1_SECONDS) as caller, asyncio.TaskGroup() as calls:
        target = far_side.transport.get_extra_info("sockname")
        call = calls.create_task(caller.call(target, DID, behaviour=behaviour))
        yield far_side, await far_side.next(), caller, call


async def answered(far_side, agent, offer=OFFER):
    """Call the agent and acknowledge its answer; return the 200."""
    far_side.ask(agent, "INVITE", body=offer)
    ok = await far_side.until(200)
    far_side.ask(agent, "ACK", branch="z9hG4bKack", to_tag=ok.to_tag)
    return ok


@asynccontextmanager
async def ear():
    """A port for audio, and the packets that come to it."""
    async with wire() as far_side:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        far_side.datagram_received = lambda data, address: heard.put_nowait(data)
        yield far_side.transport.get_extra_info("sockname")[1], heard


async def audio(heard):
    """Wait for the next packet."""
    async with asyncio.timeout(SECONDS):
        await heard.get()


async def silence(heard):
    """Wait until no packet has come for the time of five."""
    async with asyncio.timeout(SECONDS):
        with suppress(TimeoutError):
            while True:
                await asyncio.wait_for(heard.get(), 0.1)


def on_hold(sdp):
    return sdp.replace(b"a=sendrecv", b"a=sendonly")


def kinds(report):
    return [type(event) for event in report.events]


# --- Caller and agent


async def test_both_sides_hear_each_other():
    """A call rings, is answered, carries the right tone each way, and ends when the caller hangs up."""
    async with SipAgent(behaviour=AgentBehaviour(ring_seconds=0.05)) as agent:
        caller_side = await place_call(
            agent.address, DID, caller_number="+15557654321", caller_name='Ann "A" Lee', behaviour=TALK
        )
        agent_side = await agent.next_report()

    for report, tone, hung_up_by in ((caller_side, AGENT_TONE_HZ, "us"), (agent_side, CALLER_TONE_HZ, "them")):
        assert kinds(report) == [Invited, Ringing, Answered, AudioHeard, HungUp]
        assert [event.at for event in report.events] == sorted(event.at for event in report.events)
        assert (report.user, report.caller_number, report.caller_name) == (DID, "+15557654321", 'Ann "A" Lee')
        assert (report.status, report.provisional, report.answered) == (200, (180,), True)
        assert report.heard_hz == (tone,)
        assert report.hung_up_by == hung_up_by
        assert report.packets_received >= 15


async def test_packets_without_the_tone_are_not_audio_heard():
    """Only the expected frequency counts: another tone is so many packets and nothing heard."""
    behaviour = CallerBehaviour(talk_seconds=0.6, listens_for_hz=(AGENT_TONE_HZ,))
    async with SipAgent(behaviour=AgentBehaviour(speaks_hz=600)) as agent:
        report = await place_call(agent.address, DID, behaviour=behaviour)

    assert report.answered
    assert report.packets_received >= 15
    assert report.heard_hz == ()
    assert AudioHeard not in kinds(report)


async def test_a_silent_agent_is_not_heard():
    """An agent that says nothing hears the caller all the same."""
    async with SipAgent(behaviour=AgentBehaviour(speaks_hz=None)) as agent:
        report = await place_call(agent.address, DID, behaviour=TALK)
        agent_side = await agent.next_report()

    assert (report.answered, report.packets_received, report.heard_hz) == (True, 0, ())
    assert agent_side.heard_hz == (CALLER_TONE_HZ,)


async def test_the_agent_hangs_up():
    """The caller's side of a call that the agent ends says so."""
    async with SipAgent(behaviour=AgentBehaviour(hang_up_after_seconds=0.6)) as agent:
        report = await place_call(agent.address, DID, behaviour=LISTEN)
        agent_side = await agent.next_report()

    assert (report.hung_up_by, agent_side.hung_up_by) == ("them", "us")
    assert report.heard_hz == (AGENT_TONE_HZ,)


async def test_the_agent_asks_for_the_call_to_be_moved():
    """An agent with a place to refer to sends REFER once, notes the answer, and talks on when it is refused."""
    seen = Events()
    agent = AgentBehaviour(refer_to="sip:elsewhere@127.0.0.1", hang_up_after_seconds=0.6)
    async with SipAgent(behaviour=agent, on_event=seen) as there:
        call = await place_call(there.address, DID, behaviour=LISTEN)

    answered = await seen.first(ReferAnswered)
    assert (answered.status, call.heard_hz, call.hung_up_by) == (405, (AGENT_TONE_HZ,), "them")


async def test_the_agent_hangs_up_at_once():
    """An agent may answer and leave in one breath."""
    async with SipAgent(behaviour=AgentBehaviour(hang_up_after_seconds=0)) as agent:
        report = await place_call(agent.address, DID, behaviour=LISTEN)

    assert kinds(report) == [Invited, Ringing, Answered, HungUp]
    assert report.hung_up_by == "them"


@pytest.mark.parametrize("status", [404, 486, 503, 603])
async def test_a_refused_call_reports_its_status(status):
    """A refusal is final, acknowledged, and known to both sides."""
    async with SipAgent(behaviour=AgentBehaviour(refuse_status=status)) as agent:
        report = await place_call(agent.address, DID, behaviour=TALK)
        agent_side = await agent.next_report()

    for side in (report, agent_side):
        assert kinds(side) == [Invited, Refused]
        assert (side.status, side.answered, side.hung_up_by) == (status, False, None)


async def test_an_agent_may_ring_before_it_refuses():
    """Ringing and refusing are set apart from each other."""
    async with SipAgent(behaviour=AgentBehaviour(refuse_status=486, ring_seconds=0.05)) as agent:
        report = await place_call(agent.address, DID, behaviour=TALK)

    assert (report.provisional, report.status) == ((180,), 486)


async def test_only_known_users_are_answered():
    """A user that `accepts` does not know is not found; each call asks again."""
    known: set[str] = set()
    async with SipAgent(accepts=known.__contains__) as agent:
        before = await place_call(agent.address, DID, behaviour=TALK)
        known.add(DID)
        after = await place_call(agent.address, DID, behaviour=TALK)

    assert (before.status, after.status) == (404, 200)


async def test_a_caller_who_waits_too_long_cancels():
    """Hanging up while it rings is a CANCEL, which both sides end with 487."""
    async with SipAgent(behaviour=AgentBehaviour(ring_seconds=SECONDS)) as agent:
        report = await place_call(agent.address, DID, behaviour=CallerBehaviour(answer_timeout_seconds=0.1))
        agent_side = await agent.next_report()

    assert kinds(report) == kinds(agent_side) == [Invited, Ringing, HungUp]
    assert (report.status, report.hung_up_by) == (487, "us")
    assert (agent_side.status, agent_side.hung_up_by) == (487, "them")


async def test_a_caller_hangs_up_on_request():
    """`hang_up` cancels a ringing call and ends an answered one."""
    events = Events()
    behaviour = AgentBehaviour(ring_seconds=SECONDS)
    async with SipAgent(behaviour=behaviour) as agent, SipCaller(on_event=events) as caller:
        for waits_for, status in ((Ringing, 487), (AudioHeard, 200)):
            call = asyncio.create_task(caller.call(agent.address, DID, behaviour=LISTEN))
            await events.first(waits_for)
            caller.hang_up()
            report = await call
            agent.behaviour = AgentBehaviour()

            assert (report.status, report.hung_up_by) == (status, "us")


async def test_nobody_there():
    """A call to a port that stays silent ends within its time, without a status."""
    async with SipAgent(behaviour=AgentBehaviour(ignore_invite=True)) as agent:
        report = await place_call(agent.address, DID, behaviour=CallerBehaviour(answer_timeout_seconds=0.2))

    assert (report.status, report.hung_up_by, report.provisional) == (None, "us", ())


async def test_a_withheld_number_is_anonymous():
    """A caller without a number comes as SIP's anonymous user, and our report of it has none."""
    async with SipAgent(behaviour=AgentBehaviour(refuse_status=486)) as agent:
        report = await place_call(agent.address, DID, behaviour=TALK)
        agent_side = await agent.next_report()

    assert report.caller_number == ""
    assert agent_side.caller_number == "anonymous"


async def test_a_caller_name_cannot_break_the_message():
    """A line break in a name is refused before anything is sent."""
    async with SipAgent() as agent:
        with pytest.raises(SipSyntaxError):
            await place_call(agent.address, DID, caller_name="Ann\r\nX-Evil: 1")


async def test_a_port_on_every_address_names_one_that_can_be_reached():
    """Bound to 0.0.0.0, as in a container, both sides still tell each other where to send; a host may have a name."""
    async with SipAgent("0.0.0.0", behaviour=AgentBehaviour(hang_up_after_seconds=0.6)) as agent:
        report = await place_call(("localhost", agent.port), DID, host="0.0.0.0", behaviour=LISTEN)
        agent_side = await agent.next_report()

    assert report.heard_hz == (AGENT_TONE_HZ,)
    assert agent_side.heard_hz == (CALLER_TONE_HZ,)


async def test_several_calls_at_once_and_no_more_than_the_bound():
    """Calls do not disturb each other; the one beyond the bound is refused with 503."""
    async with SipAgent(max_calls=3) as agent, SipCaller() as caller:
        calls = [caller.call(agent.address, f"{DID}{n}", behaviour=TALK) for n in range(4)]
        reports = await asyncio.gather(*calls)

    assert sorted(report.status or 0 for report in reports) == [200, 200, 200, 503]
    assert all(report.heard_hz == (AGENT_TONE_HZ,) for report in reports if report.answered)


async def test_leaving_the_agent_ends_its_calls():
    """An agent that is closed in mid-call says goodbye, so that the caller is not left alone."""
    events = Events()
    async with SipCaller(on_event=events) as caller:
        async with SipAgent() as agent:
            call = asyncio.create_task(caller.call(agent.address, DID, behaviour=LISTEN))
            await events.first(AudioHeard)
        report = await call

    assert report.hung_up_by == "them"


async def test_leaving_a_ringing_agent_refuses():
    """An agent that is closed while it rings refuses the call."""
    events = Events()
    async with SipCaller(on_event=events) as caller:
        async with SipAgent(behaviour=AgentBehaviour(ring_seconds=SECONDS)) as agent:
            call = asyncio.create_task(caller.call(agent.address, DID, behaviour=LISTEN))
            await events.first(Ringing)
        report = await call

    assert report.status == 480


@pytest.mark.parametrize("waits_for", [Ringing, Answered])
async def test_a_cancelled_call_does_not_hold_the_agent(waits_for):
    """When the task of a call is cancelled, the agent learns of it."""
    events = Events()
    behaviour = AgentBehaviour(ring_seconds=SECONDS if waits_for is Ringing else 0)
    async with SipAgent(behaviour=behaviour, t1_seconds=T1_SECONDS) as agent:
        async with SipCaller(on_event=events) as caller:
            call = asyncio.create_task(caller.call(agent.address, DID, behaviour=LISTEN))
            await events.first(waits_for)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        agent_side = await agent.next_report()

    assert agent_side.hung_up_by == "them"


# --- The agent and a hand-made far side


async def test_a_retransmitted_invite_is_one_call():
    """The same INVITE twice rings once, and is answered with the same bytes again."""
    events = Events()
    async with SipAgent(on_event=events) as agent, wire() as far_side:
        ok = await answered(far_side, agent)
        await events.first(Answered)
        far_side.ask(agent, "INVITE", body=OFFER)
        again = await far_side.until(200)
        far_side.ask(agent, "BYE", branch="z9hG4bKbye", cseq=2, to_tag=ok.to_tag)
        report = await agent.next_report()

    assert again == ok
    assert kinds(report) == [Invited, Ringing, Answered, HungUp]


async def test_an_answer_goes_on_until_its_ack():
    """Without an ACK the 200 comes again, and at last the agent hangs up."""
    async with SipAgent(t1_seconds=T1_SECONDS) as agent, wire() as far_side:
        far_side.ask(agent, "INVITE", body=OFFER)
        ok = await far_side.until(200)
        assert await far_side.next() == ok
        assert await far_side.next() == ok
        bye = await far_side.until("BYE")
        far_side.reply(bye, 200)
        report = await agent.next_report()

    assert (report.status, report.answered, report.hung_up_by) == (200, False, "us")


async def test_a_refusal_goes_on_until_its_ack():
    """Without an ACK the 486 comes again; after it the call is over."""
    behaviour = AgentBehaviour(refuse_status=486)
    async with SipAgent(behaviour=behaviour, t1_seconds=T1_SECONDS) as agent, wire() as far_side:
        far_side.ask(agent, "INVITE", body=OFFER)
        busy = await far_side.until(486)
        assert await far_side.next() == busy
        far_side.ask(agent, "ACK", to_tag=busy.to_tag)
        report = await agent.next_report()

    assert report.status == 486


async def test_a_bye_is_answered_as_often_as_it_comes():
    """A retransmitted BYE gets its 200 although the call is gone; one for no call gets 481."""
    async with SipAgent() as agent, wire() as far_side:
        ok = await answered(far_side, agent)
        for _ in range(2):
            far_side.ask(agent, "BYE", branch="z9hG4bKbye", cseq=2, to_tag=ok.to_tag)
            assert (await far_side.next()).status == 200
        await agent.next_report()
        far_side.ask(agent, "BYE", branch="z9hG4bKlate", cseq=3, to_tag=ok.to_tag)
        assert (await far_side.next()).status == 481


async def test_a_re_invite_holds_and_an_update_resumes_the_audio():
    """On hold the agent falls silent, within the same call; when the hold ends it speaks again, where it is told to."""
    async with SipAgent() as agent, wire() as far_side, ear() as (port, heard):
        offer = offer_sdp("127.0.0.1", port, 2)
        ok = await answered(far_side, agent, offer)
        await audio(heard)

        far_side.ask(agent, "INVITE", branch="z9hG4bK2", cseq=2, to_tag=ok.to_tag, body=on_hold(offer))
        held = await far_side.until(200)
        far_side.ask(agent, "ACK", branch="z9hG4bKack2", cseq=2, to_tag=ok.to_tag)
        await silence(heard)

        far_side.ask(agent, "UPDATE", branch="z9hG4bK3", cseq=3, to_tag=ok.to_tag, body=offer)
        resumed = await far_side.until(200)
        await audio(heard)
        far_side.ask(agent, "BYE", branch="z9hG4bK4", cseq=4, to_tag=ok.to_tag)
        report = await agent.next_report()

    assert held.body.endswith(b"a=recvonly\r\n")
    assert (resumed.method, resumed.body[-12:]) == ("UPDATE", b"a=sendrecv\r\n")
    assert kinds(report) == [Invited, Ringing, Answered, HungUp]


async def test_a_re_invite_that_we_cannot_follow_leaves_the_call_as_it_is():
    """488 refuses the change, not the call."""
    async with SipAgent() as agent, wire() as far_side:
        ok = await answered(far_side, agent)
        far_side.ask(agent, "INVITE", branch="z9hG4bK2", cseq=2, to_tag=ok.to_tag, body=b"v=0\r\n")
        assert (await far_side.until(488)).cseq == 2
        far_side.ask(agent, "OPTIONS", branch="z9hG4bK3", cseq=3, to_tag=ok.to_tag)
        assert (await far_side.until(200)).cseq == 3


async def test_an_invite_without_an_offer_is_answered_with_one():
    """Our 200 makes the offer, the ACK answers it, and then we speak where it says."""
    async with SipAgent() as agent, wire() as far_side, ear() as (port, heard):
        far_side.ask(agent, "INVITE")
        ok = await far_side.until(200)
        far_side.ask(agent, "ACK", branch="z9hG4bKack", to_tag=ok.to_tag, body=offer_sdp("127.0.0.1", port, 1))
        await audio(heard)

    assert b"RTP/AVP 0 8 101\r\n" in ok.body


async def test_a_session_timer_stays_with_the_side_that_wants_it():
    """The 200 hands the refreshing back to the caller, who asked for it."""
    more = (("Supported", "timer"), ("Session-Expires", "1800"), ("Require", "timer"))
    async with SipAgent() as agent, wire() as far_side:
        far_side.ask(agent, "INVITE", more=more, body=OFFER)
        ok = await far_side.until(200)

    assert (ok.get("Session-Expires"), ok.get("Require")) == ("1800;refresher=uac", "timer")


async def test_a_redirect_names_the_new_place():
    """A 302 carries the Contact to go to."""
    behaviour = AgentBehaviour(refuse_status=302, redirect_to="sip:other@192.0.2.1")
    async with SipAgent(behaviour=behaviour, t1_seconds=T1_SECONDS) as agent, wire() as far_side:
        far_side.ask(agent, "INVITE", body=OFFER)
        moved = await far_side.until(302)

    assert moved.get("Contact") == "<sip:other@192.0.2.1>"


@pytest.mark.parametrize(
    ("more", "body", "status"),
    [
        pytest.param((("Require", "100rel"),), OFFER, 420, id="an extension that we lack"),
        pytest.param((), OFFER.replace(b"RTP/AVP", b"RTP/SAVP"), 488, id="encrypted audio"),
        pytest.param((), b"no SDP", 488, id="a body that is no SDP"),
    ],
)
async def test_an_invite_that_we_cannot_serve_is_refused(more, body, status):
    """The status says what is wrong with it."""
    async with SipAgent(t1_seconds=T1_SECONDS) as agent, wire() as far_side:
        far_side.ask(agent, "INVITE", more=more, body=body)
        refusal = await far_side.until(status)

    assert refusal.to_tag
    assert refusal.get("Unsupported") == ("100rel" if status == 420 else "")


async def test_a_cancel_ends_a_ringing_call_only():
    """CANCEL is answered itself, ends its INVITE with 487, and finds nothing when the call is another."""
    async with SipAgent(behaviour=AgentBehaviour(ring_seconds=SECONDS)) as agent, wire() as far_side:
        far_side.ask(agent, "INVITE", body=OFFER)
        await far_side.until(180)
        far_side.ask(agent, "CANCEL", call_id="another")
        assert (await far_side.next()).status == 481
        far_side.ask(agent, "CANCEL")
        cancelled = await far_side.next()
        ended = await far_side.until(487)
        far_side.ask(agent, "ACK", to_tag=ended.to_tag)
        report = await agent.next_report()

    assert (cancelled.status, cancelled.method) == (200, "CANCEL")
    assert ended.method == "INVITE"
    assert report.status == 487


async def test_options_are_answered_and_unknown_methods_refused():
    """A qualify ping gets 200 with what we allow, and SUBSCRIBE 405."""
    async with SipAgent(accepts=lambda user: False) as agent, wire() as far_side:
        far_side.ask(agent, "OPTIONS")
        ping = await far_side.next()
        far_side.ask(agent, "SUBSCRIBE")
        subscription = await far_side.next()

    assert (ping.status, subscription.status) == (200, 405)
    assert "INVITE" in ping.get("Allow")
    assert ";received=127.0.0.1;" in ping.get("Via")


async def test_garbage_is_counted_and_disturbs_nobody():
    """Whatever nonsense arrives is dropped and counted; a call made afterwards succeeds."""
    invite = SipMessage("INVITE", (("Via", "SIP/2.0/UDP x"), ("Call-ID", "1")), uri="sip:x").encode()
    async with SipAgent() as agent, wire() as far_side:
        for garbage in (b"\xff" * 1400, b"INVITE", b"INVITE sip:x SIP/2.0\r\n\r\n", invite, b"SIP/2.0 200 OK\r\n\r\n"):
            far_side.say(garbage, agent.address)
        far_side.say(b"\r\n\r\n", agent.address)
        report = await place_call(agent.address, DID, behaviour=TALK)

        assert agent.malformed == 5
        assert report.heard_hz == (AGENT_TONE_HZ,)


# --- The caller and a hand-made far side


async def test_an_invite_is_repeated_until_somebody_responds():
    """A lost INVITE is sent again; a provisional response ends that."""
    async with call_to_wire() as (far_side, invite, _, call):
        assert await far_side.next() == invite
        far_side.reply(invite, 183)
        far_side.reply(invite, 486)
        await far_side.until("ACK")
        report = await call

    assert (report.provisional, report.status) == ((183,), 486)


async def test_a_refusal_is_acknowledged_as_often_as_it_comes():
    """The ACK of a refusal shares the INVITE's branch, and is repeated for a repeated refusal."""
    async with call_to_wire() as (far_side, invite, _, call):
        far_side.reply(invite, 486)
        ack = await far_side.until("ACK")
        await call
        far_side.reply(invite, 486)
        assert await far_side.next() == ack

    assert (ack.branch, ack.cseq, ack.to_tag) == (invite.branch, invite.cseq, "theirs")


async def test_an_answer_is_acknowledged_as_often_as_it_comes():
    """The ACK of a 200 is a transaction of its own, sent to the Contact, and repeated for a repeated 200."""
    async with call_to_wire() as (far_side, invite, caller, call):
        far_side.reply(invite, 200, body=OFFER)
        ack = await far_side.until("ACK")
        far_side.reply(invite, 200, body=OFFER)
        assert await far_side.next() == ack
        caller.hang_up()
        bye = await far_side.until("BYE")
        assert await far_side.until("BYE") == bye
        far_side.reply(bye, 200)
        report = await call
        host, port = far_side.transport.get_extra_info("sockname")

    assert ack.branch != invite.branch
    assert ack.uri == bye.uri == f"sip:{host}:{port}"
    assert (ack.cseq, bye.cseq) == (invite.cseq, invite.cseq + 1)
    assert report.hung_up_by == "us"


async def test_a_cancel_waits_for_the_first_response():
    """Hanging up before anything came back sends nothing yet; the CANCEL follows the first provisional response."""
    async with call_to_wire() as (far_side, invite, caller, call):
        caller.hang_up()
        assert await far_side.next() == invite
        far_side.reply(invite, 100)
        cancel = await far_side.until("CANCEL")
        far_side.reply(invite, 487)
        await far_side.until("ACK")
        report = await call

    assert (cancel.branch, cancel.cseq, cancel.uri) == (invite.branch, invite.cseq, invite.uri)
    assert (report.status, report.hung_up_by) == (487, "us")


async def test_an_answer_that_crosses_the_cancel_is_hung_up():
    """A 200 in spite of the CANCEL is acknowledged and ended with BYE."""
    async with call_to_wire() as (far_side, invite, caller, call):
        far_side.reply(invite, 180)
        caller.hang_up()
        await far_side.until("CANCEL")
        far_side.reply(invite, 200, body=OFFER)
        await far_side.until("ACK")
        far_side.reply(await far_side.until("BYE"), 200)
        report = await call

    assert (report.status, report.answered, report.hung_up_by) == (200, False, "us")


async def test_a_far_side_that_dies_is_not_waited_for_forever():
    """A CANCEL that nobody answers, like a BYE, ends after 64 T1."""
    async with call_to_wire(CallerBehaviour(answer_timeout_seconds=0.1)) as (far_side, invite, _, call):
        far_side.reply(invite, 180)
        async with asyncio.timeout(SECONDS):
            report = await call

    assert (report.status, report.hung_up_by) == (None, "us")


async def test_an_answer_without_usable_audio_is_hung_up():
    """A 200 whose SDP we cannot follow is acknowledged and ended."""
    async with call_to_wire() as (far_side, invite, _, call):
        far_side.reply(invite, 200, body=b"v=0\r\n")
        await far_side.until("ACK")
        far_side.reply(await far_side.until("BYE"), 200)
        report = await call

    assert (report.status, report.answered) == (200, False)


async def test_a_caller_takes_no_calls():
    """An INVITE to the caller's port is refused; a ping is answered."""
    async with SipCaller() as caller, wire() as far_side:
        far_side.ask(caller, "INVITE", body=OFFER)
        assert (await far_side.next()).status == 480
        far_side.ask(caller, "OPTIONS", branch="z9hG4bK2")
        assert (await far_side.next()).status == 200


async def test_agent_says_that_it_has_heard_the_caller():
    """An agent that is to say so goes over to another tone once it has heard the caller, and not before."""
    behaviour = AgentBehaviour(heard_hz=HEARD_TONE_HZ)
    async with SipAgent(behaviour=behaviour) as agent:
        listens = (AGENT_TONE_HZ, HEARD_TONE_HZ)
        heard = await place_call(
            agent.address, DID, behaviour=CallerBehaviour(talk_seconds=2.0, listens_for_hz=listens)
        )
        silent = await place_call(
            agent.address, DID, behaviour=CallerBehaviour(talk_seconds=2.0, listens_for_hz=listens, speaks_hz=None)
        )

    assert heard.heard_hz == (AGENT_TONE_HZ, HEARD_TONE_HZ)
    assert silent.heard_hz == (AGENT_TONE_HZ,)
