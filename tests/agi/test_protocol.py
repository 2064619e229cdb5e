"""Bytes and events: every line that an honest Asterisk sends is understood, and none that a forger would need."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, pairwise, repeat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge.agi.protocol import (
    AgiConnection,
    Command,
    Event,
    HungUp,
    Limits,
    Provisional,
    Reply,
    Request,
    UsageError,
    assign,
    execute,
    get_full_variable,
    quote,
)
from agi_bridge.errors import AgiProtocolError, UnsafeText
from agi_bridge.simulator.channel import SimulatedChannel, environment
from agi_bridge.simulator.command import parse_words, split_arguments

WIRE = Path(__file__).parents[1] / "wire"

FIELDS = b"""\
agi_network: yes
agi_network_script: route?did=%2B15551230001
agi_request: agi://127.0.0.1:4573/route?did=%2B15551230001
agi_channel: PJSIP/trunk-0000001a
agi_language: en
agi_type: PJSIP
agi_uniqueid: 1795175545.1
agi_version: 22.10.1
agi_callerid: +15557654321
agi_calleridname: Alice: sales
agi_callingpres: 0
agi_callingani2: 0
agi_callington: 0
agi_callingtns: 0
agi_dnid: +15551230001
agi_rdnis: unknown
agi_context: from-trunk
agi_extension: s
agi_priority: 3
agi_enhanced: 0.0
agi_accountcode:\x20
agi_threadid: 139896646575808
"""
HELLO = FIELDS + b"\n"

SET = Command("SET VARIABLE", ("X", "1"))
GET = get_full_variable("${X}")
EXEC = execute("Dial", "PJSIP/millis/sip:x@example.com,30,i")
USAGE = b"520-Invalid command syntax.  Proper usage follows:\nUsage: SET VARIABLE <name> <value>\n520 End of proper usage.\n"


def whole(wire: bytes) -> list[bytes]:
    return [wire]


def byte_by_byte(wire: bytes) -> list[bytes]:
    return [wire[at : at + 1] for at in range(len(wire))]


def with_trailing_bytes(wire: bytes) -> list[bytes]:
    return [wire + b"HANG"]


fed_in_every_way = pytest.mark.parametrize("chunks", [whole, byte_by_byte, with_trailing_bytes])


def feed(connection: AgiConnection, chunks: Iterable[bytes]) -> list[Event]:
    return [event for chunk in chunks for event in connection.receive_data(chunk)]


def asked(command: Command = SET) -> AgiConnection:
    """Return a conversation in which *command* awaits its reply."""
    connection = AgiConnection()
    feed(connection, [HELLO])
    connection.send(command)
    return connection


def request(wire: bytes, chunks: Callable[[bytes], list[bytes]] = whole) -> Request:
    """Return the one request that *wire* is."""
    [event] = feed(AgiConnection(), chunks(wire))
    assert isinstance(event, Request)
    return event


def with_field(name: str, value: bytes) -> bytes:
    """Return an environment in which the field *name* has this value."""
    return re.sub(rb"(?m)^agi_%s: .*$" % name.encode(), lambda _: b"agi_%s: %s" % (name.encode(), value), HELLO)


def called(script: bytes, *arguments: bytes) -> bytes:
    """Return the environment of `AGI(agi://host/script,arguments…)`."""
    lines = (b"agi_arg_%d: %s\n" % (number, argument) for number, argument in enumerate(arguments, 1))
    return with_field("network_script", script)[:-1] + b"".join(lines) + b"\n"


# The environment


@fed_in_every_way
def test_environment_becomes_a_request(chunks):
    """The blank line turns the environment into one request, whose fields are read by name."""
    arrived = request(HELLO, chunks)
    assert arrived.verb == "route"
    assert arrived["channel"] == "PJSIP/trunk-0000001a"
    assert arrived["threadid"] == "139896646575808"


@fed_in_every_way
def test_environment_without_blank_line_is_no_request_yet(chunks):
    """However complete it looks, an environment that has not ended is not acted on."""
    assert feed(AgiConnection(), chunks(FIELDS)) == []


@fed_in_every_way
def test_values_may_hold_colons_and_be_empty(chunks):
    """Only the first colon of a line separates, and an empty value is an empty text."""
    arrived = request(HELLO, chunks)
    assert arrived["calleridname"] == "Alice: sales"
    assert arrived["accountcode"] == ""


def test_field_that_was_not_sent_reads_as_empty():
    """A name that Asterisk did not print is an empty text, not an error."""
    assert request(HELLO)["nonsense"] == ""


def test_field_of_a_later_asterisk_is_let_through():
    """A field that we do not know stands in nobody's way."""
    assert request(HELLO.replace(b"agi_threadid", b"agi_novelty: 1\nagi_threadid"))["dnid"] == "+15551230001"


@fed_in_every_way
def test_hangup_right_after_the_environment(chunks):
    """An environment and a HANGUP in one segment are two events."""
    assert [type(event) for event in feed(AgiConnection(), chunks(HELLO + b"HANGUP\n"))] == [Request, HungUp]


@fed_in_every_way
def test_address_without_path_has_no_verb(chunks):
    """`AGI(agi://host)` sends no agi_network_script, and asks for nothing."""
    wire = HELLO.replace(b"agi_network_script: route?did=%2B15551230001\n", b"")
    assert request(wire, chunks).verb == ""
    assert request(wire, chunks).arguments == {}


