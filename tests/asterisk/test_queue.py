"""An agent sends its caller into a real queue: a member answers, or nobody does, and whoever waits is never left in silence."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from lab import Asterisk, Pbx, SiteSettings

from agi_bridge.simulator.sip import HungUp, Invited
from tests.asterisk.stage import CALLER_NUMBER, LOBBY, NIGHT, RECEPTION, Stage, set_stage
from tests.asterisk.test_records import MODULES
from tests.asterisk.test_tools import talking, tool

# One member, who is in the lobby. Nobody waits in it for longer than three seconds.
QUEUES = """
[general]
autofill = yes

[sales]
strategy = ringall
timeout = 2
retry = 1
member => Local/s@lobby/n
"""

# A queue as it is in a plain dialplan, and one as the distributions make it, which answers first and then goes on elsewhere.
DIALPLAN = """
[millis-transfer](+)
exten => queue,1,MSet(MILLIS_TRANSFER=queue,MILLIS_TRANSFER_SECONDS=10)
 same => n,Goto(millis-hand-over,s,1)
exten => answering_queue,1,MSet(MILLIS_TRANSFER=answering_queue,MILLIS_TRANSFER_SECONDS=10)
 same => n,Goto(millis-hand-over,s,1)

[millis-transfer-to](+)
exten => queue,1,Queue(sales,,,,3)
 same => n,Hangup()
exten => answering_queue,1,Answer()
 same => n,Queue(sales,,,,3)
 same => n,Goto(night,s,1)
"""
TRANSFERS = "".join(
    f'[[transfer]]\nname = "{name}"\ndestination = "{name},s,1"\n' for name in ("queue", "answering_queue")
)


@pytest.fixture(scope="module")
def queue_pbx(asterisk: Asterisk, site: SiteSettings) -> Iterator[Pbx]:
    """A PBX with a queue."""
    files = {"modules.conf": f"{MODULES}\nload = app_queue.so\n", "queues.conf": QUEUES}
    with asterisk.start(replace(site, dialplan=site.dialplan + DIALPLAN, files=files)) as pbx:
        yield pbx


@pytest.fixture
async def stage(queue_pbx: Pbx) -> AsyncIterator[Stage]:
    """That PBX with everyone around it."""
    async with set_stage(queue_pbx) as stage:
        yield stage


@pytest.mark.parametrize("queue", ["queue", "answering_queue"])
async def test_member_of_a_queue_answers(stage: Stage, queue: str):
    """The member sees who calls and why, and talks with the caller; the agent is gone."""
    async with talking(stage, more=TRANSFERS, name="Ada") as call:
        said = await tool(stage, "transfer", bridge_call_id=call, target=queue, reason="wants a quote")
        await stage.heard("caller", LOBBY)
        await stage.saw("agent", HungUp)
        invited = await stage.saw("lobby", Invited)
    transferred = await stage.line("transferred")

    assert said["done"]
    assert (invited.caller_number, invited.caller_name) == (CALLER_NUMBER, "wants a quote: Ada")
    assert (transferred["reason"], transferred["transfer"]) == ("transfer-answered", queue)


@pytest.mark.parametrize(
    ("queue", "heard", "reason"),
    [
        # It has not answered, so the rule's fallback is next.
        ("queue", RECEPTION, "transfer-unanswered"),
        # It has, and sends on by itself whom nobody speaks with.
        ("answering_queue", NIGHT, "transfer-answered"),
    ],
)
async def test_no_member_of_a_queue_answers(stage: Stage, queue: str, heard: int, reason: str):
    """The queue gives up, and the caller hears somebody."""
    stage.desk_does("lobby", ring_seconds=30.0)
    async with talking(stage, more=TRANSFERS) as call:
        await tool(stage, "transfer", bridge_call_id=call, target=queue)
        await stage.heard("caller", heard)

    assert (await stage.line("transferred"))["reason"] == reason
