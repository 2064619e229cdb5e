"""The simulated channel: the environment it sends, and what stands for `${...}` in it, traps included."""

import pytest

from agi_bridge.simulator.channel import ChannelMemory, SimulatedChannel, environment, to_text

CALLER = SimulatedChannel(
    did="+15551230001",
    caller_number="+15557654321",
    caller_name="Ada (Sales)",
    rdnis="+15550000000",
    language="de",
    uniqueid="1700000000.7",
    linkedid="1700000000.6",
    variables={"X": "one", "EMPTY": "", "BREAKS": "a\nb", "ODD": "a):1", "LONG": "é" * 3000},
    functions={"DB(crm/+15557654321)": "gold"},
)
WITHHELD = SimulatedChannel(caller_number=None, caller_name=None, callingpres=67)

WHOLE_ENVIRONMENT = """\
agi_network: yes
agi_network_script: route?x=1
agi_request: agi://127.0.0.1:4573/route?x=1
agi_channel: PJSIP/trunk-00000001
agi_language: de
agi_type: PJSIP
agi_uniqueid: 1700000000.7
agi_version: 22.10.1
agi_callerid: +15557654321
agi_calleridname: Ada (Sales)
agi_callingpres: 0
agi_callingani2: 0
agi_callington: 0
agi_callingtns: 0
agi_dnid: +15551230001
agi_rdnis: +15550000000
agi_context: from-trunk
agi_extension: s
agi_priority: 1
agi_enhanced: 0.0
agi_accountcode:{space}
agi_threadid: 140000000000001
agi_arg_1: did=%2B15551230001
agi_arg_2:{space}

""".replace("{space}", " ")  # an empty value leaves the space that stands before it


def test_environment_has_the_order_of_asterisk():
    """The environment has every line of setup_env in its order, then the arguments and a blank line."""
    sent = environment(CALLER, "127.0.0.1", 4573, "route?x=1", ["did=%2B15551230001", ""])

    assert sent.decode() == WHOLE_ENVIRONMENT


def test_environment_without_a_script_is_a_line_shorter():
    """A URL without a path has no agi_network_script."""
    lines = environment(CALLER, "::1", 4573, "").decode().split("\n")

    assert (len(lines), lines[1]) == (21 + 2, "agi_request: agi://[::1]:4573")


def test_withheld_caller_is_unknown():
    """What is not there is sent as the word unknown, with the presentation as a number."""
    lines = environment(WITHHELD, "127.0.0.1", 4573, "route").decode().split("\n")

    assert lines[8:11] == ["agi_callerid: unknown", "agi_calleridname: unknown", "agi_callingpres: 67"]
    assert "agi_rdnis: unknown" in lines


def test_environment_is_not_escaped():
    """A caller's line feed and Latin-1 bytes reach the wire as they are."""
    channel = SimulatedChannel(caller_name=to_text(b"Jos\xe9\nagi_network_script: dial"))

    assert b"agi_calleridname: Jos\xe9\nagi_network_script: dial\n" in environment(channel, "h", 1, "route")


