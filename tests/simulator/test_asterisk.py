"""Asterisk's side of a FastAGI session on a real socket: order, hang-ups, ends, and the traps for a bridge."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager, suppress

import pytest

from agi_bridge.simulator.asterisk import AsteriskSide, DialEnding, SimulatedChannel, play_call

LEAVES = SimulatedChannel(variables={"AGIEXITONHANGUP": "yes"})


class Bridge:
    """The other end of the socket, driven line by line."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, command):
        self.writer.write(command.encode() + b"\n")
        return await self.line()

    async def line(self):
        async with asyncio.timeout(5):
            return (await self.reader.readline()).decode().removesuffix("\n")

    async def rest(self):
        async with asyncio.timeout(5):
            return (await self.reader.read()).decode()

    async def environment(self):
        return [line async for line in self._until_blank()]

    async def _until_blank(self):
        while line := await self.line():
            yield line

    async def close(self):
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def listening():
    """Give the port of a bridge, and the future of the first connection to it."""
    arrived = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *ends: arrived.set_result(Bridge(*ends)), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], arrived
        if arrived.done():
            await arrived.result().close()


@asynccontextmanager
async def session(channel=None, **options):
    """Give both ends of a session that has just begun, its environment read by the bridge."""
    async with listening() as (port, arrived), AsteriskSide("127.0.0.1", port, channel, **options) as side:
        bridge = await arrived
        if options.get("opening") is None:
            await bridge.environment()
        yield side, bridge
        await bridge.close()


@asynccontextmanager
async def answering(conversation):
    """Give the port of a bridge that holds *conversation* with whoever connects, and then closes."""

    async def serve(reader, writer):
        bridge = Bridge(reader, writer)
        await bridge.environment()
        await conversation(bridge)
        await bridge.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_call_is_played_from_start_to_end():
    """A played call reports what the bridge set, what was said on the wire, and how long it took."""

    async def route(bridge):
        assert await bridge.ask('GET FULL VARIABLE "${URIENCODE(${CALLERID(num)})}"') == "200 result=1 (%2B1555)"
        assert await bridge.ask('SET VARIABLE MILLIS_STATUS "ok"') == "200 result=1"

    seen = []
    channel = SimulatedChannel(caller_number="+1555", variables={"X": "one"})
    async with answering(route) as port:
        played = await play_call(
            "127.0.0.1", port, arguments=["did=1"], channel=channel, on_line=lambda *line: seen.append(line)
        )

    assert (played.agistatus, played.trouble) == ("SUCCESS", "")
    assert played.variables == {"X": "one", "MILLIS_STATUS": "ok", "AGISTATUS": "SUCCESS"}
    assert played.commands == [
        'GET FULL VARIABLE "${URIENCODE(${CALLERID(num)})}"',
        'SET VARIABLE MILLIS_STATUS "ok"',
    ]
    assert played.transcript[:2] == [
        ("asterisk", "agi_network: yes"),
        ("asterisk", "agi_network_script: route"),
    ]
    assert played.transcript[22:24] == [("asterisk", "agi_arg_1: did=1"), ("asterisk", "")]
    assert played.transcript[-3:] == [
        ("bridge", 'SET VARIABLE MILLIS_STATUS "ok"'),
        ("asterisk", "200 result=1"),
        ("asterisk", "HANGUP"),
    ]
    assert seen == played.transcript
    assert 0 < played.seconds < 5


async def test_dial_is_played():
    """A bridge that dials gets the scripted ending, and the report has the application and its options."""

    async def dial(bridge):
        assert await bridge.ask('EXEC Dial "PJSIP/millis/sip:a@h,30,i"') == "200 result=0"
        assert await bridge.ask("GET VARIABLE DIALSTATUS") == "200 result=1 (BUSY)"
        assert await bridge.ask("SET VARIABLE TIMEOUT(absolute) 0") == "200 result=1"

    async with answering(dial) as port:
        played = await play_call("127.0.0.1", port, script="dial", dial=DialEnding("BUSY", 17))

    assert played.executed == [("Dial", "PJSIP/millis/sip:a@h,30,i")]
    assert played.functions == {"TIMEOUT(absolute)": "0"}
    assert ("asterisk", "agi_network_script: dial") in played.transcript


