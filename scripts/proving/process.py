"""What the kernel knows of a process: its memory, its descriptors and the processor time of it and its children."""

import os
from collections import Counter
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_TCP_STATES = {1: "established", 6: "time-wait", 8: "close-wait", 10: "listening"}


def resident_kilobytes(pid: int) -> int:
    """Return the memory that the process holds now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def descriptors(pid: int) -> Counter[str]:
    """Return what the process has open, in words: "TCP established to 127.0.0.1:8080", "pipe", "/var/log/bridge.log"."""
    sockets = _tcp_sockets(pid)
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:  # closed meanwhile
            continue
        kind, _, inode = target.partition(":")
        found[sockets.get(inode.strip("[]"), "socket") if kind == "socket" else kind] += 1
    return found


def _tcp_sockets(pid: int) -> dict[str, str]:
    """Return the IPv4 sockets of this machine by their inodes."""
    sockets = {}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        state = _TCP_STATES.get(int(fields[3], 16), "closing")
        local, remote = _address(fields[1]), _address(fields[2])
        sockets[fields[9]] = f"TCP {state} on {local}" if state == "listening" else f"TCP {state} to {remote}"
    return sockets


def _address(text: str) -> str:
    host, _, port = text.partition(":")
    return ".".join(str(byte) for byte in bytes.fromhex(host)[::-1]) + f":{int(port, 16)}"


def cpu_seconds(pid: int) -> float:
    """Return the processor time of the process and of all that it has started, so far."""
    parents: dict[int, list[int]] = {}
    times: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # gone meanwhile
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
        times[int(entry.name)] = sum(map(int, fields[11:15])) / _TICKS_A_SECOND
    pending = [pid]
    for each in pending:
        pending += parents.get(each, [])
    return sum(times.get(each, 0.0) for each in pending)


def busy_seconds() -> float:
    """Return the processor time that anybody on this machine has used so far, all cores together."""
    user, nice, system, _idle, _waiting, interrupt, soft_interrupt, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + interrupt + soft_interrupt) / _TICKS_A_SECOND
