"""The spool: a file of lines between the calls and what takes its time, which outlives the process that wrote them.

One thread appends and another reads; each process has a file of its own, and holds it by a lock for as long as it lives. Whoever
finds a file that nobody holds takes it over. It does not know what the lines say.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX = ".spool"
_PIECE_BYTES = 262_144
# Lines are of a few hundred bytes, but for those with a transcript.
_MOST_BYTES = 4_194_304


class SpoolFull(OSError):
    """The spool has reached its own limit."""


class Spool:
    """One file, open and held until `close`. What is forgotten is what stands at its beginning, so it shrinks to nothing."""

    def __init__(self, path: Path, descriptor: int, limit_bytes: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._size = os.fstat(descriptor).st_size
        self._read = 0

    @classmethod
    def create(cls, folder: Path, name: str, limit_bytes: int) -> Self:
        """Make a new file in *folder*, which is made too; raise OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for attempt in range(1000):
            path = folder / f"{name}.{attempt}{_SUFFIX}"
            with suppress(FileExistsError):
                descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                # Until we hold it, another process may take it for abandoned, and delete it, empty as it is.
                if _held(descriptor, path):
                    return cls(path, descriptor, limit_bytes)
                os.close(descriptor)
        raise FileExistsError(f"{folder} is full of spools")

    @classmethod
    def abandoned(cls, folder: Path, limit_bytes: int) -> tuple[list[Self], list[OSError]]:
        """Take over each file in *folder* that no process holds, oldest first; return them, and why others cannot be read."""
        taken: list[Self] = []
        failures: list[OSError] = []
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
                if not _held(descriptor, path):
                    os.close(descriptor)
                    continue
                spool = cls(path, descriptor, limit_bytes)
                spool._cut_torn_line()
                taken.append(spool)
            except FileNotFoundError:
                continue  # another process was faster
            except OSError as error:
                failures.append(error)
        return taken, failures

    @property
    def waiting_bytes(self) -> int:
        """Return how much has not been forgotten."""
        return self._size - self._read

    def append(self, lines: bytes) -> None:
        """Add whole lines, and have the disk keep them through a power cut; raise OSError, and then nothing was added."""
        with self._lock:
            if self._size + len(lines) > self.limit_bytes:
                raise SpoolFull(f"{self.path} has reached its limit of {self.limit_bytes} bytes")
            try:
                written = 0
                while written < len(lines):
                    written += os.write(self._descriptor, lines[written:])
                os.fdatasync(self._descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                raise
            self._size += len(lines)

    def read(self, limit_lines: int) -> tuple[list[bytes], int]:
        """Return the first lines that have not been forgotten, without line feeds, and where they end; raise OSError."""
        pieces: list[bytes] = []
        place = self._read
        found = 0
        while place < self._size and (not found or (found < limit_lines and place - self._read < _MOST_BYTES)):
            piece = os.pread(self._descriptor, min(_PIECE_BYTES, self._size - place), place)
            if not piece:
                break
            pieces.append(piece)
            place += len(piece)
            found += piece.count(b"\n")
        *lines, _ = b"".join(pieces).split(b"\n")
        del lines[limit_lines:]
        return lines, self._read + sum(len(line) + 1 for line in lines)

    def forget(self, end: int) -> None:
        """Forget what was read up to *end*. It may come back after a power cut, and is then read twice; raise OSError."""
        with self._lock:
            self._read = end
            if self._read >= self._size:
                os.ftruncate(self._descriptor, 0)
                self._read = self._size = 0

    def close(self) -> None:
        """Let go of the file; one that holds nothing any more is deleted."""
        with self._lock:
            if not self.waiting_bytes:
                with suppress(OSError):
                    self.path.unlink()
            os.close(self._descriptor)

    def _cut_torn_line(self) -> None:
        """Cut off what a process was writing when it was killed."""
        end = self._size
        while end:
            begin = max(end - _PIECE_BYTES, 0)
            piece = os.pread(self._descriptor, end - begin, begin)
            if newline := piece.rfind(b"\n") + 1:
                end = begin + newline
                break
            end = begin
        if end != self._size:
            os.ftruncate(self._descriptor, end)
            self._size = end


def _held(descriptor: int, path: Path) -> bool:
    """Return whether the file is ours now, and still the one at *path*: whoever held it may have deleted it meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
