"""Which channels our calls have in a PBX, and how they are, as its manager events tell.

Pure: messages in, values out. Only what belongs to a call that the bridge was asked about is kept: the caller's channel by its
uniqueid, and every other one by the linkedid that all channels of a call share. It does not know connections;
`connection.py` feeds it, and compares it with the PBX's own list when events may have been lost.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agi_bridge.pbx.action import ChannelRow, Message

# Of the class "call", whose other events say nothing that is kept here.
_TELLING = re.compile(rb"Event: (?:Newchannel|Newstate|Rename|BridgeEnter|BridgeLeave|Hangup)\r\n")

# A queue may ring a hundred phones for an hour, and each time with new channels.
_HUNG_UP_KEPT = 20

# A channel takes over the linkedid of an older one that it is joined with.
_MOST_LINKEDIDS = 8


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a call. `state` is Asterisk's word, such as `Ring` or `Up`, "" until it was heard.

    `bridge_id` is empty while the channel is joined to no other. `hung_up` is true once it is gone; `hangup_cause` is None
    until then, and where nobody heard it go.
    """

    name: str
    uniqueid: str
    linkedid: str
    state: str = ""
    bridge_id: str = ""
    hung_up: bool = False
    hangup_cause: int | None = None


@dataclass(frozen=True, slots=True)
class FollowedCall:
    """A call at one moment: the caller's channel has its `uniqueid`. Those that are hung up come first, of them the latest."""

    bridge_call_id: str
    uniqueid: str
    channels: tuple[Channel, ...]

    @property
    def caller(self) -> Channel | None:
        """Return the caller's channel, None where it left long ago."""
        return next((channel for channel in self.channels if channel.uniqueid == self.uniqueid), None)

    @property
    def up(self) -> tuple[Channel, ...]:
        """Return the channels that are not hung up."""
        return tuple(channel for channel in self.channels if not channel.hung_up)


@dataclass(slots=True)
class _Call:
    bridge_call_id: str
    uniqueid: str
    linkedids: list[str] = field(default_factory=list)
    up: dict[str, Channel] = field(default_factory=dict)
    hung_up: deque[Channel] = field(default_factory=lambda: deque(maxlen=_HUNG_UP_KEPT))

    def view(self) -> FollowedCall:
        return FollowedCall(self.bridge_call_id, self.uniqueid, (*self.hung_up, *self.up.values()))


