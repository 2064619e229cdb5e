"""The count of the calls that we started, in a file: it holds for all workers, and over a restart.

A shell. One process at a time counts, behind a lock on a file beside it, and the file is replaced whole. Where it cannot be
read or written, no call is started: a limit that cannot be kept is no limit. Nothing is decided here; `allowance` does that.
"""

from __future__ import annotations

import asyncio
import fcntl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agi_bridge.allowance import Allowance, Tally, one_more, tally_from, tally_text
from agi_bridge.errors import CannotCount
from agi_bridge.files import replace_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

FILE_NAME = "originates.json"

# Counting takes milliseconds; whoever holds the lock for longer has been stopped.
_LOCK_SECONDS = 2.0
_LOOK_SECONDS = 0.01


class Ledger:
    """The count in *folder*, which is made when it is needed."""

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self.path = folder / FILE_NAME
        self._now = now

    async def take(self, allowance: Allowance) -> None:
        """Count one more call; raise TooManyOriginates or CannotCount, and then nothing is counted."""
        await asyncio.to_thread(self._take, allowance)

    def _take(self, allowance: Allowance) -> None:
        try:
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            with self._locked():
                replace_state(self.path, tally_text(one_more(allowance, self._read(), self._now())))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise CannotCount(f"the calls of today cannot be counted in {self.path}: {why}; none is started") from error

    def _read(self) -> Tally:
        try:
            return tally_from(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Tally()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock; raise OSError where another process does not let go of it."""
        # Of a file of its own, because the counted one is replaced.
        with self.path.with_suffix(".lock").open("a") as lock:
            given_up = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > given_up:
                        raise
                    time.sleep(_LOOK_SECONDS)
            yield
