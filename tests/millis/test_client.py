"""The Millis client against servers on real sockets: what it sends, and every way in which an answer can fail."""

import asyncio
import re
import socket
import struct
import time
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest

from agi_bridge.call import Reason
from agi_bridge.config import MillisSettings
from agi_bridge.errors import (
    MillisError,
    MillisNonsense,
    MillisRefused,
    MillisTimeout,
    MillisUnreachable,
)
from agi_bridge.millis.client import MillisClient
from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.millis import SimulatedMillis

KEY = "0123456789abcdefSECRET"
BODY = {"agent_id": "-Nabc", "metadata": {"caller_name": "Zoë"}}

# How late a busy machine may be; no limit under test is near it.
GRACE_SECONDS = 0.5


def client_for(url, keys=None, **settings):
    return MillisClient(MillisSettings(base_url=url, **settings), keys or {"default": KEY})


async def register(client, account="default", timeout_seconds=4.0):
    return await client.register(account, "us-west", BODY, timeout_seconds)


async def failure(client, timeout_seconds=4.0):
    """Register, and return the error that this ends in."""
    with pytest.raises(MillisError) as caught:
        await register(client, timeout_seconds=timeout_seconds)
    return caught.value


@pytest.fixture
async def millis():
    async with SimulatedMillis(key=KEY) as millis:
        yield millis


@pytest.fixture
async def client(millis):
    async with client_for(millis.url, connect_timeout_seconds=0.4) as client:
        yield client


OK = b'HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n{"call_id":"c1","sip":"sip:a@h"}'
HANG, CLOSE, RESET = object(), object(), object()


class Scripted:
    """A server whose *script* says for each request what happens: bytes to send, then perhaps CLOSE; or nothing at all.

    It is called with the number of the connection, that of the request on it, and the request.
    """

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.ended = asyncio.Queue[int]()  # the numbers of connections that are over
        self.url = ""

    async def talk(self, reader, writer, connection):
        for number in count(1):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.requests.append(head + await reader.readexactly(length))
            for step in self.script(connection, number, self.requests[-1]):
                if step is HANG:
                    await reader.read()
                elif step is RESET:
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    writer.transport.abort()
                elif step is CLOSE:
                    return
                elif isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    writer.write(step)


@asynccontextmanager
async def scripted(script):
    """Serve on a free port for the length of the block."""
    server, connections = Scripted(script), count(1)
    talks: set[asyncio.Task[None]] = set()

    async def connected(reader, writer):
        if task := asyncio.current_task():
            talks.add(task)
        # A task that ends cancelled is an error in the streams of Python 3.11.
        number = next(connections)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await server.talk(reader, writer, number)
        writer.close()
        server.ended.put_nowait(number)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for task in talks:
            task.cancel()
        if talks:
            await asyncio.wait(talks)


def always(*steps):
    return lambda connection, number, request: steps


# What it sends, and what it takes for a success.


async def test_registration_is_posted_and_its_answer_read(millis, client):
    """A call is registered by one POST, whose answer is the call id and the SIP URI to dial."""
    registration = await register(client)

    received = await millis.received()
    assert (registration.call_id, registration.sip_uri) == (millis.issued[0]["call_id"], millis.issued[0]["uri"])
    assert (received.method, received.path, received.body) == ("POST", "/register_sip_call", BODY)
    assert {name: value for name, value in received.headers.items() if name not in ("host", "content-length")} == {
        "authorization": KEY,
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "agi-bridge",
    }


@pytest.mark.parametrize(("scheme", "sent"), [("", KEY), ("Bearer", f"Bearer {KEY}")])
async def test_key_is_sent_raw_or_with_the_scheme_that_is_configured(scheme, sent):
    """The `authorization` header holds the key alone, unless a scheme is configured."""
    async with SimulatedMillis() as millis, client_for(millis.url, authorization_scheme=scheme) as client:
        await register(client)

        assert (await millis.received()).headers["authorization"] == sent


async def test_each_account_has_its_key():
    """A call is registered with the key of its rule's account."""
    keys = {"default": "key-one", "second": "key-two"}
    async with SimulatedMillis() as millis, client_for(millis.url, keys) as client:
        await register(client, "second")
        await register(client, "default")

        assert [each.headers["authorization"] for each in millis.requests] == ["key-two", "key-one"]


