"""What one target still has to be told: on disk until it has arrived, whatever the target, the disk and the process do."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from agi_bridge.config import WebhookSettings
from agi_bridge.events.event import EventType
from agi_bridge.events.outbox import Outbox
from agi_bridge.events.sender import Sender
from agi_bridge.spool import Spool
from tests.events.target import PATIENCE_SECONDS, an_event, settings, target


@asynccontextmanager
async def running(hook: WebhookSettings, folder: Path) -> AsyncIterator[Outbox]:
    """Run an outbox, and stop it in good order."""
    async with Sender() as sender:
        outbox = Outbox(hook, folder, sender)
        task = asyncio.create_task(outbox.run())
        try:
            yield outbox
        finally:
            outbox.stop()
            await task


async def until(enough: Any) -> None:
    """Wait until *enough* is true of what no request tells of."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not enough():  # noqa: ASYNC110 - nothing could set an event for all of it
            await asyncio.sleep(0.005)


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in events]


async def test_events_arrive_and_nothing_is_left(tmp_path: Path):
    """What has arrived is forgotten, and a stop in good order leaves no file behind."""
    async with target() as crm, running(settings(crm.url), tmp_path) as outbox:
        for number in range(3):
            outbox.put(an_event(str(number)))
        await crm.takes(3)
        await until(lambda: not outbox.waiting_bytes)
        assert outbox.counts == {"accepted": 3, "delivered": 3, "failed": 0, "given_up": 0, "lost": 0}
        assert outbox.is_well

    assert os.listdir(tmp_path) == []


async def test_target_hears_only_what_it_wants(tmp_path: Path):
    """An event that is not on its list is none of its business, and no number is shown to who wants them masked."""
    wanted: dict[str, Any] = {"events": ["call-routed"], "numbers": "masked"}
    async with target() as crm, running(settings(crm.url, **wanted), tmp_path) as outbox:
        outbox.put(an_event("1", type=EventType.CALL_ENDED))
        outbox.put(an_event("2", type=EventType.CALL_ROUTED))
        await crm.takes(1)

    assert ids(crm.received) == ["2"]
    assert crm.received[0]["call"]["did"] == "+155******01"


async def test_events_of_one_call_arrive_in_order_and_those_of_others_beside_them(tmp_path: Path):
    """A call's end is never told before its beginning; several calls share the connections up to the limit."""
    async with target() as crm, running(settings(crm.url, request_limit=3), tmp_path) as outbox:
        crm.together = asyncio.Barrier(3)
        for number in range(60):
            outbox.put(an_event(str(number), call=f"call-{number % 6}"))
        await crm.takes(60)

    for call in range(6):
        assert [int(id) for id in ids(crm.taken) if int(id) % 6 == call] == list(range(call, 60, 6))
    assert crm.most_at_once == 3


@pytest.mark.parametrize("trouble", [503, 500, "break", "hang"])
async def test_target_that_fails_is_told_later(tmp_path: Path, trouble: int | str):
    """Whatever keeps a target from taking events, they arrive once it is over, with the same ids; both is told once."""
    with capture_logs() as logs:
        async with target() as crm, running(settings(crm.url, timeout_seconds=0.2), tmp_path) as outbox:
            crm.answer = lambda event: trouble
            outbox.put(an_event("1"))
            await crm.until(lambda: len(crm.received) >= 3)
            assert not outbox.is_well
            crm.answer = lambda event: 200
            await crm.takes(1)
            await until(lambda: not outbox.waiting_bytes)

    assert set(ids(crm.received)) == {"1"}
    assert [line["event"] for line in logs] == [
        "a webhook takes no events; they wait in the spool",
        "a webhook takes events again",
    ]