@pytest.mark.parametrize(
    ("script", "verb"),
    [
        (b"route", "route"),
        (b"route?did=1", "route"),
        (b"route/", "route"),
        (b"/route", "route"),
        (b"route?path=/a/b", "route"),
        (b"a/b", "a/b"),
        (b"", ""),
        (b"?did=1", ""),
    ],
)
def test_verb_is_the_path_of_the_address(script, verb):
    """The verb is what stands between the host and the query."""
    assert request(called(script)).verb == verb


@fed_in_every_way
@pytest.mark.parametrize(
    ("script", "arguments", "read"),
    [
        (b"route", [], {}),
        (b"route?", [], {}),
        (b"route?did=1", [], {"did": "1"}),
        (b"route?did=1&team=sales", [], {"did": "1", "team": "sales"}),
        (b"route?&did=1&&", [], {"did": "1"}),
        (b"route?urgent&did=", [], {"urgent": "", "did": ""}),
        (b"route?q=a=b?c", [], {"q": "a=b?c"}),
        (b"route?did=%2B15551230001", [], {"did": "+15551230001"}),
        (b"route?did=+15551230001", [], {"did": "+15551230001"}),
        (b"route?name=Zo%C3%AB%20%26%20Co", [], {"name": "Zoë & Co"}),
        (b"route?name=%ZZ%", [], {"name": "%ZZ%"}),
        (b"route?did=1", [b"team=sales"], {"did": "1", "team": "sales"}),
        (b"route", [b"first", b"", b"third"], {"1": "first", "2": "", "3": "third"}),
        (b"route", [b"team=", b"=x"], {"team": "", "": "x"}),
        (b"route", [b"name=%22a%2Cb%22"], {"name": '"a,b"'}),
    ],
)
def test_arguments_come_from_query_and_list(chunks, script, arguments, read):
    """Query and AGI arguments are one table: percent-decoded, a plus left alone, unnamed ones by their number."""
    assert request(called(script, *arguments), chunks).arguments == read


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        (b"route?did=1&did=2", []),
        (b"route?did=1", [b"did=2"]),
        (b"route", [b"did=1", b"did=1"]),
        (b"route?1=a", [b"b"]),
    ],
)
def test_argument_given_twice_is_refused(script, arguments):
    """Nobody can override an argument by giving it once more."""
    with pytest.raises(AgiProtocolError, match="is given twice"):
        request(called(script, *arguments))


@pytest.mark.parametrize(
    ("script", "arguments", "rest"),
    [
        pytest.param(b"route", (b"did=1", b"secret=s%33same/", b"x"), {"did": "1", "3": "x"}, id="an AGI argument"),
        pytest.param(b"route?did=1&secret=s%33same/&x=2", (), {"did": "1", "x": "2"}, id="in the address"),
        pytest.param(b"route?secret=s%33same/", (b"did=1",), {"did": "1"}, id="alone in the address"),
        pytest.param(b"route", (b"secret=s3same/&s%33same/",), {}, id="with a sign of addresses"),
    ],
)
def test_secret_is_kept_apart(script, arguments, rest):
    """The argument `secret` is in a place of its own, and in no other that could be shown."""
    arrived = request(called(script, *arguments))
    assert arrived.secret.startswith("s3same/")
    assert arrived.arguments == rest
    assert "same" not in repr(arrived) + str(arrived.fields) + arrived["request"] + arrived["network_script"]


def test_request_without_a_secret():
    """No secret, and an empty one, are the same; neither counts as an argument of the dialplan's own."""
    for arguments in (), (b"secret=",):
        arrived = request(called(b"route", *arguments))
        assert (arrived.secret, arrived.arguments) == ("", {})


def test_secret_given_twice_is_refused():
    """Nobody can try two secrets at once."""
    with pytest.raises(AgiProtocolError):
        request(called(b"route?secret=a", b"secret=b"))


def test_as_many_arguments_as_asterisk_takes():
    """AGI() takes 128 arguments, and so do we."""
    arguments = request(called(b"route", *(b"%d" % number for number in range(128)))).arguments
    assert len(arguments) == 128
    assert arguments["128"] == "127"


@fed_in_every_way
@pytest.mark.parametrize(
    ("sent", "read"),
    [(b"Zo\xc3\xab", "Zoë"), (b"Zo\xeb", "Zo\ufffd"), (b"Zo\xc3", "Zo\ufffd"), (b"\xff\xfe", "\ufffd\ufffd")],
    ids=["UTF-8", "Latin-1", "UTF-8 cut inside a character", "neither"],
)
def test_name_in_any_encoding_is_read(chunks, sent, read):
    """A name that is not UTF-8, or cut, does not cost the caller the call."""
    assert request(with_field("calleridname", sent), chunks)["calleridname"] == read


