"""One conversation: commands and replies, and the hang-up, loss or silence that may come at any moment of it.

Each test tells the server a story to answer with, and plays the PBX.
"""

from __future__ import annotations

import asyncio
import gc
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from agi_bridge.agi.protocol import HungUp
from agi_bridge.agi.session import AgiSession
from agi_bridge.errors import AgiProtocolError, AgiRefused, AgiTimeout, CallerHungUp, SessionLost, UnsafeText
from agi_bridge.simulator.asterisk import AsteriskSide, DialEnding, SimulatedChannel
from tests.agi.pbx import DONE, HELLO, PATIENCE_SECONDS, SET_STATUS, TINY_SECONDS, Pbx, serving, set_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Story = Callable[[AgiSession], Awaitable[Any]]

USAGE = b"520-Invalid command syntax.  Proper usage follows:\nUsage: X\n520 End of proper usage.\n"


@asynccontextmanager
async def telling(
    story: Story, hello: bytes = HELLO, **settings: Any
) -> AsyncIterator[tuple[Pbx, asyncio.Future[Any]]]:
    """Give a PBX that has said *hello*, and what comes of the *story* that it is answered with."""
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def answer(session: AgiSession) -> None:
        try:
            told.set_result(await story(session))
        except asyncio.CancelledError:
            told.cancel()
            raise
        except Exception as error:
            told.set_exception(error)

    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        serving(answer, **settings) as server,
        await Pbx.connect(server) as pbx,
    ):
        pbx.send(hello)
        yield pbx, told


async def in_wait(session: AgiSession, story: Story) -> Any:
    """Tell *story* while a caller waits."""
    async with session.caller_waiting():
        return await story(session)


async def wait_for_millis(session: AgiSession) -> None:
    """Wait for an answer that never comes, as a caller does."""
    async with session.caller_waiting():
        await asyncio.Event().wait()


async def started(session: AgiSession) -> None:
    """Let the PBX know that the story goes on."""
    await session.set_variables({"STARTED": "1"})


async def ends_within(future: asyncio.Future[Any], seconds: float) -> bool:
    """Return whether *future* ends in this time."""
    await asyncio.wait([future], timeout=seconds)
    return future.done()


# Commands and replies


async def test_commands_change_the_channel_and_read_it():
    """What is set is on the channel afterwards, what is asked comes back, and an application's result too."""
    channel = SimulatedChannel(caller_name='Zoë "Z" \\ Müller')
    learnt = []

    async def answer(session):
        await session.set_variables(
            {"MILLIS_DIAL": "PJSIP/millis/sip:x@host", "MILLIS_DIAL_OPTIONS": "iL(60000),b(a^b^1)"}
        )
        learnt.append(await session.get_full_variable("${CALLERID(name)}|${NONE}"))
        learnt.append(await session.execute("Dial", "PJSIP/agent,30"))

    async with serving(answer) as server, AsteriskSide(*server.addresses[0], channel, dial=DialEnding("BUSY")) as pbx:
        played = await pbx.finished()
    assert played.agistatus == "SUCCESS"
    assert played.variables["MILLIS_DIAL"] == "PJSIP/millis/sip:x@host"
    assert played.variables["MILLIS_DIAL_OPTIONS"] == "iL(60000),b(a^b^1)"
    assert learnt == ['Zoë "Z" \\ Müller|', "0"]
    assert played.executed[-1] == ("Dial", "PJSIP/agent,30")


async def test_value_that_does_not_exist_is_none():
    """A result of 0 means that there is nothing, which is not an empty text."""
    async with telling(lambda session: session.get_full_variable("${X}")) as (pbx, told):
        assert await pbx.line() == 'GET FULL VARIABLE "${X}"'
        pbx.send(b"200 result=0\n")
        assert await told is None