class Channels:
    """The channels of our calls in one PBX: at most *limit*, beyond which the call known longest is forgotten.

    *on_over* is told of each call whose last channel was hung up.
    """

    def __init__(self, limit: int, on_over: Callable[[FollowedCall], None] = lambda call: None) -> None:
        self.limit = limit
        self.forgotten = 0
        self._on_over = on_over
        self._calls: dict[str, _Call] = {}  # by bridge_call_id
        self._by_uniqueid: dict[str, _Call] = {}
        self._by_linkedid: dict[str, _Call] = {}
        # While a list is under way: what was heard meanwhile is newer than the list.
        self._before_list: set[str] | None = None
        self._heard_since: set[str] = set()

    @property
    def up(self) -> int:
        """Return how many channels are followed."""
        return len(self._by_uniqueid)

    @property
    def calls(self) -> int:
        """Return how many calls are followed."""
        return len(self._calls)

    def call(self, bridge_call_id: str) -> FollowedCall | None:
        """Return a call as it is now, None where it is over or was never followed."""
        call = self._calls.get(bridge_call_id)
        return None if call is None else call.view()

    def every_call(self) -> list[FollowedCall]:
        """Return all calls as they are now."""
        return [call.view() for call in self._calls.values()]

    def follow(self, bridge_call_id: str, channel: str, uniqueid: str, linkedid: str = "") -> None:
        """Follow a call from now on, or learn its linkedid; a channel that comes a second time begins another call."""
        if not (bridge_call_id and uniqueid):
            return
        call = self._calls.get(bridge_call_id)
        if call is None or call.uniqueid != uniqueid:
            if call is not None:
                self._forget(call)
            earlier = self._by_uniqueid.get(uniqueid)
            if earlier is not None and earlier.uniqueid == uniqueid:
                self._forget(earlier)
            call = self._calls[bridge_call_id] = _Call(bridge_call_id, uniqueid)
            self._put(call, Channel(channel, uniqueid, linkedid or uniqueid))
        self._link(call, linkedid or uniqueid)

    def drop(self, bridge_call_id: str) -> None:
        """Follow a call no longer that has not come about."""
        call = self._calls.get(bridge_call_id)
        if call is not None:
            self._forget(call)

    def concerns(self, message: bytes) -> bool:
        """Return whether an event, as it came, is about a channel of ours. A flood of others costs no more than this.

        The last header of a name is the genuine one: what a caller decides, such as the number, comes before it.
        """
        return _TELLING.match(message) is not None and (
            _last(message, b"\r\nUniqueid: ") in self._by_uniqueid
            or _last(message, b"\r\nLinkedid: ") in self._by_linkedid
        )

    def hear(self, event: Message) -> None:
        """Take an event that `concerns` us; raise AmiNonsense where it says a thing twice."""
        uniqueid, linkedid = event["Uniqueid"], event["Linkedid"]
        call = self._by_uniqueid.get(uniqueid) or self._by_linkedid.get(linkedid)
        if call is None or not uniqueid:
            return
        if self._before_list is not None:
            self._heard_since.add(uniqueid)
        channel = call.up.get(uniqueid) or Channel(event["Channel"], uniqueid, linkedid)
        channel = replace(
            channel,
            # A call that we have asked for is followed before its channel has a name.
            name=channel.name or event["Channel"],
            linkedid=linkedid or channel.linkedid,
            state=event["ChannelStateDesc"] or channel.state,
        )
        match event["Event"]:
            case "Hangup":
                self._hang_up(call, channel, _cause(event["Cause"]))
                return
            case "BridgeEnter":
                channel = replace(channel, bridge_id=event["BridgeUniqueid"])
            case "BridgeLeave" if channel.bridge_id == event["BridgeUniqueid"]:
                channel = replace(channel, bridge_id="")
            case "Rename":
                channel = replace(channel, name=event["Newname"] or channel.name)
        self._put(call, channel)
        self._link(call, channel.linkedid)

    def begin_list(self) -> None:
        """Note that the PBX is asked for its channels now: those that it then leaves out are gone."""
        self._before_list = set(self._by_uniqueid)
        self._heard_since.clear()

    def drop_list(self) -> None:
        """Note that the PBX gave no list."""
        self._before_list = None

    def take_list(self, rows: Iterable[ChannelRow], *, complete: bool = True) -> None:
        """Take the PBX's list of its channels, for what no event has told; where it is not *complete*, nothing is gone."""
        missing, self._before_list = self._before_list or set(), None
        for row in rows:
            call = self._by_uniqueid.get(row.uniqueid) or self._by_linkedid.get(row.linkedid)
            missing.discard(row.uniqueid)
            if call is not None and row.uniqueid and row.uniqueid not in self._heard_since:
                self._put(call, Channel(row.name, row.uniqueid, row.linkedid, row.state, row.bridge_id))
                self._link(call, row.linkedid)
        gone = (missing & self._by_uniqueid.keys()) - self._heard_since if complete else ()
        for uniqueid in gone:
            call = self._by_uniqueid[uniqueid]
            self._hang_up(call, call.up[uniqueid], None)

    def _put(self, call: _Call, channel: Channel) -> None:
        if channel.uniqueid not in self._by_uniqueid:
            while len(self._by_uniqueid) >= self.limit:
                oldest = next(iter(self._calls.values()))
                self.forgotten += 1
                self._forget(oldest)
                if oldest is call:
                    return
        elif (holder := self._by_uniqueid[channel.uniqueid]) is not call:
            holder.up.pop(channel.uniqueid)
        self._by_uniqueid[channel.uniqueid] = call
        call.up[channel.uniqueid] = channel

    def _link(self, call: _Call, linkedid: str) -> None:
        is_new = linkedid and linkedid not in call.linkedids and len(call.linkedids) < _MOST_LINKEDIDS
        if is_new and call.bridge_call_id in self._calls:
            call.linkedids.append(linkedid)
            self._by_linkedid[linkedid] = call

    def _hang_up(self, call: _Call, channel: Channel, cause: int | None) -> None:
        call.up.pop(channel.uniqueid, None)
        self._by_uniqueid.pop(channel.uniqueid, None)
        call.hung_up.append(replace(channel, bridge_id="", hung_up=True, hangup_cause=cause))
        if not call.up:
            over = call.view()
            self._forget(call)
            self._on_over(over)

    def _forget(self, call: _Call) -> None:
        self._calls.pop(call.bridge_call_id, None)
        for uniqueid in call.up:
            self._by_uniqueid.pop(uniqueid, None)
        for linkedid in call.linkedids:
            if self._by_linkedid.get(linkedid) is call:
                del self._by_linkedid[linkedid]


def _last(message: bytes, header: bytes) -> str:
    """Return the value of the last header of a name."""
    at = message.rfind(header)
    if at < 0:
        return ""
    begin = at + len(header)
    end = message.find(b"\r\n", begin)
    return message[begin : end if end >= 0 else None].decode("ascii", "replace")


def _cause(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,4}", text) else None