async def test_target_that_comes_back(tmp_path: Path):
    """While nobody listens, events wait; when somebody does, they come, and nothing is lost."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with running(settings(f"http://127.0.0.1:{port}"), tmp_path) as outbox:
        for number in range(110):
            outbox.put(an_event(str(number)))
        await until(lambda: outbox.counts["failed"] >= 3)
        async with target(port) as crm:
            await crm.takes(110)
            await until(lambda: not outbox.waiting_bytes)

    assert sorted(map(int, ids(crm.taken))) == list(range(110))
    assert outbox.counts["lost"] == outbox.counts["given_up"] == 0


async def test_event_that_the_target_cannot_take_holds_up_no_other(tmp_path: Path):
    """It goes to the end of the line, and the call it is of keeps its order behind it."""
    async with target() as crm, running(settings(crm.url), tmp_path) as outbox:
        crm.answer = lambda event: 500 if event["id"] == "bad" else 200
        outbox.put(an_event("bad", call="a"))
        outbox.put(an_event("behind", call="a"))
        for number in range(5):
            outbox.put(an_event(str(number)))
        await crm.takes(5)
        assert set(ids(crm.taken)) == set("01234")
        await crm.until(lambda: ids(crm.received).count("bad") >= 3)
        crm.answer = lambda event: 200
        await crm.takes(7)

    assert ids(crm.taken)[5:] == ["bad", "behind"]


async def test_event_behind_one_that_was_not_taken_stays_behind_it_however_far(tmp_path: Path):
    """A call keeps its order where many events of others stand between its own."""
    async with target() as crm, running(settings(crm.url), tmp_path) as outbox:
        crm.answer = lambda event: 500 if event["id"] == "bad" else 200
        outbox.put(an_event("bad", call="a"))
        for name in ("behind", "behind that", "last"):
            for number in range(150):
                outbox.put(an_event(f"{number} before {name}"))
            outbox.put(an_event(name, call="a"))
        await crm.until(lambda: ids(crm.received).count("bad") >= 3)
        crm.answer = lambda event: 200
        await crm.takes(454)
        await until(lambda: not outbox.waiting_bytes)

    assert [event["id"] for event in crm.taken if event["bridge_call_id"] == "a"] == [
        "bad",
        "behind",
        "behind that",
        "last",
    ]


async def test_call_goes_on_after_an_event_that_was_given_up(tmp_path: Path):
    """What stood behind an event that became too old is sent."""
    async with target() as crm, running(settings(crm.url, give_up_seconds=60), tmp_path) as outbox:
        crm.answer = lambda event: 500 if event["id"] == "bad" else 200
        outbox.put(an_event("bad", call="a", time=datetime.now(UTC) - timedelta(seconds=58)))
        for number in range(150):
            outbox.put(an_event(str(number)))
        outbox.put(an_event("behind", call="a"))
        await crm.takes(150)
        assert "behind" not in ids(crm.taken)
        await crm.takes(151)

    assert outbox.counts["given_up"] == 1
    assert ids(crm.taken)[-1] == "behind"


async def test_event_that_is_too_old_is_given_up(tmp_path: Path):
    """A retry has an end: what nobody took in time is counted, told with its id, and not sent any more."""
    old = datetime.now(UTC) - timedelta(seconds=120)
    with capture_logs() as logs:
        async with target() as crm, running(settings(crm.url, give_up_seconds=60), tmp_path) as outbox:
            outbox.put(an_event("old", time=old))
            outbox.put(an_event("new"))
            await crm.takes(1)
            await until(lambda: not outbox.waiting_bytes)

    assert ids(crm.received) == ["new"]
    assert outbox.counts["given_up"] == 1
    assert [line["event_id"] for line in logs if "given up" in line["event"]] == ["old"]


async def test_full_memory_loses_what_comes_and_says_so(tmp_path: Path):
    """Where the disk does not take events, so many wait in memory as are allowed, and arrive once it does."""
    blocked = tmp_path / "crm"
    blocked.touch()
    with capture_logs() as logs:
        async with target() as crm, running(settings(crm.url, queue_limit=2), blocked) as outbox:
            for number in range(5):
                outbox.put(an_event(str(number)))
            await until(lambda: not outbox.is_well)
            assert (outbox.queued, outbox.counts["accepted"], outbox.counts["lost"]) == (2, 2, 3)
            blocked.unlink()
            await crm.takes(2)
            await until(lambda: outbox.is_well)

    assert ids(crm.taken) == ["0", "1"]
    told = [line["event"] for line in logs]
    assert told.count("an event is lost: queue_limit is reached") == 1
    assert "the spool of a webhook cannot be written; events wait in memory" in told
    assert "the spool of a webhook can be written again" in told


async def test_full_spool_keeps_what_it_has(tmp_path: Path):
    """A target that stays away costs no more of the disk than is allowed."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    hook = settings(f"http://127.0.0.1:{port}", queue_limit=1000, spool_limit_bytes=65_536)
    async with running(hook, tmp_path) as outbox:
        for number in range(1000):
            outbox.put(an_event(str(number)))
        await until(lambda: "limit of 65536 bytes" in outbox._spool_trouble)
        assert 0 < outbox.waiting_bytes <= 65_536
        assert outbox.queued > 0


async def test_what_was_left_is_sent_by_the_next(tmp_path: Path):
    """A stop leaves on disk what has not arrived, down to the last event, and the next start sends it."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with capture_logs() as logs:
        async with running(settings(f"http://127.0.0.1:{port}"), tmp_path) as outbox:
            for number in range(10):
                outbox.put(an_event(str(number)))
    assert "events wait in the spool" in [line["event"] for line in logs]
    async with target() as crm, running(settings(crm.url), tmp_path):
        await crm.takes(10)

    assert sorted(ids(crm.taken)) == sorted(map(str, range(10)))


async def test_spoilt_line_is_left_out(tmp_path: Path):
    """What a power cut has made of a line is counted as lost, and those around it arrive."""
    spool = Spool.create(tmp_path, "1", 1_000_000)
    spool.append(json.dumps({"id": "1"}).encode() + b"\n\0\0\0\n")
    os.close(spool._descriptor)
    async with target() as crm, running(settings(crm.url), tmp_path) as outbox:
        outbox.put(an_event("2"))
        await crm.takes(1)
        await until(lambda: outbox.counts["lost"] == 2)

    assert ids(crm.taken) == ["2"]


async def test_target_that_was_mended_is_tried_at_once(tmp_path: Path):
    """Other settings hold for what waits, too, and the pause before the next attempt is over."""
    async with target() as crm:
        wrong = settings("http://127.0.0.1:1", retry_seconds=3600, retry_limit_seconds=3600)
        async with running(wrong, tmp_path) as outbox:
            outbox.put(an_event("1"))
            await until(lambda: outbox.counts["failed"] == 1)
            # Where the outbox has not come to its pause yet, it does not see this as a reason to cut it short.
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not crm.taken:
                    outbox.reconfigure(settings(crm.url))
                    await asyncio.sleep(0.01)

    assert ids(crm.taken) == ["1"]
