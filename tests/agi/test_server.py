"""The door: who may come in, how many, with what, for how long, and how it closes. Every limit has a counter and a line."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from agi_bridge.agi.server import AgiServer
from agi_bridge.config import AgiSettings
from agi_bridge.errors import AgiTimeout, CallerHungUp, SessionLost
from agi_bridge.simulator.asterisk import AsteriskSide, DialEnding, play_call
from tests.agi.pbx import DONE, HELLO, PATIENCE_SECONDS, SET_STATUS, TINY_SECONDS, Pbx, serving, set_status

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from agi_bridge.agi.session import AgiSession

    Lines = list[MutableMapping[str, Any]]


async def fail_if_asked(session: AgiSession) -> None:
    """An answer that must not be needed."""
    raise AssertionError("a session began")


def lines_of(logs: Lines, event: str) -> Lines:
    return [line for line in logs if line["event"] == event]


async def goes_on(server: AgiServer) -> bool:
    """Return whether the next call gets its answer."""
    return (await play_call(*server.addresses[0])).variables.get("MILLIS_STATUS") == "ok"


async def counted(server: AgiServer, counter: str, number: int) -> None:
    """Wait until the server has counted so many; the clients cannot see when it has."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while getattr(server.counts, counter) < number:  # noqa: ASYNC110 - a counter is no event
            await asyncio.sleep(0.001)


# Who comes and goes


async def test_call_is_answered():
    """A call gets its answer and the dialplan goes on; the counters tell of one session."""
    async with serving(set_status) as server:
        played = await play_call(*server.addresses[0])
        assert played.agistatus == "SUCCESS"
        assert played.variables["MILLIS_STATUS"] == "ok"
        assert server.counts.as_fields() == {
            "accepted": 1,
            "sessions": 1,
            "no_request": 0,
            "refused_peer": 0,
            "refused_rate": 0,
            "refused_secret": 0,
            "refused_full": 0,
            "refused_files": 0,
            "refused_draining": 0,
            "not_accepted": 0,
            "broken": 0,
            "timed_out": 0,
        }


async def test_request_and_peer_reach_the_answer():
    """The answer is given the environment and the address it came from."""
    seen = []

    async def answer(session):
        seen.append((session.peer, session.request.verb, session.request.arguments))

    async with serving(answer) as server:
        await play_call(*server.addresses[0], script="ended?a=1", arguments=["b=2", "c"])
    assert seen == [("127.0.0.1", "ended", {"a": "1", "b": "2", "2": "c"})]


@pytest.mark.parametrize("way", ["close", "abort"])
async def test_connect_and_leave_has_no_effect(way):
    """A port scan or a load balancer's probe is counted, and neither logged nor answered."""
    with capture_logs() as logs:
        async with serving(fail_if_asked) as server:
            async with await Pbx.connect(server) as pbx:
                getattr(pbx, way)()
            await counted(server, "no_request", 1)
            assert server.counts.accepted == 1
    assert {line["event"] for line in logs} == {"listening for FastAGI", "no longer listening"}


async def test_half_an_environment_is_told():
    """A connection that ends inside its environment is no port scan: it has a counter and a line of its own."""
    with capture_logs() as logs:
        async with serving(set_status) as server:
            async with await Pbx.connect(server) as pbx:
                pbx.send(HELLO[:40])
            await counted(server, "broken", 1)
    [line] = lines_of(logs, "connection is not honest AGI")
    assert (line["why"], line["security"]) == ("it ended too early", True)
    assert server.counts.no_request == 0


@pytest.mark.parametrize("said", [b"", b"agi_network: yes\n", HELLO[:-1], HELLO + b"HANGUP\n"])
async def test_connection_reset_before_it_was_accepted(said):
    """A connection that is gone when the server first looks at it, with or without data, does no harm."""

    async def answer(session):
        with suppress(SessionLost, CallerHungUp):
            await set_status(session)

    with capture_logs() as logs:
        async with serving(answer) as server:
            # From here to the next await the event loop stands still: the server accepts what has been reset already.
            with socket.create_connection(server.addresses[0]) as connection:
                connection.sendall(said)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await counted(server, "accepted", 1)
            assert await goes_on(server)
    # Half an environment is told, where the loop hands over what came before the reset.
    told = {line["event"] for line in logs} - {"connection is not honest AGI"}
    assert told == {"listening for FastAGI", "no longer listening"}


