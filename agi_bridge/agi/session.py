"""One conversation with Asterisk over a socket: commands out, replies in, and the caller's hang-up at any moment.

A reader is always on the socket (`server.py` feeds it), so a hang-up or a closed connection ends whatever the call is
waiting for, be it Asterisk or Millis. It does not know what the call is about; `bridge.py` does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from agi_bridge.agi.protocol import (
    AgiConnection,
    Command,
    HungUp,
    Reply,
    Request,
    UsageError,
    assign,
    execute,
    get_full_variable,
)
from agi_bridge.errors import AgiError, AgiRefused, AgiTimeout, CallerHungUp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from agi_bridge.agi.protocol import Event

# A line that begins so makes Asterisk set AGISTATUS=FAILURE and go on in the dialplan (res_agi.c:4442).
FAILURE_LINE = b"FAILURE\n"


class AgiSession:
    """The conversation that carries one call, from its request until either side closes.

    Made by the server for each request; used by one task. At most one command is outstanding. All commands together have
    *setup_timeout_seconds*, but for the time that an application runs.
    """

    __slots__ = (
        "_begun",
        "_connection",
        "_ended_by",
        "_pending",
        "_setup_timeout_seconds",
        "_timer",
        "_transport",
        "_waiting",
        "executing",
        "hung_up",
        "peer",
        "request",
    )

    def __init__(
        self,
        request: Request,
        peer: str,
        connection: AgiConnection,
        transport: asyncio.Transport,
        setup_timeout_seconds: float,
    ) -> None:
        self.request = request
        self.peer = peer
        self.hung_up = False
        self.executing = False
        self._connection = connection
        self._transport = transport
        self._pending: asyncio.Future[Reply | UsageError] | None = None
        self._begun: asyncio.Future[Reply | UsageError] | None = None
        self._waiting: CallerWaiting | None = None
        self._ended_by: AgiError | None = None
        self._setup_timeout_seconds = setup_timeout_seconds
        self._timer = self._start_timer()

    def begin_set_variables(self, variables: Mapping[str, str]) -> None:
        """Send the setting of channel variables; the next command first awaits it, and raises AgiRefused if it failed."""
        self._begun = self._send(assign(variables))

    async def set_variables(self, variables: Mapping[str, str]) -> None:
        """Set channel variables, in their order; raise AgiRefused where Asterisk says that it did not."""
        _check_assigned(await self._ask(assign(variables)))

    async def get_full_variable(self, expression: str) -> str | None:
        """Return what *expression* evaluates to on the channel, or None for nothing."""
        reply = await self._ask(get_full_variable(expression))
        return reply.value if reply.result == "1" else None

    async def execute(self, application: str, argument: str) -> str:
        """Run a dialplan application and return its result once it has ended, which for Dial may be hours away."""
        self._timer.cancel()
        self.executing = True
        try:
            return (await self._ask(execute(application, argument))).result
        finally:
            self.executing = False
            if self._ended_by is None:
                self._timer = self._start_timer()

    def caller_waiting(self) -> CallerWaiting:
        """Return a context in which a hang-up or a lost connection interrupts the task with the matching AgiError."""
        return CallerWaiting(self)

    @property
    def dialling(self) -> bool:
        """Return whether Asterisk merely carries out an application, and no caller waits for us."""
        return self.executing and self._waiting is None

    def fail(self) -> None:
        """Tell Asterisk that the AGI failed, and close: for when not even a variable can be set."""
        if not self._transport.is_closing():
            self._transport.write(FAILURE_LINE)
        self.close()

    def close(self) -> None:
        """End the conversation; the dialplan goes on."""
        self._timer.cancel()
        self._transport.close()

    def receive(self, event: Event) -> None:
        """Take what Asterisk sent (called by the server)."""
        if isinstance(event, Reply | UsageError):
            if self._pending is not None and not self._pending.done():
                self._pending.set_result(event)
        elif isinstance(event, HungUp):
            self.hung_up = True
            if self._waiting is not None:
                self._waiting.interrupt(CallerHungUp("the caller hung up, or the PBX took the call elsewhere"))

    def lose(self, error: AgiError) -> None:
        """End every present and future wait with *error*, the first one given: the connection is of no further use."""
        self._timer.cancel()
        if self._ended_by is not None:
            return
        if self.hung_up:
            error = CallerHungUp("the caller hung up, and Asterisk left")
        self._ended_by = error
        if self._waiting is not None:
            self._waiting.interrupt(error)
        elif self._pending is not None and not self._pending.done():
            self._pending.set_exception(error)
            self._pending.exception()  # now it counts as seen: nobody may be waiting for what was only begun

    def _start_timer(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._setup_timeout_seconds, self._time_out)

    def _time_out(self) -> None:
        self.lose(AgiTimeout(f"the conversation took longer than {self._setup_timeout_seconds} s"))

    async def _ask(self, command: Command) -> Reply:
        if self._begun is not None:
            begun, self._begun = self._begun, None
            _check_assigned(_checked(await begun, "EXEC"))
        return _checked(await self._send(command), command.words)

    def _send(self, command: Command) -> asyncio.Future[Reply | UsageError]:
        if self._ended_by is not None:
            raise self._ended_by
        line = self._connection.send(command)
        self._pending = asyncio.get_running_loop().create_future()
        self._transport.write(line)
        return self._pending


def _checked(answer: Reply | UsageError, words: str) -> Reply:
    if isinstance(answer, UsageError):
        raise AgiRefused(f"Asterisk refused the syntax of {words}")
    if answer.code != 200:
        raise AgiRefused(f"Asterisk answered {words} with {answer.code} {answer.text}")
    return answer


def _check_assigned(reply: Reply) -> None:
    # MSet returns 0; anything else means that it did not run (res_agi.c:3354).
    if reply.result != "0":
        raise AgiRefused(f"MSet ended with {reply.result}")


class CallerWaiting:
    """While it is entered, the task works for a caller who waits; see `AgiSession.caller_waiting`.

    The same bookkeeping as `asyncio.timeout`: the task is cancelled, and the cancellation becomes an error here.
    """

    __slots__ = ("_cancelling", "_error", "_session", "_task")

    def __init__(self, session: AgiSession) -> None:
        self._session = session
        self._error: AgiError | None = None

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - an async context cannot be entered outside a task
        if self._session.hung_up:
            raise CallerHungUp("the caller had hung up already")
        if self._session._ended_by is not None:
            raise self._session._ended_by
        self._task = task
        self._cancelling = task.cancelling()
        self._session._waiting = self
        return self

    def interrupt(self, error: AgiError) -> None:
        """Make the task leave this context with *error*; the first one counts."""
        if self._error is None:
            self._error = error
            self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session._waiting = None
        if self._error is None:
            return
        if self._task.uncancel() <= self._cancelling and (kind is None or issubclass(kind, asyncio.CancelledError)):
            raise self._error from error
