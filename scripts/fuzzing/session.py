"""A whole call in memory: the parser, the session and the story of `bridge.py`, with hostile neighbours on both sides.

Promised: the story ends, raises nothing, writes one line in the log and none of an unforeseen failure; every command is one
line; `MILLIS_STATUS=ok` is said only beside a dial string that is safe.

An input is Millis's answer ("200 " and a body), a group separator, then what Asterisk says: turns between record separators,
each of which comes when we have nothing more to say.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from structlog.testing import capture_logs

from agi_bridge.agi.protocol import AgiConnection, Limits, Request
from agi_bridge.agi.session import AgiSession
from agi_bridge.bridge import Bridge
from agi_bridge.config import load
from agi_bridge.errors import AgiError, AgiProtocolError, MillisRefused, MillisTimeout, SessionLost
from agi_bridge.millis.models import Registration, error_detail, parse_registration
from agi_bridge.simulator.command import parse_words, split_arguments
from fuzzing.agi_bytes import recorded
from fuzzing.sip_uri import must_be_safe
from fuzzing.target import Target

_GROUP, _RECORD = b"\x1d", b"\x1e"
_LIMITS = Limits(line_bytes=512, environment_bytes=2048)
_CONFIG = load(
    """
    [millis]
    allowed_hosts = ["*.millis.ai", "127.0.0.1"]
    [numbers]
    default_country = "US"
    [defaults]
    fallback = "lobby,s,1"
    [[route]]
    name = "nobody"
    caller = "withheld"
    reject = true
    [[route]]
    name = "sales"
    did = ["_+1555.", "_1555."]
    agent_id = "-Nsales"
    metadata = { account = "${DB(crm/${CALLERID(num)})}" }
    """,
    {"MILLIS_API_KEY": "k3y"},
    lambda name: b"",
)
_NOW = datetime(2026, 1, 1, tzinfo=UTC)

# How often the event loop may turn before the story must have said or awaited something.
_TURNS_OF_THE_LOOP = 30


class _Millis:
    """Answers every registration with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._status, _, self._body = answer.partition(b" ")

    async def register(self, account: str, regions: Sequence[str], body: Mapping[str, Any]) -> Registration:
        if not (self._status.isdigit() and len(self._status) == 3):
            raise MillisTimeout("no answer")
        if not self._status.startswith(b"2"):
            raise MillisRefused(int(self._status), error_detail(self._body))
        return parse_registration(self._body, regions[0])

    async def abandon(self, account: str, registration: Registration) -> None:
        """Let it be."""