async def test_ten_thousand_connect_and_close_with_calls_going_on():
    """Ten thousand probes, half of them reset, disturb no call; each is counted."""
    asyncio.get_running_loop().set_debug(False)  # which would make this a test of the debug mode
    with capture_logs() as logs:
        async with serving(set_status, peer_burst_connections=100_000) as server:
            scanning = asyncio.create_task(asyncio.to_thread(scan, server.addresses[0], 10_000))
            calls = 0
            while not scanning.done():
                played = await play_call(*server.addresses[0])
                assert played.variables["MILLIS_STATUS"] == "ok"
                calls += 1
            await scanning
            await counted(server, "accepted", 10_000 + calls)
            await counted(server, "no_request", 10_000)
            assert server.counts.sessions == calls
    assert calls > 10
    assert {line["event"] for line in logs} == {"listening for FastAGI", "no longer listening"}


def scan(address: tuple[str, int], times: int) -> None:
    for number in range(times):
        with socket.create_connection(address) as connection:
            if number % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# What is no request

DISHONEST = {
    "stray bytes": b"\x16\x03\x01\x02\x00\n",
    "a request of HTTP": b"GET / HTTP/1.1\r\n",
    "a field twice": HELLO.replace(b"agi_rdnis", b"agi_dnid: 1\nagi_rdnis"),
    "an argument twice": HELLO[:-1] + b"agi_arg_1: a=1\nagi_arg_2: a=2\n\n",
    "no agi_threadid": HELLO.replace(b"agi_threadid", b"agi_other"),
    "a mebibyte": b"agi_network: " + b"y" * 2**20,
    "a line after the end": HELLO + b"agi_dnid: 1\n",
}


@pytest.mark.parametrize("wire", DISHONEST.values(), ids=DISHONEST)
async def test_dishonest_connection_is_failed_and_logged_once(wire):
    """What cannot be AGI gets the failure line, the end, one counter and one security line that repeats none of it."""
    with capture_logs() as logs:
        async with serving(set_status) as server:
            async with await Pbx.connect(server) as pbx:
                pbx.send(wire)
                assert await pbx.rest() == "FAILURE\n"
            assert server.counts.broken == 1
            assert await goes_on(server)
    [line] = [line for line in logs if line["log_level"] != "info"]
    assert line.pop("why")
    assert line == {
        "event": "connection is not honest AGI",
        "log_level": "warning",
        "counter": "broken",
        "peer": "127.0.0.1",
        "security": True,
    }


@pytest.mark.parametrize("wire", [b"", b"agi_network: y", HELLO[:300], HELLO[:-1]], ids=["silence", "a part of a line", "a part", "no blank line"])  # fmt: skip
async def test_connection_without_request_ends_in_time(wire):
    """Silence, and an environment that does not end, last as long as the setting says and no longer."""
    with capture_logs() as logs:
        async with serving(set_status, environment_timeout_seconds=TINY_SECONDS) as server:
            began = time.monotonic()
            async with await Pbx.connect(server) as pbx:
                pbx.send(wire)
                assert await pbx.rest() == "FAILURE\n"
            assert TINY_SECONDS <= time.monotonic() - began < 1
            assert server.counts.timed_out == 1
            assert server.counts.no_request == 0
            assert await goes_on(server)
    assert lines_of(logs, "no AGI request in time") == [
        {
            "event": "no AGI request in time",
            "log_level": "warning",
            "counter": "timed_out",
            "peer": "127.0.0.1",
            "security": True,
        }
    ]


async def test_time_for_the_environment_is_not_given_anew():
    """One byte now and then does not keep a connection alive."""
    async with serving(fail_if_asked, environment_timeout_seconds=TINY_SECONDS * 2) as server:
        async with await Pbx.connect(server) as pbx:
            ended = asyncio.create_task(pbx.rest())
            for position in range(len(HELLO)):
                pbx.send(HELLO[position : position + 1])
                if (await asyncio.wait([ended], timeout=TINY_SECONDS / 3))[0]:
                    break
            assert await ended == "FAILURE\n"
        assert server.counts.timed_out == 1


