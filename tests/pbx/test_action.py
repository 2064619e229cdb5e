"""AMI as values: what may be sent, what is refused before it is sent, and what an answer means."""

import pytest

from agi_bridge.errors import AmiNonsense, AmiRejected, NoSuchChannel, NotPermitted, UnsafeText
from agi_bridge.pbx import action
from agi_bridge.pbx.action import LONGEST_LINE_BYTES, MOST_LINES, Action, Ending, Message, Origination

PLACE = "ext-queues,600,1"

# Every text that an action can be given, each in its own place.
TEXTS = {
    "user": lambda text: action.login(text, "s", "call", 1),
    "secret": lambda text: action.login("u", text, "call", 1),
    "command": action.command,
    "variable asked for": lambda text: action.getvar(text, "PJSIP/a-1"),
    "channel asked": lambda text: action.getvar("X", text),
    "channel set": lambda text: action.setvar(text, "X", "1"),
    "variable set": lambda text: action.setvar("PJSIP/a-1", text, "1"),
    "value set": lambda text: action.setvar("PJSIP/a-1", "X", text),
    "channel redirected": lambda text: action.redirect(text, PLACE),
    "context": lambda text: action.redirect("PJSIP/a-1", f"{text},600,1"),
    "extension": lambda text: action.redirect("PJSIP/a-1", f"ext-queues,{text},1"),
    "priority": lambda text: action.redirect("PJSIP/a-1", f"ext-queues,600,{text}"),
    "channel hung up": lambda text: action.hangup(text, None),
    "channel dialled": lambda text: action.originate(Origination(text, PLACE)),
    "caller id": lambda text: action.originate(Origination("PJSIP/1", PLACE, caller_id=text)),
    "uniqueid": lambda text: action.originate(Origination("PJSIP/1", PLACE, uniqueid=text)),
    "name of a variable": lambda text: action.originate(Origination("PJSIP/1", PLACE, variables={text: "1"})),
    "value of a variable": lambda text: action.originate(Origination("PJSIP/1", PLACE, variables={"X": text})),
    "name of the action": Action,
    "name of a header": lambda text: Action("Ping", ((text, "1"),)),
}


@pytest.mark.parametrize("make", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\rb", "a\r\nAction: Command\r\nCommand: core stop now\r\n\r\n", "a\0b", "a\n", "\ud800"],
    ids=ascii,
)
def test_no_text_can_begin_a_line(make, text):
    """CR, LF, NUL and what is no text at all are refused wherever a text can stand, before anything is sent."""
    with pytest.raises(UnsafeText):
        make(text)