async def test_unreachable_bridge_is_a_failure():
    """A refused connection gives AGISTATUS=FAILURE and says why."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    played = await play_call("127.0.0.1", port)

    assert (played.agistatus, played.variables, played.transcript) == ("FAILURE", {"AGISTATUS": "FAILURE"}, [])
    assert played.trouble.startswith(f"cannot connect to 127.0.0.1:{port}: ")


async def test_silent_bridge_is_given_up():
    """A bridge that never ends the session is left after the time allowed, as a caller would leave it."""
    async with listening() as (port, _):
        played = await play_call("127.0.0.1", port, timeout_seconds=0.02)

    assert (played.agistatus, played.trouble) == ("HANGUP", "the bridge had not ended the session after 0.02 s")


async def test_endless_bridge_is_given_up():
    """A bridge that sends command after command is left after a thousand."""

    async def babble(bridge):
        while await bridge.ask("NOOP") == "200 result=0":
            pass

    async with answering(babble) as port:
        played = await play_call("127.0.0.1", port)

    assert (len(played.commands), played.trouble) == (1000, "the bridge sent 1000 commands and no end")


@pytest.mark.parametrize("line", ["FAILURE", "failure: no such rule"])
async def test_failure_line_ends_the_session(line):
    """A line that begins with failure gives AGISTATUS=FAILURE, and what was set before stays."""
    async with session() as (side, bridge):
        await bridge.ask("SET VARIABLE A b")
        assert await bridge.ask(line) == "HANGUP"
        assert await bridge.rest() == ""
        played = await side.finished()

    assert (played.agistatus, played.variables["A"]) == ("FAILURE", "b")


@pytest.mark.parametrize("goodbye", ["close", "abort"])
async def test_bridge_that_dies_is_a_success(goodbye):
    """Asterisk reports SUCCESS when the connection ends without a command, cleanly or by a reset."""
    async with session() as (side, bridge):
        if goodbye == "abort":
            bridge.writer.transport.abort()
        else:
            await bridge.close()

        assert (await side.finished()).agistatus == "SUCCESS"


async def test_half_closed_session_gets_a_last_hangup():
    """A bridge that closes only its own half still reads HANGUP, and then the end."""
    async with session() as (_, bridge):
        bridge.writer.write_eof()

        assert await bridge.rest() == "HANGUP\n"


async def test_last_commands_before_the_end_are_executed():
    """Commands written together and followed by the end of the stream are all executed."""
    async with session() as (side, bridge):
        bridge.writer.write(b"SET VARIABLE A 1\nSET VARIABLE B 2\nSET VARIABLE C 3")
        bridge.writer.write_eof()

        assert await bridge.rest() == "200 result=1\n" * 3 + "HANGUP\n"
        assert (await side.finished()).variables == {"A": "1", "B": "2", "C": "3", "AGISTATUS": "SUCCESS"}


async def test_pipelined_command_waits_for_more_bytes():
    """A second command in the same segment is not answered until a third one arrives."""
    async with session() as (_, bridge):
        assert await bridge.ask("NOOP\nSET VARIABLE A 1") == "200 result=0"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await bridge.reader.readline()

        assert await bridge.ask("ANSWER") == "200 result=1"


async def test_command_in_pieces_is_one_command():
    """A command that arrives byte by byte is read to its end."""
    async with session() as (_, bridge):
        for byte in b"NOOP":
            bridge.writer.write(bytes([byte]))
            await bridge.writer.drain()

        assert await bridge.ask("") == "200 result=0"


async def test_line_beyond_the_buffer_becomes_another_command():
    """What does not fit in Asterisk's buffer is executed as a command of its own."""
    async with session() as (side, bridge):
        bridge.writer.write(b"NOOP " + b"x" * 8186 + b"SET VARIABLE INJECTED yes\n")
        bridge.writer.write_eof()

        assert await bridge.rest() == "200 result=0\n200 result=1\nHANGUP\n"
        assert (await side.finished()).variables["INJECTED"] == "yes"


