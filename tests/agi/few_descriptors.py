"""A server with few file descriptors, as a program: `python -m tests.agi.few_descriptors asyncio|uvloop`.

It sets the status of each call. During a call with the verb `hoard` it holds all descriptors that are left.
"""

import asyncio
import os
import resource
import signal
import sys
from contextlib import suppress

import uvloop

from agi_bridge import log
from agi_bridge.agi.server import AgiServer
from agi_bridge.agi.session import AgiSession
from agi_bridge.config import AgiSettings, LogSettings
from agi_bridge.errors import SessionLost
from tests.agi.pbx import set_status

DESCRIPTORS = 64


async def answer(session: AgiSession) -> None:
    hoard: list[int] = []
    if session.request.verb == "hoard":
        with suppress(OSError):
            while True:
                hoard.append(os.open("/dev/null", os.O_RDONLY))
    with suppress(SessionLost):
        await set_status(session)
    for descriptor in hoard:
        os.close(descriptor)


async def main() -> None:
    log.configure(LogSettings(format="json"))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AgiServer(AgiSettings(listen=["127.0.0.1:0"], drain_timeout_seconds=0.1), answer):
        await stop.wait()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[1] == "uvloop" else None) as runner:
        runner.run(main())