async def test_base_url_may_have_a_path():
    """The path of the API is appended to that of the configured address."""
    async with SimulatedMillis() as millis, client_for(f"{millis.url}/v1") as client:
        assert (await failure(client)).status == 404
        assert millis.requests[0].path == "/v1/register_sip_call"


@pytest.mark.parametrize("fault", ["field=sip", "field=sip_uri", "field=both", "status=201", "delay=0.05"])
async def test_any_honest_success_is_taken(millis, client, fault):
    """Each documented name of the URI and every success status will do, as will an answer within the deadline."""
    millis.fault = Fault.parse(fault)

    assert (await register(client)).sip_uri == millis.issued[0]["uri"]


async def test_hostile_uri_is_handed_on_as_it_is(millis, client):
    """Whether a URI may be dialled is not decided here."""
    millis.fault = Fault(uri="sip:a@evil.example&Local/x@y")

    assert (await register(client)).sip_uri == "sip:a@evil.example&Local/x@y"


async def test_connections_are_kept_and_shared():
    """Calls one after the other travel on one connection, whatever their account; calls at once have one each."""
    connections = set()

    def script(connection, number, request):
        connections.add(connection)
        return (0.05, OK)

    keys = {"default": "key-one", "second": "key-two"}
    async with scripted(script) as server, client_for(server.url, keys) as client:
        for account in ("default", "second", "default"):
            await register(client, account)
        assert connections == {1}

        await asyncio.gather(register(client), register(client))
        assert connections == {1, 2}


async def test_cookies_are_not_kept():
    """A cookie that an answer sets does not come back with the next call."""
    answer = OK.replace(b"\r\n", b"\r\nSet-Cookie: a=1; Path=/\r\n", 1)
    async with scripted(always(answer)) as server:
        # Cookies of a bare address would not be kept in any case.
        async with client_for(server.url.replace("127.0.0.1", "localhost")) as client:
            await register(client)
            await register(client)

        assert [b"cookie" in request.lower() for request in server.requests] == [False, False]


# Every fault.


@pytest.mark.parametrize(
    ("fault", "error", "reason", "message"),
    [
        *(
            (f"status={status}", MillisRefused, Reason.MILLIS_REFUSED, f"HTTP {status}: simulated fault")
            for status in (301, 302, 400, 401, 402, 403, 404, 409, 422, 429, 500, 502, 503, 504)
        ),
        (
            "status=422,detail=list",
            MillisRefused,
            Reason.MILLIS_REFUSED,
            "HTTP 422: body.agent_id: Input should be a valid string",
        ),
        ("status=429,retry-after=60", MillisRefused, Reason.MILLIS_REFUSED, "HTTP 429: simulated fault"),
        ("status=500,body=empty", MillisRefused, Reason.MILLIS_REFUSED, "HTTP 500: empty"),
        (
            "status=503,body=html",
            MillisRefused,
            Reason.MILLIS_REFUSED,
            "HTTP 503: <!DOCTYPE html><html><body><h1>Something went wrong</h1></body></html>",
        ),
        ("status=500,body=list", MillisRefused, Reason.MILLIS_REFUSED, "HTTP 500"),
        (
            "body=html",
            MillisNonsense,
            Reason.MILLIS_NONSENSE,
            "the answer is not JSON: <!DOCTYPE html><html><body><h1>Something went wrong</h1></body></html>",
        ),
        ("body=empty", MillisNonsense, Reason.MILLIS_NONSENSE, "the answer is not JSON: empty"),
        ("body=not-json", MillisNonsense, Reason.MILLIS_NONSENSE, 'the answer is not JSON: {"call_id": "call-'),
        ("body=list", MillisNonsense, Reason.MILLIS_NONSENSE, "the answer is a JSON list, not an object"),
        (
            "body=no-uri",
            MillisNonsense,
            Reason.MILLIS_NONSENSE,
            "the answer names no SIP URI; its keys are ['call_id']",
        ),
        ("body=huge", MillisNonsense, Reason.MILLIS_NONSENSE, "the answer has more than 65536 bytes"),
        ("delay=30", MillisTimeout, Reason.MILLIS_TIMEOUT, "no answer from {url} within 0.4 s"),
        ("hang", MillisTimeout, Reason.MILLIS_TIMEOUT, "no answer from {url} within 0.4 s"),
        (
            "reset",
            MillisUnreachable,
            Reason.MILLIS_UNREACHABLE,
            "the connection to {url} failed: Connection reset by peer",
        ),
        ("reset-mid-body", MillisUnreachable, Reason.MILLIS_UNREACHABLE, "{url} broke off in its answer"),
    ],
)
async def test_fault_of_millis(millis, client, fault, error, reason, message):
    """Each fault is an error of its own kind and reason within the deadline, after one request, and tells no secret."""
    millis.fault = Fault.parse(fault)
    began = time.monotonic()
    caught = await failure(client, 0.4)

    assert time.monotonic() - began < 0.4 + GRACE_SECONDS
    assert (type(caught), caught.outcome.reason) == (error, reason)
    assert str(caught) == message.replace("{url}", millis.url)
    assert KEY not in str(caught)
    assert str(caught).isprintable()
    assert len(millis.requests) == 1


