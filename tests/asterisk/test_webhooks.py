"""One whole call: routed, answered by an agent, sent on by a tool that knows a session alone, ended, and joined in one record."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agi_bridge.access import digest
from agi_bridge.simulator.millis_session import Target
from agi_bridge.simulator.sip import HungUp
from agi_bridge.web.server import WebServer
from tests.asterisk.stage import AGENT, CALLER_NUMBER, DID, LOBBY, Stage
from tests.asterisk.test_pbx import hq, table, until
from tests.web.asking import ask, bearer

# Whoever looks again and again must not use up what Millis may ask.
TOKEN, READER = "of millis", "of a reader"
PATIENCE_SECONDS = 15.0
MORE = f"""
[[transfer]]
name = "sales"
destination = "lobby,s,1"

[[token]]
name = "millis"
scopes = "millis"
sha256 = "{digest(TOKEN)}"

[[token]]
name = "reader"
scopes = "read"
sha256 = "{digest(READER)}"

[backfill]
wait_seconds = 0

[records]
gather_seconds = 0
batch_seconds = 0.01
"""


@asynccontextmanager
async def bridge(stage: Stage, folder: Path) -> AsyncIterator[WebServer]:
    """Run a bridge that keeps records in *folder*, and have Millis tell it of calls."""
    more = table(stage.pbx.manager_port) + MORE + f'folder = "{folder}"\n'
    async with stage.bridge(web='["127.0.0.1:0"]', more=more):
        await until(lambda: hq(stage).connected)
        host, port = stage.web.addresses[0]
        stage.millis.sessions.target = Target(f"http://{host}:{port}", TOKEN)
        yield stage.web


async def get(server: WebServer, path: str) -> dict[str, Any]:
    """Return what the API answers."""
    status, answer = await ask(server, "GET", path, **bearer(READER))
    return answer if status == 200 else {}


async def record_with(server: WebServer, name: str) -> dict[str, Any]:
    """Look again and again until the only call has that fact in its record, and return it."""
    seen: Any = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (seen and len(seen) == 1 and seen[0][name] is not None):
                await asyncio.sleep(0.05)
                seen = (await get(server, "/api/v1/calls")).get("calls", [])
    except TimeoutError:
        raise AssertionError(f"no record with {name}: {seen}") from None
    record: dict[str, Any] = seen[0]
    return record


async def test_one_whole_joined_call(stage: Stage, tmp_path: Path):
    """What Asterisk reports, what the agent asked for and what Millis says at the end stand in one record, each once."""
    began = datetime.now(UTC)
    async with bridge(stage, tmp_path) as server:
        async with stage.calling(name="Ada"):
            await stage.heard("caller", AGENT)
            await until(lambda: stage.millis.sessions.answers)
            session = stage.millis.sessions.session_id(stage.millis.issued[0]["call_id"])
            said = {"session_id": session, "target": "sales", "reason": "a refund"}
            status, answer = await ask(server, "POST", "/tools/transfer", said, **bearer(TOKEN))
            assert (status, answer["done"]) == (200, True)
            await stage.heard("caller", LOBBY)
        await stage.line("transferred")
        await record_with(server, "transfer_ended_at")
        record = await record_with(server, "millis_status")
        assert await get(server, f"/api/v1/calls/{record['bridge_call_id']}") == record

    routed = await stage.line("route")
    session_said = stage.millis.sessions.logs({})["histories"][0]
    times = {name: record.pop(name) for name in ("received_at", "ended_at", "transfer_ended_at")}
    spans = {name: record.pop(name) for name in [each for each in record if each.endswith("_seconds")]}
    assert record == {
        "bridge_call_id": routed["bridge_call_id"],
        "pbx": "hq",
        "channel": routed["channel"],
        "uniqueid": routed["uniqueid"],
        "linkedid": routed["uniqueid"],
        "did": f"+{DID}",
        "caller_number": CALLER_NUMBER,
        "caller_name": "Ada",
        "caller_withheld": False,
        "rdnis": None,
        "verb": "route",
        "rule": "sales",
        "agent_id": "-Nsales",
        "account": "default",
        "region": "us-west",
        "millis_call_id": stage.millis.issued[0]["call_id"],
        "failover": False,
        "standby": False,
        "redialled": False,
        "orphaned": False,
        "fallback": "reception,s,1",
        "detail": None,
        "dialstatus": "ANSWER",
        "hangup_cause": 16,
        "hung_up_by": None,
        "result": "completed",
        "reason": "transfer-answered",
        "fallback_taken": False,
        "transfer": "sales",
        "transfer_dialstatus": "ANSWER",
        "millis_session_id": session,
        "millis_cost": 0.0303,
        "millis_cost_breakdown": json.dumps(session_said["cost_breakdown"]),
        "millis_status": "user-ended",
        "millis_error": None,
        "transcript": "assistant: Hello, how can I help you?\nuser: I would like to speak with somebody.",
        "recording_url": f"https://recordings.example/{session}.mp3",
    }
    assert began <= datetime.fromisoformat(times["received_at"]) + timedelta(milliseconds=1)
    assert times["received_at"] < times["ended_at"] <= times["transfer_ended_at"]
    assert spans["longest_seconds"] == 10 + 3600 + 5
    # Asterisk forgets how long it was when a channel leaves Dial for elsewhere.
    assert {name for name, seconds in spans.items() if seconds is None} == {"dialled_seconds", "answered_seconds"}
    assert spans["millis_duration_seconds"] == session_said["duration"]


async def test_tool_reaches_a_bridge_that_did_not_take_the_call(stage: Stage, tmp_path: Path):
    """Behind a balancer, another process or node is asked: the records say which PBX the caller is in, and that PBX which channel."""
    async with bridge(stage, tmp_path) as other, bridge(stage, tmp_path) as server, stage.calling():
        await stage.heard("caller", AGENT)
        record = await record_with(server, "millis_session_id")
        [shown] = (await get(other, "/api/v1/live"))["calls"]
        assert (shown["bridge_call_id"], len(shown["channels"])) == (record["bridge_call_id"], 2)
        said = {"session_id": record["millis_session_id"]}
        status, answer = await ask(other, "POST", "/tools/hangup", said, **bearer(TOKEN))
        hung_up = await stage.saw("caller", HungUp)
        _, again = await ask(other, "POST", "/tools/hangup", said, **bearer(TOKEN))

    assert (status, answer["done"], hung_up.by) == (200, True, "them")
    assert again["done"] is False


async def test_end_that_no_webhook_told_is_backfilled(stage: Stage, tmp_path: Path):
    """A bridge that Millis cannot reach asks for what it was not told."""
    async with bridge(stage, tmp_path) as server:
        stage.millis.sessions.target = Target()
        async with stage.calling():
            await stage.heard("caller", AGENT)
        await stage.line("ended")
        await stage.saw("agent", HungUp)
        assert (await record_with(server, "ended_at"))["millis_status"] is None
        assert await stage.service.backfill.once(datetime.now(UTC)) == 1
        record = await record_with(server, "millis_status")

    assert (record["millis_status"], record["millis_cost"]) == ("user-ended", 0.0303)