@pytest.mark.parametrize("reply", [b"510 Invalid or unknown command\n", b"200 result=-2\n"], ids=["510", "no MSet"])
async def test_variables_that_were_begun_and_refused_fail_the_next_command(reply):
    """What is told while Millis answers must have arrived, or no status may follow it."""

    async def story(session):
        session.begin_set_variables({"MILLIS_DIAL_OPTIONS": "i"})
        with pytest.raises(AgiRefused):
            await set_status(session)
        return True

    async with telling(story) as (pbx, told):
        assert "MILLIS_DIAL_OPTIONS" in await pbx.line()
        pbx.send(reply)
        assert await told


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            b"510 Invalid or unknown command\n",
            "Asterisk answered EXEC with 510 Invalid or unknown command",
        ),
        (
            b"511 Command Not Permitted on a dead channel or intercept routine\n",
            "Asterisk answered EXEC with 511 Command Not Permitted on a dead channel or intercept routine",
        ),
        (b"503 result=-2 No memory\n", "Asterisk answered EXEC with 503 No memory"),
        (b"520 Invalid command syntax.\n", "Asterisk refused the syntax of EXEC"),
        (USAGE, "Asterisk refused the syntax of EXEC"),
        (b"200 result=-2\n", "MSet ended with -2"),
    ],
    ids=["510", "511", "503", "520", "520 with usage text", "no such application"],
)
async def test_refusal_is_an_error_and_not_the_end(reply, message):
    """A command that Asterisk refuses raises, and the next one may go through."""

    async def story(session):
        with pytest.raises(AgiRefused) as refused:
            await set_status(session)
        await set_status(session)
        return str(refused.value)

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(reply)
        await pbx.line()
        pbx.send(DONE)
        assert await told == message


async def test_application_that_returns_1_does_not_shift_the_replies():
    """The usage text that Asterisk adds to an application's result 1 is nobody's reply."""

    async def story(session):
        return await session.execute("Anything", ""), await session.get_full_variable("${X}")

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(b"200 result=1\n" + USAGE)
        await pbx.line()
        pbx.send(b"200 result=1 (x)\n")
        assert await told == ("1", "x")


async def test_provisional_reply_is_waited_past():
    """After a 100 the command waits on for its 200."""
    async with telling(set_status) as (pbx, told):
        await pbx.line()
        pbx.send(b"100 result=0 Trying...\n")
        assert not await ends_within(told, TINY_SECONDS)
        pbx.send(DONE)
        await told


async def test_reply_in_two_segments_is_one_reply():
    """A reply is read when its line has ended, not before."""
    async with telling(lambda session: session.get_full_variable("${X}")) as (pbx, told):
        await pbx.line()
        pbx.send(b"200 result=1 (a")
        assert not await ends_within(told, TINY_SECONDS)
        pbx.send(b"b)\n")
        assert await told == "ab"


async def test_unsafe_text_is_not_sent_and_not_the_end():
    """A text that AGI cannot carry raises before anything is written."""

    async def story(session):
        with pytest.raises(UnsafeText):
            await session.get_full_variable("a\nEXEC System rm")
        await set_status(session)

    async with telling(story) as (pbx, told):
        assert await pbx.line() == SET_STATUS
        pbx.send(DONE)
        await told


async def test_begun_command_is_not_waited_for_until_the_next():
    """What was begun is sent at once; the next command is sent when the reply to it has come, and not before."""

    async def story(session):
        session.begin_set_variables({"MILLIS_STATUS": "ok"})
        return await session.get_full_variable("${X}")

    async with telling(story) as (pbx, told):
        assert await pbx.line() == SET_STATUS
        next_line = asyncio.create_task(pbx.line())
        assert not await ends_within(next_line, TINY_SECONDS)
        pbx.send(DONE)
        assert await next_line == 'GET FULL VARIABLE "${X}"'
        pbx.send(b"200 result=1 (x)\n")
        assert await told == "x"


async def test_begun_command_whose_reply_has_come_delays_nothing():
    """A reply that came in the meantime is not waited for again."""
    reply_sent = asyncio.Event()

    async def story(session):
        session.begin_set_variables({"MILLIS_STATUS": "ok"})
        await reply_sent.wait()
        return await session.get_full_variable("${X}")

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(DONE)
        assert not await ends_within(told, TINY_SECONDS)
        reply_sent.set()
        await pbx.line()
        pbx.send(b"200 result=1 (x)\n")
        assert await told == "x"


async def test_second_command_begun_at_once_is_our_own_mistake():
    """What would make two outstanding commands is not sent, and does not harm the first one."""

    async def story(session):
        session.begin_set_variables({"MILLIS_STATUS": "ok"})
        with pytest.raises(RuntimeError, match="EXEC was sent while EXEC awaits its reply"):
            session.begin_set_variables({"MILLIS_STATUS": "ok"})
        return await session.get_full_variable("${X}")

    async with telling(story) as (pbx, told):
        assert await pbx.line() == SET_STATUS
        pbx.send(DONE)
        assert await pbx.line() == 'GET FULL VARIABLE "${X}"'
        pbx.send(b"200 result=1 (x)\n")
        assert await told == "x"