NOT_AN_ENVIRONMENT = {
    "nothing but a blank line": b"\n",
    "a request of HTTP": b"GET / HTTP/1.1\r\nHost: pbx\r\n\r\n",
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    "a reply": b"200 result=1\n",
    "a hang-up": b"HANGUP\n",
    "a name in capitals": HELLO.replace(b"agi_dnid", b"AGI_DNID"),
    "a name with a blank": HELLO.replace(b"agi_dnid", b"agi_d nid"),
    "a line without colon": HELLO.replace(b"agi_dnid:", b"agi_dnid"),
    "CR before every LF": HELLO.replace(b"\n", b"\r\n"),
    "a field twice": HELLO.replace(b"agi_rdnis", b"agi_dnid: 1\nagi_rdnis"),
    "an unknown field twice": HELLO.replace(b"agi_rdnis", b"agi_new: 1\nagi_new: 2\nagi_rdnis"),
    "a field out of its place": HELLO.replace(b"agi_rdnis", b"agi_network_script: other\nagi_rdnis"),
    "no agi_threadid": HELLO.replace(b"agi_threadid: 139896646575808\n", b""),
    "no agi_channel": HELLO.replace(b"agi_channel: PJSIP/trunk-0000001a\n", b""),
    "no agi_uniqueid": HELLO.replace(b"agi_uniqueid: 1795175545.1\n", b""),
    "no agi_request": re.sub(rb"agi_request: .*\n", b"", HELLO),
    "arguments from 2": FIELDS + b"agi_arg_2: x\n\n",
    "arguments with a gap": FIELDS + b"agi_arg_1: x\nagi_arg_3: x\n\n",
    "an argument twice": FIELDS + b"agi_arg_1: x\nagi_arg_1: y\n\n",
    "an argument with a leading zero": FIELDS + b"agi_arg_01: x\n\n",
    "an argument that is no number": FIELDS + b"agi_arg_x: x\n\n",
    "an argument before its place": HELLO.replace(b"agi_rdnis", b"agi_arg_1: x\nagi_rdnis"),
    "a field after the arguments": FIELDS + b"agi_arg_1: x\nagi_threadid: 1\n\n",
}


@fed_in_every_way
@pytest.mark.parametrize("wire", NOT_AN_ENVIRONMENT.values(), ids=NOT_AN_ENVIRONMENT)
def test_environment_that_asterisk_would_not_send_is_refused(chunks, wire):
    """What breaks the order, the grammar or the completeness of setup_env is no environment."""
    with pytest.raises(AgiProtocolError):
        feed(AgiConnection(), chunks(wire))


INJECTIONS = {
    "a further line": b"x\nagi_dnid: +15550000666",
    "a further line of another name": b"x\nagi_extension: 666",
    "an early end": b"x\n",
    "an early end and a reply": b"x\n\n200 result=1",
    "an early end and a hang-up": b"x\n\nHANGUP",
    "all the rest, forged": b"x\n" + HELLO.partition(b"Alice: sales\n")[2].replace(b"+15551230001", b"+15550000666"),
    "all the rest, with an argument": b"x\n" + FIELDS.partition(b"Alice: sales\n")[2] + b"agi_arg_1: did=666\n",
}


@fed_in_every_way
@pytest.mark.parametrize("name", INJECTIONS.values(), ids=INJECTIONS)
def test_line_feed_in_a_name_cannot_add_or_end_lines(chunks, name):
    """A caller whose name holds line feeds is refused, whatever the further lines are."""
    with pytest.raises(AgiProtocolError):
        feed(AgiConnection(), chunks(with_field("calleridname", name)))


def test_environment_of_a_mebibyte_in_one_line_is_refused():
    """A line has a limit, and it holds before the line has ended."""
    with pytest.raises(AgiProtocolError, match="a line of more than 16384 bytes"):
        feed(AgiConnection(), [b"agi_network: " + b"y" * 2**20])


def test_environment_of_a_mebibyte_in_many_lines_is_refused():
    """The environment has a limit of bytes."""
    lines = b"".join(b"agi_new_%d: %s\n" % (number, b"x" * 10_000) for number in range(105))
    with pytest.raises(AgiProtocolError, match="more than 65536 bytes that come to no end"):
        feed(AgiConnection(), [lines])


def test_environment_of_many_lines_is_refused():
    """The environment has a limit of lines."""
    with pytest.raises(AgiProtocolError, match="an environment of more than 160 lines"):
        feed(AgiConnection(), [b"".join(b"agi_new_%d: x\n" % number for number in range(161))])


def test_line_as_long_as_the_limit_is_read():
    """The limit itself is within the limit, and one byte more is not."""
    longest = b"x" * (Limits.line_bytes - len("agi_calleridname: "))
    assert request(with_field("calleridname", longest))["calleridname"] == longest.decode()
    for chunks in whole, byte_by_byte:
        with pytest.raises(AgiProtocolError, match="a line of more than"):
            feed(AgiConnection(), chunks(with_field("calleridname", longest + b"x")))


@fed_in_every_way
@pytest.mark.parametrize(
    "line", [b"", b"agi_dnid: 1", b"200 result=1", b"520 x", b"520-x", b"520-x\n520 x", b"100 result=0 Trying..."]
)
def test_line_before_our_first_command_is_refused(chunks, line):
    """Between the environment and our first command Asterisk says nothing but HANGUP."""
    with pytest.raises(AgiProtocolError):
        feed(AgiConnection(), chunks(HELLO + line + b"\n"))


def test_nothing_is_understood_after_an_error():
    """A conversation that could not be understood once is not listened to again."""
    connection = AgiConnection()
    with pytest.raises(AgiProtocolError):
        feed(connection, [b"nonsense\n"])
    with pytest.raises(AgiProtocolError, match="over already"):
        feed(connection, [HELLO])


# Replies

