"""FastAGI as bytes in, events out: no sockets, no clock, no log.

`AgiConnection` is one conversation seen from the server. It turns what Asterisk sends into events, turns our typed
commands into lines, and refuses everything that an honest Asterisk would not send, because caller-controlled text reaches
the wire unescaped. It does not know what a call is. `session.py` gives it a socket.

Rules of this file: a command becomes bytes only through `Command.encode`, and a text becomes part of a command only
through `quote`. Line references are to res/res_agi.c of Asterisk 22.10.1.
"""

from __future__ import annotations

import itertools
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from agi_bridge.errors import AgiProtocolError, UnsafeText

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

# Printed by setup_env (line 2483) in this order, each at most once. The order is checked because a caller who smuggles a
# line feed into a name or a number can add lines, but cannot make the genuine ones disappear after them.
ENVIRONMENT_ORDER = (
    "network",
    "network_script",
    "request",
    "channel",
    "language",
    "type",
    "uniqueid",
    "version",
    "callerid",
    "calleridname",
    "callingpres",
    "callingani2",
    "callington",
    "callingtns",
    "dnid",
    "rdnis",
    "context",
    "extension",
    "priority",
    "enhanced",
    "accountcode",
    "threadid",
)
_FIELDS = {f"agi_{name}": (rank, name) for rank, name in enumerate(ENVIRONMENT_ORDER)}
_LAST_RANK = len(ENVIRONMENT_ORDER)
_REQUIRED = ("request", "channel", "uniqueid", "threadid")

_OTHER_FIELD = re.compile(r"agi_([a-z0-9_]+)")
_REPLY = re.compile(r"(100|200|503|510|511)(?: (?:result=(\S*) ?)?(.*))?")
# Brackets only in pairs, because MSet counts them even inside quotes. Possessive, so that no text makes it backtrack.
_ASSIGNABLE = re.compile(r"(?:[A-Za-z0-9 _.:;@=+,*#/|^~?-]++|\([A-Za-z0-9 _.:^*#-]*+\))*+", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_]\w*(?:\(\w*\))?", re.ASCII)
# The secret as an AGI argument, and in the query of the AGI address.
_SECRET = re.compile(r"(?<=^secret=).+|(?<=[?&]secret=)[^&]+")

# Asterisk up to 22.10.1 writes further quoted words, or the NULL after them, beyond an array of 128 and may crash
# (parse_args, line 4158).
MAX_WORDS = 127


@dataclass(frozen=True)
class Limits:
    """How much one conversation may send us, and we it. Bytes of a line count without its line feed.

    `environment_bytes` bounds whatever takes many lines to say one thing: the environment, or a usage text.
    `command_bytes` is what every supported Asterisk accepts in one line: its buffer had 2 KiB up to 20.15 and 22.5 and has
    8 KiB since; the tail of a longer line would be executed as a command of its own.
    """

    line_bytes: int = 16_384
    environment_lines: int = 160
    environment_bytes: int = 65_536
    command_bytes: int = 2_046