async def test_longest_line_fits():
    """A line of 8190 bytes and its line feed is one command."""
    async with session() as (_, bridge):
        assert await bridge.ask("NOOP " + "x" * 8185) == "200 result=0"
        bridge.writer.write_eof()

        assert await bridge.rest() == "HANGUP\n"


async def test_flood_is_slowed_down_and_answered():
    """A bridge that sends far more than fits in a buffer has it all answered in the end."""
    async with session() as (side, bridge):
        bridge.writer.write((b"NOOP " + b"x" * 8000 + b"\n") * 100)
        bridge.writer.write_eof()

        assert await bridge.rest() == "200 result=0\n" * 100 + "HANGUP\n"
        assert len((await side.finished()).commands) == 100


async def test_hangup_is_told_at_once():
    """HANGUP overtakes everything while Asterisk waits for a command; the session then goes on in dead mode."""
    async with session() as (side, bridge):
        side.hang_up()
        side.hang_up()

        assert await bridge.line() == "HANGUP"
        assert (await bridge.ask("ANSWER")).startswith("511 ")
        assert await bridge.ask("SET VARIABLE A b") == "200 result=1"
        bridge.writer.write_eof()
        assert await bridge.rest() == "HANGUP\n"
        assert (await side.finished()).agistatus == "HANGUP"


async def test_reply_to_a_command_sent_before_the_notice_comes_after_it():
    """A command that crossed with HANGUP has its reply second."""
    async with session() as (side, bridge):
        side.hang_up()
        bridge.writer.write(b"NOOP\n")

        assert [await bridge.line(), await bridge.line()] == ["HANGUP", "200 result=0"]


async def test_hangup_during_a_command_comes_after_its_reply():
    """A caller who leaves during a Dial ends it: its reply comes first, HANGUP second."""
    async with session(dial=DialEnding("NOANSWER", held=True)) as (side, bridge):
        bridge.writer.write(b"EXEC Dial PJSIP/x\n")
        assert await side.saw("EXEC Dial") == "EXEC Dial PJSIP/x"
        side.hang_up()

        assert [await bridge.line(), await bridge.line()] == ["200 result=-1", "HANGUP"]
        assert side.memory.variables["DIALSTATUS"] == "CANCEL"


async def test_held_dial_ends_when_released():
    """A held Dial goes on until a test releases it, and then ends as scripted."""
    async with session(dial=DialEnding(held=True)) as (side, bridge):
        bridge.writer.write(b"EXEC Dial PJSIP/x\n")
        await side.saw("EXEC Dial")
        side.release_dial()

        assert await bridge.line() == "200 result=-1"
        assert await bridge.ask("GET VARIABLE DIALSTATUS") == "200 result=1 (ANSWER)"


async def test_hangup_command_is_answered_and_then_told():
    """A bridge that hangs the caller up reads its reply, then HANGUP."""
    async with session() as (side, bridge):
        assert [await bridge.ask("HANGUP"), await bridge.line()] == ["200 result=1", "HANGUP"]
        await bridge.close()

        assert (await side.finished()).agistatus == "HANGUP"


async def test_exit_on_hangup_ends_the_session_with_two_notices():
    """With AGIEXITONHANGUP the hang-up is told twice and the connection is closed, whatever the bridge does."""
    async with session(LEAVES) as (side, bridge):
        await bridge.ask("SET VARIABLE AGIEXITONHANGUP no")
        side.hang_up()

        assert await bridge.rest() == "HANGUP\nHANGUP\n"
        assert (await side.finished()).agistatus == "HANGUP"


async def test_exit_on_hangup_waits_for_the_dial_to_end():
    """With AGIEXITONHANGUP a Dial is answered before the session ends."""
    channel = SimulatedChannel(variables={"AGIEXITONHANGUP": "1"})
    async with session(channel, dial=DialEnding(held=True)) as (side, bridge):
        bridge.writer.write(b"EXEC Dial PJSIP/x\n")
        await side.saw("EXEC")
        side.hang_up()

        assert await bridge.rest() == "200 result=-1\nHANGUP\nHANGUP\n"


