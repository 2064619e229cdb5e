"""The bridge or the manager interface is away for a while: callers talk on, new ones come through, and afterwards all is as before."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from agi_bridge.simulator.sip import HungUp, Invited
from tests.asterisk.stage import AGENT, LOBBY, PATIENCE_SECONDS, Stage
from tests.asterisk.test_pbx import Relay, hq, table, until
from tests.asterisk.test_tools import MORE, TOKEN, tool
from tests.web.asking import ask, ask_at, bearer

# How long the manager interface is cut. To see a longer one, set it in the environment.
OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "2"))


Answer = tuple[int, dict[str, Any]]


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with closing(socket.socket()) as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


async def test_bridge_killed_between_the_request_and_the_redirect(stage: Stage, tmp_path: Path):
    """The caller talks on with the agent as if nobody had asked; the bridge that comes next sends them on."""
    web = "127.0.0.1", free_port()
    records = f'[records]\nfolder = "{tmp_path}"\ngather_seconds = 0\nbatch_seconds = 0.01\n'

    async def transfer(call: str) -> Answer:
        return await ask_at(web, "POST", f"/api/v1/calls/{call}/transfer", {"to": "sales"}, **bearer(TOKEN))

    async with Relay(stage.pbx.manager_port) as relay:
        toml = {"web": '["{}:{}"]'.format(*web), "more": table(relay.port) + MORE + records}
        relay.holds = b"Action: Redirect"
        async with stage.bridge_process(**toml) as process, stage.calling():
            await stage.heard("caller", AGENT)
            call = stage.millis.registrations[0].body["metadata"]["bridge_call_id"]
            asked = asyncio.create_task(_until_known(transfer, call))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await relay.held.wait()
            process.kill()
            await process.wait()
            with suppress(OSError, IndexError):  # whoever asked hears nothing, or half of it
                await asked
            relay.holds = b""
            alone = (await stage.shown("core show channels count", r"(\d+) active channels"))[1]
            moved = list(stage.events["lobby"])
            async with stage.bridge_process(**toml):
                done = await _until_known(transfer, call)
                await stage.heard("caller", LOBBY)
                await stage.saw("agent", HungUp)

    assert (alone, moved) == ("2", [])
    assert done == (200, {"done": True, "to": "sales"})


async def _until_known(transfer: Callable[[str], Awaitable[Answer]], call: str) -> Answer:
    """Ask until the bridge has its connection to the PBX, and knows the call; return the first other answer."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (answer := await transfer(call))[0] in (404, 502, 503):  # noqa: ASYNC110 - nothing could set an event
            await asyncio.sleep(0.05)
    return answer


def reported(stage: Stage, verb: str) -> set[str]:
    """Return the calls that the bridge was asked about with *verb*."""
    return {line["bridge_call_id"] for line in stage.lines if line.get("verb") == verb}


async def test_manager_interface_cut_during_calls(stage: Stage):
    """Calls are taken all along, a transfer is refused in plain words; afterwards exactly the calls that are up are shown."""
    async with (
        Relay(stage.pbx.manager_port) as relay,
        stage.bridge(web='["127.0.0.1:0"]', more=table(relay.port) + MORE),
        stage.calling(),
        asyncio.TaskGroup() as callers,
    ):
        await stage.heard("caller", AGENT)
        first = (await stage.line("route"))["bridge_call_id"]
        await until(lambda: hq(stage).channels.up == 2)
        relay.cut()
        await until(lambda: not hq(stage).connected)

        second = callers.create_task(stage.call(talk_seconds=10 * PATIENCE_SECONDS))
        until_then = asyncio.get_running_loop().time() + OUTAGE_SECONDS
        came_and_went = []
        while asyncio.get_running_loop().time() < until_then:
            came_and_went.append(await stage.call(talk_seconds=0.2))
        refused = await tool(stage, "transfer", bridge_call_id=first, target="sales")
        by_operator = await ask(stage.web, "POST", f"/api/v1/calls/{first}/transfer", {"to": "sales"}, **bearer(TOKEN))

        relay.is_open = True
        await until(lambda: hq(stage).connected)
        await until(lambda: hq(stage).channels.up == 4)
        up = reported(stage, "route") - reported(stage, "ended")
        _, live = await ask(stage.web, "GET", "/api/v1/live", **bearer(TOKEN))
        done = await tool(stage, "transfer", bridge_call_id=first, target="sales")
        await stage.heard("caller", LOBBY)
        stage.caller.hang_up()
        await second
        await until(lambda: not hq(stage).channels.calls)

    routed = [line for line in stage.lines if line.get("verb") == "route"]
    assert len(routed) == len(came_and_went) + 2 > 2
    assert {line["reason"] for line in routed} == {"routed"}
    assert {call.status for call in came_and_went} == {200}
    assert refused == {
        "done": False,
        "message": "The telephone system does not answer. Tell the caller that it did not work.",
    }
    assert (by_operator[0], by_operator[1]["error"]["code"]) == (502, "pbx-unreachable")
    assert {call["bridge_call_id"] for call in live["calls"]} == up
    assert first in up
    assert {len(call["channels"]) for call in live["calls"]} == {2}
    assert done["done"] is True
    assert len([event for event in stage.events["lobby"] if isinstance(event, Invited)]) == 1
