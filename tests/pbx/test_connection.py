"""One PBX for as long as it is configured: the link comes back, however it ended, and our calls are found again."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from agi_bridge.errors import AmiRejected, AmiUnreachable, NotAnswered, NotPermitted, UnsafeText
from agi_bridge.pbx import connection as module
from agi_bridge.pbx.action import Origination
from agi_bridge.pbx.channels import FollowedCall
from agi_bridge.pbx.connection import Connection
from tests.pbx.ami_server import PATIENCE_SECONDS, TINY_SECONDS, error, event, listing, said, settings, silence

CALLER = "1700000000.1"
ROW = {"Channel": "PJSIP/trunk-1", "ChannelStateDesc": "Up", "Uniqueid": CALLER, "Linkedid": CALLER, "BridgeId": ""}


@asynccontextmanager
async def kept(pbx, over=lambda call: None):
    """Keep a connection while the block runs."""
    connection = Connection(pbx, time.monotonic, over)
    task = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(happened):
    """Wait until something is so; nothing could set an event for all of it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not happened():  # noqa: ASYNC110 - the connection tells nobody
            await asyncio.sleep(0.001)


def told(logs, event):
    """Return the lines of one event."""
    return [line for line in logs if line["event"] == event]


async def test_connection_is_made_and_used(server):
    """Once logged in, actions are carried out, and counted by how they went."""
    server.answers["Hangup"] = error("No such channel")
    async with kept(server.settings()) as connection:
        assert not connection.connected
        await until(lambda: connection.connected)
        await connection.ami.ping()
        with pytest.raises(AmiRejected):
            await connection.ami.hangup("PJSIP/a-1")
        await server.asked("CoreShowChannels")
    assert (connection.connected, connection.logins, connection.failures) == (False, 1, {})
    assert connection.actions["Ping", "done"] == 1
    assert connection.actions["Hangup", "rejected"] == 1


async def test_without_a_link_an_action_is_refused_at_once(server):
    """Nobody waits for a PBX that is not there; the refusal says why it is not."""
    connection = Connection(server.settings(), time.monotonic)
    with pytest.raises(AmiUnreachable, match=r"^hq: not connected yet$"):
        await connection.ami.ping()
    with pytest.raises(UnsafeText):
        await connection.ami.hangup("a\r\nb")
    assert connection.actions == {("Ping", "unreachable"): 1}


async def test_link_that_breaks_is_made_again(server):
    """A cut is told once, the return once, and the view is compared with the PBX's list each time."""
    with capture_logs() as logs:
        async with kept(server.settings()) as connection:
            for number in range(1, 4):
                await server.asked("CoreShowChannels", number)
                server.cut()
            await server.asked("CoreShowChannels", 4)
    assert connection.logins == 4
    assert connection.failures == {"unreachable": 3}
    assert len(told(logs, "connected to a PBX")) == 4
    assert len(told(logs, "no connection to a PBX")) == 3


async def test_pbx_that_is_not_there_is_told_once(server, unused_tcp_port):
    """An outage of days is one line, not one for each attempt."""
    with capture_logs() as logs:
        async with kept(settings(unused_tcp_port)) as connection:
            await until(lambda: connection.failures["unreachable"] >= 5)
    assert [line["why"] for line in told(logs, "no connection to a PBX")] == [
        f"hq at 127.0.0.1:{unused_tcp_port}: Connection refused"
    ]


async def test_wrong_secret_is_one_line_and_a_slow_retry(server):
    """A refused login waits for its own, longer time, and says what to compare."""
    pbx = server.settings(secret="wr0ng", ami_login_retry_seconds=3600)
    with capture_logs() as logs:
        async with kept(pbx) as connection:
            await until(lambda: connection.failures["refused"])
            await asyncio.sleep(TINY_SECONDS)
    assert server.connections == 1
    [line] = told(logs, "no connection to a PBX")
    assert line["pbx"] == "hq"
    assert "compare ami_user and the secret with its manager.conf" in line["why"]
    assert "wr0ng" not in repr(logs)


async def test_unanswered_ping_ends_the_link(server):
    """A half-open link is noticed by our own ping, and made anew."""
    pbx = server.settings(ami_ping_seconds=0.01, ami_action_timeout_seconds=TINY_SECONDS)
    async with kept(pbx) as connection:
        await server.asked("Ping", 2)
        answer, server.answers["Ping"] = server.answers["Ping"], silence
        await until(lambda: connection.failures["timeout"])
        server.answers["Ping"] = answer
        await until(lambda: connection.connected and connection.logins == 2)