async def test_environment_in_time_is_not_cut_off():
    """The limit on the environment's time does not count for what comes after it."""
    async with serving(set_status, environment_timeout_seconds=TINY_SECONDS) as server:
        async with await Pbx.connect(server) as pbx:
            pbx.send(HELLO)
            assert await pbx.line() == SET_STATUS
            ended = asyncio.create_task(pbx.rest())
            assert not (await asyncio.wait([ended], timeout=TINY_SECONDS * 2))[0]
            pbx.send(DONE)
            assert await ended == ""
        assert server.counts.timed_out == 0


async def test_limits_of_the_settings_hold():
    """The line, the environment and the command are as long as the settings allow."""
    settings = {"line_limit_bytes": 1024, "environment_limit_bytes": 2048, "command_limit_bytes": 512}
    long = HELLO.replace(b"agi_accountcode: ", b"agi_accountcode: " + b"x" * 1000)
    many = HELLO[:-1] + b"".join(b"agi_arg_%d: %s\n" % (number, b"x" * 300) for number in range(1, 6)) + b"\n"
    async with serving(set_status, **settings) as server:
        for wire in long.replace(b"x" * 1000, b"x" * 1008), many:
            async with await Pbx.connect(server) as pbx:
                pbx.send(wire)
                assert await pbx.rest() == "FAILURE\n"
        async with await Pbx.connect(server) as pbx:
            pbx.send(long)
            assert await pbx.line() == SET_STATUS

    async def ask_too_much(session):
        await session.get_full_variable("x" * 500)

    async with serving(ask_too_much, **settings) as server, await Pbx.connect(server) as pbx:
        pbx.send(HELLO)
        assert await pbx.rest() == "FAILURE\n"


# Who may come in


async def test_peer_off_the_list_is_refused_at_once():
    """Who is not allowed gets the failure line before a byte is read; who is, gets an answer."""
    with capture_logs() as logs:
        async with serving(set_status, allow=["127.0.0.1/32"]) as server:
            async with await Pbx.connect(server, local="127.0.0.2") as stranger:
                assert await stranger.rest() == "FAILURE\n"
            async with await Pbx.connect(server, local="127.0.0.2") as stranger:
                stranger.send(HELLO)
                assert await stranger.rest() == "FAILURE\n"
            assert server.counts.refused_peer == 2
            assert await goes_on(server)
            assert server.counts.sessions == 1
    assert (
        lines_of(logs, "connection refused")
        == [
            {
                "event": "connection refused",
                "log_level": "warning",
                "counter": "refused_peer",
                "peer": "127.0.0.2",
                "security": True,
            }
        ]
        * 2
    )


async def test_peer_beyond_its_rate_is_refused_at_once():
    """A peer that brings more than its burst is refused the rest, and welcome again when its bucket has filled."""
    with capture_logs() as logs:
        async with serving(set_status, peer_burst_connections=2, peer_rate_limit_per_second=20) as server:
            assert await goes_on(server)
            assert await goes_on(server)
            async with await Pbx.connect(server) as third, await Pbx.connect(server, local="127.0.0.2") as other:
                assert await third.rest() == "FAILURE\n"
                other.send(HELLO)
                assert await other.line() == SET_STATUS
            assert server.counts.refused_rate == 1
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await goes_on(server):
                    pass
    assert lines_of(logs, "connection refused")[0] == {
        "event": "connection refused",
        "log_level": "warning",
        "counter": "refused_rate",
        "peer": "127.0.0.1",
        "security": False,
    }


async def test_flood_of_refusals_is_one_line_at_once_and_one_that_counts_the_rest():
    """A hundred refusals are a hundred in the counter, and two lines: the first, and in the end the last."""
    with capture_logs() as logs:
        async with serving(set_status, allow=["127.0.0.9"]) as server:
            for _ in range(100):
                async with await Pbx.connect(server) as pbx:
                    assert await pbx.rest() == "FAILURE\n"
            assert server.counts.refused_peer == 100
            assert len(lines_of(logs, "connection refused")) == 1
    assert [line.get("left_out") for line in lines_of(logs, "connection refused")] == [None, 98]