@pytest.mark.parametrize("farewell", [b"", b"HANGUP\n", b"HANGUP\nHANGUP\n", b"nonsense\n"])
async def test_begun_command_that_is_never_answered_is_no_trouble(farewell):
    """When Asterisk leaves before it answers what was begun, the wait ends as it would without, and nothing is left."""

    async def story(session):
        session.begin_set_variables({"MILLIS_STATUS": "ok"})
        await wait_for_millis(session)

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(farewell)
        pbx.close()
        with pytest.raises((CallerHungUp, SessionLost, AgiProtocolError)):
            await told


# Hang-up


async def test_hangup_ends_the_wait_for_millis_at_once():
    """A caller who leaves while we wait for something else is noticed within 50 ms."""

    async def story(session):
        await started(session)
        await wait_for_millis(session)

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(DONE)
        assert not await ends_within(told, TINY_SECONDS)
        began = asyncio.get_running_loop().time()
        pbx.send(b"HANGUP\n")
        with pytest.raises(CallerHungUp, match="the caller hung up, or the PBX took the call elsewhere"):
            await told
        assert asyncio.get_running_loop().time() - began < 0.05


async def test_hangup_ends_the_wait_for_a_reply_when_a_caller_waits():
    """While a caller waits, a hang-up also ends the wait for Asterisk."""

    async def story(session):
        async with session.caller_waiting():
            await set_status(session)

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(b"HANGUP\n")
        with pytest.raises(CallerHungUp):
            await told


@pytest.mark.parametrize("wire", [DONE + b"HANGUP\n", b"HANGUP\n" + DONE, b"HANGUP\nHANGUP\n" + DONE])
async def test_reply_and_hangup_in_one_segment_are_a_hangup(wire):
    """When reply and hang-up come together, the hang-up wins while a caller waits."""

    async def story(session):
        async with session.caller_waiting():
            await set_status(session)

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(wire)
        with pytest.raises(CallerHungUp):
            await told


async def test_hangup_with_the_environment_leaves_nobody_to_wait_for():
    """A caller who is gone before we begin is not waited for, not even for a moment."""

    async def story(session):
        async with session.caller_waiting():
            raise AssertionError("entered")

    async with telling(story, HELLO + b"HANGUP\n") as (_, told):
        with pytest.raises(CallerHungUp, match="the caller had hung up already"):
            await told


async def test_hangup_does_not_end_a_command_outside_the_wait():
    """Where no caller waits, as on a channel that has ended, a hang-up leaves the command to its reply."""

    async def story(session):
        value = await session.get_full_variable("${DIALSTATUS}")
        return value, session.hung_up, await session.get_full_variable("${HANGUPCAUSE}")

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(b"HANGUP\n200 result=1 (CANCEL)\n")
        await pbx.line()
        pbx.send(b"HANGUP\n200 result=1 (16)\n")
        assert await told == ("CANCEL", True, "16")


async def test_hangup_after_the_wait_interrupts_nothing():
    """Once the wait is over, a hang-up is only noted."""

    async def story(session):
        async with session.caller_waiting():
            await started(session)
        await set_status(session)
        return session.hung_up

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(DONE)
        await pbx.line()
        pbx.send(b"HANGUP\n")
        assert not await ends_within(told, TINY_SECONDS)
        pbx.send(DONE)
        assert await told is True


async def test_hangup_during_exec_comes_after_its_result():
    """A caller who leaves during Dial ends it with -1; the conversation goes on about a dead channel."""
    learnt: list[str | None] = []

    async def answer(session):
        learnt.append(await session.execute("Dial", "PJSIP/agent,30"))
        learnt.append(await session.get_full_variable("${DIALSTATUS}"))

    async with (
        serving(answer) as server,
        AsteriskSide(*server.addresses[0], dial=DialEnding("NOANSWER", held=True)) as pbx,
    ):
        await pbx.saw("EXEC")
        pbx.hang_up()
        played = await pbx.finished()
    assert learnt == ["-1", "CANCEL"]
    assert played.agistatus == "HANGUP"


# The end of the connection


