"""The demo: one phone call, played and told step by step.

A SIP caller dials a number on a trunk. A real Asterisk with the shipped `asterisk-conf/` asks the bridge, which registers the
call with a simulated Millis and answers with what to dial; a SIP agent picks up, and both sides must hear each other's tone.
Only what was observed is told, each step where it happened, and only if all of it happened is the exit code 0.
"""

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from lab import AsteriskFailed, AsteriskUnavailable, Pbx, SiteSettings, find_asterisk

from agi_bridge.simulator.asterisk import play_call
from agi_bridge.simulator.channel import SimulatedChannel
from agi_bridge.simulator.millis import Received, SimulatedMillis
from agi_bridge.simulator.sip import (
    AgentBehaviour,
    CallerBehaviour,
    CallEvent,
    SipAgent,
    place_call,
)
from agi_bridge.simulator.story import agent_step, caller_step

DID = "15551230001"
CALLER_NUMBER = "+15557654321"
CALLER_NAME = "Ada Lovelace"
TRUNK = "127.0.0.2"
TALK_SECONDS = 2.0
PATIENCE_SECONDS = 10.0
# A busy machine takes half a minute to load the program.
START_SECONDS = 60.0

BRIDGE_TOML = """\
[agi]
listen = "127.0.0.1:0"

[web]
listen = []                      # the demo is asked nothing

[records]
folder = "records"               # beside this file; leave it out for the usual place

[millis]
base_url = "{millis}"            # the simulated one; leave it out for the real one
allowed_hosts = ["127.0.0.1"]    # likewise

[numbers]
default_country = "US"

[log]
format = "json"
numbers = "full"                 # nobody's real number is in this call

[defaults]
fallback = "millis-fallback,s,1"

[[route]]
name = "sales"
did = ["+15551230001"]
agent_id = "-Ndemo"
metadata = {{ team = "sales", account = "${{DB(crm/${{CALLERID(num)}})}}" }}
"""

NEXT = """
What to do next for a real PBX
  1. As root: scripts/install, then agi-bridge init, which asks for your Millis key, your numbers and your agent.
  2. agi-bridge check, agi-bridge register --did NUMBER (one real registration),
     systemctl start agi-bridge.socket agi-bridge.service.
  3. agi-bridge asterisk-config --flavor plain (or freepbx, issabel, vitalpbx) says what your PBX needs; agi-bridge doctor asks
     both ends whether a call would go through. docs/quickstart.md has the page of your PBX."""


class BridgeNotStarted(Exception):
    """There is no bridge to call; the message says why."""


class Story:
    """What was seen so far, told as it happens: milliseconds since the caller dialled, and since the step before."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.reported = asyncio.Event()
        self._began = self._last = time.monotonic()

    def begin(self) -> None:
        """Start the clock."""
        self._began = self._last = time.monotonic()

    def tell(self, step: str, text: str, at: float | None = None) -> None:
        """Tell *step*, seen *at* this moment of the monotonic clock or now; only its first time counts."""
        if step in self.seen:
            return
        at = time.monotonic() if at is None else at
        self.seen[step] = at
        since, before = (at - self._began) * 1000, (at - self._last) * 1000
        self._last = at
        print(f"{since:7.0f} ms {before:+7.0f}  {text}", flush=True)

    def tell_caller(self, event: CallEvent) -> None:
        """Tell what the caller's phone did or heard."""
        self.tell(*caller_step(event), event.at)

    def tell_agent(self, event: CallEvent) -> None:
        """Tell what the agent did or heard."""
        self.tell(*agent_step(event), event.at)

    def tell_request(self, received: Received) -> None:
        """Tell how the bridge registers the call; what else it asks, it asks without one."""
        if received.method != "POST":
            return
        body = json.dumps(received.body, indent=2, ensure_ascii=False).replace("\n", "\n" + " " * 21)
        self.tell(
            "registration", f"the bridge asks Millis: {received.method} {received.path}\n{' ' * 21}{body}", received.at
        )

    def tell_line(self, line: Mapping[str, Any], millis: SimulatedMillis) -> None:
        """Tell what the bridge says of the call in its log."""
        if line.get("event") != "call":
            return
        if line["verb"] == "route":
            if millis.issued:
                issued = millis.issued[-1]
                self.tell(
                    "SIP URI", f"Millis answers after {line['millis_ms']} ms: {issued['call_id']}, {issued['uri']}"
                )
            own = line["total_ms"] - line.get("millis_ms", 0)
            self.tell(
                "routed" if line["reason"] == "routed" else "not routed",
                f'rule "{line.get("rule", "")}" matched, {line["reason"]}; the bridge took {line["total_ms"]} ms, '
                f"{own:.1f} ms of them its own",
            )
        elif line["verb"] == "ended":
            self.tell(
                "reported" if line["reason"] == "answered" else "reported badly",
                f"the bridge knows how it went: {line['result']}/{line['reason']}, DIALSTATUS {line['dialstatus']}, "
                f"{line['answered_seconds']} s answered, {line['hung_up_by']} hung up",
            )
            self.reported.set()


