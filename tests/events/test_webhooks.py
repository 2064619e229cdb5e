"""All targets that are told of calls, and how a reload changes them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from agi_bridge.call import Report
from agi_bridge.events.sender import Sender
from agi_bridge.events.webhooks import Webhooks
from tests.events.target import settings, target

AT = datetime(2026, 7, 1, tzinfo=UTC)


def routed(call: str) -> Report:
    return Report(call, AT, {"verb": "route", "result": "completed", "reason": "routed"})


async def test_each_target_is_told_of_each_event_under_one_id(tmp_path: Path):
    """What Millis adds to a record later is no event; all the rest is, and its id is the same for everybody."""
    async with target() as crm, target() as desk:
        hooks = [settings(crm.url), settings(desk.url, name="desk")]
        async with Webhooks(hooks, tmp_path, Sender()) as webhooks:
            webhooks.add(routed("abc"))
            webhooks.add(Report("abc", AT, {"millis_cost": 0.2}))
            await crm.takes(1)
            await desk.takes(1)

    assert crm.received == desk.received
    assert (crm.received[0]["type"], crm.received[0]["bridge_call_id"]) == ("call-routed", "abc")


async def test_reload_adds_changes_and_removes_targets(tmp_path: Path):
    """What waits for a target that is gone stays on disk, and is sent if its name comes back."""
    away = settings("http://127.0.0.1:1")
    async with target() as crm, Webhooks([away], tmp_path, Sender()) as webhooks:
        webhooks.add(routed("1"))
        webhooks.reconfigure([])
        assert webhooks.outboxes == {}
        webhooks.add(routed("2"))
        async with asyncio.timeout(5):
            while webhooks._running:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)
        webhooks.reconfigure([settings(crm.url)])
        await crm.takes(1)
        webhooks.reconfigure([settings(crm.url, name="crm", events=["call-ended"]), settings(crm.url, name="desk")])
        webhooks.add(routed("3"))
        await crm.takes(2)

    assert [event["bridge_call_id"] for event in crm.taken] == ["1", "3"]