async def test_hangup_can_be_silent():
    """With AGISIGHUP=no there is no HANGUP at all, only refused commands."""
    async with session(SimulatedChannel(variables={"AGISIGHUP": "no"})) as (side, bridge):
        side.hang_up()
        assert (await bridge.ask("CHANNEL STATUS")).startswith("511 ")
        bridge.writer.write_eof()

        assert await bridge.rest() == ""


async def test_channel_that_is_already_dead_has_no_hangup_to_tell():
    """From a hangup handler the session begins dead, without a notice until its end."""
    async with session(SimulatedChannel(hung_up=True)) as (side, bridge):
        side.hang_up()
        assert (await bridge.ask("ANSWER")).startswith("511 ")
        bridge.writer.write_eof()

        assert await bridge.rest() == "HANGUP\n"
        assert (await side.finished()).agistatus == "SUCCESS"


async def test_moment_of_the_hangup_is_known():
    """The time of the hang-up can be compared with what the bridge does after it."""
    async with session() as (side, _):
        before = time.monotonic()
        side.hang_up()

        assert side.hung_up_at is not None
        assert before <= side.hung_up_at <= time.monotonic()


async def test_opening_may_be_anything():
    """A test can send other bytes than the environment, at the start and later."""
    async with session(opening=b"GET / HTTP/1.1\r\n") as (side, bridge):
        side.send(b"\xff\xfe\n")

        assert await bridge.reader.readexactly(19) == b"GET / HTTP/1.1\r\n\xff\xfe\n"
        assert side.transcript == [("asterisk", "GET / HTTP/1.1\r"), ("asterisk", "\udcff\udcfe")]


async def test_connection_may_stay_silent():
    """A test can connect and say nothing."""
    async with session(opening=b"") as (side, bridge):
        assert side.transcript == []
        side.abort()

        with pytest.raises(ConnectionResetError):
            await bridge.line()


async def test_reply_may_be_anything():
    """A scripted reply replaces Asterisk's own, and the command is not executed."""
    async with session(replies={"SET VARIABLE": b"520 Nonsense\n", "NOOP": b""}) as (side, bridge):
        assert await bridge.ask("SET VARIABLE A b") == "520 Nonsense"
        bridge.writer.write(b"NOOP\n")
        await side.saw("NOOP")
        assert await bridge.ask("") == "510 Invalid or unknown command"
        assert side.memory.variables == {}


async def test_latin_1_survives_the_way_to_the_bridge_and_back():
    """Bytes that are not UTF-8 go out as they came in."""
    async with session() as (_, bridge):
        bridge.writer.write(b"SET VARIABLE NAME Jos\xe9\n")
        await bridge.line()
        bridge.writer.write(b"GET FULL VARIABLE ${NAME}\n")

        assert await bridge.reader.readline() == b"200 result=1 (Jos\xe9)\n"


async def test_usage_is_a_block_with_a_blank_line():
    """A command with wrong arguments is answered with the multi-line form of 520."""
    async with session() as (_, bridge):
        block = [await bridge.ask("GET VARIABLE"), *[await bridge.line() for _ in range(4)]]

        assert (block[0][:4], block[2], block[4]) == ("520-", "", "520 End of proper usage.")


async def test_waiting_for_a_command_that_cannot_come_ends():
    """Waiting for a command of a session that has ended is an EOFError, and in vain a TimeoutError."""
    async with session() as (side, bridge):
        with pytest.raises(TimeoutError):
            await side.saw("EXEC", timeout_seconds=0.01)
        await bridge.close()
        with pytest.raises(EOFError, match="had not sent 'EXEC'"):
            await side.saw("EXEC")


async def test_leaving_early_closes_the_connection():
    """A test that leaves the session at once closes it for the bridge as well."""
    async with listening() as (port, arrived):
        async with AsteriskSide("127.0.0.1", port, opening=b""):
            pass
        assert await (await arrived).rest() in {"", "HANGUP\n"}
