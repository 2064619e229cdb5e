"""Asterisk's side of a FastAGI conversation, played over TCP without an Asterisk.

It does what res_agi.c does, the awkward parts included: it takes one line each time its socket has news (so a
pipelined command waits), cuts lines at its buffer, says HANGUP out of band and once more at the end. It must not
know the bridge and shares no code with `agi/`: a mistake made there must not be repeated here. Asterisk's commands
that no bridge needs are answered 510. `agi-bridge simulate call`, the demo and the tests play calls with it.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, cast

from agi_bridge.simulator.channel import ChannelMemory, SimulatedChannel, environment, to_bytes, to_text
from agi_bridge.simulator.command import AgiCommands, DialEnding

__all__ = ["AsteriskSide", "DialEnding", "PlayedCall", "Sender", "SimulatedChannel", "play_call"]

Sender = Literal["asterisk", "bridge"]

CONNECT_SECONDS = 2.0  # res_agi.c gives each address so long
LINE_BYTES = 8191  # what one fgets takes, LF included: AGI_BUF_LEN less the NUL, since Asterisk 20.16 and 22.6
STDIO_BYTES = 4096
UNREAD_BYTES = 65536  # beyond this the socket is not read, as with a full receive buffer
MOST_COMMANDS = 1000
_TRUE = frozenset({"yes", "true", "y", "t", "1", "on"})
_FALSE = frozenset({"no", "false", "n", "f", "0", "off"})


@dataclass(frozen=True, slots=True)
class PlayedCall:
    """What the dialplan finds after AGI(). ``trouble`` says why we ended the session when it was not the bridge."""

    agistatus: str
    variables: Mapping[str, str]
    functions: Mapping[str, str]  # those that were written or scripted
    transcript: Sequence[tuple[Sender, str]]
    executed: Sequence[tuple[str, str]]  # application and options of each EXEC
    seconds: float
    trouble: str = ""

    @property
    def commands(self) -> list[str]:
        """The lines that the bridge sent."""
        return [line for sender, line in self.transcript if sender == "bridge"]


class _Wire(asyncio.Protocol):
    """The socket as Asterisk sees it: what the kernel holds unread, and whether the bridge has closed its end."""

    def __init__(self) -> None:
        self.unread = bytearray()
        self.at_eof = False
        self.news = asyncio.Event()
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.unread += data
        if len(self.unread) > UNREAD_BYTES:
            self.transport.pause_reading()
        self.news.set()

    def eof_received(self) -> bool:
        self.at_eof = True
        self.news.set()
        return True  # Asterisk still writes its last HANGUP

    def connection_lost(self, error: Exception | None) -> None:
        self.at_eof = True
        self.news.set()
        self.closed.set()

    def take(self, size: int) -> bytes:
        taken = bytes(self.unread[:size])
        del self.unread[:size]
        if len(self.unread) <= UNREAD_BYTES and not self.at_eof:
            self.transport.resume_reading()
        return taken


class AsteriskSide:
    """One AGI() call, from ``async with`` (which connects, or raises OSError) to `finished`.

    It plays by itself; a test scripts the rest with `saw`, `hang_up`, `release_dial`, `send` and `abort`. *replies*
    maps the beginning of a command to the bytes sent instead of Asterisk's own reply, and *opening* replaces the
    environment: both may be anything at all.
    """

    def __init__(
        self,
        host: str,
        port: int,
        channel: SimulatedChannel | None = None,
        *,
        script: str = "route",
        arguments: Sequence[str] = (),
        dial: DialEnding | None = None,
        opening: bytes | None = None,
        replies: Mapping[str, bytes] | None = None,
        on_line: Callable[[Sender, str], None] | None = None,
    ) -> None:
        self.channel = channel or SimulatedChannel()
        self.memory = ChannelMemory(self.channel)
        self.transcript: list[tuple[Sender, str]] = []
        self.agistatus = ""
        self._host, self._port = host, port
        self._commands = AgiCommands(self.memory, dial or DialEnding())
        self._opening = environment(self.channel, host, port, script, arguments) if opening is None else opening
        self._replies, self._on_line = replies or {}, on_line
        self._wire = _Wire()
        self._stdio = bytearray()
        self._executing = self._leaving = False
        self._progress = asyncio.Event()
        self._trouble = ""
        self._began = self._ended = time.monotonic()

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().create_connection(lambda: self._wire, self._host, self._port)
        # run_agi reads both switches before it begins, so a bridge cannot change them.
        self._tells_hangup = self.memory.variables.get("AGISIGHUP", "yes").lower() not in _FALSE
        self._exits_on_hangup = self.memory.variables.get("AGIEXITONHANGUP", "no").lower() in _TRUE
        self.send(self._opening)
        self._playing = asyncio.create_task(self._play())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._playing.cancel()
        await asyncio.wait({self._playing})
        self._wire.transport.close()
        try:
            async with asyncio.timeout(1.0):
                await self._wire.closed.wait()
        except TimeoutError:  # the bridge does not read what we still have to say
            self._wire.transport.abort()

    async def finished(self, timeout_seconds: float = 10.0) -> PlayedCall:
        """Wait for the end of the session; when it does not come, end it as a caller who hangs up would."""
        await asyncio.wait({self._playing}, timeout=timeout_seconds)
        if not self._playing.done():
            self._trouble = f"the bridge had not ended the session after {timeout_seconds:g} s"
            self.hang_up()
            self._playing.cancel()
            await asyncio.wait({self._playing})
        if not self._playing.cancelled():
            self._playing.result()
        return PlayedCall(
            agistatus=self.agistatus,
            variables=self.memory.variables,
            functions=self.memory.functions,
            transcript=self.transcript,
            executed=self._commands.executed,
            seconds=self._ended - self._began,
            trouble=self._trouble,
        )

    async def saw(self, beginning: str, timeout_seconds: float = 5.0) -> str:
        """Wait until the bridge has sent a line that begins so, and return it; EOFError if the session ends first."""
        async with asyncio.timeout(timeout_seconds):
            while True:
                for sender, line in self.transcript:
                    if sender == "bridge" and line.startswith(beginning):
                        return line
                if self._playing.done():
                    raise EOFError(f"the session ended and the bridge had not sent {beginning!r}")
                self._progress.clear()
                await self._progress.wait()

    @property
    def hung_up_at(self) -> float | None:
        """When the caller hung up, by time.monotonic()."""
        return self._commands.hung_up_at

    def hang_up(self) -> None:
        """Hang the caller up: HANGUP goes out at once, or after the reply to a command that is under way."""
        self._commands.hang_up()
        if not self._executing:
            self._notice_hangup()

    def release_dial(self) -> None:
        """Let a held Dial end as its DialEnding says."""
        self._commands.release_dial()

    def send(self, raw: bytes) -> None:
        """Write bytes as they are."""
        if raw and not self._wire.transport.is_closing():
            self._wire.transport.write(raw)
            for line in to_text(raw).removesuffix("\n").split("\n"):
                self._note("asterisk", line)

    def abort(self) -> None:
        """Break the connection with an RST, as a PBX that crashes does."""
        linger = struct.pack("ii", 1, 0)  # a linger of zero makes the kernel send RST rather than FIN
        self._wire.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._wire.transport.abort()

    def _note(self, sender: Sender, line: str) -> None:
        self.transcript.append((sender, line))
        self._progress.set()
        if self._on_line:
            self._on_line(sender, line)

    def _notice_hangup(self) -> None:
        if self.hung_up_at is None or self._commands.dead:
            return
        self._commands.dead = True
        if self._tells_hangup:
            self.send(b"HANGUP\n")
        self._leaving = self._exits_on_hangup
        self._wire.news.set()

    async def _play(self) -> None:
        failed = False
        try:
            for _ in range(MOST_COMMANDS):
                line = await self._next_line()
                if line is None:
                    break
                self._note("bridge", to_text(line))
                if line[:7].lower() == b"failure":
                    failed = True
                    break
                self._executing = True
                reply = await self._reply(to_text(line))
                self._executing = False
                self.send(reply)
                self._notice_hangup()
            else:
                self._trouble = f"the bridge sent {MOST_COMMANDS} commands and no end"
        finally:
            self.agistatus = "FAILURE" if failed else "SUCCESS" if self.hung_up_at is None else "HANGUP"
            self.memory.variables["AGISTATUS"] = self.agistatus
            if self._tells_hangup:
                self.send(b"HANGUP\n")
            self._wire.transport.close()
            self._ended = time.monotonic()
            self._progress.set()

    async def _next_line(self) -> bytes | None:
        """Take one line as poll and fgets do; None when the stream is at its end or the hang-up ends the AGI."""
        wire = self._wire
        while not (wire.unread or wire.at_eof or self._leaving):
            wire.news.clear()
            await wire.news.wait()
        while not self._leaving:
            end = self._stdio.find(b"\n", 0, LINE_BYTES) + 1
            if end or len(self._stdio) >= LINE_BYTES or (wire.at_eof and not wire.unread):
                line = bytes(self._stdio[: end or LINE_BYTES])
                del self._stdio[: len(line)]
                return line.removesuffix(b"\n") if line else None
            if wire.unread:
                self._stdio += wire.take(STDIO_BYTES)
            else:
                wire.news.clear()
                await wire.news.wait()
        return None

    async def _reply(self, line: str) -> bytes:
        for beginning, reply in self._replies.items():
            if line.startswith(beginning):
                return reply
        return to_bytes(await self._commands.answer(line) + "\n")


async def play_call(
    host: str,
    port: int,
    *,
    script: str = "route",
    arguments: Sequence[str] = (),
    channel: SimulatedChannel | None = None,
    dial: DialEnding | None = None,
    timeout_seconds: float = 10.0,
    on_line: Callable[[Sender, str], None] | None = None,
) -> PlayedCall:
    """Play one AGI() from start to end; a bridge that cannot be reached gives AGISTATUS=FAILURE, as in the dialplan."""
    side = AsteriskSide(host, port, channel, script=script, arguments=arguments, dial=dial, on_line=on_line)
    try:
        async with side:
            return await side.finished(timeout_seconds)
    except OSError as error:
        variables = {**side.memory.variables, "AGISTATUS": "FAILURE"}
        reason = error.strerror or str(error) or f"no answer within {CONNECT_SECONDS:g} s"
        return PlayedCall(
            "FAILURE",
            variables,
            side.memory.functions,
            [],
            [],
            0.0,
            f"cannot connect to {host}:{port}: {reason}; is the bridge running?",
        )
