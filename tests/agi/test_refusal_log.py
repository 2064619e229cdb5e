"""Lines about refusals: the first at once, then few, and none forgotten."""

import asyncio

import pytest
from structlog.testing import capture_logs

from agi_bridge.agi.refusal_log import RefusalLog
from tests.agi.pbx import PATIENCE_SECONDS, TINY_SECONDS


async def until(logs, number):
    """Wait for so many lines; the log has no event to wait for."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(logs) < number:  # noqa: ASYNC110 - a list is no event
            await asyncio.sleep(0.001)


async def test_first_line_of_each_kind_is_written_at_once():
    """What happens for the first time is told without delay, each kind by itself."""
    refusals = RefusalLog(60)
    with capture_logs() as logs:
        refusals.warn("a", "refused", peer="1")
        refusals.warn("b", "refused", peer="2")
        refusals.warn("a", "refused", peer="3")
    refusals.flush()
    assert logs == [
        {"event": "refused", "log_level": "warning", "peer": "1"},
        {"event": "refused", "log_level": "warning", "peer": "2"},
    ]


async def test_interval_ends_with_one_line_that_counts_the_rest():
    """After the interval comes the latest line, with the number of those before it that were left out."""
    refusals = RefusalLog(TINY_SECONDS)
    with capture_logs() as logs:
        for peer in "12345":
            refusals.warn("a", "refused", peer=peer)
        await until(logs, 2)
    assert logs[1] == {"event": "refused", "log_level": "warning", "peer": "5", "left_out": 3}
    refusals.flush()


async def test_quiet_interval_ends_without_a_line():
    """When nothing more has happened, nothing is written, and what comes next is told at once."""
    refusals = RefusalLog(TINY_SECONDS)
    with capture_logs() as logs:
        refusals.warn("a", "refused")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while refusals._intervals:  # noqa: ASYNC110 - a timer is no event
                await asyncio.sleep(0.001)
        assert len(logs) == 1
        refusals.warn("a", "refused again")
        assert [line["event"] for line in logs] == ["refused", "refused again"]
    refusals.flush()


async def test_line_that_had_to_wait_begins_an_interval_of_its_own():
    """A flood that lasts is told once in each interval, not twice at its turn."""
    refusals = RefusalLog(TINY_SECONDS)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with capture_logs() as logs:
        while loop.time() < began + TINY_SECONDS * 5:
            refusals.warn("a", "refused")
            await asyncio.sleep(0)
        took = loop.time() - began
        refusals.flush()
    assert 2 <= len(logs) <= took / TINY_SECONDS + 2


@pytest.mark.parametrize("number", [1, 2, 3, 10])
async def test_flush_writes_what_still_waits(number):
    """Nothing is lost in the end: the lines, and what they left out, are as many as there were warnings."""
    refusals = RefusalLog(60)
    with capture_logs() as logs:
        for _ in range(number):
            refusals.warn("a", "refused")
        refusals.flush()
        refusals.flush()
    assert len(logs) + sum(line.get("left_out", 0) for line in logs) == number
