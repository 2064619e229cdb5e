"""AMI as values: typed actions that Asterisk can read in one way only, and what its messages mean.

Pure. An action becomes lines only if `Action` takes all of its texts: a line end in one of them would begin a header, or an
action, of its own. It does not know connections; `link.py` sends and receives. Line references are to main/manager.c of
Asterisk 22.10.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from agi_bridge.errors import AmiNonsense, AmiRejected, NoSuchChannel, NotPermitted, UnsafeText

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Asterisk discards an action with a longer line, and would discard one with more of them (inbuf of struct mansession_session,
# AST_MAX_MANHEADERS).
LONGEST_LINE_BYTES = 1_022
MOST_LINES = 100

_KEY = re.compile(r"[A-Za-z]+", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_]\w*(?:\([\w-]*\))?", re.ASCII)
_PLACE = re.compile(r"([^,\s]+),([^,\s]+),([^,\s]+)")

_NO_CHANNEL = ("no such channel", "channel does not exist", "channel not specified", "channel not existent")
_NOT_PERMITTED = "permission denied"


class Ending(Enum):
    """Which message is the last of an answer."""

    FIRST = auto()  # there is but one
    LIST = auto()  # the event that ends a list, unless an error came first
    ORIGINATED = auto()  # the event that tells what became of the call, unless an error came first


@dataclass(frozen=True, slots=True)
class Action:
    """One action: its name, and its headers in their order, of which a name may come again.

    *patience_seconds* is how much longer than any other action it may take, because it waits for a person.
    """

    name: str
    headers: tuple[tuple[str, str], ...] = ()
    ending: Ending = Ending.FIRST
    patience_seconds: float = 0.0

    def __post_init__(self) -> None:
        if len(self.headers) > MOST_LINES:
            raise UnsafeText(f"AMI action {self.name} has more than {MOST_LINES} headers")
        for key, value in (("Action", self.name), *self.headers):
            if not _KEY.fullmatch(key):
                raise UnsafeText(f"{key!r} is no header of an AMI action")
            if "\n" in value or "\r" in value or "\0" in value:
                raise UnsafeText(f"a line end or NUL cannot be sent over AMI, and {key} of {self.name} has one")
            try:
                size = len(f"{key}: {value}".encode())
            except UnicodeEncodeError:
                raise UnsafeText(f"{key} of {self.name} is no text that UTF-8 can carry") from None
            if size > LONGEST_LINE_BYTES:
                raise UnsafeText(
                    f"{key} of {self.name} makes a line of {size} bytes, the limit is {LONGEST_LINE_BYTES}"
                )


@dataclass(frozen=True, slots=True)
class Message:
    """What Asterisk said at once: each header's name in small letters, with every value that it came with."""

    headers: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, **headers: str) -> Message:
        """Return a message with one value a header."""
        return cls({name.lower(): (value,) for name, value in headers.items()})

    def __getitem__(self, name: str) -> str:
        """Return the value of a header, "" where there is none; raise AmiNonsense where there are several.

        Asterisk writes a caller's text as it came, so a second value may be the caller's own.
        """
        values = self.headers.get(name.lower(), ())
        if len(values) > 1:
            raise AmiNonsense(f"a message has {len(values)} headers {name}")
        return values[0] if values else ""

    def every(self, name: str) -> Sequence[str]:
        """Return all values of a header that may come more than once."""
        return self.headers.get(name.lower(), ())


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """One channel of `CoreShowChannels`. `bridge_id` is empty for a channel that is joined to none."""

    name: str
    uniqueid: str
    linkedid: str
    state: str
    bridge_id: str
    application: str
    context: str
    extension: str


@dataclass(frozen=True, slots=True)
class Origination:
    """A call to start from the PBX's side: who is dialled, and the place in the dialplan where an answer leads.

    `channel` is a dial string such as `PJSIP/100`; `place` is written `context,exten,priority`. `uniqueid` names the new
    channel beforehand, so that it can be followed from its first event on.
    """

    channel: str
    place: str
    caller_id: str = ""
    timeout_seconds: float = 30.0
    variables: Mapping[str, str] = field(default_factory=dict)
    uniqueid: str = ""


@dataclass(frozen=True, slots=True)
class Originated:
    """The channel of a call that was answered."""

    channel: str
    uniqueid: str


