"""The bridge is not running, silent, dying or lying: the shipped dialplan brings the caller to a fallback in time.

The fallback is the rule's own as soon as the bridge has named it, and until then the one of site/extensions.conf.
"""

import asyncio
import signal
import socket
import struct
from asyncio import StreamReader, StreamWriter

import pytest

from agi_bridge.simulator.sip import Answered, AudioHeard, HungUp, Invited, Refused, Ringing
from tests.asterisk.stage import NIGHT, RECEPTION, Stage, closed_port

BUDGET_SECONDS = 0.6


async def set_variables(reader: StreamReader, writer: StreamWriter, **variables: str) -> None:
    """Set channel variables, each after the answer to the one before."""
    for name, value in variables.items():
        writer.write(f'SET VARIABLE {name} "{value}"\n'.encode())
        assert await reader.readline() == b"200 result=1\n"


async def closes(reader: StreamReader, writer: StreamWriter) -> None:
    """Go away without a word."""


async def resets(reader: StreamReader, writer: StreamWriter) -> None:
    """Break the connection with an RST, which is what a linger of zero makes of closing."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def fails(reader: StreamReader, writer: StreamWriter) -> None:
    """Say that the AGI failed."""
    writer.write(b"FAILURE\n")


async def fails_in_words(reader: StreamReader, writer: StreamWriter) -> None:
    """Say so in small letters and with a reason."""
    writer.write(b"failure: out of order\n")


async def says_half_a_line(reader: StreamReader, writer: StreamWriter) -> None:
    """Go away in the middle of a command."""
    writer.write(b"SET VARIABLE MILLIS_STATUS")


async def says_nonsense(reader: StreamReader, writer: StreamWriter) -> None:
    """Answer as a web server would."""
    writer.write(b"HTTP/1.1 400 Bad Request\n\n<html>no</html>\n")


async def is_silent(reader: StreamReader, writer: StreamWriter) -> None:
    """Say nothing until Asterisk goes away."""
    await reader.read()


async def names_the_fallback_and_goes(reader: StreamReader, writer: StreamWriter) -> None:
    """Set the rule's own fallback, and die."""
    await set_variables(reader, writer, MILLIS_FALLBACK="reception,s,1")


async def names_the_fallback_and_is_silent(reader: StreamReader, writer: StreamWriter) -> None:
    """Set the rule's own fallback, and hang."""
    await set_variables(reader, writer, MILLIS_FALLBACK="reception,s,1")
    await reader.read()


async def names_the_fallback_and_fails(reader: StreamReader, writer: StreamWriter) -> None:
    """Set the rule's own fallback, and say that the AGI failed."""
    await set_variables(reader, writer, MILLIS_FALLBACK="reception,s,1")
    writer.write(b"FAILURE\n")


async def says_ok_without_a_dial_string(reader: StreamReader, writer: StreamWriter) -> None:
    """Claim to have prepared everything, and to have prepared nothing."""
    await set_variables(reader, writer, MILLIS_FALLBACK="reception,s,1", MILLIS_STATUS="ok")


async def says_an_unknown_status(reader: StreamReader, writer: StreamWriter) -> None:
    """Speak a later version of our language."""
    await set_variables(reader, writer, MILLIS_FALLBACK="reception,s,1", MILLIS_STATUS="later")


async def dials_nonsense(reader: StreamReader, writer: StreamWriter) -> None:
    """Name something that no Asterisk can dial."""
    await set_variables(
        reader,
        writer,
        MILLIS_FALLBACK="reception,s,1",
        MILLIS_DIAL="Nonsense/1",
        MILLIS_DIAL_TIMEOUT="5",
        MILLIS_STATUS="ok",
    )


ANSWERS = [
    (closes, NIGHT),
    (resets, NIGHT),
    (fails, NIGHT),
    (fails_in_words, NIGHT),
    (says_half_a_line, NIGHT),
    (says_nonsense, NIGHT),
    (names_the_fallback_and_goes, RECEPTION),
    (names_the_fallback_and_fails, RECEPTION),
    (says_ok_without_a_dial_string, RECEPTION),
    (says_an_unknown_status, RECEPTION),
    (dials_nonsense, RECEPTION),
]


