"""How what is asynchronous is run."""

import asyncio

import pytest

from agi_bridge.cli.event_loop import run


async def answer() -> int:
    return 42


async def told_to_stop_at_once() -> None:
    raise asyncio.CancelledError


def test_what_is_run_gives_its_answer():
    """A command gets what its coroutine returns."""
    assert run(answer()) == 42


def test_work_that_is_told_to_stop_at_once_is_interrupted():
    """Whether by Ctrl-C or by a second signal, to the command it is one and the same."""
    with pytest.raises(KeyboardInterrupt):
        run(told_to_stop_at_once())