REPLIES = {
    "a number": (b"200 result=1", Reply(200, "1"), None),
    "a negative number": (b"200 result=-1", Reply(200, "-1"), None),
    "nothing": (b"200 result=", Reply(200, ""), None),
    "nothing, and a text": (b"200 result= (timeout)", Reply(200, "", "(timeout)"), "timeout"),
    "digits": (b"200 result=12*#", Reply(200, "12*#"), None),
    "digits and a text": (b"200 result=123 (timeout)", Reply(200, "123", "(timeout)"), "timeout"),
    "an empty value": (b"200 result=1 ()", Reply(200, "1", "()"), ""),
    "a value": (b"200 result=1 (+15551230001)", Reply(200, "1", "(+15551230001)"), "+15551230001"),
    "the value hangup": (b"200 result=1 (hangup)", Reply(200, "1", "(hangup)"), "hangup"),
    "the value HANGUP": (b"200 result=1 (HANGUP)", Reply(200, "1", "(HANGUP)"), "HANGUP"),
    "the value result=-1": (b"200 result=1 (result=-1)", Reply(200, "1", "(result=-1)"), "result=-1"),
    "the value (a)(b)": (b"200 result=1 ((a)(b))", Reply(200, "1", "((a)(b))"), "(a)(b)"),
    "the value )": (b"200 result=1 ())", Reply(200, "1", "())"), ")"),
    "the value (": (b"200 result=1 (()", Reply(200, "1", "(()"), "("),
    "a value with quotes": (
        rb'200 result=1 (say "hi" \ there)',
        Reply(200, "1", r'(say "hi" \ there)'),
        r'say "hi" \ there',
    ),
    "a value in UTF-8": ("200 result=1 (Zoë)".encode(), Reply(200, "1", "(Zoë)"), "Zoë"),
    "a value in Latin-1": (b"200 result=1 (Zo\xeb)", Reply(200, "1", "(Zo\ufffd)"), "Zo\ufffd"),
    "a key and a value": (b"200 result=0 endpos=1234", Reply(200, "0", "endpos=1234"), None),
    "a text, then a key": (b"200 result=0 (timeout) endpos=0", Reply(200, "0", "(timeout) endpos=0"), "timeout"),
    "a speech result": (
        b'200 result=1 (speech) endpos=0 results=1 score0=973 text0="123456789" grammar0=digits',
        Reply(200, "1", '(speech) endpos=0 results=1 score0=973 text0="123456789" grammar0=digits'),
        "speech",
    ),
    "words": (b"200 result=0 Gosub complete", Reply(200, "0", "Gosub complete"), None),
    "out of memory": (b"503 result=-2 Memory allocation failure", Reply(503, "-2", "Memory allocation failure"), None),
    "unknown command": (b"510 Invalid or unknown command", Reply(510, "", "Invalid or unknown command"), None),
    "dead channel": (
        b"511 Command Not Permitted on a dead channel or intercept routine",
        Reply(511, "", "Command Not Permitted on a dead channel or intercept routine"),
        None,
    ),
}


@fed_in_every_way
@pytest.mark.parametrize(("line", "reply", "value"), REPLIES.values(), ids=REPLIES)
def test_reply_is_read(chunks, line, reply, value):
    """A reply is a code, a result that may be any word, and a text, whose outer parentheses hold a value."""
    assert feed(asked(), chunks(line + b"\n")) == [reply]
    assert reply.value == value


@fed_in_every_way
def test_provisional_reply_is_not_the_reply(chunks):
    """After a 100 the command still awaits its 200."""
    events = feed(asked(), chunks(b"100 result=0 Trying...\n200 result=0 Gosub complete\n"))
    assert events == [Provisional(), Reply(200, "0", "Gosub complete")]


@fed_in_every_way
def test_hangup_may_overtake_the_reply(chunks):
    """A HANGUP is its own event; the pending reply still arrives."""
    assert feed(asked(), chunks(b"HANGUP\n200 result=-1\n")) == [HungUp(), Reply(200, "-1")]


@fed_in_every_way
def test_hangup_may_come_twice(chunks):
    """Asterisk says HANGUP when the caller leaves and again when it leaves the AGI."""
    assert feed(asked(), chunks(b"200 result=-1\nHANGUP\nHANGUP\n")) == [Reply(200, "-1"), HungUp(), HungUp()]


@fed_in_every_way
def test_refusal_without_usage_text_is_one_line(chunks):
    """`520 ` is complete at the end of its line, where Asterisk has no documentation to show."""
    text = "Invalid command syntax.  Proper usage not available."
    assert feed(asked(), chunks(f"520 {text}\n".encode())) == [UsageError((text,))]


@fed_in_every_way
def test_refusal_with_usage_text_ends_with_its_last_line(chunks):
    """`520-` begins a text of any form, blank lines included, that a line with `520 ` ends; it is one event."""
    block = b"520-Invalid command syntax.  Proper usage follows:\nUsage: X\n\n200 result=1\nHANGUP\n520 End of proper usage.\n"
    [event] = feed(asked(), chunks(block + b"HANGUP\n"))[:-1]
    assert event == UsageError(
        ("Invalid command syntax.  Proper usage follows:", "Usage: X", "", "200 result=1", "HANGUP")
    )


@fed_in_every_way
def test_refusal_with_300_lines_of_usage_text(chunks):
    """A long usage text is read to its end, and the conversation goes on."""
    connection = asked()
    block = b"520-Usage:\n" + b"a line of the usage text\n" * 300 + b"520 End of proper usage.\n"
    [event] = feed(connection, [block])
    assert isinstance(event, UsageError)
    assert len(event.lines) == 301
    connection.send(SET)
    assert feed(connection, chunks(b"200 result=1\n")) == [Reply(200, "1")]


@fed_in_every_way
def test_application_that_returns_1_is_answered_twice(chunks):
    """EXEC's result 1 makes Asterisk add a usage text, which is no event of its own."""
    assert feed(asked(EXEC), chunks(b"200 result=1\n" + USAGE)) == [Reply(200, "1")]