async def test_black_hole_is_left_for_the_next_attempt(server):
    """A PBX that accepts and says nothing holds nobody but this task."""
    banner, server.banner = server.banner, b""
    async with kept(server.settings(ami_connect_timeout_seconds=TINY_SECONDS)) as connection:
        await until(lambda: connection.failures["unreachable"] >= 2)
        server.banner = banner
        await until(lambda: connection.connected)


async def test_something_unforeseen_does_not_end_the_watch(server):
    """A fault of our own is told in full, and the PBX is tried again."""

    def stumble(call):
        raise ValueError("we stumbled")

    with capture_logs() as logs:
        async with kept(server.settings(), stumble) as connection:
            connection.channels.follow("over", "PJSIP/trunk-1", CALLER)
            await until(lambda: connection.connected and connection.logins == 2)
    assert len(told(logs, "the connection to a PBX failed unexpectedly")) == 1
    assert connection.failures == {"unexpected": 1}


@pytest.mark.parametrize(
    ("failed", "least", "most"), [(0, 0.5, 1), (1, 1, 2), (3, 4, 8), (5, 15, 30), (10_000, 15, 30)]
)
def test_attempts_become_rarer_and_keep_out_of_step(failed, least, most):
    """Each wait is twice the one before, up to a limit, and anywhere in its upper half."""
    connection = Connection(settings(5038, ami_reconnect_seconds=1, ami_reconnect_limit_seconds=30), time.monotonic)
    waits = [connection._note(AmiUnreachable("x"), failed) for _ in range(200)]
    assert least <= min(waits) < max(waits) <= most
    assert len(set(waits)) > 100


# Our calls.


async def test_our_calls_are_followed_by_events(server):
    """What the PBX tells of a call of ours changes the view; the end of the call is told."""
    over: list[FollowedCall] = []
    async with kept(server.settings(), over.append) as connection:
        connection.channels.follow("ours", "PJSIP/trunk-1", CALLER)
        server.answers["CoreShowChannels"] = listing(ROW)
        await server.asked("CoreShowChannels")
        await server.send(
            event("Newstate", "PJSIP/trunk-1", CALLER, CALLER, "Ring"),
            event("Newstate", "PJSIP/desk-1", "9.9", "9.9"),
        )
        await until(lambda: connection.channels.call("ours").caller.state == "Ring")
        assert connection.channels.up == 1
        await server.send(event("Hangup", "PJSIP/trunk-1", CALLER, CALLER, Cause="16"))
        await until(lambda: over)
    assert (over[0].bridge_call_id, over[0].channels[0].hangup_cause) == ("ours", 16)


async def test_call_that_ended_while_there_was_no_link_is_found_to_be_over(server):
    """After a reconnect, CoreShowChannels tells which channels there still are."""
    over: list[FollowedCall] = []
    server.answers["CoreShowChannels"] = listing(ROW)
    async with kept(server.settings(), over.append) as connection:
        await server.asked("CoreShowChannels")
        connection.channels.follow("ours", "PJSIP/trunk-1", CALLER)
        server.answers["CoreShowChannels"] = listing()
        server.cut()
        await until(lambda: over)
    assert (over[0].bridge_call_id, over[0].channels[0].hangup_cause) == ("ours", None)


async def test_channels_are_compared_from_time_to_time(server):
    """An event that was lost is made good without a reconnect."""
    async with kept(server.settings(ami_ping_seconds=0.01, ami_resync_seconds=0.01)):
        await server.asked("CoreShowChannels", 3)
    assert server.connections == 1


async def test_message_in_doubt_has_the_channels_compared(server, monkeypatch):
    """Where somebody's text tore a message, the PBX is asked for what is really there, but not each time at once."""
    monkeypatch.setattr(module, "_BETWEEN_DOUBTS_SECONDS", 0.01)
    async with kept(server.settings(ami_ping_seconds=0.01)) as connection:
        await server.asked("Ping", 3)
        assert connection.actions["CoreShowChannels", "done"] == 1
        await server.send(b"Torn: 1\r\n\r\n")
        await server.asked("CoreShowChannels", 2)
    assert connection.left_out == 1


async def test_forged_hangup_ends_nobody_elses_call(server, monkeypatch):
    """A caller who ends a message early, and writes a whole one, even with a good beginning of the next, is not believed."""
    monkeypatch.setattr(module, "_BETWEEN_DOUBTS_SECONDS", 0.01)
    forged = f"12\r\n\r\nEvent: Hangup\r\nUniqueid: {CALLER}\r\nLinkedid: {CALLER}\r\n\r\nEvent: Newstate\r\nX: "
    server.answers["CoreShowChannels"] = listing(ROW)
    over: list[FollowedCall] = []
    async with kept(server.settings(ami_ping_seconds=0.01), over.append) as connection:
        connection.channels.follow("ours", "PJSIP/trunk-1", CALLER)
        await server.asked("CoreShowChannels")
        await server.send(event("Newchannel", "PJSIP/a-1", "1.1", "1.1", CallerIDNum=forged))
        await server.asked("CoreShowChannels", 2)
        assert [channel.uniqueid for channel in connection.channels.call("ours").up] == [CALLER]
    assert (over, connection.left_out) == ([], 1)


