"""The suite's own guard: a test that leaks, warns, hangs, fails unseen or is skipped in CI fails, and a tidy one passes."""

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent

LEAKS = """
import asyncio, socket, threading, warnings
import pytest

kept = []

async def test_task_left_running():
    kept.append(asyncio.create_task(asyncio.Event().wait()))

@pytest.fixture
async def server():
    yield asyncio.create_task(asyncio.Event().wait())

async def test_task_left_by_its_fixture(server):
    pass

def test_socket():
    listener = socket.create_server(("127.0.0.1", 0))

async def test_server():
    await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)

async def test_connection():
    near, far = socket.socketpair()
    kept.append(far)
    await asyncio.open_connection(sock=near)

async def test_connection_in_a_cycle():
    near, far = socket.socketpair()
    kept.append(far)
    cycle = [await asyncio.open_connection(sock=near)]
    cycle.append(cycle)

async def test_exception_that_nobody_saw():
    async def fail():
        raise ValueError
    await asyncio.wait([asyncio.create_task(fail())])

def test_socket_in_a_cycle():
    cycle = [socket.create_server(("127.0.0.1", 0))]
    cycle.append(cycle)

def test_file():
    file = open(__file__)

def test_thread_that_failed():
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()

async def test_coroutine_never_awaited():
    asyncio.sleep(0)

def test_warning():
    warnings.warn("old", DeprecationWarning)
"""

TIDY = """
import asyncio, socket
import pytest
from hypothesis import given, strategies

async def test_task_that_ended():
    await asyncio.create_task(asyncio.sleep(0))

async def test_task_just_cancelled():
    asyncio.create_task(asyncio.Event().wait()).cancel()

@pytest.fixture
async def server():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()

async def test_connection(server):
    reader, writer = await asyncio.open_connection(*server)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()

async def test_debug_mode():
    assert asyncio.get_running_loop().get_debug()

@given(strategies.binary())
def test_property(data):
    assert data + b"" == data

@given(strategies.binary())
async def test_asynchronous_property(data):
    assert data + b"" == data
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty test suite with this project's settings and conftest, outside CI."""
    monkeypatch.delenv("CI", raising=False)
    for name in "pyproject.toml", "tests/conftest.py":
        copy = pytester.path / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text((ROOT / name).read_text())
    return pytester


def run(suite: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    (suite.path / "tests" / "test_sample.py").write_text(body)
    return suite.runpytest_subprocess("--verbose", *arguments)


def outcomes(result: pytest.RunResult) -> dict[str, set[str]]:
    """Every word pytest said of every test: a leak shows as `PASSED` and then, once it is found, as `ERROR`."""
    found: dict[str, set[str]] = {}
    for name, outcome in re.findall(r"::(test_\w+) (PASSED|FAILED|ERROR|SKIPPED)", result.stdout.str()):
        found.setdefault(name, set()).add(outcome)
    return found


def test_every_leak_fails_the_test_that_leaks(suite):
    """A leak, a warning, or a failure that nobody would see fails its own test."""
    result = run(suite, LEAKS)

    assert {name for name, seen in outcomes(result).items() if seen == {"PASSED"}} == set()
    assert set(outcomes(result)) == set(re.findall(r"def (test_\w+)", LEAKS))
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_tidy_tests_pass(suite):
    """Tests that clean up after themselves pass, in asyncio's debug mode and with properties."""
    result = run(suite, TIDY)

    assert {name for name, seen in outcomes(result).items() if seen != {"PASSED"}} == set()
    assert result.ret == pytest.ExitCode.OK


def test_hanging_test_is_stopped(suite):
    """A test that waits for ever is stopped by the limit on its time."""
    result = run(suite, "import asyncio\nasync def test_hang():\n    await asyncio.Event().wait()", "--timeout=1")

    result.stdout.fnmatch_lines(["*Timeout*1.0s*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


SKIPPED = "import pytest\ndef test_sample():\n    pytest.skip('no Asterisk')"
SKIPPED_MODULE = "import pytest\npytest.skip('no Asterisk', allow_module_level=True)"


@pytest.mark.parametrize("body", [SKIPPED, SKIPPED_MODULE], ids=["test", "module"])
def test_skip_fails_in_ci(suite, monkeypatch, body):
    """With CI=true, a skipped test or module fails the run and says so."""
    monkeypatch.setenv("CI", "true")

    result = run(suite, body)

    result.stdout.fnmatch_lines(["*1 skipped, which CI=true forbids"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_skip_passes_outside_ci(suite):
    """Elsewhere a skipped test does not fail the run; its reason is listed."""
    result = run(suite, SKIPPED)

    result.stdout.fnmatch_lines(["SKIPPED*no Asterisk"])
    assert result.ret == pytest.ExitCode.OK
