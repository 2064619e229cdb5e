"""The count of calls in its file: for everybody who counts, and over a restart."""

import asyncio
import fcntl
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agi_bridge import ledger as module
from agi_bridge.allowance import Allowance, tally_from
from agi_bridge.errors import CannotCount, DailyLimitReached, TooManyOriginates
from agi_bridge.ledger import Ledger

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
TEN_A_DAY = Allowance(("+1",), 100, 10)

# Another process that counts as often as it may, and says how often that was.
COUNTS = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from agi_bridge.allowance import Allowance
from agi_bridge.errors import TooManyOriginates
from agi_bridge.ledger import Ledger

async def count():
    ledger, taken = Ledger(Path(sys.argv[1]), lambda: datetime(2026, 3, 4, 12, tzinfo=UTC)), 0
    try:
        while True:
            await ledger.take(Allowance(("+1",), 100, 10))
            taken += 1
    except TooManyOriginates:
        print(taken)

asyncio.run(count())
"""


def ledger(folder: Path) -> Ledger:
    return Ledger(folder, lambda: NOON)


async def test_count_outlives_who_counts(tmp_path):
    """A ledger that is opened anew goes on where the one before it stopped."""
    for _ in range(10):
        await ledger(tmp_path).take(TEN_A_DAY)
    with pytest.raises(DailyLimitReached):
        await ledger(tmp_path).take(TEN_A_DAY)
    assert tally_from((tmp_path / "originates.json").read_text()).started == 10


async def test_requests_at_once_do_not_slip_past_a_limit(tmp_path):
    """Of thirty at the same moment, ten are counted."""
    one = ledger(tmp_path)
    taken = await asyncio.gather(*(one.take(TEN_A_DAY) for _ in range(30)), return_exceptions=True)
    assert taken.count(None) == 10
    assert sum(isinstance(each, TooManyOriginates) for each in taken) == 20


async def test_processes_share_the_limit(tmp_path):
    """Three processes that count at once count ten together, as the workers of a bridge do."""
    command = (sys.executable, "-c", COUNTS, str(tmp_path))
    counting = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(3)]
    said = await asyncio.gather(*(process.communicate() for process in counting))
    assert sum(int(out) for out, _ in said) == 10


async def test_folder_is_made_when_it_is_needed(tmp_path):
    """The first call ever makes it, for the service alone to write."""
    await ledger(tmp_path / "new" / "folder").take(TEN_A_DAY)
    assert (tmp_path / "new" / "folder" / "originates.json").stat().st_mode & 0o777 == 0o640


async def test_count_that_cannot_be_read_starts_no_call(tmp_path):
    """A file that is not ours is left as it is, and said to be in the way."""
    (tmp_path / "originates.json").write_text("nonsense")
    with pytest.raises(CannotCount, match=r"originates\.json: it holds no count of calls; none is started"):
        await ledger(tmp_path).take(TEN_A_DAY)
    assert (tmp_path / "originates.json").read_text() == "nonsense"


async def test_folder_that_cannot_be_made_starts_no_call(tmp_path):
    """A file where the folder should be is told in a line."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(CannotCount, match="none is started"):
        await ledger(tmp_path / "taken").take(TEN_A_DAY)


async def test_process_that_never_lets_go_holds_nobody_for_ever(tmp_path, monkeypatch):
    """Whoever waits for the lock gives up, and starts no call."""
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.05)
    lock = os.open(tmp_path / "originates.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CannotCount):
            await ledger(tmp_path).take(TEN_A_DAY)
    finally:
        os.close(lock)
    await ledger(tmp_path).take(TEN_A_DAY)