SECRET = SecretStr("open-sesame-if-you-please")
TOLD = HELLO[:-1] + b"agi_arg_1: did=1\nagi_arg_2: secret=open%2Dsesame-if-you-please\n\n"


def with_secret(settings: AgiSettings) -> AgiSettings:
    return settings.with_secret(SECRET)


async def test_request_with_the_secret_is_answered_and_the_secret_goes_no_further():
    """The answer function sees the other arguments; the secret is in nothing that it could show."""
    seen: list[str] = []

    async def answer(session):
        seen.extend([str(session.request.arguments), repr(session.request), str(session.request.fields)])
        await set_status(session)

    settings = with_secret(AgiSettings(listen=["127.0.0.1:0"]))
    async with AgiServer(settings, answer) as server, await Pbx.connect(server) as pbx:
        pbx.send(TOLD)
        assert await pbx.line() == SET_STATUS
    assert seen[0] == "{'did': '1'}"
    assert "sesame" not in str(seen)


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        pytest.param(HELLO, "missing", id="none"),
        pytest.param(TOLD.replace(b"open", b""), "wrong", id="another"),
        pytest.param(TOLD.replace(b"=open%2Dsesame-if-you-please", b"="), "missing", id="an empty one"),
        pytest.param(TOLD.replace(b"open", "öpen".encode()), "wrong", id="letters beyond ASCII"),
    ],
)
async def test_request_without_the_secret_is_refused(wire, why):
    """Who does not know the secret gets the failure line before anything is done, and one security line."""
    with capture_logs() as logs:
        settings = with_secret(AgiSettings(listen=["127.0.0.1:0"]))
        async with AgiServer(settings, fail_if_asked) as server, await Pbx.connect(server) as pbx:
            pbx.send(wire)
            assert await pbx.rest() == "FAILURE\n"
            assert (server.counts.refused_secret, server.counts.sessions) == (1, 0)
    assert lines_of(logs, "connection refused") == [
        {
            "event": "connection refused",
            "log_level": "warning",
            "counter": "refused_secret",
            "peer": "127.0.0.1",
            "security": True,
            "why": f"the AGI argument secret is {why}; see MILLIS_SECRET",
        }
    ]


async def test_connection_beyond_the_limit_is_refused_at_once():
    """When the bridge is full, Asterisk is told so immediately; as soon as a call has ended, the next one is welcome."""
    with capture_logs() as logs:
        async with (
            serving(set_status, session_limit=2) as server,
            await Pbx.connect(server) as first,
            await Pbx.connect(server) as second,
        ):
            for pbx in first, second:
                pbx.send(HELLO)
                assert await pbx.line() == SET_STATUS
            played = await play_call(*server.addresses[0])
            assert (played.agistatus, played.commands) == ("FAILURE", ["FAILURE"])
            assert server.counts.refused_full == 1
            first.send(DONE)
            assert await first.rest() == ""
            assert await goes_on(server)
    assert lines_of(logs, "connection refused") == [
        {
            "event": "connection refused",
            "log_level": "warning",
            "counter": "refused_full",
            "peer": "127.0.0.1",
            "security": False,
        }
    ]


async def test_silent_connections_count_for_the_limit():
    """Connections without a request take up room, so that they cannot be without number."""
    async with serving(set_status, session_limit=1) as server:
        async with await Pbx.connect(server):
            await counted(server, "accepted", 1)
            async with await Pbx.connect(server) as second:
                assert await second.rest() == "FAILURE\n"
        await counted(server, "no_request", 1)
        assert await goes_on(server)


async def test_thousand_sessions_at_once():
    """A thousand calls are open at the same time, and each gets its answer."""
    asyncio.get_running_loop().set_debug(False)  # which would make this a test of the debug mode
    together = asyncio.Barrier(1000)

    async def answer(session):
        await together.wait()
        await set_status(session)

    async def call(server):
        async with await Pbx.connect(server) as pbx:
            pbx.send(HELLO)
            assert await pbx.line() == SET_STATUS
            pbx.send(DONE)
            return await pbx.rest()

    async with serving(answer) as server:
        assert await asyncio.gather(*(call(server) for _ in range(1000))) == [""] * 1000
        assert server.counts.sessions == 1000