@fed_in_every_way
def test_usage_text_after_exec_is_not_the_next_reply(chunks):
    """The command after an EXEC that was answered twice gets its own reply."""
    connection = asked(EXEC)
    feed(connection, [b"200 result=1\n" + USAGE])
    connection.send(SET)
    assert feed(connection, chunks(b"200 result=0\n")) == [Reply(200, "0")]


@fed_in_every_way
def test_usage_text_after_exec_may_meet_the_next_command(chunks):
    """The usage text that follows EXEC's result 1 may arrive when the next command has been sent."""
    connection = asked(EXEC)
    feed(connection, [b"200 result=1\n"])
    connection.send(SET)
    assert feed(connection, chunks(USAGE + b"200 result=0\n")) == [Reply(200, "0")]


@fed_in_every_way
def test_only_one_usage_text_follows_exec(chunks):
    """The refusal of the command after EXEC is told from the one that belongs to EXEC."""
    connection = asked(EXEC)
    feed(connection, [b"200 result=1\n"])
    connection.send(SET)
    [event] = feed(connection, chunks(USAGE + USAGE))
    assert isinstance(event, UsageError)


@fed_in_every_way
def test_exec_that_is_refused_is_a_usage_error(chunks):
    """EXEC without an application gets the usage text as its only reply."""
    [event] = feed(asked(EXEC), chunks(USAGE))
    assert isinstance(event, UsageError)


NOT_A_REPLY = {
    "an empty line": b"",
    "text": b"def)",
    "a code alone": b"200",
    "no result": b"200 (x)",
    "an unknown code": b"201 result=1",
    "four digits": b"2000 result=1",
    "a leading blank": b" 200 result=1",
    "520 and another letter": b"520x",
    "520 alone": b"520",
    "hangup in small letters": b"hangup",
    "HANGUP and a blank": b"HANGUP ",
    "HANGUP and CR": b"HANGUP\r",
    "a field": b"agi_dnid: 1",
    "a value that goes on in the next line": b"200 result=1 (a",
    "a value in which a reply is forged": b"200 result=1 (a)\n200 result=1 (b)",
    "a value in which a hang-up is forged": b"200 result=1 (a\nHANGUP\nb)",
    "a second reply": b"200 result=1\n200 result=1",
    "a usage text after a reply": b"200 result=1\n" + USAGE[:-1],
    "a line of 16 KiB": b"200 result=1 (" + b"x" * 16_384,
}


@fed_in_every_way
@pytest.mark.parametrize("line", NOT_A_REPLY.values(), ids=NOT_A_REPLY)
def test_line_that_is_no_reply_is_refused(chunks, line):
    """What matches no reply of Asterisk's, or answers nothing, ends the conversation: a caller may have written it."""
    with pytest.raises(AgiProtocolError):
        feed(asked(), chunks(line + b"\n"))


@fed_in_every_way
@pytest.mark.parametrize("line", [b"200 result=0\n" + USAGE[:-1], b"200 result=10\n" + USAGE[:-1]])
def test_usage_text_after_another_result_of_exec_is_refused(chunks, line):
    """Only the result 1 is followed by a usage text."""
    with pytest.raises(AgiProtocolError):
        feed(asked(EXEC), chunks(line + b"\n"))


def endless_line() -> Iterator[bytes]:
    return repeat(b"agi_")


def endless_environment() -> Iterator[bytes]:
    return (b"agi_arg%d: x\n" % number for number in range(10**6))


def endless_arguments() -> Iterator[bytes]:
    return chain([FIELDS], (b"agi_arg_%d: x\n" % number for number in range(1, 10**6)))


def endless_usage_text() -> Iterator[bytes]:
    return chain([b"520-Usage:\n"], repeat(b"x\n"))


def endless_blank_usage_text() -> Iterator[bytes]:
    return chain([b"520-\n"], repeat(b"\n"))


def endless_reply() -> Iterator[bytes]:
    return chain([b"200 result=1 ("], repeat(b"x"))


@pytest.mark.parametrize("stream", [endless_line, endless_environment, endless_arguments])
def test_environment_without_end_is_refused(stream):
    """However it goes on, an environment is refused before it has taken 100 KiB."""
    assert silent_bytes(AgiConnection(), stream()) < 100_000


@pytest.mark.parametrize("stream", [endless_usage_text, endless_blank_usage_text, endless_reply])
def test_reply_without_end_is_refused(stream):
    """However it goes on, a reply is refused before it has taken 100 KiB."""
    assert silent_bytes(asked(), stream()) < 100_000


def silent_bytes(connection: AgiConnection, stream: Iterable[bytes]) -> int:
    """Return how many bytes of *stream* were taken until the error."""
    size = 0
    for chunk in stream:
        try:
            assert connection.receive_data(chunk) == []
        except AgiProtocolError:
            return size
        size += len(chunk)
    raise AssertionError("the stream was taken to its end")


# Commands


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (get_full_variable("${URIENCODE(${X})}"), b'GET FULL VARIABLE "${URIENCODE(${X})}"\n'),
        (get_full_variable(""), b'GET FULL VARIABLE ""\n'),
        (get_full_variable('a "b" \\ c\t'), b'GET FULL VARIABLE "a \\"b\\" \\\\ c\t"\n'),
        (get_full_variable("Zoë"), 'GET FULL VARIABLE "Zoë"\n'.encode()),
        (get_full_variable("a\ud800b"), b'GET FULL VARIABLE "a?b"\n'),
        (execute("Dial", 'PJSIP/a,30,b("x")'), b'EXEC "Dial" "PJSIP/a,30,b(\\"x\\")"\n'),
        (assign({"MILLIS_STATUS": "ok"}), b'EXEC "MSet" "MILLIS_STATUS=\\"ok\\""\n'),
        (assign({"A": "1,2", "_B": "", "C(d)": "0"}), b'EXEC "MSet" "A=\\"1,2\\",_B=\\"\\",C(d)=\\"0\\""\n'),
    ],
)
def test_command_is_one_line_of_quoted_texts(command, line):
    """Every text stands in quotes, its own quotes and backslashes behind a backslash."""
    connection = AgiConnection()
    feed(connection, [HELLO])
    assert connection.send(command) == line