def test_line_that_asterisk_would_discard_is_refused():
    """Asterisk takes lines up to a length, and drops the action that has a longer one."""
    longest = LONGEST_LINE_BYTES - len("Command: ")
    action.command("x" * longest)
    with pytest.raises(UnsafeText) as caught:
        action.command("é" * (longest // 2) + "xx")
    assert str(caught.value) == f"Command of Command makes a line of {LONGEST_LINE_BYTES + 1} bytes, the limit is 1022"


def test_action_with_too_many_headers_is_refused():
    """Asterisk keeps so many headers and no more."""
    with pytest.raises(UnsafeText, match="more than 100 headers"):
        Action("Originate", (("Variable", "X=1"),) * (MOST_LINES + 1))


@pytest.mark.parametrize("value", ["a,B=2", 'a"b', "a\\b", "a(b", "[a]"])
def test_variable_of_an_originated_call_cannot_become_two(value):
    """Asterisk splits what Originate sets at commas, and quotes and brackets change where."""
    with pytest.raises(UnsafeText, match="the value of A holds something that Originate would not take for text"):
        action.originate(Origination("PJSIP/1", PLACE, variables={"A": value}))


@pytest.mark.parametrize("name", ["", "1A", "SHELL(rm -rf /)", "A B", "A,B", "${A}"])
def test_variable_that_is_set_has_a_plain_name(name):
    """A name is a name, or a function with a word for its argument."""
    with pytest.raises(UnsafeText, match="is no name of a channel variable"):
        action.setvar("PJSIP/a-1", name, "1")


@pytest.mark.parametrize("channel", ["", "/^PJSIP/"])
def test_action_is_about_one_channel(channel):
    """No channel would be the whole PBX, and a pattern would be several."""
    with pytest.raises(UnsafeText, match="is no name of a channel"):
        action.hangup(channel, None)


@pytest.mark.parametrize("place", ["", "ext-queues", "ext-queues,600", "a,b,c,d", "a b,s,1", ",s,1"])
def test_place_is_context_extension_and_priority(place):
    """A call is sent to a place that is written in full."""
    with pytest.raises(UnsafeText, match="is no place in the dialplan, written context,exten,priority"):
        action.redirect("PJSIP/a-1", place)


def test_actions_as_they_are_sent():
    """Each action has the headers that Asterisk documents for it."""
    assert action.hangup("PJSIP/a-1", 17).headers == (("Channel", "PJSIP/a-1"), ("Cause", "17"))
    assert action.redirect("PJSIP/a-1", PLACE).headers == (
        *(("Channel", "PJSIP/a-1"), ("Context", "ext-queues"), ("Exten", "600"), ("Priority", "1")),
    )
    assert action.getvar("MILLIS_BRIDGE", "").headers == (("Variable", "MILLIS_BRIDGE"),)
    assert action.setvar("PJSIP/a-1", "CHANNEL(language)", "de").headers == (
        *(("Channel", "PJSIP/a-1"), ("Variable", "CHANNEL(language)"), ("Value", "de")),
    )


def test_originated_call_is_asynchronous():
    """Originate always says Async, waits for what becomes of the call, and is patient as long as the call may ring."""
    made = action.originate(
        Origination("PJSIP/1", PLACE, '"Zoë" <100>', 20, {"A": "1", "CHANNEL(language)": "de"}, "bridge-1")
    )
    assert dict(made.headers) == {
        "Channel": "PJSIP/1",
        "Context": "ext-queues",
        "Exten": "600",
        "Priority": "1",
        "Timeout": "20000",
        "Async": "true",
        "ChannelId": "bridge-1",
        "CallerID": '"Zoë" <100>',
        "Variable": "CHANNEL(language)=de",
    }
    assert [value for key, value in made.headers if key == "Variable"] == ["A=1", "CHANNEL(language)=de"]
    assert (made.ending, made.patience_seconds) == (Ending.ORIGINATED, 20)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("No such channel", NoSuchChannel),
        ("Channel does not exist: PJSIP/a-1", NoSuchChannel),
        ("Permission denied", NotPermitted),
        ("Redirect failed, channel not up.", AmiRejected),
        ("", AmiRejected),
    ],
    ids=repr,
)
def test_refusal_says_what_is_wrong(message, kind):
    """An error is told with Asterisk's own words, and by its kind where something can be done about it."""
    refused = action.refusal(action.hangup("PJSIP/a-1", None), Message.of(Response="Error", Message=message))
    assert type(refused) is kind
    assert str(refused) == f"Asterisk rejects Hangup: {message or 'without a reason'}"


@pytest.mark.parametrize(
    "answer", [Message.of(Response="Success"), Message.of(Event="OriginateResponse", Response="F")]
)
def test_success_is_no_refusal(answer):
    """A success is none, and neither is an event, whatever it tells."""
    assert action.refusal(action.PING, answer) is None


def test_header_that_comes_twice_is_not_believed():
    """A second value may be a caller's own, so none of them is taken."""
    message = Message({"uniqueid": ("1", "2"), "output": ("a", "b")})
    with pytest.raises(AmiNonsense, match="a message has 2 headers Uniqueid"):
        message["Uniqueid"]
    assert (message["Channel"], message.every("Output"), message.every("Channel")) == ("", ("a", "b"), ())
