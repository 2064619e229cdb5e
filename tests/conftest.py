"""What every test is held to: it leaves no task, socket, file or thread behind, and none is skipped unnoticed.

Warnings are errors (pyproject.toml), so a leaked socket or transport fails the test as soon as it is collected.
Tasks would go unnoticed, because closing the event loop cancels them in silence; so they are counted here.
"""

import asyncio
import gc
import itertools
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest

# Bridges that tests start keep their records below a folder of this run, and not where those of a real one are.
_STATE = tempfile.TemporaryDirectory(prefix="agi-bridge-state-")
os.environ["STATE_DIRECTORY"] = _STATE.name

_TESTS = itertools.count()

# A shell ignores SIGINT for what it runs in the background, and the programs that tests start would take that over.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long a task that a test has already cancelled or finished with may take to end.
TASK_GRACE_SECONDS = 0.1

# A busy machine is no fault of the code: the limit on time is pytest-timeout's, for the whole test.
hypothesis.settings.register_profile(
    "agi_bridge", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("agi_bridge")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take what scripts/faults asks for."""
    parser.addoption(
        "--write-faults", action="store_true", help="write docs/faults.md anew, with the times measured in this run"
    )


def pytest_collection_finish() -> None:
    """Leave all that was imported out of the garbage collections to come, which makes one take a millisecond."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def folder_of_records() -> None:
    """Let no test find calls of another in the records."""
    os.environ["STATE_DIRECTORY"] = f"{_STATE.name}/{next(_TESTS)}"


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest, nothing_unseen: None) -> None:
    """Set up before a test's own fixtures, and so torn down after them: tasks first, then, the loop closed, the rest."""
    if request.node.get_closest_marker("asyncio"):
        request.getfixturevalue("no_running_task")


@pytest.fixture
async def no_running_task() -> AsyncIterator[None]:
    """Fail an asynchronous test that ends while a task of its event loop still runs."""
    earlier = asyncio.all_tasks()
    yield
    running = asyncio.all_tasks() - earlier - {asyncio.current_task()}
    if running:
        _, running = await asyncio.wait(running, timeout=TASK_GRACE_SECONDS)
    assert not running, f"tasks left running: {running}"


@pytest.fixture
def nothing_unseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Collect what a test dropped while the test still counts, and fail it for what its event loop only logged."""
    yield
    gc.collect()
    gc.freeze()  # what outlives a test, such as its report, is not looked at again after each one that follows
    # An exception with nobody to be raised to, such as that of a task nobody awaits, is all that asyncio logs as error.
    records = [record for phase in ("setup", "call", "teardown") for record in caplog.get_records(phase)]
    unseen = [record.getMessage() for record in records if record.name == "asyncio" and record.levelname == "ERROR"]
    assert not unseen, "the event loop logged:\n" + "\n".join(unseen)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failed run: a test that nobody runs protects nobody."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and reporter.stats.get("skipped") and os.environ.get("CI") == "true":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"\n{len(reporter.stats['skipped'])} skipped, which CI=true forbids", red=True)
