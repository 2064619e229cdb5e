"""All targets that are told of calls: makes an event of each report that is one, and hands it to every outbox.

The story hands its reports over here as it does to the records, through the same Protocol; nothing here makes it wait or fail.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from agi_bridge.events.event import Event, type_of
from agi_bridge.events.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from agi_bridge.call import Report
    from agi_bridge.config import WebhookSettings
    from agi_bridge.events.sender import Sender

# A disk that does not answer must not hold up the end of the process for longer.
_CLOSING_SECONDS = 2.0


class Webhooks:
    """One outbox for each target, each with a folder of its own; *folder* holds them all."""

    def __init__(self, targets: Sequence[WebhookSettings], folder: Path, sender: Sender) -> None:
        self._targets = targets
        self._folder = folder
        self._sender = sender
        self._running: set[asyncio.Task[None]] = set()
        self.outboxes: dict[str, Outbox] = {}

    async def __aenter__(self) -> Self:
        await self._sender.__aenter__()
        self.reconfigure(self._targets)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have all that has come kept on disk; the next start sends it."""
        self.reconfigure(())
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSING_SECONDS)
        await self._sender.__aexit__(kind, error, trace)

    def reconfigure(self, targets: Sequence[WebhookSettings]) -> None:
        """Take other targets. What waits for one that is gone stays on disk, and is sent if the name comes back."""
        wanted = {target.name: target for target in targets}
        for name in self.outboxes.keys() - wanted.keys():
            self.outboxes.pop(name).stop()
        for name, target in wanted.items():
            if name in self.outboxes:
                self.outboxes[name].reconfigure(target)
                continue
            outbox = self.outboxes[name] = Outbox(target, self._folder / name, self._sender)
            task = asyncio.create_task(outbox.run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def add(self, report: Report) -> None:
        """Tell every target that wants to know. Never waits."""
        if not self.outboxes:
            return
        type = type_of(report)
        if type is None:
            return
        event = Event(secrets.token_hex(16), type, datetime.now(UTC), report.bridge_call_id, report.facts)
        for outbox in self.outboxes.values():
            outbox.put(event)