@pytest.mark.parametrize("text", ["a\nb", "\n", "a\r", "a\r\nHANGUP", "\0", "a\0b"])
def test_line_end_or_nul_is_refused(text):
    """What Asterisk would take for the end of the command is sent in no place."""
    for make in (
        lambda: quote(text),
        lambda: get_full_variable(text).encode(),
        lambda: execute(text, "x").encode(),
        lambda: execute("Dial", text).encode(),
        lambda: assign({"X": text}).encode(),
        lambda: assign({text: "x"}).encode(),
    ):
        with pytest.raises(UnsafeText):
            make()


@pytest.mark.parametrize(
    "name", ["", "A B", "1A", "A-B", "A(b", "A(b)c", "A(b,c)", "${A}", 'A"', "Ä", "A)", "(a)", "A=b"]
)
def test_name_that_is_no_variable_is_refused(name):
    """Only a plain variable, or a function of one plain argument, can be set."""
    with pytest.raises(UnsafeText, match="is no name of a channel variable"):
        assign({name: "x"})


@pytest.mark.parametrize("name", ["A", "_A", "__A", "A1", "CALLERID(num)", "X()"])
def test_name_of_a_variable_is_taken(name):
    """Variables, inherited ones and simple functions can be set."""
    assert set_by(assign({name: "x"})) == {name: "x"}


@pytest.mark.parametrize(
    "value", ['"', "\\", "a,b)", "(", "((a))", "(a,b)", "[a]", "$X", "${X}", "a&b", "%41", "Zoë", "'", "<a>"]
)
def test_value_that_means_something_to_mset_is_refused(value):
    """A value of which MSet, Set or Dial would make more than text is not sent."""
    with pytest.raises(UnsafeText, match="the value of X holds something that MSet would not take for text"):
        assign({"X": value})


@pytest.mark.parametrize(
    "value",
    ["", "a,b", "context,s,1", "PJSIP/millis/sip:a@b.c:5060;transport=tls", "iL(60000)b(a^s^1)", " a=b ", "+1 #*"],
)
def test_value_that_means_nothing_to_mset_is_sent(value):
    """What the dialplan needs of us gets through MSet as it is, commas and all."""
    assert set_by(assign({"X": value, "Y": "1"})) == {"X": value, "Y": "1"}


def words_of(command: Command, limit_bytes: int = 10**6) -> list[str]:
    """Return *command* as Asterisk reads it."""
    return parse_words(command.encode(limit_bytes).decode().removesuffix("\n"))


def set_by(command: Command) -> dict[str, str]:
    """Return what Asterisk sets for *command*."""
    word, application, argument = words_of(command)
    assert (word, application) == ("EXEC", "MSet")
    return dict(pair.split("=", 1) for pair in split_arguments(argument))


def test_command_as_long_as_the_limit_is_sent():
    """2046 bytes go out, 2047 do not: the rest of a longer line would be a command of its own."""
    frame = len('GET FULL VARIABLE ""')
    assert len(get_full_variable("x" * (2046 - frame)).encode()) == 2047
    with pytest.raises(UnsafeText, match="AGI command GET FULL VARIABLE has 2047 bytes, the limit is 2046"):
        get_full_variable("x" * (2047 - frame)).encode()


@pytest.mark.parametrize("sign", ['"', "ë", "\\"])
def test_length_is_counted_in_bytes_as_sent(sign):
    """Quoting and UTF-8 make a text longer, and it is that length which counts."""
    with pytest.raises(UnsafeText, match="the limit is 2046"):
        get_full_variable(sign * 1015).encode()


def test_limit_of_a_newer_asterisk():
    """Where the PBX takes 8190 bytes, so do we."""
    connection = AgiConnection(Limits(command_bytes=8190))
    feed(connection, [HELLO])
    assert len(connection.send(get_full_variable("x" * 8000))) > 8000


def test_command_of_more_words_than_asterisk_has_room_for_is_refused():
    """127 words go out, 128 do not: Asterisk would write beyond its array."""
    assert len(words_of(Command("NOOP", ("x",) * 126))) == 127
    with pytest.raises(UnsafeText, match="AGI command NOOP has more than 127 words"):
        Command("NOOP", ("x",) * 127).encode()


def test_refused_command_leaves_the_conversation_usable():
    """A command that was not sent awaits no reply."""
    connection = AgiConnection()
    feed(connection, [HELLO])
    with pytest.raises(UnsafeText):
        connection.send(get_full_variable("a\nb"))
    connection.send(SET)
    assert feed(connection, [b"200 result=1\n"]) == [Reply(200, "1")]


def test_second_command_before_the_reply_is_our_own_mistake():
    """Two commands at once would stall Asterisk, so the second one is never sent."""
    connection = asked(GET)
    with pytest.raises(RuntimeError, match="SET VARIABLE was sent while GET FULL VARIABLE awaits its reply"):
        connection.send(SET)
    feed(connection, [b"200 result=1 (x)\n"])
    connection.send(SET)


