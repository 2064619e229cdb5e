"""Asking a running bridge: where it is asked, and what is said when nothing like it answers."""

import json
import socket
import threading

import pytest

from agi_bridge.config import Address
from agi_bridge.errors import ApiRefused, NotRunning
from agi_bridge.web.client import Answer, ask_api, ask_readiness, ask_reload, reachable


def answering(raw):
    """Answer one connection with *raw* bytes; return where, and what was asked once it is over."""
    server = socket.create_server(("127.0.0.1", 0))
    asked = []

    def answer():
        with server, server.accept()[0] as connection:
            asked.append(connection.recv(65536).decode())
            connection.sendall(raw)

    thread = threading.Thread(target=answer)
    thread.start()
    return Address(*server.getsockname()), asked, thread


@pytest.mark.parametrize(
    ("ask", "line"), [(ask_readiness, "GET /readyz HTTP/1.1"), (ask_reload, "POST /reload HTTP/1.1")]
)
def test_question_and_answer(ask, line, monkeypatch):
    """The question goes to the bridge itself, whatever proxy the environment names, and its JSON comes back."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    body = b'{"ready": 0, "worker": 1, "workers": 1}'
    address, asked, thread = answering(b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert ask(address) == Answer(503, {"ready": 0, "worker": 1, "workers": 1})
    thread.join()
    assert asked[0].startswith(line)
    assert ("agi-bridge: reload" in asked[0]) == (ask is ask_reload)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"220 mail\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html>", b"HTTP/1.1 200 OK\r\n\r\n[]"),
        b'HTTP/1.1 404 No\r\n\r\n{"detail": "Not Found"}',
    ],
    ids=repr,
)
def test_whatever_else_answers_is_no_bridge(raw):
    """Something else on the port is told in words."""
    address, _, thread = answering(raw)
    with pytest.raises(NotRunning, match=f"^what answers at {address} is no agi-bridge"):
        ask_readiness(address)
    thread.join()


def test_nobody_answers():
    """A bridge that does not run is told with its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname())
    with pytest.raises(NotRunning) as refused:
        ask_readiness(address)
    assert str(refused.value) == f"no bridge answers at {address}: Connection refused"


def test_api_is_asked_with_token_and_body():
    """The token goes in the header that the bridge reads, the body as JSON, and the JSON of the answer comes back."""
    address, asked, thread = answering(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"done": true}')
    assert ask_api(address, "POST", "/api/v1/x", "secret", {"to": "sales"}) == {"done": True}
    thread.join()
    assert asked[0].startswith("POST /api/v1/x HTTP/1.1\r\n")
    assert "Authorization: Bearer secret\r\n" in asked[0]


@pytest.mark.parametrize(
    ("status", "code", "message", "told"),
    [
        ("404 No", "no-such-call", "no such", "no such"),
        ("401 No", "unauthorized", "send it", "the bridge knows no such token; "),
        ("429 No", "too-many-wrong-tokens", "wait", "too many wrong tokens came from here; "),
    ],
)
def test_api_says_no_in_words_for_people(status, code, message, told):
    """What is meant for programs is put into the words of a command line; the code stays."""
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    raw = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    address, _, thread = answering(raw)
    with pytest.raises(ApiRefused, match=f"^{told}") as refused:
        ask_api(address, "GET", "/x", "t")
    assert refused.value.code == code
    thread.join()


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "it may have been done all the same$"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n{}", "is no agi-bridge"),
    ],
)
def test_api_that_is_none(raw, told):
    """A connection that breaks leaves open what was done; another program's error is told as what it is."""
    address, _, thread = answering(raw)
    with pytest.raises(NotRunning, match=told):
        ask_api(address, "GET", "/x", "t")
    thread.join()


@pytest.mark.parametrize(
    ("listening", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7"), ("pbx.example", "pbx.example")],
)
def test_bridge_that_listens_everywhere_is_asked_on_loopback(listening, asked):
    """No packet can be sent to "everywhere"."""
    assert reachable(Address(listening, 4574)) == Address(asked, 4574)
