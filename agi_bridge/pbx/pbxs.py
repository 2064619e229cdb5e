"""All PBXs that are configured: one `Connection` each, and which of them a call came from.

Entered, it connects without making anybody wait; left, it closes. The service owns it.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Self

from agi_bridge.pbx.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from agi_bridge.config import PbxSettings
    from agi_bridge.pbx.channels import FollowedCall


class Pbxs:
    """The connections by the names of their PBXs. *on_over* is told of each followed call that is over."""

    def __init__(
        self,
        settings: Sequence[PbxSettings],
        clock: Callable[[], float],
        on_over: Callable[[FollowedCall], None] = lambda call: None,
    ) -> None:
        self.connections: dict[str, Connection] = {}
        self._clock = clock
        self._on_over = on_over
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._is_entered = False
        self.reconfigure(settings)

    async def __aenter__(self) -> Self:
        self._is_entered = True
        for name in self.connections:
            self._start(name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_entered = False
        for name in list(self._running):
            self._stop(name)
        if self._ending:
            await asyncio.wait(self._ending)

    def reconfigure(self, settings: Sequence[PbxSettings]) -> None:
        """Take other PBXs: one whose settings changed connects anew, and the others are not touched."""
        wanted = {pbx.name: pbx for pbx in settings}
        for name in self.connections.keys() - wanted.keys():
            self._stop(name)
            del self.connections[name]
        for name, pbx in wanted.items():
            known = self.connections.get(name)
            if known is None:
                self.connections[name] = Connection(pbx, self._clock, self._on_over)
                if self._is_entered:
                    self._start(name)
            elif known.settings != pbx:
                known.reconfigure(pbx)

    def of_peer(self, peer: str) -> Connection | None:
        """Return the PBX that connects from *peer*, an IP address; None where it is none of them."""
        if not self.connections:
            return None
        address = ipaddress.ip_address(peer.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return next(
            (
                connection
                for connection in self.connections.values()
                if any(address in network for network in connection.settings.networks)
            ),
            None,
        )

    def name_of(self, peer: str) -> str:
        """Return the name of the PBX that connects from *peer*, "" where it is none of ours."""
        connection = self.of_peer(peer)
        return connection.settings.name if connection is not None else ""

    def follow(self, peer: str, bridge_call_id: str, channel: str, uniqueid: str, linkedid: str) -> None:
        """Follow a call that came from *peer* in its PBX, if that is one of ours."""
        connection = self.of_peer(peer)
        if connection is not None:
            connection.channels.follow(bridge_call_id, channel, uniqueid, linkedid)

    def _start(self, name: str) -> None:
        self._running[name] = asyncio.create_task(self.connections[name].run())

    def _stop(self, name: str) -> None:
        task = self._running.pop(name, None)
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
