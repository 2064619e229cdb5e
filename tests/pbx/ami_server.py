"""A manager interface for tests, over a real socket: honest unless told otherwise, and every fault at a word.

It shares no code with ours. What it says by itself was copied from a real Asterisk 22.10.1.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from agi_bridge import config

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from agi_bridge.config import PbxSettings

PATIENCE_SECONDS = 5.0
TINY_SECONDS = 0.03

USER, SECRET = "agi-bridge", "s3cret"

Headers = dict[str, str]

REJECTING = '[[route]]\nname = "any"\nreject = true\n'


def settings(port: int, *, name: str = "hq", secret: str = SECRET, **keys: Any) -> PbxSettings:
    """Return the settings of a PBX as `[[pbx]]` would have them, with short times."""
    keys = {"ami_ping_seconds": 60, "ami_reconnect_seconds": 0.01, "ami_reconnect_limit_seconds": 0.02} | keys
    lines = [
        f"{key} = {str(value).lower() if not isinstance(value, str) else repr(value)}" for key, value in keys.items()
    ]
    table = f'[[pbx]]\nname = "{name}"\nami_secret_env = "SECRET"\nami_port = {port}\n' + "\n".join(lines)
    [pbx] = config.load(f"{REJECTING}\n{table}", {"SECRET": secret}, _read).pbxs
    return pbx


def _read(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read()


def said(*lines: str) -> bytes:
    """Return one message as it goes over the wire."""
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def success(*lines: str) -> Callable[[Headers], bytes]:
    """Return an answer that is a success."""
    return lambda action: said("Response: Success", f"ActionID: {action['ActionID']}", *lines)


def error(message: str) -> Callable[[Headers], bytes]:
    """Return an answer that is an error."""
    return lambda action: said("Response: Error", f"ActionID: {action['ActionID']}", f"Message: {message}")


def silence(action: Headers) -> bytes:
    """Return the answer of a PBX that has none."""
    return b""


def listing(*channels: Headers) -> Callable[[Headers], bytes]:
    """Return the answer to CoreShowChannels."""

    def answer(action: Headers) -> bytes:
        number = f"ActionID: {action['ActionID']}"
        rows = [said("Event: CoreShowChannel", number, *(f"{k}: {v}" for k, v in row.items())) for row in channels]
        first = said("Response: Success", number, "EventList: start", "Message: Channels will follow")
        last = said("Event: CoreShowChannelsComplete", number, "EventList: Complete", f"ListItems: {len(rows)}")
        return b"".join((first, *rows, last))

    return answer


def event(name: str, channel: str, uniqueid: str, linkedid: str, state: str = "Up", **more: str) -> bytes:
    """Return an event about a channel."""
    return said(
        f"Event: {name}",
        "Privilege: call,all",
        *(f"{key}: {value}" for key, value in more.items() if key.startswith("Bridge")),
        f"Channel: {channel}",
        f"ChannelStateDesc: {state}",
        f"CallerIDNum: {more.get('CallerIDNum', '+15557654321')}",
        f"CallerIDName: {more.get('CallerIDName', '<unknown>')}",
        f"Uniqueid: {uniqueid}",
        f"Linkedid: {linkedid}",
        *(f"{key}: {value}" for key, value in more.items() if not key.startswith(("Bridge", "CallerID"))),
    )


class AmiServer:
    """Listens while it is entered. `answers` has what each action is answered with, and `actions` those that came."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.secret = SECRET
        self.banner = b"Asterisk Call Manager/11.0.0\r\n"
        self.actions: list[Headers] = []
        self.connections = 0
        self.answers: dict[str, Callable[[Headers], bytes]] = {
            "Login": self._login,
            "Ping": success("Ping: Pong", "Timestamp: 1795273160.174519"),
            "CoreShowChannels": listing(),
        }
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def settings(self, **keys: Any) -> PbxSettings:
        """Return the settings that lead here."""
        return settings(self.port, **keys)

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def send(self, *chunks: bytes) -> None:
        """Send to everybody, each chunk in a segment of its own."""
        for chunk in chunks:
            for writer in self._writers:
                writer.write(chunk)
                await writer.drain()
            await asyncio.sleep(0.001)

    async def asked(self, name: str, times: int = 1) -> Headers:
        """Wait until an action has come so often, and return the latest."""
        latest: Headers = await self.until(lambda: self._latest(name, times))
        return latest

    async def until(self, happened: Callable[[], Any]) -> Any:
        """Wait until something is so, which is looked at whenever something comes or goes here."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (result := happened()):
                self._news.clear()
                await self._news.wait()
        return result

    def _latest(self, name: str, times: int) -> Headers | None:
        found = [action for action in self.actions if action["Action"] == name]
        return found[-1] if len(found) >= times else None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        self._news.set()
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                writer.write(self.banner)
                while True:
                    action = _headers(await reader.readuntil(b"\r\n\r\n"))
                    writer.write(self.answers.get(action["Action"], success())(action))
                    self.actions.append(action)
                    self._news.set()
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self._news.set()

    def _login(self, action: Headers) -> bytes:
        if (action["Username"], action["Secret"]) != (USER, self.secret):
            return error("Authentication failed")(action)
        return success("Message: Authentication accepted")(action)


def _headers(action: bytes) -> Headers:
    """Return the headers of an action; of those that come twice, all values joined by "|"."""
    headers: Headers = {}
    for line in action.decode().removesuffix("\r\n\r\n").split("\r\n"):
        key, _, value = line.partition(": ")
        headers[key] = f"{headers[key]}|{value}" if key in headers else value
    return headers
