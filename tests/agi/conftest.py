"""Every asynchronous test here runs on asyncio's event loop and on uvloop, the service's; errors nobody handled fail it."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def every_error_is_handled(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("asyncio"):
        request.getfixturevalue("no_error_is_left_to_the_loop")


@pytest.fixture
async def no_error_is_left_to_the_loop() -> AsyncIterator[None]:
    """Fail a test in which a callback raised, or a future's exception was never looked at; the loop only logs them."""
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    yield
    gc.collect()
    assert not unhandled