class _Wire(asyncio.Transport):
    """Takes what we say to Asterisk, and looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, str] = {}
        self.writes = 0
        self._closing = False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        line = bytes(data)
        self.writes += 1
        assert not self._closing, "something is said after the end"
        assert line.endswith(b"\n"), "a command without an end"
        assert len(line) <= _LIMITS.command_bytes + 1, "a command longer than Asterisk takes"
        assert not set(b"\n\r\0") & set(line[:-1]), "a command of more than one line"
        words = parse_words(line[:-1].decode())
        if words[:2] == ["EXEC", "MSet"]:
            self.said |= dict(pair.split("=", 1) for pair in split_arguments(words[2]))
        if self.said.get("MILLIS_STATUS") == "ok" and "MILLIS_FALLBACK" in self.said:
            must_be_safe(self.said["MILLIS_DIAL"])


def broken_by(data: bytes) -> None:
    """Play the call."""
    answer, _, conversation = data.partition(_GROUP)
    with capture_logs() as log:
        calls = asyncio.run(_play(answer, conversation.split(_RECORD)))
    lines = [line for line in log if line["event"] == "call"]
    assert len(lines) == calls, f"{len(lines)} lines in the log for {calls} calls"
    assert len(log) == calls, f"a failure that nobody foresaw: {log}"
    assert all(line["reason"] != "internal-error" for line in lines), f"a failure that nobody foresaw: {lines}"


async def _play(answer: bytes, turns: list[bytes]) -> int:
    """Let Asterisk say its turns to a bridge; return how many calls that was: none where no request came of it."""
    agi, wire = AgiConnection(_LIMITS), _Wire()
    bridge = Bridge(_CONFIG, _Millis(answer), now=lambda: _NOW, clock=lambda: 0.0)
    session: AgiSession | None = None
    story: asyncio.Task[None] | None = None
    ended_by: AgiError = SessionLost("Asterisk closed the connection")
    for turn in turns:
        writes = wire.writes
        try:
            # As agi/server.py does for a connection.
            for event in agi.receive_data(turn):
                if session is not None:
                    session.receive(event)
                elif isinstance(event, Request):
                    session = AgiSession(event, "127.0.0.1", agi, wire, setup_timeout_seconds=60)
                    story = asyncio.create_task(bridge.handle(session))
        except AgiProtocolError as error:
            ended_by = error
            break
        if story is not None:
            await _until(story, wire, writes)
    if session is None or story is None:
        return 0
    session.lose(ended_by)
    await _until(story)
    assert story.done(), "the story does not end"
    story.result()
    assert wire.is_closing(), "the connection stays open"
    return 1


async def _until(story: asyncio.Task[None], wire: _Wire | None = None, writes: int = 0) -> None:
    """Let the story go on until it is over or, with a *wire*, has said something there."""
    for _ in range(_TURNS_OF_THE_LOOP):
        if story.done() or (wire and wire.writes > writes):
            return
        await asyncio.sleep(0)


_GOOD = b'200 {"call_id": "call-1", "sip": "sip:call-1@127.0.0.1:5090"}'
_HELLO = recorded()["route"].partition(b"\n\n")[0] + b"\n\n"
_VALUES = b"200 result=1 (1795176825.0|gold)\n"
_SET = b"200 result=0\n"
_ENDED = b"200 result=1 (0123abcd|call-1|%s|16|7|9|PJSIP%%2Fmillis-1)\n"


def _asked(verb: bytes) -> bytes:
    return _HELLO.replace(b"route?", verb + b"?")


TARGET = Target(
    "session",
    broken_by,
    seeds=tuple(
        answer + _GROUP + _RECORD.join(turns)
        for answer, turns in (
            (_GOOD, (_HELLO, _VALUES, _SET, _SET)),
            (_GOOD, (_HELLO, _VALUES, _SET, b"HANGUP\n", _SET)),
            (_GOOD, (_HELLO, b"HANGUP\n")),
            (_GOOD, (_HELLO, b"520-Invalid command syntax.\nUsage: x\n520 End of proper usage.\n", _SET, _SET)),
            (_GOOD, (_asked(b"dial"), _VALUES, _SET, _SET, b"200 result=0\n", _ENDED % b"ANSWER", _SET)),
            (_GOOD, (_asked(b"dial"), _VALUES, _SET, _SET, b"200 result=-1\nHANGUP\n")),
            (_GOOD, (_asked(b"ended"), _ENDED % b"BUSY")),
            (_GOOD, (_asked(b"ping"), _SET)),
            (_GOOD, (_asked(b"other"), _SET)),
            (_GOOD, (_HELLO.replace(b"+15557654321", b"anonymous"), _SET)),
            (_GOOD, (_HELLO.replace(b"1555123", b"4930123"), _SET)),
            (b'402 {"detail": "no credit"}', (_HELLO, _VALUES, _SET, _SET)),
            (b"200 {}", (_HELLO, _VALUES, _SET, _SET)),
            (b"", (_HELLO, _VALUES, _SET, _SET)),
        )
    ),
    words=(
        *(
            "\x1d",
            "\x1e",
            "\n",
            "HANGUP\n",
            "200 result=0\n",
            "200 result=1 (",
            "|",
            ")\n",
            "200 result=-1\n",
            "520-",
            "520 ",
        ),
        *(
            "510 ",
            "511 ",
            "100 ",
            "agi_dnid: ",
            "agi_callerid: ",
            "did=",
            "%0A",
            "ANSWER",
            "CANCEL",
            "CONGESTION",
            '"sip": "',
        ),
        *("sip:", "@127.0.0.1", "&", ",", "200 {", "500 "),
    ),
)
