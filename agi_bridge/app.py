"""The composition root: builds every part, in the order of start-up; reversed, that is the order of shutdown.

The AGI server comes last and goes first, so that calls drain while everything they need still lives.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from agi_bridge import __version__
from agi_bridge.agi.server import AgiServer
from agi_bridge.bridge import Bridge
from agi_bridge.millis.client import MillisClient
from agi_bridge.millis.regions import Regions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agi_bridge.config import Config

log = structlog.get_logger(__name__)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[AgiServer]:
    """Run the bridge while the context is entered; leaving it drains."""
    for warning in config.warnings:
        log.warning("configuration", path=warning.path, why=warning.message, hint=warning.suggestion)
    async with AsyncExitStack() as stack:
        regions = await stack.enter_async_context(open_millis(config))
        await stack.enter_async_context(regions.probing(next(iter(config.api_keys)), lambda: _regions_in_use(config)))
        bridge = Bridge(config, regions, now=lambda: datetime.now(UTC), clock=time.monotonic)
        yield await stack.enter_async_context(AgiServer(config.agi, bridge.handle))


@asynccontextmanager
async def open_millis(config: Config) -> AsyncIterator[Regions]:
    """Return what calls are registered with, valid while the context is entered."""
    async with millis_client(config) as client:
        yield Regions(client, config.millis, time.monotonic)


def millis_client(config: Config) -> MillisClient:
    """Return what speaks with Millis, once it is entered."""
    return MillisClient(config.millis, {name: key.get_secret_value() for name, key in config.api_keys.items()})


def _regions_in_use(config: Config) -> set[str]:
    return {region for rule in config.rules.rules if not rule.reject for region in rule.agent.regions}


async def serve(config: Config) -> None:
    """Serve until told to stop. The first SIGTERM or SIGINT drains, the second insists."""
    _raise_file_limit(needed=2 * config.agi.session_limit)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None  # noqa: S101 - a coroutine always runs in a task

    def on_signal() -> None:
        if stop.is_set():
            log.warning("stopping at once")
            main.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with running(config):
        _calm_the_collector()
        log.info("ready", version=__version__, rules=len(config.rules.rules))
        await stop.wait()
        log.info("stopping")


def _calm_the_collector() -> None:
    """Keep garbage collection out of calls: what lives now lives for ever, and a call leaves few cycles behind.

    A full collection among 10,000 open sessions would stop everybody for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _raise_file_limit(needed: int) -> None:
    """Ask the kernel for as many open files as it allows; a call takes two, and the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < needed:
        log.warning(
            "the limit on open files is lower than session_limit needs; raise LimitNOFILE or lower session_limit",
            limit=hard,
            needed=needed,
        )