@pytest.mark.parametrize("way", ["close", "abort"])
async def test_lost_connection_ends_the_wait_for_millis(way):
    """A connection that closes or breaks ends the wait; nobody is told that the caller hung up."""

    async def story(session):
        await started(session)
        await wait_for_millis(session)

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(DONE)
        assert not await ends_within(told, TINY_SECONDS)
        getattr(pbx, way)()
        with pytest.raises(SessionLost, match="Asterisk closed the connection"):
            await told


@pytest.mark.parametrize("part", [b"", b"200 resu", b"200 result=1", b"520-Invalid\nUsage"])
async def test_connection_that_ends_in_a_reply_ends_the_command(part):
    """An end of file in the middle of a reply is the end of the session, not a reply."""
    async with telling(set_status) as (pbx, told):
        await pbx.line()
        pbx.send(part)
        pbx.close()
        with pytest.raises(SessionLost):
            await told


async def test_connection_that_ends_during_exec_ends_it():
    """A PBX that dies during Dial ends the wait for it."""
    async with telling(lambda session: session.execute("Dial", "PJSIP/agent")) as (pbx, told):
        await pbx.line()
        pbx.abort()
        with pytest.raises(SessionLost):
            await told


async def test_end_after_a_hangup_is_the_hangup():
    """With AGIEXITONHANGUP=yes Asterisk says HANGUP and leaves: that is a caller who hung up."""
    async with telling(set_status) as (pbx, told):
        await pbx.line()
        pbx.send(b"HANGUP\nHANGUP\n")
        pbx.close()
        with pytest.raises(CallerHungUp, match="the caller hung up, and Asterisk left"):
            await told


async def test_nothing_can_be_asked_of_a_lost_connection():
    """After the end every wait ends at once with the same error."""

    async def story(session):
        with pytest.raises(SessionLost):
            await wait_for_millis(session)
        with pytest.raises(SessionLost):
            await set_status(session)
        with pytest.raises(SessionLost):
            async with session.caller_waiting():
                raise AssertionError("entered")
        return True

    async with telling(story) as (pbx, told):
        pbx.close()
        assert await told


async def test_stray_line_ends_the_conversation():
    """What answers nothing ends the conversation, whatever the story waits for; that error stays the reason."""
    closed = asyncio.Event()

    async def story(session):
        await started(session)
        with pytest.raises(AgiProtocolError, match="a reply to no command"):
            await wait_for_millis(session)
        await closed.wait()
        with pytest.raises(AgiProtocolError, match="a reply to no command"):
            await set_status(session)
        return True

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(DONE)
        assert not await ends_within(told, TINY_SECONDS)
        pbx.send(DONE)
        assert await pbx.line() == "FAILURE"
        assert await pbx.line() == ""
        closed.set()
        assert await told


async def test_forged_environment_dies_before_its_first_reply():
    """Asterisk writes line by line, so a forged end of the environment may be read alone; the rest gives it away."""
    forged, genuine = HELLO.replace(b"agi_calleridname: unknown", b"agi_calleridname: x\n"), HELLO
    part = genuine.replace(b"agi_dnid: +15551230001", b"agi_dnid: +15550000666")
    rest = forged.partition(b"agi_calleridname: x\n")[2]

    async with telling(lambda session: session.get_full_variable(session.request["dnid"]), part) as (pbx, told):
        assert await pbx.line() == 'GET FULL VARIABLE "+15550000666"'
        pbx.send(rest)
        with pytest.raises(AgiProtocolError):
            await told
        assert await pbx.rest() == "FAILURE\n"


async def test_failure_is_one_line_and_the_end():
    """Failing says so once and closes, however often it is done."""

    async def story(session):
        session.fail()
        session.fail()

    async with telling(story) as (pbx, told):
        assert await pbx.rest() == "FAILURE\n"
        await told


async def test_closing_ends_the_conversation():
    """After closing, nothing is said any more and nothing is waited for."""

    async def story(session):
        session.close()
        session.close()
        with pytest.raises(SessionLost):
            await set_status(session)

    async with telling(story) as (pbx, told):
        await told
        assert await pbx.rest() == ""


# Time


async def test_command_without_reply_ends_in_time():
    """A PBX that leaves a command unanswered holds us no longer than the setting says."""
    async with telling(set_status, setup_timeout_seconds=TINY_SECONDS) as (pbx, told):
        await pbx.line()
        with pytest.raises(AgiTimeout, match=re.escape("the conversation took longer than 0.03 s")):
            await told


