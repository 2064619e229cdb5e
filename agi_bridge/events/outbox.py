"""What one target still has to be told: taken from calls at once, kept on disk, and sent until it has arrived or is too old.

A call's event goes from memory to the spool, and from the spool to the target; there is no other way, so a target that is away
and a bridge that was killed are both just a spool that is read later. Events of one call are sent one after the other, in the
order in which they happened; those of different calls, several at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import structlog

from agi_bridge.errors import NotDelivered
from agi_bridge.events.event import from_line, to_line
from agi_bridge.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from agi_bridge.config import WebhookSettings
    from agi_bridge.events.event import Event, Letter
    from agi_bridge.events.sender import Sends

T = TypeVar("T")

log = structlog.get_logger(__name__)

# How long what comes shares one write, and one wait for the disk; kill -9 loses no more than that.
_GATHER_SECONDS = 0.05
_SPOOL_PAUSE_SECONDS = 1.0

# Lines about events that are lost or given up; the counters leave none out.
_LOG_SECONDS = 10.0

# How often the spools of processes that are gone are looked for.
_ABANDONED_SECONDS = 60.0

_BATCH = 100


class Outbox:
    """The events for one target, from `run` to `stop`. `counts` has what became of them, by the names of the counters."""

    def __init__(self, settings: WebhookSettings, folder: Path, sender: Sends) -> None:
        self.settings = settings
        self._folder = folder
        self._sender = sender
        self._queue: deque[bytes] = deque()
        # One thread, so that one thing after the other is done to the files, the closing last.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._spool: Spool | None = None
        self._inherited: list[Spool] = []
        self._inherits_at = 0.0
        # By call, in their order, the ids of events that do not stand in their order in the spool.
        self._order: dict[str, deque[str]] = {}
        self._come, self._saved, self._hurry = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._stopping = False
        self._spool_trouble = ""
        self._trouble = ""
        self._tells_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}
        self.counts = dict.fromkeys(("accepted", "delivered", "failed", "given_up", "lost"), 0)

    @property
    def queued(self) -> int:
        """Return how many events are in memory alone."""
        return len(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """Return how much is on disk and not yet delivered."""
        return sum(spool.waiting_bytes for spool in self._spools())

    @property
    def is_well(self) -> bool:
        """Return whether events arrive."""
        return not (self._trouble or self._spool_trouble)

    def put(self, event: Event) -> None:
        """Take *event* if the target wants it. Never waits; where there is no room, the event is lost, told and counted."""
        if event.type not in self.settings.events:
            return
        if len(self._queue) >= self.settings.queue_limit:
            self.counts["lost"] += 1
            why = self._spool_trouble or "the disk of the spool does not keep up"
            self._tell_at_a_pace("an event is lost: queue_limit is reached", why=why)
            return
        self.counts["accepted"] += 1
        self._queue.append(to_line(event, masked=self.settings.numbers == "masked") + b"\n")
        self._come.set()

    def reconfigure(self, settings: WebhookSettings) -> None:
        """Take other settings, for what waits as well; a target that has been mended is tried at once."""
        self.settings = settings
        for spool in self._spools():
            spool.limit_bytes = settings.spool_limit_bytes
        self._hurry.set()

    def stop(self) -> None:
        """Have `run` end, once all that has come is on disk."""
        self._stopping = True
        self._come.set()

    async def run(self) -> None:
        """Keep and send events until `stop`."""
        sending = asyncio.create_task(self._send_all())
        try:
            await self._save_all()
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
            if self._queue:
                self.counts["lost"] += len(self._queue)
                log.error(
                    "events are lost with the end of the process",
                    webhook=self.settings.name,
                    lost=len(self._queue),
                    why=self._spool_trouble,
                )
            if self.waiting_bytes:
                log.warning(
                    "events wait in the spool",
                    webhook=self.settings.name,
                    bytes=self.waiting_bytes,
                    folder=str(self._folder),
                )
            for spool in self._spools():
                await self._on_disk(spool.close)
            self._disk.shutdown(wait=False)

    # From memory to the spool.

    async def _save_all(self) -> None:
        while True:
            await self._come.wait()
            if not self._stopping:
                await asyncio.sleep(_GATHER_SECONDS)
            self._come.clear()
            last = self._stopping
            saved = await self._save()
            self._saved.set()
            if last:
                return
            if not saved:
                await asyncio.sleep(_SPOOL_PAUSE_SECONDS)
                self._come.set()

    async def _save(self) -> bool:
        """Append all that has come to the spool; return false where it cannot be written, and then nothing is lost."""
        while batch := list(islice(self._queue, _BATCH)):
            try:
                await self._on_disk(partial(self._append, b"".join(batch)))
            except OSError as error:
                told, self._spool_trouble = self._spool_trouble, _said(error, self._folder)
                if told != self._spool_trouble:
                    log.error(
                        "the spool of a webhook cannot be written; events wait in memory",
                        webhook=self.settings.name,
                        why=self._spool_trouble,
                    )
                return False
            for _ in batch:
                self._queue.popleft()
        if self._spool_trouble:
            self._spool_trouble = ""
            log.warning("the spool of a webhook can be written again", webhook=self.settings.name)
        return True

    def _append(self, lines: bytes) -> None:
        if self._spool is None:
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
            self._spool = Spool.create(self._folder, name, self.settings.spool_limit_bytes)
        self._spool.append(lines)

    # From the spool to the target.

    async def _send_all(self) -> None:
        pause = self.settings.retry_seconds
        while True:
            self._saved.clear()
            arrived, left = 0, 1
            try:
                await self._inherit()
                spool = next((each for each in self._spools() if each.waiting_bytes), None)
                if spool is None:
                    await _until(self._saved, _ABANDONED_SECONDS)
                    continue
                arrived, left = await self._send_some(spool)
            except Exception as error:
                # Nothing of it is forgotten, so all of it is tried again.
                log.error("events of a webhook cannot be sent", webhook=self.settings.name, exc_info=error)
            if arrived or not left:
                pause = self.settings.retry_seconds
            if left:
                self._hurry.clear()
                await _until(self._hurry, random.uniform(pause / 2, pause))  # noqa: S311 - nobody gains by guessing it
            if not arrived:
                pause = min(2 * pause, self.settings.retry_limit_seconds)

    async def _send_some(self, spool: Spool) -> tuple[int, int]:
        """Send what stands at the beginning of *spool*; return how many events arrived, and how many are still to be sent.

        Where some arrived and some did not, the latter go to the end of the spool: an event that the target cannot take does
        not hold up those that it can. What comes later of the same call goes there too, behind it.
        """
        lines, end = await self._on_disk(partial(spool.read, _BATCH))
        letters = [letter for line in lines if (letter := self._letter(line)) is not None]
        in_turn, behind = self._by_turn(letters)
        due = [letter for letter in in_turn if not self._is_given_up(letter)]
        left = await self._round(due)
        for letter in reversed(left):
            self._order.setdefault(letter.bridge_call_id, deque()).appendleft(letter.id)
        arrived = len(due) - len(left)
        if left and not arrived and not behind:
            return 0, len(left)
        if to_move := left + behind:
            await self._on_disk(partial(self._append, b"".join(letter.body + b"\n" for letter in to_move)))
        await self._on_disk(partial(spool.forget, end))
        if spool in self._inherited and not spool.waiting_bytes:
            self._inherited.remove(spool)
            await self._on_disk(spool.close)
        return arrived, len(left)

    def _by_turn(self, letters: Sequence[Letter]) -> tuple[list[Letter], list[Letter]]:
        """Part those whose turn it is from those before which another of the same call, further back, is to be sent."""
        in_turn: list[Letter] = []
        behind: list[Letter] = []
        for letter in letters:
            order = self._order.get(letter.bridge_call_id)
            if order is None:
                in_turn.append(letter)
            elif order[0] == letter.id:
                in_turn.append(letter)
                order.popleft()
                if not order:
                    del self._order[letter.bridge_call_id]
            else:
                behind.append(letter)
                if letter.id not in order:
                    order.append(letter.id)
        return in_turn, behind

    def _letter(self, line: bytes) -> Letter | None:
        """Return what a line says; None for one that says nothing."""
        try:
            return from_line(line)
        except ValueError as error:
            self.counts["lost"] += 1
            self._tell_at_a_pace("an event in the spool cannot be read", why=str(error))
            return None

    def _is_given_up(self, letter: Letter) -> bool:
        if datetime.now(UTC) - letter.time <= timedelta(seconds=self.settings.give_up_seconds):
            return False
        self.counts["given_up"] += 1
        self._tell_at_a_pace(
            "an event is given up: it did not arrive within give_up_seconds",
            event_id=letter.id,
            type=letter.type,
            bridge_call_id=letter.bridge_call_id,
            why=self._trouble,
        )
        return True

    async def _round(self, letters: Sequence[Letter]) -> list[Letter]:
        """Send each letter once; return those that did not arrive, in their order, and those of the same calls behind them."""
        calls: dict[str, list[Letter]] = {}
        for letter in letters:
            calls.setdefault(letter.bridge_call_id, []).append(letter)
        at_once = asyncio.Semaphore(self.settings.request_limit)
        arrived: set[int] = set()
        failures: list[tuple[Letter, NotDelivered]] = []

        async def send(of_one_call: Sequence[Letter]) -> None:
            async with at_once:
                for letter in of_one_call:
                    if any(error.is_away for _, error in failures):
                        return
                    try:
                        await self._sender.send(self.settings, letter)
                    except NotDelivered as error:
                        failures.append((letter, error))
                        return
                    arrived.add(id(letter))

        async with asyncio.TaskGroup() as tasks:
            for of_one_call in calls.values():
                tasks.create_task(send(of_one_call))
        self._note(len(arrived), failures)
        return [letter for letter in letters if id(letter) not in arrived]

    def _note(self, arrived: int, failures: Sequence[tuple[Letter, NotDelivered]]) -> None:
        """Count a round, and tell what has changed by it."""
        self.counts["delivered"] += arrived
        self.counts["failed"] += len(failures)
        if arrived and self._trouble:
            self._trouble = ""
            log.warning("a webhook takes events again", webhook=self.settings.name)
        for letter, error in failures[:1]:
            facts = {"why": str(error), "event_id": letter.id, "type": letter.type}
            if arrived:
                self._tell_at_a_pace("an event was not taken; it is sent again after the others", **facts)
            elif not self._trouble:
                event = "a webhook takes no events; they wait in the spool"
                log.error(event, webhook=self.settings.name, **facts)
            self._trouble = "" if arrived else str(error)

    async def _inherit(self) -> None:
        """Take over the spools of processes that are gone."""
        now = time.monotonic()
        if now < self._inherits_at:
            return
        self._inherits_at = now + _ABANDONED_SECONDS
        taken, failures = await self._on_disk(partial(Spool.abandoned, self._folder, self.settings.spool_limit_bytes))
        self._inherited += taken
        for error in failures:
            why = _said(error, self._folder)
            log.error("the spool of an earlier process cannot be read", webhook=self.settings.name, why=why)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def _spools(self) -> list[Spool]:
        return [*self._inherited, *([self._spool] if self._spool else [])]

    def _tell_at_a_pace(self, event: str, **fields: object) -> None:
        now = time.monotonic()
        if now < self._tells_at.get(event, 0):
            self._left_out[event] = self._left_out.get(event, 0) + 1
            return
        log.error(event, webhook=self.settings.name, left_out=self._left_out.pop(event, 0), **fields)
        self._tells_at[event] = now + _LOG_SECONDS


async def _until(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _said(error: OSError, folder: Path) -> str:
    return f"{error.filename or folder}: {error.strerror or error}"
