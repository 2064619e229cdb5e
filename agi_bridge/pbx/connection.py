"""One PBX for as long as it is configured: keeps a link to its manager interface up, and follows our calls there.

A shell. Whatever happens to the link, it is made again: soon at first, then ever more seldom, and never in step with other
bridges. Nothing here is awaited by a call. What can be asked of the PBX is in `ami`; without a link it is refused at once.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from agi_bridge.errors import (
    AmiBusy,
    AmiError,
    AmiNonsense,
    AmiRefused,
    AmiRejected,
    AmiTimeout,
    AmiUnreachable,
    NotAnswered,
    UnsafeText,
)
from agi_bridge.pbx.ami import Ami
from agi_bridge.pbx.channels import Channels
from agi_bridge.pbx.link import open_link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agi_bridge.config import PbxSettings
    from agi_bridge.pbx.action import Action, Message, Originated, Origination
    from agi_bridge.pbx.channels import FollowedCall
    from agi_bridge.pbx.link import Link

log = structlog.get_logger(__name__)

# A message in doubt has the PBX asked for its channels; whoever can send such messages must not choose how often.
_BETWEEN_DOUBTS_SECONDS = 10.0

_HANGUP_EVENT_SECONDS = 1.0

_WORDS = {
    AmiUnreachable: "unreachable",
    AmiRefused: "refused",
    AmiTimeout: "timeout",
    AmiBusy: "busy",
    AmiNonsense: "nonsense",
    AmiRejected: "rejected",
}


class Connection:
    """The link to one PBX while `run` runs, and the channels of our calls there."""

    def __init__(
        self,
        settings: PbxSettings,
        clock: Callable[[], float],
        on_over: Callable[[FollowedCall], None] = lambda call: None,
    ) -> None:
        self.settings = settings
        self.channels = Channels(settings.ami_channel_limit, self._over)
        self.ami = Ami(self._ask)
        self.logins = 0
        self.failures = Counter[str]()
        self.actions = Counter[tuple[str, str]]()
        self._on_over = on_over
        self._ends: dict[str, asyncio.Future[FollowedCall]] = {}  # that are waited for, by bridge_call_id
        self._left_out = 0  # by links that are gone
        self._clock = clock
        self._link: Link | None = None
        self._why_not = "not connected yet"
        self._told = ""
        self._changed = asyncio.Event()
        self._doubtful = False

    @property
    def connected(self) -> bool:
        """Return whether we are logged in."""
        return self._link is not None and not self._link.lost.is_set()

    @property
    def left_out(self) -> int:
        """Return how many messages were left out, because they could not be read or trusted."""
        return self._left_out + (self._link.left_out if self._link else 0)

    def reconfigure(self, settings: PbxSettings) -> None:
        """Take other settings, and connect anew with them; the calls that are followed stay."""
        self.settings = settings
        self.channels.limit = settings.ami_channel_limit
        self._told = ""
        self._changed.set()
        if self._link is not None:
            self._link.end("it has other settings now")

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        failed = 0
        while True:
            self._changed.clear()
            began = self._clock()
            try:
                await self._stay_connected()
            except AmiError as error:
                if self._changed.is_set():
                    continue
                seconds = self._note(error, failed)
            except Exception:
                # Without this task the PBX would stay unwatched for as long as the bridge runs.
                log.exception("the connection to a PBX failed unexpectedly", pbx=self.settings.name)
                self.failures["unexpected"] += 1
                seconds = self.settings.ami_reconnect_limit_seconds
            else:
                continue
            held = self._clock() - began > self.settings.ami_reconnect_limit_seconds
            failed = 0 if held else failed + 1
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()

    async def originate(
        self, bridge_call_id: str, call: Origination, on_begun: Callable[[], None] = lambda: None
    ) -> Originated:
        """Start a call and follow it from its first event on; return its channel once it was answered.

        Raises NotAnswered with the hangup cause where it was not, and an AmiError where it could not be started or nobody knows.
        """
        end = self._ends[bridge_call_id] = asyncio.get_running_loop().create_future()
        self.channels.follow(bridge_call_id, "", call.uniqueid)
        try:
            return await self.ami.originate(call, on_begun)
        except NotAnswered as error:
            # Asterisk sends the event of the hang-up and the answer to Originate each on its own way.
            with suppress(TimeoutError):
                async with asyncio.timeout(_HANGUP_EVENT_SECONDS):
                    gone = (await end).channels
                    error.hangup_cause = next(
                        (each.hangup_cause for each in gone if each.uniqueid == call.uniqueid), None
                    )
            self.channels.drop(bridge_call_id)
            raise
        except (AmiError, UnsafeText) as error:
            if not getattr(error, "may_be_done", False):
                self.channels.drop(bridge_call_id)
            raise
        finally:
            del self._ends[bridge_call_id]

    def _over(self, call: FollowedCall) -> None:
        end = self._ends.get(call.bridge_call_id)
        if end is not None and not end.done():
            end.set_result(call)
        self._on_over(call)

    async def _stay_connected(self) -> None:
        """Connect, and watch the link until there are other settings; raise the AmiError that ends it."""
        settings = self.settings
        async with open_link(settings, self._hear, self.channels.concerns, self._doubt) as link:
            self._link = link
            self.logins += 1
            self._told = ""
            log.info("connected to a PBX", pbx=settings.name, address=str(settings.ami_address))
            try:
                await self._watch(link, settings)
            finally:
                self._why_not = link.why_lost or "the connection was given up"
                self._left_out += link.left_out
                self._link = None

    async def _watch(self, link: Link, settings: PbxSettings) -> None:
        """Ping, and compare our channels with those of the PBX, at once and from time to time."""
        listed = await self._resync()
        while not self._changed.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.ami_ping_seconds):
                    await link.lost.wait()
            if link.lost.is_set():
                raise AmiUnreachable(f"{link.where}: {link.why_lost}", sent=True)
            await self.ami.ping()
            every = _BETWEEN_DOUBTS_SECONDS if self._doubtful else settings.ami_resync_seconds
            if self._clock() >= listed + every:
                listed = await self._resync()

    async def _resync(self) -> float:
        """Compare our channels with those of the PBX; return when that was."""
        asked_at = self._clock()
        self._doubtful = False
        self.channels.begin_list()
        try:
            rows = await self.ami.core_show_channels()
            self.channels.take_list(rows, complete=not self._doubtful)
        except AmiRejected as error:
            self._tell("a PBX does not tell its channels", str(error))
        finally:
            self.channels.drop_list()
        return asked_at

    async def _ask(self, action: Action, on_begun: Callable[[], None] = lambda: None) -> Sequence[Message]:
        link, result = self._link, "done"
        try:
            if link is None:
                raise AmiUnreachable(f"{self.settings.name}: {self._why_not}")
            return await link.ask(action, on_begun)
        except (AmiError, UnsafeText) as error:
            result = _word(error)
            raise
        except asyncio.CancelledError:
            result = "given-up"
            raise
        finally:
            self.actions[action.name, result] += 1

    def _note(self, error: AmiError, failed: int) -> float:
        """Note why there is no link, tell it where that is news, and return how long to wait before the next attempt."""
        settings = self.settings
        self._why_not = str(error)
        self.failures[_word(error)] += 1
        self._tell("no connection to a PBX", str(error))
        if isinstance(error, AmiRefused):
            # A PBX may lock out whoever tries a wrong password too often.
            return _jittered(settings.ami_login_retry_seconds)
        # The exponent is bounded, because an outage of days would make a number that no float can hold.
        grown = settings.ami_reconnect_seconds * 2.0 ** min(failed, 30)
        return _jittered(min(grown, settings.ami_reconnect_limit_seconds))

    def _tell(self, event: str, why: str) -> None:
        """Write a line, unless it was the latest one."""
        if why != self._told:
            self._told = why
            log.warning(event, pbx=self.settings.name, why=why)

    def _hear(self, event: Message) -> None:
        # After a message in doubt, the PBX's own list is the next thing that is believed.
        if not self._doubtful:
            self.channels.hear(event)

    def _doubt(self) -> None:
        self._doubtful = True


def _word(error: Exception) -> str:
    """Return the word by which an error is counted."""
    return next((word for kind, word in _WORDS.items() if isinstance(error, kind)), "unsafe")


def _jittered(seconds: float) -> float:
    """Return between half of *seconds* and all of it: bridges that lost one PBX together must not come back together."""
    return random.uniform(seconds / 2, seconds)  # noqa: S311 - nobody gains by guessing it