@dataclass(frozen=True, slots=True)
class Request:
    """The AGI environment: `request["dnid"]` is the value of `agi_dnid`, "" where Asterisk sent none.

    What the argument `secret` holds is nowhere but in `secret`, so that no rule, log or text of this object can show it.
    """

    fields: Mapping[str, str]
    arguments: Mapping[str, str] = field(init=False, compare=False)
    secret: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        arguments = _arguments(self.fields)
        secret = arguments.pop("secret", "")
        object.__setattr__(self, "arguments", arguments)
        object.__setattr__(self, "secret", secret)
        if secret:
            object.__setattr__(self, "fields", {name: _shown(name, value) for name, value in self.fields.items()})

    def __getitem__(self, name: str) -> str:
        return self.fields.get(name, "")

    @property
    def verb(self) -> str:
        """Return the path of the AGI address: "route" of `agi://bridge/route?did=1`."""
        return self["network_script"].partition("?")[0].strip("/")


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a command: `200 result=1 (text)` is `Reply(200, "1", "(text)")`."""

    code: int
    result: str
    text: str = ""

    @property
    def value(self) -> str | None:
        """Return what stands between the outermost parentheses, or None where there are none."""
        start, end = self.text.find("("), self.text.rfind(")")
        return self.text[start + 1 : end] if 0 <= start < end else None


@dataclass(frozen=True, slots=True)
class Provisional:
    """`100 result=0 Trying...`: the answer proper follows."""


@dataclass(frozen=True, slots=True)
class UsageError:
    """Asterisk could not parse the command, and sent its usage text or said that it has none."""

    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HungUp:
    """The channel was hung up, or taken elsewhere. May come before the reply we wait for, twice, or never."""


Event = Request | Reply | Provisional | UsageError | HungUp


@dataclass(frozen=True, slots=True)
class Command:
    """One AGI command: fixed words, then texts that are quoted whatever they hold."""

    words: str
    texts: tuple[str, ...] = ()

    def encode(self, limit_bytes: int = Limits.command_bytes) -> bytes:
        """Return the command as one line, or raise UnsafeText where Asterisk would read something else than we say."""
        line = " ".join((self.words, *map(quote, self.texts))).encode("utf-8", "replace")
        if len(line) > limit_bytes:
            raise UnsafeText(f"AGI command {self.words} has {len(line)} bytes, the limit is {limit_bytes}")
        if self.words.count(" ") + 1 + len(self.texts) > MAX_WORDS:
            raise UnsafeText(f"AGI command {self.words} has more than {MAX_WORDS} words")
        return line + b"\n"


def quote(text: str) -> str:
    """Return *text* as one word of an AGI command; the security boundary of everything we send.

    Asterisk's splitter (parse_args, line 4158) knows the quote, the backslash and nothing else; line ends and NUL cannot
    be written in any way, so they are refused.
    """
    if "\n" in text or "\r" in text or "\0" in text:
        raise UnsafeText("a line end or NUL cannot be sent over AGI")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def assign(variables: Mapping[str, str]) -> Command:
    """Set several channel variables, in their order, in one round trip: `EXEC MSet`, whose parser is a second border.

    MSet splits at commas and knows quotes, backslashes and brackets (pbx_variables.c, app.c:2357), so each value is quoted
    and must be of signs that mean nothing there. `$` is among the refused ones: with AGIEXECFULL it would be evaluated.
    """
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise UnsafeText(f"{name!r} is no name of a channel variable")
        if not _ASSIGNABLE.fullmatch(value):
            raise UnsafeText(f"the value of {name} holds something that MSet would not take for text")
    return execute("MSet", ",".join(f'{name}="{value}"' for name, value in variables.items()))


def get_full_variable(expression: str) -> Command:
    """Evaluate a dialplan expression such as `${URIENCODE(${EXTEN})}` on the channel."""
    return Command("GET FULL VARIABLE", (expression,))


def execute(application: str, argument: str) -> Command:
    """Run a dialplan application; only its first two words count, so the whole argument is one text (line 3332)."""
    return Command("EXEC", (application, argument))


class AgiConnection:
    """One conversation, from the first byte to the end of the connection. Bytes in, events out.

    After an AgiProtocolError the connection must be closed: what comes next cannot be understood.
    """

    __slots__ = ("_awaiting", "_buffer", "_limits", "_parser", "_silent", "_spent", "_usage_may_follow")

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._buffer = bytearray()
        self._silent = 0  # bytes of whole lines since the last event
        self._awaiting: Command | None = None
        self._usage_may_follow = False
        self._spent = False
        self._parser = self._parse()
        next(self._parser)

    def send(self, command: Command) -> bytes:
        """Return the line to write for *command*, whose reply must be received before the next one.

        Asterisk reads commands through a buffered stream but polls the socket, so a second command sent early is left
        lying there (facts of res_agi.c, run_agi); hence never two at once.
        """
        if self._awaiting is not None:
            raise RuntimeError(f"{command.words} was sent while {self._awaiting.words} awaits its reply")
        line = command.encode(self._limits.command_bytes)
        self._awaiting = command
        return line

    def receive_data(self, data: bytes) -> list[Event]:
        """Return the events completed by *data*; raise AgiProtocolError if it cannot be AGI."""
        if self._spent:
            raise AgiProtocolError("the conversation is over already")
        self._spent = True  # until these bytes have been understood
        self._buffer += data
        lines: list[bytearray] = []
        if b"\n" in data:
            *lines, self._buffer = self._buffer.split(b"\n")
        events: list[Event] = []
        for line in lines:
            self._check_length(line)
            # Channel text is usually UTF-8, but may be cut inside a character or come as Latin-1.
            event = self._parser.send(line.decode("utf-8", "replace"))
            self._silent += len(line) + 1
            if event is not None:
                events.append(event)
                self._silent = 0
            elif self._silent > self._limits.environment_bytes:
                raise AgiProtocolError(f"more than {self._limits.environment_bytes} bytes that come to no end")
        self._check_length(self._buffer)
        self._spent = False
        return events

    def _check_length(self, line: bytearray) -> None:
        if len(line) > self._limits.line_bytes:
            raise AgiProtocolError(f"a line of more than {self._limits.line_bytes} bytes")

    def _parse(self) -> Generator[Event | None, str, None]:
        """Take lines, give events: the whole grammar, in the order in which it comes over the wire."""
        event: Event | None = yield from self._environment()
        while True:
            line = yield event
            if line == "HANGUP":
                event = HungUp()
            elif line.startswith("520"):
                lines = yield from self._usage(line)
                event = self._settle_usage(lines)
            else:
                event = self._settle_reply(line)

    def _environment(self) -> Generator[None, str, Request]:
        most_lines = self._limits.environment_lines
        fields: dict[str, str] = {}
        rank = -1
        while line := (yield None):
            label, colon, value = line.partition(":")
            if not colon:
                raise AgiProtocolError("a line of the environment is no agi_ field")
            known = _FIELDS.get(label)
            if known is None:
                rank, name = _other_field(label, rank)
                if name in fields:
                    raise AgiProtocolError("an agi_ field is given twice")
            else:
                place, name = known
                if place <= rank:
                    raise AgiProtocolError(f"{label} is given twice or stands where it cannot")
                rank = place
            if len(fields) == most_lines:
                raise AgiProtocolError(f"an environment of more than {most_lines} lines")
            # One text for all sessions, of which ten thousand may be open: most values are the same in each.
            fields[name] = sys.intern(value.removeprefix(" "))
        missing = [name for name in _REQUIRED if name not in fields]
        if missing:
            raise AgiProtocolError(f"the environment lacks agi_{missing[0]}")
        return Request(fields)

    def _usage(self, line: str) -> Generator[None, str, tuple[str, ...]]:
        """Read a refusal: one line without usage text ("520 "), or a block ("520-") closed by a "520 " line."""
        if self._awaiting is None and not self._usage_may_follow:
            # Before its end, or else it would hide the rest of an environment whose end was forged.
            raise AgiProtocolError("a reply to no command")
        if line.startswith("520 "):
            return (line[4:],)
        if not line.startswith("520-"):
            raise AgiProtocolError("a reply that is none")
        lines: list[str] = []
        while not line.startswith("520 "):
            lines.append(line.removeprefix("520-"))
            line = yield None
        return tuple(lines)

    def _settle_usage(self, lines: tuple[str, ...]) -> Event | None:
        if self._usage_may_follow:
            # An application that returned 1 is answered twice: its result, then this (lines 3354 and 4265).
            self._usage_may_follow = False
            return None
        self._settle()
        return UsageError(lines)

    def _settle_reply(self, line: str) -> Event:
        match = _REPLY.fullmatch(line)
        if match is None:
            raise AgiProtocolError("a reply that is none")
        code, result, text = int(match[1]), match[2], match[3] or ""
        if code == 100:
            if self._awaiting is None:
                raise AgiProtocolError("a reply to no command")
            return Provisional()
        if code == 200 and result is None:
            raise AgiProtocolError("a reply without a result")
        if text.startswith("(") and ")" not in text:
            # A line feed in a value, which GET VARIABLE prints as it is: what follows is the caller's text.
            raise AgiProtocolError("a reply that goes on in the next line")
        command = self._settle()
        self._usage_may_follow = command.words == "EXEC" and result == "1"
        return Reply(code, result or "", text)

    def _settle(self) -> Command:
        command, self._awaiting = self._awaiting, None
        if command is None:
            raise AgiProtocolError("a reply to no command")
        return command


def _other_field(label: str, rank: int) -> tuple[int, str]:
    """Return place and name of an argument; for a field of a later Asterisk, which we do not read, *rank* as its place.

    Arguments come last and are numbered from 1 without a gap; raise AgiProtocolError where one stands elsewhere.
    """
    match = _OTHER_FIELD.fullmatch(label)
    if match is None:
        raise AgiProtocolError("a line of the environment is no agi_ field")
    name = match[1]
    if not name.startswith("arg_"):
        return rank, name
    place = max(rank + 1, _LAST_RANK)
    if rank < _LAST_RANK - 1 or name != f"arg_{place - _LAST_RANK + 1}":
        raise AgiProtocolError("an AGI argument stands where it cannot")
    return place, name


def _shown(name: str, value: str) -> str:
    """Return the value of a field without the secret that it may hold."""
    may_hold = name in ("network_script", "request") or name.startswith("arg_")
    return _SECRET.sub("", value) if may_hold else value


def _arguments(fields: Mapping[str, str]) -> dict[str, str]:
    """Return query and AGI arguments by name, percent-decoded; arguments without "=" are named "1", "2", …

    A plus sign stays one, because it begins a phone number far more often than it stands for a blank. A name given twice
    is refused: a caller's text in the address could otherwise override what the dialplan says.
    """
    pairs = [item.partition("=") for item in fields.get("network_script", "").partition("?")[2].split("&") if item]
    for rank in itertools.count(1):
        value = fields.get(f"arg_{rank}")
        if value is None:
            break
        pairs.append(value.partition("=") if "=" in value else (str(rank), "=", value))
    arguments: dict[str, str] = {}
    for name, _, value in pairs:
        if name in arguments:
            raise AgiProtocolError("an AGI argument is given twice")
        arguments[name] = unquote(value) if "%" in value else value
    return arguments
