"""One real Asterisk for all tests of this folder, with the shipped configuration, and a stage around it for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from lab import Asterisk, AsteriskUnavailable, Pbx, SiteSettings, find_asterisk

from tests.asterisk.stage import TRUNK, Stage, lines_read, set_stage

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.asterisk)


@pytest.fixture(scope="session")
def asterisk() -> Asterisk:
    """A real Asterisk, not yet running; made now, if this machine has none."""
    try:
        return find_asterisk()
    except AsteriskUnavailable as unavailable:
        pytest.skip(f"no real Asterisk: {'; '.join(unavailable.reasons)}")


@pytest.fixture(scope="session")
def site() -> SiteSettings:
    """The site of every PBX: the shipped configuration, and what the tests add to it."""
    return SiteSettings(
        trunk=TRUNK,
        dialplan=(HERE / "extensions.conf").read_text(),
        pjsip=(HERE / "pjsip.conf").read_text(),
        manager=(HERE / "manager.conf").read_text(),
    )


@pytest.fixture(scope="session")
def pbx(asterisk: Asterisk, site: SiteSettings) -> Iterator[Pbx]:
    """The one PBX of nearly all tests."""
    with asterisk.start(site) as pbx:
        yield pbx


@pytest.fixture(autouse=True)
def bridge_lines() -> Iterator[None]:
    """Let tests read what bridges log."""
    with lines_read():
        yield


@pytest.fixture
async def stage(pbx: Pbx) -> AsyncIterator[Stage]:
    """The PBX with everyone around it, for one test."""
    async with set_stage(pbx) as stage:
        yield stage
