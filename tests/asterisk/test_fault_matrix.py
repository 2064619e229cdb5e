"""Whatever breaks, the caller reaches the stated destination within the stated time: one row a fault, see fault_rows.py."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from lab import Asterisk, Pbx, SiteSettings

from tests.asterisk.fault_rows import HEARD, NO_BRIDGE, PAGE, ROWS, Row, page
from tests.asterisk.stage import set_stage

# A promise about milliseconds is about the software, not about what else the machine does: the best of so many counts.
ATTEMPTS = 3
# PBXs on which rows are played at the same time.
LANES = 4

ALONE = {name: row for name, row in ROWS.items() if not row.takes_its_time}
TOGETHER = {name: row for name, row in ROWS.items() if row.takes_its_time}

Measured = dict[Row, float | None]


@pytest.fixture(scope="module")
def measured(request: pytest.FixtureRequest) -> Iterator[Measured]:
    """The seconds that each row took; with --write-faults they go into the page, if every row has kept its word."""
    measured: Measured = {}
    yield measured
    if request.config.getoption("write_faults") and not request.session.testsfailed:
        PAGE.write_text(page(measured), encoding="utf-8")


@pytest.mark.parametrize("name", ALONE)
async def test_row(pbx: Pbx, measured: Measured, name: str):
    """The caller reaches the destination of the row in its time."""
    await judge(name, pbx, measured)


@pytest.mark.timeout(180)
async def test_rows_that_take_their_time(asterisk: Asterisk, site: SiteSettings, measured: Measured):
    """So does the caller of each row that is longer than a second; these are played at once, the longest first."""
    names = deque(sorted(TOGETHER, key=lambda name: TOGETHER[name].within_seconds or 0.0, reverse=True))
    failures: list[Exception] = []

    async def play_rows(pbx: Pbx) -> None:
        while names:
            name = names.popleft()
            try:
                await judge(name, pbx, measured)
            except Exception as error:
                error.add_note(f"in the row {name!r}")
                failures.append(error)

    with ExitStack() as running:
        pbxs = [running.enter_context(asterisk.start(site)) for _ in range(LANES)]
        async with asyncio.TaskGroup() as lanes:
            for pbx in pbxs:
                lanes.create_task(play_rows(pbx))
    if failures:
        raise ExceptionGroup("rows that failed", failures)


async def judge(name: str, pbx: Pbx, measured: Measured) -> None:
    """Play a row, again if it took too long, and hold it to its word."""
    row = ROWS[name]
    took = []
    for _ in range(ATTEMPTS):
        seconds = await play(row, pbx)
        if row.within_seconds is None:
            measured[row] = None
            return
        took.append(seconds)
        measured[row] = min(took)
        if seconds <= row.within_seconds:
            return
    raise AssertionError(f"{name}: took {took} s, and not {row.within_seconds:g} s at most")


async def play(row: Row, pbx: Pbx) -> float:
    """Play a row once, see that the caller gets where it says and the log says why, and return the seconds it took."""
    async with set_stage(pbx) as stage:
        played = await row.play(stage)
        reasons = [line["reason"] for line in stage.lines[played.lines_before :] if "verb" in line]
        if NO_BRIDGE in row.reasons:
            await stage.logged(f"MILLIS_REASON.*{NO_BRIDGE}")
        else:
            assert reasons[: len(row.reasons)] == list(row.reasons)
        if row.ends in HEARD:
            hz, party = HEARD[row.ends]
            assert played.call.heard_hz == (hz,)
            if played.seconds is None:
                return stage.seconds_until(party, played.call)
        return played.seconds or 0.0
