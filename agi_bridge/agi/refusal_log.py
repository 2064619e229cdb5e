"""Lines about connections that were not served, at a bounded pace: a flood of connections must not be a flood of lines.

A shell over the log and the loop's clock. The first line of a kind is written at once, then at most one in each interval; it
says how many like it were left out. It does not count refusals and does not know why there are any; `server.py` does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Interval:
    """The time after a line of one kind: the latest line that had to wait, and how many more there were."""

    timer: asyncio.TimerHandle
    event: str = ""
    fields: dict[str, str | bool] | None = None
    left_out: int = 0


class RefusalLog:
    """Writes warnings by kind. `interval_seconds` may change at any time; an interval that has begun keeps its length."""

    def __init__(self, interval_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self._intervals: dict[str, _Interval] = {}

    def warn(self, kind: str, event: str, **fields: str | bool) -> None:
        """Write a line now, or at the end of the interval that the last one of its *kind* has begun."""
        interval = self._intervals.get(kind)
        if interval is None:
            log.warning(event, **fields)
            self._begin(kind)
            return
        if interval.fields is not None:
            interval.left_out += 1
        interval.event, interval.fields = event, fields

    def flush(self) -> None:
        """Write what still waits, now."""
        for kind in list(self._intervals):
            self._end(kind)

    def _begin(self, kind: str) -> None:
        timer = asyncio.get_running_loop().call_later(self.interval_seconds, self._go_on, kind)
        self._intervals[kind] = _Interval(timer)

    def _go_on(self, kind: str) -> None:
        if self._end(kind):
            self._begin(kind)

    def _end(self, kind: str) -> bool:
        """Close an interval, and return whether there was a line to write."""
        interval = self._intervals.pop(kind)
        interval.timer.cancel()
        if interval.fields is None:
            return False
        left_out = {"left_out": interval.left_out} if interval.left_out else {}
        log.warning(interval.event, **interval.fields, **left_out)
        return True
