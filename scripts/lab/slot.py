"""Room for one Asterisk among many: a folder and a range of ports that nobody else on this machine uses.

A slot is claimed by locking a file, so it is free again the moment its holder is gone, and whatever a killed holder
left in the folder is swept by the next one.
"""

import fcntl
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import AsteriskFailed
from .steps import cache_folder

# All below 32768, where Linux begins to hand out ports of its own choice.
_FIRST_PORT = 20_000
_PORTS = 100
_SLOTS = 120


@dataclass(frozen=True)
class Slot:
    """A claimed slot; valid inside the `with claimed()` block."""

    number: int
    folder: Path

    @property
    def sip_port(self) -> int:
        """For SIP over UDP and over TCP."""
        return _FIRST_PORT + self.number * _PORTS

    @property
    def tls_port(self) -> int:
        return self.sip_port + 1

    @property
    def manager_port(self) -> int:
        return self.sip_port + 2

    @property
    def bridge_port(self) -> int:
        """For a bridge of this Asterisk that must know its port beforehand."""
        return self.sip_port + 3

    @property
    def rtp_ports(self) -> range:
        """A pair for RTP and RTCP on each leg of a call: 22 calls with their two legs."""
        return range(self.sip_port + 10, self.sip_port + _PORTS)

    def free(self) -> bool:
        """Tell whether no other program uses the ports that are needed from the start."""
        listening = [socket.SOCK_STREAM, socket.SOCK_DGRAM]
        return all(_can_bind(self.sip_port, kind) for kind in listening) and all(
            _can_bind(port, socket.SOCK_STREAM) for port in (self.tls_port, self.manager_port)
        )


@contextmanager
def claimed() -> Iterator[Slot]:
    """Hold a free slot with an empty folder; the folder goes when the block ends."""
    for number in range(_SLOTS):
        with _lock_file(number).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            slot = Slot(number, _folder(number))
            if not slot.free():
                continue
            shutil.rmtree(slot.folder, ignore_errors=True)
            slot.folder.mkdir(mode=0o700)
            try:
                yield slot
            finally:
                shutil.rmtree(slot.folder, ignore_errors=True)
            return
    raise AsteriskFailed(f"all {_SLOTS} slots of the lab are in use")


def held() -> list[Slot]:
    """Return the slots that somebody holds now."""
    slots = []
    for number in range(_SLOTS):
        with suppress(FileNotFoundError), _lock_file(number).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                slots.append(Slot(number, _folder(number)))
    return slots


def _folder(number: int) -> Path:
    # Short, because a socket in it must have a path of at most 107 bytes.
    slots = cache_folder() / "pbx"
    slots.mkdir(exist_ok=True)
    return slots / str(number)


def _lock_file(number: int) -> Path:
    return _folder(number).with_suffix(".lock")


def _can_bind(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            # Connections of the slot's last holder may linger in TIME_WAIT; Asterisk does not mind them either.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
