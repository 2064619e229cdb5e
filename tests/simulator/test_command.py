"""What the simulated Asterisk answers to a command: words, replies, dead mode, and Dial."""

import asyncio

import pytest

from agi_bridge.simulator.channel import ChannelMemory, SimulatedChannel
from agi_bridge.simulator.command import USAGE, AgiCommands, DialEnding, parse_words

UNKNOWN = "510 Invalid or unknown command"
DEAD = "511 Command Not Permitted on a dead channel or intercept routine"


def commands(ending=None, **channel):
    return AgiCommands(ChannelMemory(SimulatedChannel(**channel)), ending or DialEnding())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        (" \t ", []),
        ("NOOP", ["NOOP"]),
        ("SET VARIABLE A b", ["SET", "VARIABLE", "A", "b"]),
        ("  SET\t VARIABLE  A b  ", ["SET", "VARIABLE", "A", "b"]),
        ('SET VARIABLE "A" "b c"', ["SET", "VARIABLE", "A", "b c"]),
        ('"" x ""', ["", "x", ""]),
        ('a"b c"d', ["ab cd"]),
        (r'"say \"hi\" \\ there"', [r'say "hi" \ there']),
        (r"a\ b \"c", ["a b", '"c']),
        (r'"\n"', ["n"]),
        ('"open end', ["open end"]),
        ("a\\", ["a"]),
        ("NOOP\r", ["NOOP\r"]),
    ],
)
def test_line_is_split_into_words(line, words):
    """Quotes group words, a backslash takes the next character as it is, and a carriage return is a letter."""
    assert parse_words(line) == words


def test_words_have_a_limit():
    """Words beyond the 127th are lost."""
    assert len(parse_words("x " * 200)) == 127


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("", UNKNOWN),
        ("   ", UNKNOWN),
        ("SAY HELLO", UNKNOWN),
        ("SET", UNKNOWN),
        ("GET FULL", UNKNOWN),
        ("NOOP\r", UNKNOWN),
        ("NOOP", "200 result=0"),
        ("noop anything", "200 result=0"),
        ("NOOP\0 ignored", "200 result=0"),
        ('VERBOSE "hello" 3', "200 result=1"),
        ("VERBOSE", USAGE),
        ("ANSWER", "200 result=0"),
        ("CHANNEL STATUS", "200 result=4"),
        ("CHANNEL STATUS PJSIP/trunk-00000001", "200 result=4"),
        ("CHANNEL STATUS PJSIP/other-1", "200 result=-1"),
        ("CHANNEL STATUS a b", USAGE),
        ("SET VARIABLE A b", "200 result=1"),
        ("SET VARIABLE A", "200 result=1"),
        ('SET VARIABLE "NO_SUCH(x)" b', "200 result=1"),
        ("GET VARIABLE X", "200 result=1 (one)"),
        ("get variable X", "200 result=1 (one)"),
        ("GET VARIABLE EMPTY", "200 result=1 ()"),
        ("GET VARIABLE MISSING", "200 result=0"),
        ("GET VARIABLE BREAKS", "200 result=1 (a\n200 result=1 (b)"),
        ("GET VARIABLE", USAGE),
        ("GET VARIABLE a b", USAGE),
        ("GET FULL VARIABLE X", "200 result=1 (X)"),
        ('GET FULL VARIABLE "${X}|${MISSING}"', "200 result=1 (one|)"),
        ("GET FULL VARIABLE ${X} PJSIP/trunk-00000001", "200 result=1 (one)"),
        ("GET FULL VARIABLE ${X} PJSIP/other-1", "200 result=0"),
        ("GET FULL VARIABLE", USAGE),
        ("EXEC", USAGE),
        ("EXEC NoSuchApp", "200 result=-2"),
        ("EXEC Wait 1", "200 result=0"),
        ("HANGUP PJSIP/other-1", "200 result=-1"),
        ("HANGUP a b", USAGE),
    ],
)
async def test_command_is_answered(line, reply):
    """A command is answered as Asterisk answers it."""
    variables = {"X": "one", "EMPTY": "", "BREAKS": "a\n200 result=1 (b"}

    assert await commands(variables=variables).answer(line) == reply


async def test_set_variable_sets_it():
    """A variable that was set is there, quoted value and all."""
    session = commands()
    await session.answer(r'SET VARIABLE "MILLIS_DIAL" "PJSIP/millis/sip:a@b \"c\""')

    assert session.memory.variables == {"MILLIS_DIAL": 'PJSIP/millis/sip:a@b "c"'}