async def test_user_without_the_class_for_lists_is_told_once(server):
    """The link stays; what is missing is said."""
    server.answers["CoreShowChannels"] = error("Permission denied")
    with capture_logs() as logs:
        async with kept(server.settings(ami_ping_seconds=0.01, ami_resync_seconds=0.01)) as connection:
            await server.asked("CoreShowChannels", 3)
            assert connection.connected
    assert [line["why"] for line in told(logs, "a PBX does not tell its channels")] == [
        "Asterisk rejects CoreShowChannels: Permission denied"
    ]


# Other settings.


async def test_other_settings_are_taken_at_once_and_the_calls_stay(server):
    """After a reload the link is made anew, by the new settings, also where the old ones would have waited for long."""
    async with kept(server.settings(secret="wr0ng", ami_login_retry_seconds=3600)) as connection:
        connection.channels.follow("ours", "PJSIP/trunk-1", CALLER)
        await until(lambda: connection.failures["refused"])
        server.answers["CoreShowChannels"] = listing(ROW)
        connection.reconfigure(server.settings())
        await until(lambda: connection.connected)
        connection.reconfigure(server.settings(ami_ping_seconds=30))
        await until(lambda: connection.connected and connection.logins == 2)
        assert connection.channels.call("ours") is not None
    assert connection.failures == {"refused": 1}


ORDER = Origination("PJSIP/100", "c,s,1", uniqueid="ours")


def originated(result, *events, uniqueid="ours"):
    """Return what Asterisk says to Originate: that it has the order, what happens, and how it ended."""

    def answer(asked):
        number = f"ActionID: {asked['ActionID']}"
        queued = said("Response: Success", number, "Message: Originate successfully queued")
        end = said("Event: OriginateResponse", number, f"Response: {result}", "Reason: 0", f"Uniqueid: {uniqueid}")
        return b"".join((queued, *events[:-1], end, *events[-1:]))

    return answer


async def test_call_that_is_answered_is_followed_from_its_first_event(server):
    """Whoever started it hears first that it is dialled, and then its channel."""
    begun = asyncio.Event()
    server.answers["Originate"] = originated("Success", event("Newchannel", "PJSIP/100-1", "ours", "ours", "Down"))
    async with kept(server.settings()) as connection:
        await until(lambda: connection.connected)
        answered = await connection.originate("b-1", ORDER, begun.set)
        await until(lambda: connection.channels.call("b-1").caller.name)
    assert (answered.uniqueid, begun.is_set()) == ("ours", True)


async def test_call_that_nobody_answers_is_told_with_its_hangup_cause(server):
    """The event of the hang-up may come after the answer; the call is followed no longer."""
    over: list[FollowedCall] = []
    hung_up = event("Hangup", "PJSIP/100-1", "ours", "ours", "Ringing", Cause="17")
    server.answers["Originate"] = originated("Failure", b"", hung_up)
    async with kept(server.settings(), over.append) as connection:
        await until(lambda: connection.connected)
        with pytest.raises(NotAnswered) as error:
            await connection.originate("b-1", ORDER)
        assert connection.channels.calls == 0
    assert error.value.hangup_cause == 17
    assert [call.bridge_call_id for call in over] == ["b-1"]


async def test_call_that_has_no_channel_ever_has_no_cause(server, monkeypatch):
    """Where no event comes, nobody waits for long, and nothing stays behind."""
    monkeypatch.setattr(module, "_HANGUP_EVENT_SECONDS", TINY_SECONDS)
    server.answers["Originate"] = originated("Failure", b"")
    async with kept(server.settings()) as connection:
        await until(lambda: connection.connected)
        with pytest.raises(NotAnswered) as error:
            await connection.originate("b-1", ORDER)
        assert connection.channels.calls == 0
    assert error.value.hangup_cause is None


async def test_call_that_may_not_be_started_leaves_nothing_behind(server):
    """A refusal is an error of its own, before anything is dialled."""
    server.answers["Originate"] = error("Permission denied")
    begun = asyncio.Event()
    async with kept(server.settings()) as connection:
        await until(lambda: connection.connected)
        with pytest.raises(NotPermitted):
            await connection.originate("b-1", ORDER, begun.set)
        assert connection.channels.calls == 0
    assert not begun.is_set()
