"""Asking a running bridge: where it is asked, and what is said when nothing like it answers."""

import socket
import threading

import pytest

from agi_bridge.config import Address
from agi_bridge.errors import NotRunning
from agi_bridge.web.client import Answer, ask_readiness, ask_reload, reachable


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


@pytest.mark.parametrize(
    ("listening", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7"), ("pbx.example", "pbx.example")],
)
def test_bridge_that_listens_everywhere_is_asked_on_loopback(listening, asked):
    """No packet can be sent to "everywhere"."""
    assert reachable(Address(listening, 4574)) == Address(asked, 4574)