async def test_all_commands_share_one_time():
    """A PBX that answers slowly each time is not given the time anew for each command."""

    async def story(session):
        while True:
            await set_status(session)

    async with telling(story, setup_timeout_seconds=TINY_SECONDS * 3) as (pbx, told):
        while await pbx.line():
            if await ends_within(told, TINY_SECONDS):
                break
            pbx.send(DONE)
        with pytest.raises(AgiTimeout):
            await told


async def test_wait_for_millis_ends_in_time():
    """The time holds for whatever a caller waits for."""
    async with telling(wait_for_millis, setup_timeout_seconds=TINY_SECONDS) as (_, told):
        with pytest.raises(AgiTimeout):
            await told


async def test_exec_has_no_limit_of_time():
    """A call lasts as long as it lasts; what comes after it has its time again."""

    async def story(session):
        result = await session.execute("Dial", "PJSIP/agent")
        with pytest.raises(AgiTimeout):
            await set_status(session)
        return result

    async with telling(story, setup_timeout_seconds=TINY_SECONDS) as (pbx, told):
        await pbx.line()
        assert not await ends_within(told, TINY_SECONDS * 4)
        pbx.send(b"200 result=-1\n")
        assert await pbx.line() == SET_STATUS
        assert await told == "-1"


@pytest.mark.parametrize("wire", [DONE, b"", b"nonsense\n"], ids=["EXEC ended", "connection lost", "broken"])
async def test_session_that_is_over_is_forgotten(wire):
    """No timer and no error keeps a session in memory once it is over."""

    async def story(session):
        with suppress(SessionLost, AgiProtocolError):
            await session.execute("Dial", "PJSIP/agent")

    async with telling(story, setup_timeout_seconds=60) as (pbx, told):
        await pbx.line()
        pbx.send(wire)
        pbx.close()
        await told
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, AgiSession)]


# Interruption and its neighbours


async def test_cancellation_passes_through_the_wait():
    """A task that others cancel while a caller waits is cancelled, and not told of a hang-up."""
    tasks: list[asyncio.Task[None] | None] = []

    async def story(session):
        tasks.append(asyncio.current_task())
        await wait_for_millis(session)

    async with telling(story) as (_, told):
        assert not await ends_within(told, TINY_SECONDS)
        assert tasks[0] is not None
        tasks[0].cancel()
        await asyncio.wait([told])
        assert told.cancelled()


async def test_cancellation_outweighs_the_hangup():
    """A task that is cancelled and loses its caller at the same time is cancelled."""

    async def story(session):
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        session.receive(HungUp())
        await asyncio.Event().wait()

    async with telling(lambda session: in_wait(session, story)) as (_, told):
        await asyncio.wait([told])
        assert told.cancelled()


async def test_error_of_the_body_outweighs_the_hangup():
    """What goes wrong while the wait is given up is not hidden."""

    async def story(session):
        async with session.caller_waiting():
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("while giving up")

    async with telling(story, HELLO) as (pbx, told):
        assert not await ends_within(told, TINY_SECONDS)
        pbx.send(b"HANGUP\n")
        with pytest.raises(ValueError, match="while giving up"):
            await told


async def test_hangup_cannot_be_swallowed():
    """A body that catches the cancellation still ends in the hang-up, after which the task can wait again."""

    async def deaf(session):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def story(session):
        with pytest.raises(CallerHungUp):
            await in_wait(session, deaf)
        await asyncio.sleep(0)
        return True

    async with telling(story) as (pbx, told):
        assert not await ends_within(told, TINY_SECONDS)
        pbx.send(b"HANGUP\n")
        assert await told


async def test_timeouts_inside_and_around_the_wait_stay_their_own():
    """A deadline inside the wait is a TimeoutError; a hang-up within a deadline is a hang-up."""

    async def story(session):
        with pytest.raises(TimeoutError):
            async with session.caller_waiting(), asyncio.timeout(TINY_SECONDS):
                await asyncio.Event().wait()
        await started(session)
        with pytest.raises(CallerHungUp):
            async with asyncio.timeout(PATIENCE_SECONDS), session.caller_waiting():
                await asyncio.Event().wait()
        return True

    async with telling(story) as (pbx, told):
        await pbx.line()
        pbx.send(DONE)
        assert not await ends_within(told, TINY_SECONDS)
        pbx.send(b"HANGUP\n")
        assert await told
