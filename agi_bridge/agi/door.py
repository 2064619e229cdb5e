"""Which peers may come in: those on the allow list, and each no faster than a PBX has reason to.

Pure: addresses are text, and the time arrives as an argument. It does not know sockets, sessions or the log; `server.py` asks
it about every connection and carries out the answer.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from agi_bridge.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agi_bridge.config import Network

# A peer is a PBX, so there are few; strangers and whoever changes addresses must not fill the memory.
MOST_PEERS = 1024


class Door:
    """Knows the peers of late: who is allowed, and how many connections each may still bring."""

    def __init__(self, networks: Sequence[Network], per_second: float, burst: int) -> None:
        self._networks = networks
        self._per_second = per_second
        self._burst = burst
        self._peers: dict[str, Pace | None] = {}  # None for a stranger

    def refusal(self, peer: str, now: float) -> str | None:
        """Return None if a connection of *peer* may come in, else why not, in the words of the counter that counts it."""
        try:
            bucket = self._peers[peer]
        except KeyError:
            bucket = self._meet(peer, now)
        if bucket is None:
            return "refused_peer"
        return None if bucket.take(now) else "refused_rate"

    def _meet(self, peer: str, now: float) -> Pace | None:
        if len(self._peers) >= MOST_PEERS:
            del self._peers[next(iter(self._peers))]  # the one known longest; it may come again
        bucket = self._peers[peer] = Pace(self._per_second, self._burst, now) if self._is_allowed(peer) else None
        return bucket

    def _is_allowed(self, peer: str) -> bool:
        address = ipaddress.ip_address(peer.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)