# Isolation


async def test_answer_that_raises_fails_its_own_session_only():
    """An error that nobody expected becomes the failure line and a log line with its traceback; the next call is fine."""

    async def answer(session):
        if session.request.verb == "bad":
            raise ZeroDivisionError
        await set_status(session)

    with capture_logs() as logs:
        async with serving(answer) as server:
            async with AsteriskSide(*server.addresses[0]) as neighbour:
                played = await play_call(*server.addresses[0], script="bad")
                assert (played.agistatus, played.commands) == ("FAILURE", ["FAILURE"])
                assert (await neighbour.finished()).agistatus == "SUCCESS"
            assert await goes_on(server)
    assert lines_of(logs, "a session failed unexpectedly") == [
        {"event": "a session failed unexpectedly", "log_level": "error", "peer": "127.0.0.1", "exc_info": True}
    ]


async def test_stray_line_in_a_session_ends_that_session_only():
    """A reply that answers nothing fails the session, with one security line."""
    with capture_logs() as logs:
        async with serving(set_status) as server:
            async with await Pbx.connect(server) as pbx:
                pbx.send(HELLO)
                await pbx.line()
                pbx.send(b"agi_dnid: forged\n")
                assert await pbx.rest() == "FAILURE\n"
            assert server.counts.broken == 1
            assert await goes_on(server)
    [line] = lines_of(logs, "connection is not honest AGI")
    assert line["why"] == "a reply that is none"


async def test_pbx_that_stalls_holds_nobody_up():
    """A PBX that leaves a command unanswered costs its own session its time and no other one's."""

    async def answer(session):
        try:
            await set_status(session)
        except AgiTimeout:
            session.fail()

    async with (
        serving(answer, setup_timeout_seconds=TINY_SECONDS * 3) as server,
        await Pbx.connect(server) as stalled,
    ):
        stalled.send(HELLO)
        assert await stalled.line() == SET_STATUS
        assert await goes_on(server)
        assert await stalled.rest() == "FAILURE\n"


# Other settings while it runs


@pytest.mark.parametrize(
    ("changed", "wire", "counter"),
    [
        pytest.param(AgiSettings(allow=["127.0.0.9"]), b"", "refused_peer", id="who may connect"),
        pytest.param(AgiSettings(session_limit=1), b"", "refused_full", id="how many"),
        pytest.param(
            AgiSettings(peer_burst_connections=1, peer_rate_limit_per_second=1), b"", "refused_rate", id="how fast"
        ),
        pytest.param(AgiSettings(environment_timeout_seconds=TINY_SECONDS), b"", "timed_out", id="how long"),
        pytest.param(AgiSettings(line_limit_bytes=1024), b"x" * 1025, "broken", id="how much"),
        pytest.param(with_secret(AgiSettings()), HELLO, "refused_secret", id="with which secret"),
    ],
)
async def test_new_settings_hold_for_connections_to_come(changed, wire, counter):
    """What connections may do changes without a restart, and changes back."""
    async with serving(set_status) as server:
        as_before = server._settings
        assert await goes_on(server)
        server.reconfigure(changed)
        async with await Pbx.connect(server) as first, await Pbx.connect(server) as second:
            for pbx in first, second:
                pbx.send(wire)
            await counted(server, counter, 1)
        server.reconfigure(as_before)
        assert await goes_on(server)


async def test_call_under_way_keeps_its_settings():
    """New settings change nothing for a connection that is there already."""
    async with serving(set_status) as server, await Pbx.connect(server) as pbx:
        await counted(server, "accepted", 1)
        server.reconfigure(AgiSettings(listen=["127.0.0.1:0"], allow=["127.0.0.9"], session_limit=1))
        pbx.send(HELLO)
        assert await pbx.line() == SET_STATUS
        pbx.send(DONE)
        assert await pbx.rest() == ""


def test_keys_that_need_a_restart_are_named():
    """What a running server cannot change is named each time, as long as it differs from what it was started with."""
    server = AgiServer(AgiSettings(), set_status)
    changed = AgiSettings(listen=["127.0.0.1:4574"], backlog=7, session_limit=7)
    assert server.reconfigure(changed) == ["listen", "backlog"]
    assert server.reconfigure(changed) == ["listen", "backlog"]
    assert server.reconfigure(AgiSettings(session_limit=7)) == []