def test_every_channel_has_its_own_uniqueid():
    """Two channels made without an id differ."""
    assert SimulatedChannel().uniqueid != SimulatedChannel().uniqueid


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("plain $ text { }", "plain $ text { }"),
        ("X", "X"),
        ("${X}", "one"),
        ("<${X}|${X}>", "<one|one>"),
        ("${MISSING}|${EMPTY}", "|"),
        ("${${X}}", ""),
        ("${X:1}|${X:-1}|${X:0:2}|${X:1:-1}|${X:9}", "ne|e|on|n|"),
        ("${CHANNEL}|${EXTEN}|${CONTEXT}|${PRIORITY}", "PJSIP/trunk-00000001|s|from-trunk|1"),
        ("${UNIQUEID}|${HANGUPCAUSE}|${CALLINGPRES}", "1700000000.7|0|0"),
        ("${CHANNEL(linkedid)}|${CHANNEL(LANGUAGE)}|${CHANNEL(name)}", "1700000000.6|de|PJSIP/trunk-00000001"),
        ("${CHANNEL(channeltype)}|${CHANNEL(state)}|${CHANNEL(exten)}", "PJSIP|Ring|s"),
        ("${CHANNEL(hangupsource)}|${CHANNEL(nonsense)}", "|"),
        ("${CALLERID(num)}|${CALLERID(name)}", "+15557654321|Ada (Sales)"),
        ("${CALLERID(all)}", '"Ada (Sales)" <+15557654321>'),
        ("${CALLERID(dnid)}|${CALLERID(rdnis)}|${CALLERID(pres)}", "+15551230001|+15550000000|allowed_not_screened"),
        ("${REDIRECTING(from-num)}", "+15550000000"),
        ("${URIENCODE(${X})}", "one"),
        ('${URIENCODE(+1 (5)|é/"%)}', "%2B1%20(5)%7C%C3%A9%2F%22%25"),
        ("${URIENCODE(${CALLERID(name)})}|${URIENCODE(${CHANNEL(linkedid)})}", "Ada%20(Sales)|1700000000.6"),
        ("${URIENCODE(${BREAKS})}", "a%0Ab"),
        ("${URIENCODE(${MISSING})}|${URIENCODE()}", "|"),
        ("${DB(crm/${CALLERID(num)})}|${URIENCODE(${DB(crm/${CALLERID(num)})})}", "gold|gold"),
        ("${DB(crm/nobody)}|${NO_SUCH_FUNCTION(x)}|${FILTER(0-9,${X})}", "||"),
        ("${URIENCODE(${NO_SUCH_FUNCTION(${X})})}", ""),
        ("${X", "one"),
        ("${", ""),
        ("${}", ""),
    ],
)
def test_expression_is_evaluated(text, value):
    """An expression has the value that pbx_variables.c gives it."""
    assert ChannelMemory(CALLER).evaluate(text) == value


def test_value_is_not_evaluated_again():
    """A caller who is called like a variable does not become its value."""
    memory = ChannelMemory(SimulatedChannel(caller_name="${X}", variables={"X": "secret"}))

    assert memory.evaluate("${CALLERID(name)}|${URIENCODE(${CALLERID(name)})}") == "${X}|%24%7BX%7D"


def test_value_with_a_parenthesis_and_a_colon_is_cut():
    """Asterisk takes `):1` in a value for the end of the function and an offset, and so loses text."""
    assert ChannelMemory(CALLER).evaluate("${URIENCODE(${ODD})}") == ""


def test_function_is_cut_at_four_thousand_bytes():
    """A function's result has an end, a plain variable's value has none."""
    memory = ChannelMemory(CALLER)

    assert len(memory.evaluate("${URIENCODE(${LONG})}")) == 4095
    assert memory.evaluate("${LONG}") == "é" * 3000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "one"),
        ("EMPTY", ""),
        ("MISSING", None),
        ("BREAKS", "a\nb"),
        ("X:1", "ne"),
        ("CHANNEL(language)", "de"),
        ("DB(crm/+15557654321)", "gold"),
        ("DB(crm/nobody)", None),
        ("LONG", to_text("é".encode() * 511 + b"\xc3")),
    ],
)
def test_variable_is_read(name, value):
    """A variable or function is read, or is missing; text beyond 1023 bytes is cut, be it in mid-character."""
    assert ChannelMemory(CALLER).get(name) == value


@pytest.mark.parametrize("name", ["NEW", "_NEW", "__NEW"])
def test_variable_is_set_under_its_plain_name(name):
    """Underscores only say that a variable is inherited."""
    memory = ChannelMemory(CALLER)
    memory.set(name, "value")

    assert memory.get("NEW") == "value"
    assert CALLER.variables.get("NEW") is None


def test_function_can_be_written():
    """A name with parentheses writes a function, which then has that value."""
    memory = ChannelMemory(CALLER)
    memory.set("CALLERID(name)", "Grace")

    assert (memory.evaluate("${CALLERID(name)}"), memory.functions["CALLERID(name)"]) == ("Grace", "Grace")