# Properties, which hold for whatever comes

SMALL = Limits(line_bytes=64, environment_lines=30, environment_bytes=900)

lines = st.sampled_from(
    [
        *FIELDS.splitlines(),
        *(b"", b"HANGUP", b"200 result=1", b"200 result=1 (a)", b"200 result=1 (a", b"100 result=0 Trying..."),
        *(
            b"510 Invalid or unknown command",
            b"520-Usage:",
            b"520 End",
            b"agi_arg_1: a=b",
            b"agi_arg_2: a=c",
            b"agi_x: y",
        ),
    ]
) | st.binary(max_size=80)
streams = st.builds(
    lambda beginning, middle, end: beginning + b"".join(line + b"\n" for line in middle) + end,
    st.sampled_from([b"", FIELDS, HELLO]),
    st.lists(lines, max_size=40),
    st.binary(max_size=20),
)
cuts = st.lists(st.integers(0, 1500), max_size=40).map(sorted)
commands = st.sampled_from([SET, GET, EXEC])


def cut(wire: bytes, at: list[int]) -> list[bytes]:
    return [wire[start:end] for start, end in pairwise([0, *at, len(wire) + max(at, default=0)])]


def understood(connection: AgiConnection, chunks: Iterable[bytes]) -> list[Event] | str:
    """Return the events of *chunks*, or the message of the one error that is allowed."""
    try:
        return feed(connection, chunks)
    except AgiProtocolError as error:
        return str(error)


@given(streams, cuts)
def test_cutting_an_environment_changes_nothing(wire, at):
    """Events and error are the same however the bytes of a new connection are cut, and no other error is raised."""
    uncut = understood(AgiConnection(SMALL), [wire])
    assert understood(AgiConnection(SMALL), cut(wire, at)) == uncut
    assert understood(AgiConnection(SMALL), byte_by_byte(wire)) == uncut


@given(commands, st.lists(lines, max_size=40), cuts)
def test_cutting_a_reply_changes_nothing(command, middle, at):
    """Events and error are the same however the bytes after a command are cut, and no other error is raised."""
    wire = b"".join(line + b"\n" for line in middle)
    uncut = understood(asked(command), [wire])
    assert understood(asked(command), cut(wire, at)) == uncut
    assert understood(asked(command), byte_by_byte(wire)) == uncut


@given(st.lists(lines | st.binary(min_size=200), max_size=200), commands | st.none())
def test_bytes_that_come_to_nothing_are_bounded(stream, command):
    """Only so much is taken without an event or the error, so nothing can grow: not a line, not a text."""
    connection = AgiConnection(SMALL)
    if command is not None:
        feed(connection, byte_by_byte(HELLO))
        connection.send(command)
    silent = 0
    for byte in byte_by_byte(b"\n".join(stream)):
        try:
            silent = 0 if connection.receive_data(byte) else silent + 1
        except AgiProtocolError:
            break
        assert silent <= SMALL.environment_bytes + SMALL.line_bytes


one_line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=60)


@given(number=one_line, name=one_line, did=one_line, arguments=st.lists(one_line, max_size=5))
def test_environment_is_read_as_it_was_written(number, name, did, arguments):
    """What the simulated Asterisk puts into an environment comes out of it, byte for byte."""
    channel = SimulatedChannel(caller_number=number, caller_name=name, did=did)
    numbered = [f"{position}={argument}" for position, argument in enumerate(arguments)]
    arrived = request(environment(channel, "::1", 4573, "route", numbered))
    assert arrived["callerid"] == (number or "unknown")
    assert arrived["calleridname"] == (name or "unknown")
    assert arrived["dnid"] == (did or "unknown")
    assert [arrived[f"arg_{position}"] for position in range(1, len(numbered) + 1)] == numbered


forged = st.lists(st.sampled_from(FIELDS.splitlines()) | lines, max_size=15).map(b"\n".join)


@given(
    st.sampled_from(["callerid", "calleridname", "dnid", "rdnis"]),
    st.binary(max_size=20),
    st.integers(0, 22),
    forged,
    st.sampled_from([b"", b"\n\n"]),
)
def test_text_of_a_caller_changes_no_other_field(name, beginning, start, more, end):
    """Whatever a caller's text holds, the environment is refused or every other field is the genuine one."""
    text = beginning + b"\n" + b"\n".join([*FIELDS.splitlines()[start:], more]) + end
    genuine = {field: value for field, value in request(HELLO).fields.items() if field != name}
    for chunks in whole, byte_by_byte:
        with suppress(AgiProtocolError):
            arrived = request(with_field(name, text), chunks)
            assert {field: arrived[field] for field in genuine} == genuine


texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text('"\\ \tab')


@given(st.lists(texts, max_size=5))
def test_asterisk_reads_the_words_that_we_wrote(words):
    """Every text that is accepted arrives in Asterisk as it is, and as one word."""
    try:
        read = words_of(Command("NOOP", tuple(words)))
    except UnsafeText:
        assert any(char in text for text in words for char in "\n\r\0")
        return
    assert read == ["NOOP", *words]


names = st.from_regex(r"_{0,2}[A-Z]{1,3}(\([a-z]{0,2}\))?", fullmatch=True) | st.text(max_size=3)


@given(st.dictionaries(names, st.text('ab09 _.:;@=+,*#/|^~?-()["\\$%&[]') | st.text(), min_size=1, max_size=5))
def test_asterisk_sets_the_variables_that_we_meant(variables):
    """Every value that is accepted is set as it is, and nothing else is set."""
    try:
        command = assign(variables)
    except UnsafeText:
        return
    assert set_by(command) == variables