@pytest.mark.parametrize(("talk", "heard"), ANSWERS, ids=[talk.__name__ for talk, _ in ANSWERS])
async def test_bridge_that_does_not_finish(stage: Stage, talk, heard: int):
    """However a bridge fails, the caller hears a fallback: the rule's own if the bridge had named it."""
    async with stage.agi_server(talk):
        call = await stage.call()

    assert call.heard_hz == (heard,)


@pytest.mark.parametrize(
    ("talk", "heard"), [(is_silent, NIGHT), (names_the_fallback_and_is_silent, RECEPTION)], ids=["at once", "later"]
)
async def test_silent_bridge(stage: Stage, talk, heard: int):
    """A bridge that falls silent costs the caller the budget and no more."""
    stage.set_global("MILLIS_BUDGET_SECONDS", str(BUDGET_SECONDS))
    async with stage.agi_server(talk):
        call = await stage.call()

    assert call.heard_hz == (heard,)
    waited = stage.seconds_until("night" if heard == NIGHT else "reception", call)
    assert BUDGET_SECONDS < waited < BUDGET_SECONDS + 0.5


async def test_bridge_stopped_during_the_conversation(stage: Stage):
    """When the agent hangs up, the caller is told, even if the bridge takes the report of the call and never answers."""
    stage.agent_does(hang_up_after_seconds=1.5)
    async with stage.bridge_process() as process, stage.calling():
        await stage.saw("caller", AudioHeard)
        process.send_signal(signal.SIGSTOP)
        agent = await stage.saw("agent", HungUp)
        caller = await stage.saw("caller", HungUp)

    assert (agent.by, caller.by) == ("us", "them")
    assert caller.at - agent.at < 3


async def test_bridge_stopped_while_the_agent_rings(stage: Stage):
    """When the agent then refuses, the report that nobody takes delays the fallback by a moment and no more."""
    stage.agent_does(ring_seconds=0.3, refuse_status=486)
    async with stage.bridge_process() as process, asyncio.TaskGroup() as calls:
        calling = calls.create_task(stage.call())
        await stage.saw("agent", Ringing)
        process.send_signal(signal.SIGSTOP)
        refused = await stage.saw("agent", Refused)
        rung = await stage.saw("reception", Invited)

    assert calling.result().heard_hz == (RECEPTION,)
    assert rung.at - refused.at < 2


async def test_budget_shorter_than_the_patience_with_millis(stage: Stage):
    """If the dialplan gives up before the bridge does, the caller hears the rule's fallback, and Millis is let go."""
    stage.set_global("MILLIS_BUDGET_SECONDS", str(BUDGET_SECONDS))
    stage.millis_does("hang")
    async with stage.bridge(millis_timeout_seconds=4):
        call = await stage.call()
        await stage.millis.abandoned()
        route = await stage.line("route")

    assert call.heard_hz == (RECEPTION,)
    assert (route["result"], route["reason"]) == ("caller", "caller-hung-up")


async def test_fallback_of_the_rule_does_not_exist(stage: Stage):
    """A rule whose fallback is not in the dialplan gets the dialplan's default one."""
    stage.millis_does("status=500")
    async with stage.bridge(fallback="no-such-context,s,1"):
        call = await stage.call()

    assert call.heard_hz == (NIGHT,)


@pytest.mark.parametrize("fallback", ["reception,missing,1", "reception,s,99", "reception,s,no-label"])
async def test_fallback_is_not_quite_there(stage: Stage, fallback: str):
    """A fallback whose context exists, but not its extension, priority or label, counts as none."""
    stage.millis_does("status=500")
    async with stage.bridge(fallback=fallback):
        call = await stage.call()

    assert call.heard_hz == (NIGHT,)


async def test_no_fallback_at_all(stage: Stage):
    """With nowhere to go, the caller's side is told 503, which lets a carrier try another way, and not busy."""
    stage.set_global("MILLIS_DEFAULT_FALLBACK", "no-such-context,s,1")
    with closed_port() as address:
        stage.ask_bridge_at(*address)
        call = await stage.call()

    assert (call.status, call.answered) == (503, False)


async def test_shipped_fallback(stage: Stage):
    """The example of a fallback answers the call, with or without its sound files."""
    stage.set_global("MILLIS_DEFAULT_FALLBACK", "millis-fallback,s,1")
    with closed_port() as address:
        stage.ask_bridge_at(*address)
        async with stage.calling():
            await stage.saw("caller", Answered)
