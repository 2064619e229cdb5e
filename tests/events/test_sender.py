"""One event to one target, over real sockets: what arrives, and what is said where it does not."""

import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from agi_bridge.errors import NotDelivered
from agi_bridge.events.sender import Sender
from agi_bridge.events.signature import key_of, signed
from tests.events.target import SECRET, a_letter, settings, target


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender() as sender:
        yield sender


async def test_event_arrives_signed(sender: Sender):
    """The body is sent as it was written, with the headers that prove where it comes from."""
    async with target() as crm:
        letter = a_letter()
        await sender.send(settings(crm.url), letter)

    headers = crm.headers[0]
    assert crm.bodies == [letter.body]
    assert headers["content-type"] == "application/json"
    stamp = int(headers["webhook-timestamp"])
    assert signed(key_of(SECRET), letter.id, stamp, letter.body).items() <= headers.items()


@pytest.mark.parametrize(
    ("answer", "why", "is_away"),
    [
        (500, "HTTP 500", False),
        (400, "HTTP 400", False),
        (401, "HTTP 401", True),
        (404, "HTTP 404", True),
        (429, "HTTP 429", True),
        (503, "HTTP 503", True),
        (301, "HTTP 301; redirects are not followed", False),
        ("break", "the connection was closed without an answer", True),
    ],
)
async def test_what_is_no_success_is_not_delivered(sender: Sender, answer, why, is_away):
    """Each failure has its words, and says whether another event would fare better; nothing is sent twice or elsewhere."""
    async with target() as crm:
        crm.answer = lambda event: answer
        with pytest.raises(NotDelivered) as failed:
            await sender.send(settings(crm.url), a_letter())

    assert (str(failed.value), failed.value.is_away, len(crm.received)) == (why, is_away, 1)


async def test_target_that_hangs(sender: Sender):
    """No request takes longer than its limit."""
    async with target() as crm:
        crm.answer = lambda event: "hang"
        with pytest.raises(NotDelivered, match=r"^no answer within 0.1 s$"):
            await sender.send(settings(crm.url, timeout_seconds=0.1), a_letter())


async def test_answer_without_end_is_not_read_to_its_end(sender: Sender):
    """The status is enough; what is beyond the limit costs the connection and nothing else."""
    async with target() as crm:
        crm.answer = lambda event: "huge"
        await sender.send(settings(crm.url, answer_limit_bytes=100_000), a_letter())
        crm.answer = lambda event: 200
        await sender.send(settings(crm.url), a_letter())

    assert len(crm.received) == 2


async def test_target_that_is_not_there(sender: Sender):
    """The system's own words say why."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(NotDelivered, match=r"^the connection failed: Connect"):
        await sender.send(settings(f"http://127.0.0.1:{port}"), a_letter())


async def test_proxies_of_the_environment_are_not_asked(sender: Sender, monkeypatch: pytest.MonkeyPatch):
    """What is told of calls goes to the target and to nobody else."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with target() as crm:
        await sender.send(settings(crm.url), a_letter())
        assert len(crm.taken) == 1


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def over_tls(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A target with a certificate that is its own authority; its address, and that certificate."""
    key, file = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1")
    files = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(file))
    subprocess.run((*made, *files), check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file, key)
    with HTTPServer(("127.0.0.1", 0), _Taking) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}", file.read_text()
        server.shutdown()
        thread.join()


async def test_certificate_is_verified(sender: Sender, over_tls: tuple[str, str]):
    """A target is who it says it is, by the machine's authorities or by those that the configuration names."""
    url, authority = over_tls
    with pytest.raises(NotDelivered, match=r"^TLS failed: .*certificate"):
        await sender.send(settings(url), a_letter())
    await sender.send(settings(url, authority), a_letter())
