"""The simulated Millis tells of its own accord when an agent begins and when a call is over."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from agi_bridge.simulator.millis import SimulatedMillis
from agi_bridge.simulator.millis_session import Target
from agi_bridge.simulator.sip_leg import Answered, HungUp, Invited

BODY = {"agent_id": "-N", "from_phone": "+1", "to_phone": "+2", "metadata": {"bridge_call_id": "abc"}}


@asynccontextmanager
async def told(status: int = 200) -> AsyncIterator[tuple[str, list[tuple[str, str, Any]]]]:
    """Run what the webhooks are sent to; yield its address, and what it was told."""
    heard: list[tuple[str, str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        said = dict(request.query) if request.method == "GET" else await request.json()
        heard.append((request.path, request.headers["authorization"], said))
        return web.json_response({"metadata": {"tier": "gold"}} if request.method == "GET" else {}, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", heard
    finally:
        await runner.cleanup()


async def test_leg_of_the_agent_makes_a_session():
    """Who answers begins it, with metadata that the bridge may add to; who hangs up ends it, with all that is documented."""
    async with told() as (url, heard):
        async with SimulatedMillis(webhooks=Target(url, "of millis")) as millis:
            millis.sessions.register("call-1", BODY)
            millis.sessions.hear(Invited(call_id="leg", user="call-1", caller_number="", caller_name=""))
            millis.sessions.hear(Answered(call_id="leg"))
            await millis.sessions.settled()
            millis.sessions.hear(HungUp(call_id="leg", by="them"))
        session_id = millis.sessions.session_id("call-1")

    (prefetch, token, query), (end, _, body) = heard
    assert (prefetch, token, end) == ("/webhooks/prefetch", "Bearer of millis", "/webhooks/end-of-call")
    assert query == {"session_id": session_id, "agent_id": "-N", "from": "+1", "to": "+2", "bridge_call_id": "abc"}
    assert (body["session_id"], body["call_id"], body["call_status"]) == (session_id, "call-1", "user-ended")
    assert body["metadata"] == {"bridge_call_id": "abc", "tier": "gold"}
    assert json.loads(body["chat"])[0]["role"] == "assistant"


async def test_call_that_was_never_answered_ends_in_silence():
    """Nothing is told of a session that did not begin, nor of calls of others."""
    async with told() as (url, heard), SimulatedMillis(webhooks=Target(url)) as millis:
        millis.sessions.register("call-1", BODY)
        for user in ("call-1", "somebody"):
            millis.sessions.hear(Invited(call_id=user, user=user, caller_number="", caller_name=""))
            millis.sessions.hear(HungUp(call_id=user, by="them"))
        await millis.sessions.settled()

    assert heard == []


async def test_bridge_that_does_not_answer_is_not_waited_for():
    """A webhook that fails ends nothing: the session goes on."""
    async with SimulatedMillis(webhooks=Target("http://127.0.0.1:1")) as millis:
        millis.sessions.register("call-1", BODY)
        await millis.sessions.begin("call-1")
        await millis.sessions.end("call-1")
        page = millis.sessions.logs({})

    assert [each["call_status"] for each in page["histories"]] == ["user-ended"]
