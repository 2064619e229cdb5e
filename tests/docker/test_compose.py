"""The stack of docker-compose.yml, for real: calls through it, a bridge that dies in the middle of one, a stop and a start."""

import asyncio
import re

import pytest

from agi_bridge.simulator.sip import Answered, CallReport, HungUp
from agi_bridge.simulator.tone import AGENT_TONE_HZ, HEARD_TONE_HZ
from tests.docker.stack import Compose, Phone, run

BOTH_WAYS = (AGENT_TONE_HZ, HEARD_TONE_HZ)


def test_caller_tells_a_call_with_audio_both_ways(stack: Compose):
    """`docker compose run --rm caller` tells the story of one call, ends with its proof, and with 0."""
    called = stack.attempt("run", "--rm", "--no-TTY", "caller")

    assert called.code == 0, called
    assert [re.sub(r"^ *\d+ ms  ", "", line) for line in called.out.splitlines()] == [
        "Ada Lovelace +15557654321 dials 15551230001 on the trunk",
        "the caller hears ringing",
        "the caller is connected",
        f"the caller hears the agent: a tone of {AGENT_TONE_HZ} Hz",
        f"the agent has heard the caller, and says so: a tone of {HEARD_TONE_HZ} Hz",
        "the caller hangs up",
        "audio went both ways: the caller heard the agent, and the agent heard the caller",
    ]


async def test_softphone_on_this_machine_reaches_the_agent(stack: Compose):
    """A phone that is no container calls, hears the agent and is heard; the bridge's lines are about this call."""
    report = await Phone().call()
    ended = await stack.line(verb="ended", hung_up_by="caller")

    assert report.heard_hz == BOTH_WAYS
    assert (ended["result"], ended["reason"], ended["dialstatus"]) == ("completed", "answered", "ANSWER")
    assert stack.cli("core show channels count").startswith("0 active channels")


async def test_asterisk_has_nothing_to_complain_of(stack: Compose):
    """From its start through a call, Asterisk with the shipped configuration logs no warning and no error."""
    stack("restart", "asterisk")
    stack("up", "--detach", "--wait")
    await Phone().call()

    log = stack("logs", "--no-log-prefix", "asterisk")
    assert "Asterisk Ready" in log
    assert re.findall(r".*(?:WARNING|ERROR)\[.*", log) == []


async def test_without_an_agent_the_caller_is_told(stack: Compose):
    """Where Millis is down the caller hears the fallback's announcement, and `caller` ends with 1 and a reason."""
    stack("stop", "millis")
    called = stack.attempt("run", "--rm", "--no-TTY", "--no-deps", "caller")
    route = await stack.line(verb="route", reason="millis-unreachable")

    assert called.code == 1
    assert "somebody answered, but not the simulated agent" in called.err
    assert route["fallback"] == "millis-fallback,s,1"
    assert "does not exist in any format" not in stack("logs", "asterisk")


async def test_call_goes_on_while_the_bridge_is_dead(stack: Compose):
    """When the bridge's container is killed, a call under way goes on, a new one takes the fallback, and the next is served."""
    first = Phone()
    async with first.calling() as call:
        await first.heard(HEARD_TONE_HZ)
        routed = await stack.line(verb="route", reason="routed")
        await asyncio.to_thread(stack, "kill", "bridge")
        meanwhile = await Phone().call()
        await asyncio.to_thread(stack, "up", "--detach", "--wait", "bridge")
        afterwards = await Phone().call()
    report = await call
    ended = await stack.line(verb="ended", millis_call_id=routed["millis_call_id"])

    assert (meanwhile.answered, meanwhile.heard_hz, meanwhile.packets_received > 20) == (True, (), True)
    assert afterwards.heard_hz == BOTH_WAYS
    assert _audio_never_stopped(report)
    assert (ended["reason"], ended["hung_up_by"]) == ("answered", "caller")


async def test_bridge_that_crashes_is_started_again(stack: Compose):
    """After a crash Docker starts the bridge again by itself, while a call goes on; the next call is served."""
    container = stack.container("bridge")
    process = run("docker", "inspect", "--format", "{{.State.Pid}}", container).stdout.strip()
    kill = f"import os; os.kill({process}, 9)"
    phone = Phone()
    async with phone.calling() as call:
        await phone.heard(HEARD_TONE_HZ)
        # Unlike `docker kill`, which Docker takes for a wish to have it stopped.
        killed = await asyncio.to_thread(
            run, "docker", "run", "--rm", "--pid=host", "--user=0", "--entrypoint=python", "agi-bridge", "-c", kill
        )
        await stack.shown(r"^1 healthy", "--format", "{{.RestartCount}} {{.State.Health.Status}}", container)
        afterwards = await Phone().call()
    report = await call

    assert killed.returncode == 0, killed.stderr
    assert afterwards.heard_hz == BOTH_WAYS
    assert _audio_never_stopped(report)


async def test_stop_and_start_loses_nothing(stack: Compose):
    """What Asterisk has stored is there after `docker compose down` and `up`, and calls go through again."""
    stack.cli("database put crm +15557654321 gold")
    stack("down")
    stack("up", "--detach", "--wait")

    assert "gold" in stack.cli("database get crm +15557654321")
    assert (await Phone().call()).heard_hz == BOTH_WAYS


@pytest.mark.parametrize("service", ["bridge", "asterisk", "millis"])
def test_containers_may_do_little(stack: Compose, service: str):
    """Each runs as an ordinary user, on a root file system that it cannot write, without capabilities, and with limits."""
    shown = run("docker", "inspect", "--format", "{{json .HostConfig}}", stack.container(service)).stdout
    status = stack("exec", "--no-TTY", service, "cat", "/proc/1/status")
    fields = dict(re.findall(r"^(\w+):\s*(.*)$", status, re.MULTILINE))

    assert '"ReadonlyRootfs":true' in shown
    assert '"Memory":0' not in shown
    assert '"PidsLimit":null' not in shown
    assert '"max-size":"10m"' in shown
    assert fields["Uid"].split()[0] in ("4573", "5060")
    assert (int(fields["CapEff"], 16), int(fields["CapBnd"], 16), fields["NoNewPrivs"]) == (0, 0, "1")


def _audio_never_stopped(report: CallReport) -> bool:
    """Return whether the caller hung up, and until then a packet came nearly every 20 ms."""
    answered = next(event.at for event in report.events if isinstance(event, Answered))
    hung_up = next(event for event in report.events if isinstance(event, HungUp))
    return hung_up.by == "us" and report.packets_received > 0.8 * (hung_up.at - answered) / 0.02
