"""What AGISTATUS says after a failure: facts of Asterisk, on which the dialplan's use of MILLIS_STATUS stands."""

import socket
import struct

import pytest

from tests.asterisk.stage import AGISTATUS_DID, Stage, closed_port

OUTCOME = r"AGISTATUS=(\w*) MARK=(\w*) at (\w)"


async def closes(reader, writer):
    """Go away without a word."""


async def resets(reader, writer):
    """Break the connection with an RST, which is what a linger of zero makes of closing."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def marks_and_closes(reader, writer):
    """Set a variable, and go away."""
    writer.write(b"SET VARIABLE MARK made\n")
    await reader.readline()


async def marks_and_resets(reader, writer):
    """Set a variable, and break the connection."""
    await marks_and_closes(reader, writer)
    await resets(reader, writer)


async def marks_and_fails(reader, writer):
    """Set a variable, and say that the AGI failed."""
    await marks_and_closes(reader, writer)
    writer.write(b"FAILURE\n")


async def fails_in_words(reader, writer):
    """Say that the AGI failed, in small letters and with a reason."""
    writer.write(b"failure: out of order\n")


async def marks_and_is_silent(reader, writer):
    """Set a variable, and say nothing until Asterisk goes away."""
    await marks_and_closes(reader, writer)
    await reader.read()


ROWS = [
    (closes, ("SUCCESS", "", "n")),
    (resets, ("SUCCESS", "", "n")),
    (marks_and_closes, ("SUCCESS", "made", "n")),
    (marks_and_resets, ("SUCCESS", "made", "n")),
    (marks_and_fails, ("FAILURE", "made", "n")),
    (fails_in_words, ("FAILURE", "", "n")),
    (marks_and_is_silent, ("HANGUP", "made", "T")),
]


@pytest.mark.parametrize(("talk", "outcome"), ROWS, ids=[talk.__name__ for talk, _ in ROWS])
async def test_agistatus(stage: Stage, talk, outcome: tuple[str, str, str]):
    """A server that died looks like one that succeeded; variables stay; only silence leads to T, once time is up."""
    stage.set_global("MILLIS_BUDGET_SECONDS", "0.3")
    async with stage.agi_server(talk):
        await stage.call(AGISTATUS_DID)

    assert (await stage.logged(OUTCOME)).groups() == outcome


async def test_refused_connection(stage: Stage):
    """A refused connection is a failure, and the dialplan goes on at once."""
    with closed_port() as address:
        stage.ask_bridge_at(*address)
        await stage.call(AGISTATUS_DID)

    assert (await stage.logged(OUTCOME)).groups() == ("FAILURE", "", "n")