def login(user: str, secret: str, events: str, patience_seconds: float) -> Action:
    """Log in, and hear events of the classes that *events* names. Asterisk waits a second before it refuses."""
    headers = (("Username", user), ("Secret", secret), ("Events", events))
    return Action("Login", headers, patience_seconds=patience_seconds)


PING = Action("Ping")
CORE_SHOW_CHANNELS = Action("CoreShowChannels", ending=Ending.LIST)


def command(text: str) -> Action:
    """Run a command of Asterisk's console."""
    return Action("Command", (("Command", text),))


def getvar(variable: str, channel: str) -> Action:
    """Ask for a variable, or a function such as `CHANNEL(linkedid)`; of the whole PBX where *channel* is empty."""
    return Action("Getvar", (("Variable", variable), *_of(channel)))


def setvar(channel: str, variable: str, value: str) -> Action:
    """Set a variable of a channel."""
    return Action("Setvar", (*_of(channel, needed=True), ("Variable", _variable(variable)), ("Value", value)))


def redirect(channel: str, place: str) -> Action:
    """Send a channel to *place*, written `context,exten,priority`."""
    return Action("Redirect", (*_of(channel, needed=True), *_place(place)))


def hangup(channel: str, cause: int | None) -> Action:
    """Hang up a channel, with a hangup cause if one is given."""
    said = () if cause is None else (("Cause", str(cause)),)
    return Action("Hangup", (*_of(channel, needed=True), *said))


def originate(call: Origination) -> Action:
    """Start a call.

    Always with Async: the action would otherwise hold up every other one, and panoramisk would drop the connection over
    an answer that ends in "successfully queued".
    """
    named = (("ChannelId", call.uniqueid), ("CallerID", call.caller_id))
    return Action(
        "Originate",
        (
            *_of(call.channel, needed=True),
            *_place(call.place),
            ("Timeout", str(round(call.timeout_seconds * 1000))),
            ("Async", "true"),
            *((key, value) for key, value in named if value),
            *(("Variable", f"{_variable(name)}={_whole(name, value)}") for name, value in call.variables.items()),
        ),
        Ending.ORIGINATED,
        call.timeout_seconds,
    )


def refusal(action: Action, answer: Message) -> AmiRejected | None:
    """Return what *answer* objects to, or None where it is a success."""
    if answer["Event"] or answer["Response"] == "Success":
        return None
    why = "; ".join((*answer.every("Message"), *answer.every("Output"))) or "without a reason"
    kind = AmiRejected
    if any(words in why.lower() for words in _NO_CHANNEL):
        kind = NoSuchChannel
    elif _NOT_PERMITTED in why.lower():
        kind = NotPermitted
    return kind(f"Asterisk rejects {action.name}: {why}")


def channel_row(event: Message) -> ChannelRow:
    """Read one event of `CoreShowChannels`."""
    return ChannelRow(
        name=event["Channel"],
        uniqueid=event["Uniqueid"],
        linkedid=event["Linkedid"],
        state=event["ChannelStateDesc"],
        bridge_id=event["BridgeId"],
        application=event["Application"],
        context=event["Context"],
        extension=event["Exten"],
    )


def _of(channel: str, *, needed: bool = False) -> tuple[tuple[str, str], ...]:
    # Asterisk takes "/…/" for a pattern that fits any number of channels (action_hangup, line 2836).
    if channel.startswith("/") or (needed and not channel):
        raise UnsafeText(f"{channel!r} is no name of a channel")
    return (("Channel", channel),) if channel else ()


def _place(text: str) -> tuple[tuple[str, str], ...]:
    found = _PLACE.fullmatch(text)
    if not found:
        raise UnsafeText(f"{text!r} is no place in the dialplan, written context,exten,priority")
    return ("Context", found[1]), ("Exten", found[2]), ("Priority", found[3])


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise UnsafeText(f"{name!r} is no name of a channel variable")
    return name


def _whole(name: str, value: str) -> str:
    # Originate splits at commas, and quotes, brackets and backslashes change where (astman_get_variables_order).
    if set(value) & set(',"\\()[]'):
        raise UnsafeText(f"the value of {name} holds something that Originate would not take for text")
    return value