async def test_open_connections_and_sessions_are_told():
    """What is open can be read at any time: connections, and those among them that carry a session."""
    async with serving(set_status) as server, await Pbx.connect(server), await Pbx.connect(server) as pbx:
        pbx.send(HELLO)
        await pbx.line()
        await counted(server, "accepted", 2)
        assert (server.open_connections, server.open_sessions) == (2, 1)
        pbx.send(DONE)
        await pbx.rest()
        assert server.open_sessions == 0


# Drain


async def test_drain_refuses_new_calls_and_finishes_those_being_set_up():
    """While it drains, nobody can connect; a call that is being set up gets its answer."""
    with capture_logs() as logs:
        async with serving(set_status) as server, await Pbx.connect(server) as pbx:
            address = server.addresses[0]
            pbx.send(HELLO)
            assert await pbx.line() == SET_STATUS
            leaving = asyncio.create_task(server.__aexit__(None, None, None))
            assert not (await asyncio.wait([leaving], timeout=TINY_SECONDS))[0]
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)
            pbx.send(DONE)
            assert await pbx.rest() == ""
            await leaving
    assert lines_of(logs, "draining") == [
        {"event": "draining", "log_level": "info", "calls": 1, "drain_timeout_seconds": 10.0}
    ]
    assert lines_of(logs, "no longer listening")[0]["sessions"] == 1


async def test_drain_leaves_dial_to_asterisk():
    """A call that merely waits for the end of EXEC Dial holds up no drain, and goes on in Asterisk."""

    async def answer(session):
        await session.execute("Dial", "PJSIP/agent,30")
        await set_status(session)

    dial = DialEnding(held=True)
    async with (
        serving(answer, drain_timeout_seconds=60) as server,
        AsteriskSide(*server.addresses[0], dial=dial) as pbx,
    ):
        await pbx.saw("EXEC")
        began = time.monotonic()
        await server.__aexit__(None, None, None)
        assert time.monotonic() - began < 1
        pbx.release_dial()
        played = await pbx.finished()
    assert (played.agistatus, played.variables["DIALSTATUS"]) == ("SUCCESS", "ANSWER")
    assert played.commands == ['EXEC "Dial" "PJSIP/agent,30"']


async def test_drain_does_not_wait_for_a_call_that_begins_to_dial():
    """A call that passes from its set-up into EXEC Dial during the drain is set up, and that is all we wait for."""

    async def answer(session):
        await set_status(session)
        await session.execute("Dial", "PJSIP/agent,30")

    async with serving(answer, drain_timeout_seconds=60) as server, await Pbx.connect(server) as pbx:
        pbx.send(HELLO)
        await pbx.line()
        began = time.monotonic()
        leaving = asyncio.create_task(server.__aexit__(None, None, None))
        assert not (await asyncio.wait([leaving], timeout=TINY_SECONDS))[0]
        pbx.send(DONE)
        assert await pbx.line() == 'EXEC "Dial" "PJSIP/agent,30"'
        await leaving
        assert time.monotonic() - began < 1
        assert await pbx.rest() == ""


async def test_drain_has_an_end():
    """A call that is not set up in time is cancelled and fails, so that the dialplan takes its fallback."""
    cancelled = []

    async def answer(session):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(session)
            raise

    async with serving(answer, drain_timeout_seconds=TINY_SECONDS) as server, await Pbx.connect(server) as pbx:
        pbx.send(HELLO)
        await counted(server, "sessions", 1)
        await server.__aexit__(None, None, None)
        assert len(cancelled) == 1
        assert await pbx.rest() == "FAILURE\n"


async def test_drain_waits_for_connections_that_have_not_asked_yet():
    """Whoever has connected is served, even if the request comes after the drain has begun."""
    with capture_logs() as logs:
        async with serving(set_status, drain_timeout_seconds=60) as server, await Pbx.connect(server) as pbx:
            pbx.send(HELLO[:100])
            await counted(server, "accepted", 1)
            leaving = asyncio.create_task(server.__aexit__(None, None, None))
            assert not (await asyncio.wait([leaving], timeout=TINY_SECONDS))[0]
            pbx.send(HELLO[100:])
            assert await pbx.line() == SET_STATUS
            pbx.send(DONE)
            assert await pbx.rest() == ""
            await leaving
    assert lines_of(logs, "draining")[0]["calls"] == 1
    assert (server.counts.sessions, server.counts.refused_draining) == (1, 0)