EXPECTED = (
    "dialled",
    "caller ringing",
    "registration",
    "SIP URI",
    "routed",
    "dial string",
    "agent called",
    "agent rings",
    "agent answers",
    "caller connected",
    "caller hears",
    "agent hears",
    "hung up",
    "agent told",
    "reported",
)


@asynccontextmanager
async def bridge(story: Story, millis: SimulatedMillis, folder: Path) -> AsyncIterator[str]:
    """Run `agi-bridge serve` with a configuration of its own; yield its address."""
    (folder / "bridge.toml").write_text(BRIDGE_TOML.format(millis=millis.url))
    program = Path(sys.executable).with_name("agi-bridge")
    environ = {**os.environ, "MILLIS_API_KEY": "demo-key"}
    process = await asyncio.create_subprocess_exec(
        program, "serve", "--config", folder / "bridge.toml", env=environ, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    reader = asyncio.create_task(read_log(process.stderr, story, millis, address))
    try:
        try:
            async with asyncio.timeout(START_SECONDS):
                listening = await address
        except TimeoutError:
            raise BridgeNotStarted(
                f"the bridge did not start within {START_SECONDS:g} s; is this machine very busy?"
            ) from None
        yield listening
    finally:
        process.terminate()
        await process.wait()
        await reader


async def read_log(
    stream: asyncio.StreamReader, story: Story, millis: SimulatedMillis, address: asyncio.Future[str]
) -> None:
    """Read the bridge's log until it ends; the first thing of interest in it is where the bridge listens."""
    async for raw in stream:
        try:
            line = json.loads(raw)
        except ValueError:
            print(raw.decode(errors="replace"), file=sys.stderr)
            continue
        if line.get("event") == "listening for FastAGI" and not address.done():
            address.set_result("{}:{}".format(*line["address"]))
        story.tell_line(line, millis)
    if not address.done():
        address.set_exception(BridgeNotStarted("the bridge did not start; its messages stand above"))


async def through_asterisk(pbx: Pbx, story: Story) -> None:
    """Call through the real Asterisk, and read in its log what it dials."""
    watching = asyncio.create_task(tell_dial(pbx, story))
    await place_call(
        (pbx.address, pbx.sip_port),
        DID,
        caller_number=CALLER_NUMBER,
        caller_name=CALLER_NAME,
        behaviour=CallerBehaviour(talk_seconds=TALK_SECONDS, answer_timeout_seconds=PATIENCE_SECONDS),
        host=TRUNK,
        on_event=story.tell_caller,
    )
    await watching


async def tell_dial(pbx: Pbx, story: Story) -> None:
    """Tell what Asterisk dials, as soon as its log has it."""
    with suppress(AsteriskFailed):
        dial = await asyncio.to_thread(pbx.wait_for_log, r'Dial\("[^"]*", "([^"]+)"\)', PATIENCE_SECONDS)
        story.tell("dial string", f"Asterisk dials: Dial({dial[1]})")


async def through_simulation(bridge_address: str, story: Story) -> None:
    """Play Asterisk's side of AGI, then let the caller dial the agent directly."""
    host, _, port = bridge_address.rpartition(":")
    channel = SimulatedChannel(did=DID, caller_number=CALLER_NUMBER, caller_name=CALLER_NAME)
    story.tell("dialled", f"{CALLER_NAME} {CALLER_NUMBER} dials {DID} on a simulated trunk")
    story.tell("caller ringing", "the caller would hear ringing")
    routed = await play_call(host, int(port), script="route", arguments=(f"did={DID}",), channel=channel)
    dial = routed.variables.get("MILLIS_DIAL", "")
    found = re.fullmatch(r"PJSIP/millis/sip:([^@]+)@([^:]+):(\d+)", dial)
    if found is None:
        return
    story.tell("dial string", f"the dialplan would dial: Dial({dial},…)")
    user, agent_host, agent_port = found.groups()
    await place_call(
        (agent_host, int(agent_port)),
        user,
        behaviour=CallerBehaviour(talk_seconds=TALK_SECONDS),
        on_event=story.tell_caller,
    )
    facts = {
        "DIALSTATUS": "ANSWER",
        "ANSWEREDTIME": f"{TALK_SECONDS:.0f}",
        "MILLIS_BRIDGE_CALL_ID": routed.variables["MILLIS_BRIDGE_CALL_ID"],
    }
    over = SimulatedChannel(did=DID, hung_up=True, variables=facts, functions={"CHANNEL(hangupsource)": channel.name})
    await play_call(host, int(port), script="ended", channel=over)


async def play(simulated: bool) -> Story:
    """Set everything up, play the call, and return what was seen."""
    story = Story()
    asterisk = None
    if not simulated:
        try:
            asterisk = await asyncio.to_thread(find_asterisk, lambda text: print(f"  {text}", flush=True))
        except AsteriskUnavailable as unavailable:
            print("No real Asterisk is to be had here, so the SIMULATED one plays its part:")
            for reason in unavailable.reasons:
                print(f"  - {reason}")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agi-bridge-demo-")))
        agent = await stack.enter_async_context(
            SipAgent(behaviour=AgentBehaviour(ring_seconds=0.3), on_event=story.tell_agent)
        )
        sip_host = "{}:{}".format(*agent.address)
        millis = await stack.enter_async_context(
            SimulatedMillis(key="demo-key", sip_host=sip_host, on_request=story.tell_request)
        )
        address = await stack.enter_async_context(bridge(story, millis, folder))
        if asterisk is None:
            print("\nThe call, through the bridge and the simulated Asterisk:\n")
            story.begin()
            await through_simulation(address, story)
        else:
            site = SiteSettings(bridge=address, trunk=TRUNK)
            starting = asterisk.start(site)
            pbx = await asyncio.to_thread(starting.__enter__)
            stack.push_async_callback(asyncio.to_thread, starting.__exit__, None, None, None)
            # What the rule's ${DB(crm/…)} will find.
            await asyncio.to_thread(pbx.cli, f"database put crm {CALLER_NUMBER} gold")
            print(f"\nThe call, through the bridge and a real Asterisk {asterisk.version} ({asterisk.kind}):\n")
            story.begin()
            await through_asterisk(pbx, story)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await story.reported.wait()
    return story


def main() -> int:
    """Play the call; return 0 if all of it happened."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Play one call and tell its story.")
    parser.add_argument("--simulated", action="store_true", help="use the simulated Asterisk")
    options = parser.parse_args()
    try:
        story = asyncio.run(play(options.simulated))
    except BridgeNotStarted as failed:
        print(f"demo: {failed}", file=sys.stderr)
        return 1
    missing = [step for step in EXPECTED if step not in story.seen]
    if missing:
        print(f"\nThe call did NOT go as it should. What never happened: {', '.join(missing)}.", file=sys.stderr)
        return 1
    print("\nEverything that should happen did: the caller and the agent spoke, and heard each other.")
    print(NEXT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
