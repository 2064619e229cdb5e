"""What can be asked of a PBX over its manager interface, each as a method.

`open_ami` logs in for a few questions, as a command does; the service keeps a `connection.Connection`, which offers the same.
Every method raises an AmiError where it did not come about, and UnsafeText where a text cannot be sent.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from agi_bridge.errors import NotAnswered
from agi_bridge.pbx import action
from agi_bridge.pbx.action import ChannelRow, Originated, Origination
from agi_bridge.pbx.link import open_link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from agi_bridge.config import PbxSettings
    from agi_bridge.pbx.action import Action, Message

# Why a call that was originated did not come about (enum ast_control_frame_type, include/asterisk/frame.h).
_WHY_NOT_ANSWERED = {
    "0": "refused, or there is nobody of that name",
    "1": "hung up",
    "3": "no answer",
    "5": "busy",
    "8": "congestion",
}


class Ask(Protocol):
    """Carries out an action and returns the whole answer; *on_begun* is told of the first part of one that has several."""

    async def __call__(self, action: Action, on_begun: Callable[[], None] = ...) -> Sequence[Message]: ...


class Ami:
    """The actions, carried out by *ask*."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def ping(self) -> None:
        """Ask for nothing but an answer."""
        await self._ask(action.PING)

    async def command(self, text: str) -> str:
        """Return what Asterisk's console prints for a command. Needs the class `command`."""
        return "\n".join((await self._ask(action.command(text)))[0].every("Output"))

    async def getvar(self, variable: str, channel: str = "") -> str:
        """Return the value of a variable or function, of a channel or of the whole PBX; "" where it is not set."""
        return (await self._ask(action.getvar(variable, channel)))[0]["Value"]

    async def setvar(self, channel: str, variable: str, value: str) -> None:
        """Set a variable of a channel."""
        await self._ask(action.setvar(channel, variable, value))

    async def redirect(self, channel: str, place: str) -> None:
        """Send a channel to a place in the dialplan, written `context,exten,priority`."""
        await self._ask(action.redirect(channel, place))

    async def hangup(self, channel: str, cause: int | None = None) -> None:
        """Hang up a channel."""
        await self._ask(action.hangup(channel, cause))

    async def core_show_channels(self) -> list[ChannelRow]:
        """Return all channels of the PBX."""
        said = await self._ask(action.CORE_SHOW_CHANNELS)
        return [action.channel_row(event) for event in said if event["Event"] == "CoreShowChannel"]

    async def originate(self, call: Origination, on_begun: Callable[[], None] = lambda: None) -> Originated:
        """Start a call, and return its channel once it was answered; raise NotAnswered where it was not.

        *on_begun* is told when Asterisk has taken the order.
        """
        told = (await self._ask(action.originate(call), on_begun))[-1]
        if told["Response"] != "Success":
            raise NotAnswered(f"{call.channel} did not answer: {_WHY_NOT_ANSWERED.get(told['Reason'], told['Reason'])}")
        return Originated(told["Channel"], told["Uniqueid"])


@asynccontextmanager
async def open_ami(settings: PbxSettings) -> AsyncIterator[Ami]:
    """Log in for a few questions; raise an AmiError."""
    async with open_link(settings) as link:
        yield Ami(link.ask)
