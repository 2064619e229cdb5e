"""The calls that are up: what the records say of them, corrected by what the PBXs say.

So any process of ours, on any machine with the same records, shows every call and finds its channel, whichever process took it.
The PBXs and the records are the Protocols below; where neither can be asked, what this process follows itself is shown.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agi_bridge.control import LiveCall, Pbx
from agi_bridge.dialplan import safe_call_id
from agi_bridge.errors import AmiError, NoPbx, NoRecordsYet, RecordsError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from agi_bridge.call import CallRecord
    from agi_bridge.pbx.action import ChannelRow
    from agi_bridge.pbx.channels import Channel, FollowedCall

Found = TypeVar("Found")

# What a list of calls has at most; whoever has more of them at a time looks at the metrics.
MOST_SHOWN = 1_000

_NO_PBX = "there is no [[pbx]] in the configuration, and only through one can {}"

_OF_RECORD = ("did", "caller_number", "rule", "agent_id", "region")


class Ami(Pbx, Protocol):
    """What is asked of a PBX. Both may raise an AmiError."""

    async def core_show_channels(self) -> Sequence[ChannelRow]: ...


class Channels(Protocol):
    """The calls that this process follows in a PBX."""

    def call(self, bridge_call_id: str) -> FollowedCall | None: ...
    def every_call(self) -> Iterable[FollowedCall]: ...


class Connection(Protocol):
    """The connection to a PBX; `pbx.connection.Connection` is one."""

    @property
    def ami(self) -> Ami: ...
    @property
    def channels(self) -> Channels: ...


class Pbxs(Protocol):
    """The PBXs by their names; `pbx.pbxs.Pbxs` has them."""

    @property
    def connections(self) -> Mapping[str, Connection]: ...


class Store(Protocol):
    """What is asked of the records; `records.store.Store` is one."""

    def call(self, bridge_call_id: str) -> CallRecord | None: ...
    def up(self, followed: Collection[str], limit: int) -> list[CallRecord]: ...


class Reader(Protocol):
    """Who asks them; `records.reader.RecordReader` does. May raise RecordsError."""

    async def ask(self, question: Callable[[Store], Found]) -> Found: ...


class Live:
    """Shows the calls that are up, and finds one of them for `control`. *reader* is None where no records are kept."""

    def __init__(self, pbxs: Pbxs, reader: Reader | None = None) -> None:
        self._pbxs, self._reader = pbxs, reader

    async def find(self, bridge_call_id: str) -> LiveCall | None:
        """Return the call if its caller is there; raise AmiError where the PBX is not to be asked, NoPbx, RecordsError."""
        if not self._pbxs.connections:
            raise NoPbx(_NO_PBX.format("a call be sent on or ended"))
        for connection in self._pbxs.connections.values():
            call = connection.channels.call(bridge_call_id)
            if call is not None and call.caller is not None and not call.caller.hung_up:
                return LiveCall(bridge_call_id, connection.ami, call.caller.name)
        if not safe_call_id(bridge_call_id):
            return None
        record = await self._known(lambda store: store.call(bridge_call_id))
        pbx = self._pbxs.connections.get(record.pbx or "") if record else None
        if record is None or pbx is None:
            return None
        channels = await pbx.ami.core_show_channels()
        name = next((channel.name for channel in channels if channel.uniqueid == record.uniqueid), None)
        return None if name is None else LiveCall(bridge_call_id, pbx.ami, name)

    async def shown(self) -> dict[str, Any]:
        """Return the calls that are up, the latest first, and whether these are all; raise NoPbx where nobody knows. For the web side."""
        if not self._pbxs.connections and self._reader is None:
            raise NoPbx(_NO_PBX.format("live calls be seen where no records are kept"))
        followed = {
            call.bridge_call_id: (name, call)
            for name, connection in self._pbxs.connections.items()
            for call in connection.channels.every_call()
        }
        try:
            latest = list(followed)[-MOST_SHOWN:]
            records = await self._known(lambda store: store.up(latest, MOST_SHOWN + 1)) or []
            complete = True
        except RecordsError:
            records, complete = [], False
        record_of = {record.bridge_call_id: record for record in records}
        calls = [_shown(id, pbx, call.uniqueid, call.up, record_of.get(id)) for id, (pbx, call) in followed.items()]
        calls += await self._elsewhere([record for record in records if record.bridge_call_id not in followed])
        calls.sort(key=lambda call: call["received_at"] or "", reverse=True)
        return {"calls": calls[:MOST_SHOWN], "complete": complete and len(calls) <= MOST_SHOWN}

    async def _elsewhere(self, records: Sequence[CallRecord]) -> list[dict[str, Any]]:
        """Show the calls that others follow; a PBX that can be asked knows better than the records which of them are over."""
        asked = [name for name in {record.pbx or "" for record in records} if name in self._pbxs.connections]
        rows_of = dict(zip(asked, await asyncio.gather(*map(self._channels, asked)), strict=True))
        calls = []
        for record in records:
            rows = rows_of.get(record.pbx or "")
            its = [row for row in rows or () if row.linkedid in (record.linkedid, record.uniqueid)]
            if rows is None or any(row.uniqueid == record.uniqueid for row in its):
                calls.append(_shown(record.bridge_call_id, record.pbx, record.uniqueid, its, record))
        return calls

    async def _channels(self, pbx: str) -> Sequence[ChannelRow] | None:
        try:
            return await self._pbxs.connections[pbx].ami.core_show_channels()
        except AmiError:
            return None

    async def _known(self, question: Callable[[Store], Found]) -> Found | None:
        """Return what *question* finds, None where there are no records; raise RecordsError."""
        with suppress(NoRecordsYet):
            return None if self._reader is None else await self._reader.ask(question)
        return None


def _shown(
    bridge_call_id: str,
    pbx: str | None,
    uniqueid: str | None,
    channels: Iterable[Channel | ChannelRow],
    record: CallRecord | None,
) -> dict[str, Any]:
    return {
        "bridge_call_id": bridge_call_id,
        "received_at": record.received_at.isoformat() if record else None,
        **{name: getattr(record, name, None) for name in _OF_RECORD},
        "pbx": pbx,
        "uniqueid": uniqueid,
        "channels": [
            {
                "name": channel.name,
                "uniqueid": channel.uniqueid,
                "state": channel.state,
                "joined": bool(channel.bridge_id),
            }
            for channel in channels
        ],
    }
