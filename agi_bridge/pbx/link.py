"""One connection to a PBX's manager interface, logged in: from `open_link` until either side closes. It never comes back.

A shell around panoramisk, whose types stop here, and whose habits are kept out: it would reconnect behind our back, send
again what was never answered, ping without looking for an answer, drop the connection over what it cannot read, lose signs
that arrive in two pieces, and gather without end. Each guard says which. `connection.py` decides when there is a link.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
from panoramisk import Manager  # type: ignore[import-untyped]  # it ships no types
from panoramisk.actions import Action as PanoramiskAction  # type: ignore[import-untyped]
from panoramisk.ami_protocol import AMIProtocol  # type: ignore[import-untyped]

from agi_bridge.errors import AmiBusy, AmiNonsense, AmiRefused, AmiRejected, AmiTimeout, AmiUnreachable
from agi_bridge.pbx.action import Action, Ending, Message, login, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from agi_bridge.config import PbxSettings

log = structlog.get_logger(__name__)

# The class of events that tell of channels; with it comes also what became of an originated call.
EVENTS = "call"

_BANNER = b"Asterisk Call Manager/"
_LONGEST_BANNER_BYTES = 100
_END = b"\r\n\r\n"

# What we decide by. Asterisk writes a caller's text as it came, so one of these may stand in a message twice; panoramisk
# would keep the last of those that differ in case.
_DECISIVE = re.compile(
    rb"^(event|response|actionid|channel|channelstatedesc|newname|uniqueid|linkedid|bridgeid|bridgeuniqueid|cause"
    rb"|context|exten|application):",
    re.IGNORECASE | re.MULTILINE,
)

_ACTION_ID = re.compile(rb"\r\nActionID: ([^\r\n]+)")


class Link:
    """A connection that is logged in. `lost` is set when it is over, and `why_lost` says why."""

    def __init__(
        self,
        settings: PbxSettings,
        on_event: Callable[[Message], None],
        wanted: Callable[[bytes], bool],
        on_doubt: Callable[[], None],
    ) -> None:
        self.lost = asyncio.Event()
        self.why_lost = ""
        self.where = f"{settings.name} at {settings.ami_address}"
        self._settings = settings
        self._manager = _Manager(lambda event: on_event(_message(event)))
        self._protocol = _Protocol(self._manager, settings, wanted, on_doubt, self.end)
        self._awaited: set[asyncio.Future[None]] = set()

    @property
    def left_out(self) -> int:
        """Return how many messages were left out, because they could not be read or trusted."""
        return self._protocol.left_out

    async def ask(self, action: Action, on_begun: Callable[[], None] = lambda: None) -> Sequence[Message]:
        """Carry out an action and return the whole answer; raise an AmiError where it is not a success.

        Where the answer has several parts, *on_begun* is told of the first, unless that is a refusal.
        """
        if self.lost.is_set():
            raise AmiUnreachable(f"{self.where}: {self.why_lost}")
        if len(self._awaited) >= self._settings.ami_action_limit:
            raise AmiBusy(f"{self.where}: {len(self._awaited)} actions are under way, which is ami_action_limit")
        seconds = self._settings.ami_action_timeout_seconds + action.patience_seconds
        question = _Question(action, self._settings.ami_channel_limit, on_begun)
        self._awaited.add(question.future)
        try:
            async with asyncio.timeout(seconds):
                self._manager.send_action(question)
                await question.future
        except TimeoutError:
            raise AmiTimeout(f"{self.where}: no answer to {action.name} within {seconds:g} s") from None
        finally:
            self._awaited.discard(question.future)
            # panoramisk keeps for ever what is never answered.
            self._protocol.responses.pop(question.id, None)
        rejected = refusal(action, question.said[-1])
        if rejected:
            raise rejected
        return question.said

    async def open(self) -> None:
        """Connect, wait for the banner and log in; raise an AmiError, TimeoutError or OSError."""
        settings = self._settings
        await asyncio.get_running_loop().create_connection(
            lambda: self._protocol, settings.ami_host, settings.ami_port, ssl=_tls(settings)
        )
        await self._protocol.greeted
        try:
            secret = settings.secret.get_secret_value()
            await self.ask(login(settings.ami_user, secret, EVENTS, settings.ami_connect_timeout_seconds))
        except AmiRejected as error:
            raise AmiRefused(
                f"{self.where} does not let {settings.ami_user} in: {error}; compare ami_user and the secret with its"
                " manager.conf, and permit there with the address of this machine"
            ) from None

    async def close(self, why: str = "closed") -> None:
        """Close at once; whoever still waits for an answer gets AmiUnreachable."""
        self.end(why)
        await self._protocol.abort()

    def end(self, why: str) -> None:
        """Note that it is over, once; panoramisk would leave those who wait for an answer waiting for ever."""
        if self.lost.is_set():
            return
        self.why_lost = why
        self.lost.set()
        for future in self._awaited:
            if not future.done():
                future.set_exception(AmiUnreachable(f"{self.where}: {why}", sent=True))


class _Manager(Manager):  # type: ignore[misc]  # it ships no types
    """panoramisk's Manager for one connection: it starts no timer, and hands every event to one function."""

    def __init__(self, on_event: Callable[[Any], None]) -> None:
        super().__init__()
        self._on_event = on_event

    def dispatch(self, event: Any) -> None:
        # panoramisk's own matches every event against every pattern, and lets tasks go.
        self._on_event(event)

    def connection_lost(self, exc: object) -> None:
        """Do nothing, where panoramisk's own would reconnect, also after close()."""