async def test_wrong_key_is_refused(millis):
    """Millis's own words about a wrong key are told, and not the key."""
    async with client_for(millis.url, {"default": "wrong-key"}) as client:
        caught = await failure(client)

    assert (type(caught), str(caught)) == (MillisRefused, "HTTP 401: Invalid API key")


async def test_call_after_a_fault_is_a_call_like_any_other(millis, client):
    """A fault concerns one call."""
    millis.upcoming.extend(map(Fault.parse, ["reset", "body=huge", "status=500", "hang", "reset-mid-body"]))
    for _ in range(5):
        await failure(client, 0.4)

    assert (await register(client)).sip_uri == millis.issued[-1]["uri"]


async def test_nobody_listens(unused_port):
    """A refused connection is told with its address."""
    async with client_for(f"http://127.0.0.1:{unused_port}") as client:
        caught = await failure(client)

    assert isinstance(caught, MillisUnreachable)
    assert str(caught) == f"the connection to http://127.0.0.1:{unused_port} failed: Connection refused"


async def test_name_that_is_not_known():
    """A name without an address is told in words, with what to check."""
    async with client_for("http://millis.invalid") as client:
        caught = await failure(client)

    assert isinstance(caught, MillisUnreachable)
    assert re.fullmatch(
        r"the connection to http://millis\.invalid failed: the name cannot be looked up: [A-Z][a-z ]+; "
        "check the DNS of this machine",
        str(caught),
    )


@pytest.fixture
def unused_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