@given(st.text(), st.text())
def test_command_is_one_line_or_refused(application, argument):
    """No text makes a command of two lines, or a longer one than Asterisk takes."""
    try:
        line = execute(application, argument).encode()
    except UnsafeText:
        return
    assert line.index(b"\n") == len(line) - 1
    assert len(line) <= 2047
    assert not {b"\r", b"\0"} & set(byte_by_byte(line))


# Recorded truth: conversations with a real Asterisk, made by scripts/record-wire

replayed_in_both_ways = pytest.mark.parametrize("chunks", [whole, byte_by_byte])


def replay(name: str, chunks: Callable[[bytes], list[bytes]]) -> list[Event]:
    """Hold a recorded conversation again and return what came; what we send must be what was sent then."""
    connection = AgiConnection()
    events: list[Event] = []
    for line in (WIRE / f"{name}.txt").read_bytes().splitlines():
        direction, content = line[:1], line[2:]
        if direction == b"<":
            events += feed(connection, chunks(content + b"\n"))
        elif direction == b">":
            words, blank, texts = content.decode().partition(' "')
            assert connection.send(Command(words, tuple(parse_words((blank + texts).lstrip())))) == content + b"\n"
    return events


@replayed_in_both_ways
def test_recorded_route(chunks):
    """A real Asterisk's `route` is understood: its environment, each reply, and its last HANGUP."""
    arrived, *replies, hung_up = replay("route", chunks)
    assert isinstance(arrived, Request)
    assert arrived.verb == "route"
    assert arrived.arguments == {"did": "+15551230001", "team": "sales", "2": ""}
    assert (arrived["callerid"], arrived["calleridname"]) == ("+15557654321", "Zoë Müller")
    assert arrived["extension"] == "call"
    linkedid = arrived["uniqueid"].replace(".1", ".0")
    assert replies == [
        Reply(200, "1", f"({linkedid}|Zo%C3%AB%20M%C3%BCller|)"),
        Reply(200, "1", "()"),
        Reply(200, "0"),
        Reply(200, "1", "(millis-fallback,s,1|iL(60000)b(a^b^1))"),
        Reply(200, "1"),
        Reply(200, "1", '(quoted " and \\ backslash)'),
        Reply(200, "0"),
        Reply(200, "1", "(PJSIP/millis/sip:a@b;transport=tls||ok)"),
    ]
    assert hung_up == HungUp()


def test_recorded_mset_is_the_one_that_we_send():
    """The MSet that a real Asterisk obeyed is written like ours."""
    said = (WIRE / "route.txt").read_bytes()
    for variables in (
        {"MILLIS_FALLBACK": "millis-fallback,s,1", "MILLIS_DIAL_OPTIONS": "iL(60000)b(a^b^1)"},
        {"MILLIS_DIAL": "PJSIP/millis/sip:a@b;transport=tls", "MILLIS_REASON": "", "MILLIS_STATUS": "ok"},
    ):
        assert b"> " + assign(variables).encode() in said


@replayed_in_both_ways
def test_recorded_hangup_while_we_are_silent(chunks):
    """A real Asterisk says HANGUP at once, obeys a dead channel's commands, refuses others, and says it again."""
    assert replay("hangup-in-wait", chunks)[1:] == [
        HungUp(),
        Reply(200, "0"),
        Reply(511, "", "Command Not Permitted on a dead channel or intercept routine"),
        HungUp(),
    ]


@replayed_in_both_ways
def test_recorded_hangup_that_overtakes_the_reply(chunks):
    """A real Asterisk's HANGUP comes before the reply to a command that crossed it."""
    assert replay("hangup-before-reply", chunks)[1:] == [HungUp(), Reply(200, "0"), HungUp()]


@replayed_in_both_ways
def test_recorded_hangup_during_dial(chunks):
    """A real Asterisk ends EXEC Dial with -1, then says HANGUP, and still tells how it went."""
    assert replay("hangup-in-exec", chunks)[1:] == [
        Reply(200, "-1"),
        HungUp(),
        Reply(200, "1", "(CANCEL|)"),
        HungUp(),
    ]


@replayed_in_both_ways
def test_recorded_ended_on_a_dead_channel(chunks):
    """A hangup handler of a real Asterisk speaks for a dead channel, without a HANGUP before the end."""
    arrived, reply, hung_up = replay("ended", chunks)
    assert isinstance(arrived, Request)
    assert (arrived.verb, arrived["callingpres"], arrived["callerid"]) == ("ended", "67", "unknown")
    assert reply == Reply(200, "1", "(NOANSWER|0|)")
    assert hung_up == HungUp()


@replayed_in_both_ways
def test_recorded_refusals(chunks):
    """A real Asterisk's 510 and 520 are understood, the usage text with angle brackets and all."""
    arrived, unknown, empty, usage, no_application, *_ = replay("refused", chunks)
    assert isinstance(arrived, Request)
    assert arrived.verb == ""
    assert unknown == empty == Reply(510, "", "Invalid or unknown command")
    assert isinstance(usage, UsageError)
    assert usage.lines[0] == "Invalid command syntax.  Proper usage follows:"
    assert usage.lines[-1].startswith("Example return code: 200 result=1")
    assert no_application == Reply(200, "-2")


def test_every_recording_is_replayed():
    """No recording lies about unused."""
    here = Path(__file__).read_text()
    assert all(f'replay("{path.stem}", chunks)' in here for path in WIRE.iterdir())