async def test_drain_waits_for_a_silent_connection_no_longer_than_anybody_else():
    """A connection that says nothing holds a drain up for the time of an environment."""
    async with (
        serving(fail_if_asked, drain_timeout_seconds=60, environment_timeout_seconds=TINY_SECONDS) as server,
        await Pbx.connect(server) as pbx,
    ):
        began = time.monotonic()
        await counted(server, "accepted", 1)
        await server.__aexit__(None, None, None)
        assert time.monotonic() - began < 1
        assert await pbx.rest() == "FAILURE\n"
        assert (server.counts.timed_out, server.counts.refused_draining) == (1, 0)


async def test_end_of_the_drain_refuses_who_has_not_asked_yet():
    """When the drain's time is up, whoever is still silent is told to go on elsewhere."""
    async with serving(fail_if_asked, drain_timeout_seconds=TINY_SECONDS) as server, await Pbx.connect(server) as pbx:
        pbx.send(HELLO[:100])
        await counted(server, "accepted", 1)
        await server.__aexit__(None, None, None)
        assert await pbx.rest() == "FAILURE\n"
        assert server.counts.refused_draining == 1
        assert server.counts.no_request == 0


@pytest.mark.parametrize("turns", range(6))
async def test_connection_that_meets_the_drain_is_served(turns):
    """Whoever connects in the moment in which the drain begins is served, wherever the server stands with it."""
    asked = []

    async def answer(session):
        asked.append(session)

    async with serving(answer) as server:
        with socket.create_connection(server.addresses[0]) as connection:
            connection.sendall(HELLO)
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.__aexit__(None, None, None)
            connection.settimeout(PATIENCE_SECONDS)
            assert connection.recv(100) == b""
    assert len(asked) == 1


async def test_all_who_wait_in_the_backlog_are_served_by_the_drain():
    """Hundreds of connections that the kernel has taken, and nobody else yet, lose nothing when the drain begins."""
    asked = []

    async def answer(session):
        asked.append(session)

    async with serving(answer) as server:
        with ExitStack() as stack:
            waiting = [stack.enter_context(socket.create_connection(server.addresses[0])) for _ in range(300)]
            for connection in waiting:
                connection.sendall(HELLO)
            await server.__aexit__(None, None, None)
            assert [connection.recv(100) for connection in waiting] == [b""] * 300
    assert len(asked) == 300


async def test_drain_that_is_cut_short_stops_everything():
    """A second signal cancels the drain: every call is stopped at once, and nothing is left behind."""
    stopped = []

    async def answer(session):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(session)

    async with serving(answer, drain_timeout_seconds=60) as server, await Pbx.connect(server) as pbx:
        pbx.send(HELLO)
        await counted(server, "sessions", 1)
        leaving = asyncio.create_task(server.__aexit__(None, None, None))
        assert not (await asyncio.wait([leaving], timeout=TINY_SECONDS))[0]
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving
        assert leaving.cancelled()
        assert len(stopped) == 1
        assert await pbx.rest() == "FAILURE\n"


async def test_call_that_lost_its_connection_is_waited_for():
    """What a call still has to end when Asterisk has gone, it ends before the server is left."""
    steps = []

    async def answer(session):
        try:
            await session.get_full_variable("${X}")
        except SessionLost:
            steps.append("lost")
            async with asyncio.timeout(TINY_SECONDS):
                await asyncio.Event().wait()
        finally:
            steps.append("over")

    with capture_logs():
        async with serving(answer) as server:
            async with await Pbx.connect(server) as pbx:
                pbx.send(HELLO)
                await pbx.line()
                pbx.abort()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not steps:  # noqa: ASYNC110 - the loss shows nowhere else
                    await asyncio.sleep(0)
            assert steps == ["lost"]
    assert steps == ["lost", "over"]
