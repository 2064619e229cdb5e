"""Every asynchronous test here runs on asyncio's event loop and on uvloop, the service's; with a small AMI server each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.pbx.ami_server import AmiServer


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def server() -> AsyncIterator[AmiServer]:
    """A manager interface that behaves, until it is told otherwise."""
    async with AmiServer() as server:
        yield server