@pytest.mark.parametrize("line", ["ANSWER", "EXEC Answer"])
async def test_answer_brings_the_channel_up(line):
    """After an answer the channel's state is Up."""
    session = commands()
    await session.answer(line)

    assert await session.answer("CHANNEL STATUS") == "200 result=6"


@pytest.mark.parametrize(
    ("line", "reply"), [("HANGUP", "200 result=1"), ("EXEC Hangup", "200 result=-1"), ("hangup", "200 result=1")]
)
async def test_hangup_hangs_the_channel_up(line, reply):
    """A hang-up by command is noted, and the command is answered first."""
    session = commands()

    assert (await session.answer(line), session.hung_up_at is None) == (reply, False)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("ANSWER", DEAD),
        ("HANGUP", DEAD),
        ("CHANNEL STATUS", DEAD),
        ("NOOP", "200 result=0"),
        ("VERBOSE x", "200 result=1"),
        ("SET VARIABLE A b", "200 result=1"),
        ("GET VARIABLE A", "200 result=0"),
        ("GET FULL VARIABLE A", "200 result=1 (A)"),
        ("EXEC NoOp", "200 result=0"),
        ("EXEC Dial PJSIP/x", "200 result=-1"),
        ("SAY HELLO", UNKNOWN),
    ],
)
async def test_dead_channel_takes_few_commands(line, reply):
    """On a dead channel the commands that need a live one are refused."""
    assert await commands(hung_up=True).answer(line) == reply


@pytest.mark.parametrize(
    ("ending", "options", "result", "variables"),
    [
        (DialEnding(), "", -1, ("ANSWER", "16", "9", "7")),
        (DialEnding(), ",30,ig", 0, ("ANSWER", "16", "9", "7")),
        (DialEnding(), ",30,iU(going^x,g)L(1000)", -1, ("ANSWER", "16", "9", "7")),
        (DialEnding("BUSY", 17), ",30,i", 0, ("BUSY", "17", "", "")),
        (DialEnding("CHANUNAVAIL", 21), ",30,ig", 0, ("CHANUNAVAIL", "21", "", "")),
    ],
)
async def test_dial_ends_as_scripted(ending, options, result, variables):
    """A Dial sets its variables and returns -1 after a conversation, unless option g lets the dialplan go on."""
    session = commands(ending)
    reply = await session.answer(f'EXEC Dial "PJSIP/millis/sip:a@h{options}"')

    names = "DIALSTATUS", "HANGUPCAUSE", "DIALEDTIME", "ANSWEREDTIME"
    assert reply == f"200 result={result}"
    assert tuple(session.memory.variables.get(name) for name in names) == variables
    assert session.executed == [("Dial", f"PJSIP/millis/sip:a@h{options}")]


async def test_dial_on_a_dead_channel_is_cancelled():
    """A Dial for a caller who is gone is CANCEL at once, even a held one."""
    session = commands(DialEnding(held=True), hung_up=True)
    await session.answer("EXEC Dial PJSIP/x")

    assert session.memory.variables["DIALSTATUS"] == "CANCEL"


async def test_held_dial_lasts_until_released():
    """A held Dial answers only when it is released."""
    session = commands(DialEnding("NOANSWER", 19, held=True))
    dialling = asyncio.create_task(session.answer("EXEC Dial PJSIP/x"))
    done, _ = await asyncio.wait({dialling}, timeout=0.01)
    assert not done

    session.release_dial()
    assert await dialling == "200 result=0"
    assert session.memory.variables["DIALSTATUS"] == "NOANSWER"


@pytest.mark.parametrize(
    ("scripted", "dialstatus", "options"),
    [("ANSWER", "ANSWER", "PJSIP/x,30,g"), ("NOANSWER", "CANCEL", "PJSIP/x")],
)
async def test_caller_who_hangs_up_ends_a_held_dial(scripted, dialstatus, options):
    """A caller who leaves a conversation had an answer, one who leaves while it rings had none."""
    session = commands(DialEnding(scripted, held=True))
    dialling = asyncio.create_task(session.answer(f'EXEC Dial "{options}"'))
    await asyncio.wait({dialling}, timeout=0.01)
    session.hang_up()

    assert await dialling == "200 result=-1"
    assert session.memory.variables["DIALSTATUS"] == dialstatus