async def test_connection_that_does_not_come_about_is_given_up():
    """A host that does not answer a connection has its own, shorter time."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        # The kernel takes one connection more than asked, and leaves the next ones without an answer.
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        async with client_for(f"http://127.0.0.1:{address[1]}", connect_timeout_seconds=0.1) as client:
            began = time.monotonic()
            caught = await failure(client)
        for sock in waiting:
            sock.close()

    assert time.monotonic() - began < 0.1 + GRACE_SECONDS
    assert isinstance(caught, MillisUnreachable)
    assert str(caught) == f"no connection to http://127.0.0.1:{address[1]} within 0.1 s"


async def test_server_without_tls_is_unreachable_over_https(millis):
    """A failed TLS handshake is a connection that failed."""
    async with client_for(millis.url.replace("http:", "https:")) as client:
        caught = await failure(client)

    assert isinstance(caught, MillisUnreachable)
    assert not millis.requests


def head(text, body=b""):
    return text.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        pytest.param((CLOSE,), MillisUnreachable, "{url} closed the connection without an answer", id="closes"),
        pytest.param(
            (b"HTTP/1.1 200", CLOSE),
            MillisUnreachable,
            "{url} closed the connection without an answer",
            id="half a line",
        ),
        pytest.param(
            (head("HTTP/1.1 200 OK\nContent-Length: 99", b'{"sip": "sip:secret@h"'), CLOSE),
            MillisUnreachable,
            "{url} broke off in its answer",
            id="half a body",
        ),
        pytest.param(
            (b"SSH-2.0-OpenSSH_9.2\r\n\r\n",),
            MillisNonsense,
            "{url} does not speak HTTP as expected: ClientResponseError",
            id="another protocol",
        ),
        pytest.param(
            (head("HTTP/1.1 200 OK\nContent-Length: x"),),
            MillisNonsense,
            "{url} does not speak HTTP as expected: ClientResponseError",
            id="a length that is no number",
        ),
        pytest.param(
            (head(f"HTTP/1.1 200 OK\nX: {'a' * 100_000}"),),
            MillisNonsense,
            "{url} does not speak HTTP as expected: ClientResponseError",
            id="a header line without end",
        ),
        pytest.param(
            (head("HTTP/1.1 204 No Content"),), MillisNonsense, "the answer is not JSON: empty", id="no content"
        ),
        pytest.param(
            (head("HTTP/1.1 200 OK\nConnection: close", b"call sip:secret@h"), CLOSE),
            MillisNonsense,
            "the answer is not JSON: call sip:…",
            id="a text with the URI",
        ),
        pytest.param(
            (head("HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 4", b"\x1f\x8b\x08\x00"),),
            MillisNonsense,
            "the answer is not JSON:  \ufffd  ",
            id="a compressed body, which is not unpacked",
        ),
    ],
)
async def test_server_that_is_no_api(steps, error, message):
    """Whatever is not an HTTP answer to our request is told in one line without secrets, after one request."""
    async with scripted(always(*steps)) as server, client_for(server.url) as client:
        caught = await failure(client)

    assert (type(caught), str(caught)) == (error, message.replace("{url}", server.url))
    assert len(server.requests) == 1


async def test_redirect_is_not_followed(millis):
    """The key does not travel to where an answer points."""
    redirect = head(f"HTTP/1.1 307 Temporary Redirect\nLocation: {millis.url}/register_sip_call\nContent-Length: 0")
    async with scripted(always(redirect)) as server, client_for(server.url) as client:
        caught = await failure(client)

    assert (type(caught), str(caught)) == (MillisRefused, "HTTP 307: empty")
    assert not millis.requests


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
async def test_server_that_repeats_the_request_does_not_get_the_key_into_an_error(status):
    """An answer that echoes what was sent is quoted without the key."""

    def echo(connection, number, request):
        line = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"authorization"))
        return (head(f"HTTP/1.1 {status}\nContent-Length: {len(line)}", line),)

    async with scripted(echo) as server, client_for(server.url, authorization_scheme="Bearer") as client:
        caught = await failure(client)

    assert str(caught).lower().endswith("authorization: bearer (the api key)")


# Bounds.


@pytest.mark.parametrize(("status", "error"), [(200, MillisNonsense), (503, MillisRefused)])
async def test_huge_answer_is_cut_off_early(millis, client, status, error):
    """Of a hundred megabytes a fraction is read, then the connection is closed; the status counts all the same."""
    millis.fault = Fault(body="huge", status=status)
    caught = await failure(client)

    await millis.abandoned()
    assert type(caught) is error


async def test_answer_may_be_as_long_as_the_limit():
    """An answer of exactly the limit is read, one of a byte more is not."""

    def script(connection, number, request):
        length = 1024 if connection == 1 and number == 1 else 1025
        return (head(f"HTTP/1.1 200 OK\nContent-Length: {length}", b'{"sip":"sip:a@h"}'.ljust(length)),)

    async with scripted(script) as server, client_for(server.url, response_limit_bytes=1024) as client:
        assert (await register(client)).sip_uri == "sip:a@h"
        assert str(await failure(client)) == "the answer has more than 1024 bytes"


async def test_answer_in_drops_ends_at_the_deadline():
    """The deadline is for the whole answer, not for each of its parts."""
    drops = (head("HTTP/1.1 200 OK\nContent-Length: 9999"), *(b" ", 0.02) * 500)
    async with scripted(always(*drops)) as server, client_for(server.url) as client:
        began = time.monotonic()
        caught = await failure(client, 0.2)

    assert type(caught) is MillisTimeout
    assert 0.2 <= time.monotonic() - began < 0.2 + GRACE_SECONDS


async def test_cancelled_call_closes_its_request_at_once(millis, client):
    """When the caller hangs up, Millis sees the connection close within 50 ms, and the task ends cancelled."""
    millis.fault = Fault(hang=True)
    call = asyncio.create_task(register(client))
    await millis.received()
    hung_up = time.monotonic()
    call.cancel()

    assert await millis.abandoned() - hung_up < 0.05
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_calls_do_not_wait_for_each_other(millis):
    """There is no queue before the limit: two hundred calls are all with Millis at once."""
    millis.fault = Fault(hang=True)
    async with client_for(millis.url, connect_timeout_seconds=30) as client:
        calls = [asyncio.create_task(register(client, timeout_seconds=30)) for _ in range(200)]
        await millis.received(200, timeout_seconds=20)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)

    assert all(call.cancelled() for call in calls)


# The advice of a refusal.


@pytest.mark.parametrize(
    ("fault", "seconds"), [("status=429,retry-after=7", 7.0), ("status=429", 0.0), ("status=503,retry-after=0", 0.0)]
)
async def test_refusal_carries_millis_advice_when_to_come_again(millis, client, fault, seconds):
    """The seconds of Retry-After are kept, for whoever decides about a second try."""
    millis.fault = Fault.parse(fault)
    caught = await failure(client)

    assert caught.retry_after_seconds == seconds


# What else is asked of Millis.


async def test_probe_asks_for_the_account(millis, client):
    """A probe is one GET of the account, with the key."""
    await client.probe("default", "us-west", 1.0)
    (request,) = millis.requests

    assert (request.method, request.path, request.headers["authorization"]) == ("GET", "/user/info", KEY)


async def test_probe_that_fails_says_why(millis, client):
    """A probe fails with the errors of a registration."""
    millis.fault = Fault.parse("status=503")
    with pytest.raises(MillisRefused, match="HTTP 503: simulated fault"):
        await client.probe("default", "us-west", 1.0)


async def test_endpoint_is_made_for_an_agent_and_a_region(millis, client):
    """A SIP URI that Millis keeps is asked for with the agent and the region, and read like that of a call."""
    made = await client.create_endpoint("default", "eu-west", BODY, 1.0)
    (request,) = millis.requests

    assert (request.method, request.path) == ("POST", "/sip")
    assert request.body == {"init_agent": BODY, "region": "eu-west"}
    assert (made.call_id, made.sip_uri) == (millis.endpoints[0], millis.issued[0]["uri"])
    await client.delete_endpoint("default", "eu-west", made.call_id, 1.0)
    assert not millis.endpoints


async def test_endpoint_that_is_refused_says_why(millis, client):
    """A SIP URI that Millis does not give fails with the errors of a registration."""
    with pytest.raises(MillisRefused, match="HTTP 400: agent_id or agent_config is required"):
        await client.create_endpoint("default", "us-west", {}, 1.0)


async def test_endpoint_is_deleted_by_its_call_id(millis, client):
    """What Millis has given out is taken back by its id, whose signs cannot lead to another path."""
    with pytest.raises(MillisRefused, match="HTTP 404"):
        await client.delete_endpoint("default", "us-west", "../agents/x?y", 1.0)
    (request,) = millis.requests

    assert (request.method, request.path) == ("DELETE", "/sip/../agents/x?y")


async def test_account_that_is_gone_keeps_its_key_for_calls_under_way(millis, client):
    """After a change of keys a call that began before it can still be registered; new keys hold at once."""
    client.reconfigure(MillisSettings(base_url=millis.url), {"second": KEY})

    assert (await register(client)).sip_uri == millis.issued[0]["uri"]
    assert (await register(client, "second")).sip_uri == millis.issued[1]["uri"]


# The kept connection that Millis closes.


@pytest.mark.parametrize("ending", [CLOSE, RESET])
async def test_stale_kept_connection_is_replaced_once(ending):
    """A call that meets a kept connection which Millis has just closed is posted once more, on a new one."""

    def script(connection, number, request):
        return (ending,) if (connection, number) == (1, 2) else (OK,)

    async with scripted(script) as server, client_for(server.url) as client:
        await register(client)

        assert (await register(client)).sip_uri == "sip:a@h"
        assert len(server.requests) == 3


@pytest.mark.parametrize("ending", [CLOSE, RESET])
async def test_new_connection_that_breaks_is_not_replaced(ending):
    """On a new connection Millis may have registered the call before it broke, so nothing is posted again."""
    async with scripted(always(ending)) as server, client_for(server.url) as client:
        assert type(await failure(client)) is MillisUnreachable
        assert len(server.requests) == 1


async def test_second_try_is_the_last():
    """When the new connection breaks too, the call fails."""

    def script(connection, number, request):
        return (OK,) if (connection, number) == (1, 1) else (CLOSE,)

    async with scripted(script) as server, client_for(server.url) as client:
        await register(client)

        assert type(await failure(client)) is MillisUnreachable
        assert len(server.requests) == 3


async def test_kept_connection_that_breaks_within_the_answer_is_not_replaced():
    """Once an answer has begun the call is registered, so nothing is posted again."""

    def script(connection, number, request):
        return (OK,) if number == 1 else (OK[:60], CLOSE)

    async with scripted(script) as server, client_for(server.url) as client:
        await register(client)

        assert str(await failure(client)) == f"{server.url} broke off in its answer"
        assert len(server.requests) == 2


async def test_both_tries_share_one_deadline():
    """The second try has only the time that the first has left."""

    def script(connection, number, request):
        return (OK,) if (connection, number) == (1, 1) else (0.3, CLOSE) if connection == 1 else (HANG,)

    async with scripted(script) as server, client_for(server.url) as client:
        await register(client)
        began = time.monotonic()
        caught = await failure(client, 0.4)

    assert (type(caught), str(caught)) == (MillisTimeout, f"no answer from {server.url} within 0.4 s")
    assert 0.4 <= time.monotonic() - began < 0.6
    assert len(server.requests) == 3


async def test_other_settings_and_keys_hold_for_the_next_request(millis):
    """A reload brings keys and limits; an account that it takes away keeps its key, for the call that is under way."""
    async with client_for(millis.url, {"gone": KEY}) as client:
        client.reconfigure(MillisSettings(base_url=millis.url, authorization_scheme="Bearer"), {"default": "other"})
        await register(client, "gone")
        await failure(client)
        client.reconfigure(MillisSettings(base_url=millis.url), {"default": KEY})
        await register(client)


@pytest.mark.parametrize("ending", [CLOSE, RESET])
async def test_kept_connection_that_millis_closes_is_told(ending):
    """When Millis closes a connection that was waiting for the next call, the region is named at once."""
    lost: asyncio.Queue[str] = asyncio.Queue()
    async with scripted(always(OK, 1.2, ending)) as server, client_for(server.url) as client:
        client.on_lost = lost.put_nowait
        await register(client)
        began = time.monotonic()
        async with asyncio.timeout(5):
            assert await lost.get() == "us-west"

        assert time.monotonic() - began < 1.2 + GRACE_SECONDS


@pytest.mark.parametrize(
    ("steps", "keepalive_seconds"),
    [
        pytest.param((OK, CLOSE), 30.0, id="Millis closes it at once"),
        pytest.param(
            (head("HTTP/1.1 200 OK\nConnection: close\nContent-Length: 32", OK[-32:]), CLOSE),
            30.0,
            id="Millis announces it",
        ),
        pytest.param((OK, HANG), 1.1, id="we close it, because it has waited too long"),
    ],
)
async def test_connection_that_is_not_worth_renewing_is_let_go(steps, keepalive_seconds):
    """Nobody is told of a connection that Millis does not keep, or that we do not."""
    lost: list[str] = []
    async with (
        scripted(always(*steps)) as server,
        client_for(server.url, keepalive_seconds=keepalive_seconds) as client,
    ):
        client.on_lost = lost.append
        await register(client)
        async with asyncio.timeout(5):
            await server.ended.get()
        await register(client)  # which takes longer than to notice the end of the first connection

        assert lost == []
