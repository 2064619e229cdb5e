"""The list of places where an agent may send its caller."""

import pytest

from agi_bridge.transfer import Transfer, check_name, check_number, dialplan, shown

SALES = Transfer("sales", "ext-queues,600,1", 20, ("+15551230001", "77"))


def test_dialplan_has_what_may_be_named_and_where_it_leads():
    """The PBX gets two contexts: the names and numbers, and their destinations."""
    assert dialplan([SALES, Transfer("night", "app-announcement-1,s,2", 30)]) == (
        "[millis-transfer](+)\n"
        "exten => sales,1,MSet(MILLIS_TRANSFER=sales,MILLIS_TRANSFER_SECONDS=20)\n"
        " same => n,Goto(millis-hand-over,s,1)\n"
        "exten => +15551230001,1,Goto(sales,1)\n"
        "exten => 15551230001,1,Goto(sales,1)\n"
        "exten => 77,1,Goto(sales,1)\n"
        "exten => night,1,MSet(MILLIS_TRANSFER=night,MILLIS_TRANSFER_SECONDS=30)\n"
        " same => n,Goto(millis-hand-over,s,1)\n"
        "\n"
        "[millis-transfer-to]\n"
        "exten => sales,1,Goto(ext-queues,600,1)\n"
        "exten => night,1,Goto(app-announcement-1,s,2)\n"
    )


def test_no_list_is_no_dialplan():
    """Where nothing is listed, nothing is written."""
    assert dialplan([]) == ""


@pytest.mark.parametrize("name", ["sales", "a1", "back_office", "x" * 40])
def test_names_that_can_be_extensions(name: str):
    """A name is one that Asterisk takes for an extension, and for nothing else."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "h", "T", "Sales", "sales-team", "_sales", "1st", "a,b", "a b", "a${X}", "x" * 41]
)
def test_names_that_mean_something_else_to_asterisk(name: str):
    """Special extensions, patterns, hyphens and dialplan syntax are no names."""
    with pytest.raises(ValueError, match="2 to 40 small letters"):
        check_name(name)


@pytest.mark.parametrize("number", ["", "1", "++15", "+1 555", "555-1234", "_X.", "12,3", "1" * 21])
def test_numbers_that_are_none(number: str):
    """A number is digits, so that it cannot be a pattern."""
    with pytest.raises(ValueError, match="phone number in digits"):
        check_number(number)


@pytest.mark.parametrize(
    ("said", "display"),
    [
        ("wants a refund", "wants a refund"),
        ("  two\nlines\t", "two lines"),
        ('${SHELL(x)} "quoted", <sip:a@b>', "SHELL x quoted sip:a@b"),
        ("Müller möchte zahlen", "Müller möchte zahlen"),
        ("x" * 70, "x" * 60),
        ("\r\n", ""),
    ],
)
def test_what_an_agent_says_fits_a_display(said: str, display: str):
    """A reason becomes one bounded line without any sign that the dialplan or SIP would read as its own."""
    assert shown(said) == display
