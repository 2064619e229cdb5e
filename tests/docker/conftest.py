"""Both images, built, and the stack of docker-compose.yml, running: for all tests of this folder, and by nobody else's leave.

The demo has fixed ports, so only one run of these tests at a time gets them; the others wait.
"""

import fcntl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.stack import ROOT, Compose, obstacle

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, and give it the time that containers take."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def compose() -> Iterator[Compose]:
    """Docker Compose with both images built; nothing of it is left afterwards."""
    if reason := obstacle():
        pytest.skip(f"no Docker: {reason}")
    with Path(tempfile.gettempdir(), "agi-bridge-docker-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([ROOT / "scripts/images"], stdin=subprocess.DEVNULL, check=True)
        compose = Compose()
        try:
            yield compose
        finally:
            compose("down", "--volumes", "--remove-orphans")


@pytest.fixture
def stack(compose: Compose) -> Compose:
    """The whole stack, up and ready: as the test before has left it, and mended."""
    compose("up", "--detach", "--wait")
    return compose