class _Protocol(AMIProtocol):  # type: ignore[misc]  # it ships no types
    """panoramisk's protocol behind a frame: it is given whole messages only, and of those only what somebody waits for."""

    def __init__(
        self,
        manager: _Manager,
        settings: PbxSettings,
        wanted: Callable[[bytes], bool],
        on_doubt: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.left_out = 0
        self._gone: asyncio.Future[None] | None = None
        self._manager = manager
        self._pbx = settings.name
        self._limit = settings.ami_message_limit_bytes
        self._wanted = wanted
        self._on_doubt = on_doubt
        self._on_lost = on_lost
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.factory = self._manager
        self.encoding = "utf-8"
        self._manager.protocol = self
        self._gone = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Cut what comes into messages.

        panoramisk would decode each chunk by itself, and search a message that never ends anew with each of them.
        """
        self._rest += data
        if not self.greeted.done():
            self._read_banner()
        if not self.greeted.done() or self.greeted.exception():
            return
        *messages, self._rest = self._rest.split(_END)
        for message in messages:
            self._read(message.strip())
        if len(self._rest) > self._limit:
            self._give_up(f"a message has more than {self._limit} bytes, which is ami_message_limit_bytes")

    def connection_lost(self, exc: object) -> None:
        super().connection_lost(exc)
        # What was not answered must not be sent again to a PBX that has moved on.
        self._manager.awaiting_actions.clear()
        why = _why_lost(exc)
        if not self.greeted.done():
            self.greeted.set_exception(AmiUnreachable(f"{self._pbx}: {why}"))
        self._on_lost(why)
        if self._gone and not self._gone.done():
            self._gone.set_result(None)

    async def abort(self) -> None:
        """Close, if there is anything to close, and wait until it is."""
        self.greeted.cancel()
        if self._gone is not None:
            self.transport.abort()
            await self._gone

    def _read_banner(self) -> None:
        banner, end, rest = self._rest.partition(b"\r\n")
        if end and banner.startswith(_BANNER):
            self._rest = rest
            self.greeted.set_result(None)
        elif end or len(banner) > _LONGEST_BANNER_BYTES or not _BANNER.startswith(banner[: len(_BANNER)]):
            said = banner[:_LONGEST_BANNER_BYTES].decode("ascii", "replace")
            self.greeted.set_exception(AmiNonsense(f"what answers for {self._pbx} is no manager interface: {said!r}"))

    def _read(self, message: bytes) -> None:
        """Hand a message to panoramisk, if somebody waits for it and nobody but Asterisk can have written it."""
        try:
            if _is_torn(message):
                raise AmiNonsense("it ends before what Asterisk writes last")
            if message.startswith(b"Event: "):
                if b"\r\nActionID: " not in message and not self._wanted(message):
                    return
            elif not message.startswith(b"Response: "):
                raise AmiNonsense("it is neither an event nor a response")
            names = [name.lower() for name in _DECISIVE.findall(message)]
            if len(set(names)) < len(names):
                raise AmiNonsense("a header stands in it twice")
            super().data_received(message + _END)
        except Exception as error:
            # panoramisk would let it pass into the event loop, which drops the connection.
            self._leave_out(message, f"{type(error).__name__}: {error}")

    def _leave_out(self, message: bytes, why: str) -> None:
        """Count a message that is not to be used. Whoever waits for it as an answer is told; a row of a list may be missed."""
        self.left_out += 1
        if self.left_out == 1:
            log.warning("a message of a PBX was left out", pbx=self._pbx, why=why)
        found = message.startswith(b"Response: ") and _ACTION_ID.search(message)
        question = self.responses.get(found[1].decode("ascii", "replace")) if found else None
        if isinstance(question, _Question) and not question.future.done():
            question.future.set_exception(AmiNonsense(f"the answer of {self._pbx} cannot be used: {why}"))
        self._on_doubt()

    def _give_up(self, why: str) -> None:
        self._on_lost(why)
        self.transport.abort()


class _Question(PanoramiskAction):  # type: ignore[misc]  # it ships no types
    """An action that is waiting for its answer; decides which message is the last, where panoramisk guesses from texts."""

    def __init__(self, action: Action, limit: int, on_begun: Callable[[], None]) -> None:
        headers: dict[str, Any] = {"Action": action.name}
        for key, value in action.headers:
            headers.setdefault(key, []).append(value)
        super().__init__(headers)
        self.said: list[Message] = []
        self._ending = action.ending
        self._limit = limit
        self._on_begun = on_begun

    def add_message(self, message: Any) -> bool:
        said = _message(message)
        self.said.append(said)
        if self.future.done():
            return True
        if len(self.said) > self._limit:
            self.future.set_exception(
                AmiNonsense(f"the answer has more than {self._limit} parts, which is ami_channel_limit")
            )
        elif self._is_last(said):
            self.future.set_result(None)
        elif len(self.said) == 1:
            self._on_begun()
        return bool(self.future.done())

    def _is_last(self, said: Message) -> bool:
        event = said["Event"]
        if not event and said["Response"] != "Success":
            return True
        if self._ending is Ending.LIST:
            return event.endswith("Complete") or said["EventList"] == "Complete"
        if self._ending is Ending.ORIGINATED:
            return event == "OriginateResponse"
        return True


def _is_torn(message: bytes) -> bool:
    """Return whether a text within a message has ended it early; what follows may then be somebody else's work.

    Asterisk writes numbers, accounts and extensions as they came, all before the ids of the same channel; and in its list
    of channels, the arguments of applications before the bridge.
    """
    if message.startswith(b"Event: CoreShowChannel\r\n"):
        return b"\r\nBridgeId:" not in message
    number = message.rfind(b"CallerIDNum: ")
    return number > message.rfind(b"Linkedid: ") and not message.startswith(b"Event: OriginateResponse\r\n")


def _message(theirs: Any) -> Message:
    return Message(
        {name.lower(): tuple(value) if isinstance(value, list) else (value,) for name, value in theirs.items()}
    )


def _why_lost(exc: object) -> str:
    if isinstance(exc, OSError):
        return f"the connection broke: {exc.strerror or exc}"
    return "Asterisk shuts down" if exc is not None else "Asterisk closed the connection"


def _tls(settings: PbxSettings) -> ssl.SSLContext | None:
    if not settings.ami_tls:
        return None
    try:
        return ssl.create_default_context(cadata=settings.authority or None)
    except ssl.SSLError as error:
        raise AmiUnreachable(f"{settings.name}: ami_ca_file holds no certificate that can be read: {error}") from None


@asynccontextmanager
async def open_link(
    settings: PbxSettings,
    on_event: Callable[[Message], None] = lambda event: None,
    wanted: Callable[[bytes], bool] = lambda message: False,
    on_doubt: Callable[[], None] = lambda: None,
) -> AsyncIterator[Link]:
    """Connect and log in within one time limit; raise an AmiError. The link is closed when the context is left.

    *wanted* is shown each event as it came, in bytes, and *on_event* is given those that it wants. *on_doubt* is told when
    a message was left out, because it could not be read, or because a text within it may have become a header.
    """
    link = Link(settings, on_event, wanted, on_doubt)
    seconds = settings.ami_connect_timeout_seconds
    try:
        try:
            async with asyncio.timeout(seconds):
                await link.open()
        except TimeoutError:
            raise AmiUnreachable(f"{link.where}: no login within {seconds:g} s") from None
        except OSError as error:
            raise AmiUnreachable(f"{link.where}: {_reason(error)}") from error
        yield link
    finally:
        await link.close()


def _reason(error: OSError) -> str:
    """Return why no connection could be made, in the system's words; those of asyncio repeat the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError | socket.gaierror) or not error.errno:
        return str(error.strerror or error)
    return os.strerror(error.errno)
