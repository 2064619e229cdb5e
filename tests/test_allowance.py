"""Whom we may call, and how often."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge.allowance import Allowance, Tally, allowed_number, one_more, tally_from, tally_text
from agi_bridge.errors import DailyLimitReached, NumberNotAllowed, TooManyOriginates
from agi_bridge.numbers import Numbers

NUMBERS = Numbers("US")
NEW_YORK = Allowance(("+1212", "+1646"), 3, 5)
EVERYBODY = Allowance(tuple(f"+{digit}" for digit in range(1, 10)), 3, 5)
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["+12125550100", "(212) 555-0100", "212.555.0100", "1 212 555 0100", " +1 212 5550100 "]
)
def test_number_is_judged_and_dialled_as_e164(text):
    """However it is written, what is compared with the prefixes is what is dialled."""
    assert allowed_number(NEW_YORK, NUMBERS, text) == "+12125550100"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("+13125550100", id="another city"),
        pytest.param("3125550100", id="another city, without its country"),
        pytest.param("011442079460958", id="abroad, with the American prefix"),
        pytest.param("+44 20 7946 0958", id="abroad"),
        pytest.param("+1212555010", id="a digit short"),
        pytest.param("+121255501000", id="a digit long"),
        pytest.param("+12125550100;ext=911", id="an extension"),
        pytest.param("+12125550100&Local/s@internal", id="a second destination"),
        pytest.param("+12125550100,60", id="options"),
        pytest.param("+12125550100\r\nVariable: X=1", id="a line end"),
        pytest.param("+١٢١٢٥٥٥٠١٠٠", id="digits of another script"),
        pytest.param("sip:+12125550100@host", id="a SIP URI"),
        pytest.param("", id="nothing"),
        pytest.param("+" + "1" * 5000, id="without end"),
    ],
)
def test_number_off_the_prefixes_is_refused(text):
    """No way of writing it gets past them."""
    with pytest.raises(NumberNotAllowed):
        allowed_number(NEW_YORK, NUMBERS, text)


@given(st.text(alphabet="+0123456789 ()-./;,&@x", max_size=30))
def test_what_passes_begins_with_a_prefix(text):
    """Whatever is let through is E.164 with an allowed beginning, in digits alone."""
    try:
        number = allowed_number(NEW_YORK, NUMBERS, text)
    except NumberNotAllowed:
        return
    assert number.startswith(("+1212", "+1646"))
    assert number[1:].isdecimal()


@pytest.mark.parametrize(
    ("country", "text"),
    [
        ("US", "911"),
        ("US", "+1911"),
        ("DE", "110"),
        ("DE", "+49110"),
        ("AT", "+43112"),
        ("IT", "+39113"),
        ("DE", "+4911833"),
        ("US", "+19005551234"),
        ("US", "+979123456789"),
    ],
)
def test_emergency_short_and_premium_numbers_are_never_called(country, text):
    """Not even where every prefix is allowed."""
    with pytest.raises(NumberNotAllowed):
        allowed_number(EVERYBODY, Numbers(country), text)


@pytest.mark.parametrize("text", ["+4311234567", "+911123456789"])
def test_number_that_only_begins_like_an_emergency_number_is_called(text):
    """Vienna's 112… and Delhi's 91 1… are numbers like any."""
    assert allowed_number(EVERYBODY, NUMBERS, text) == text


def test_without_a_prefix_nobody_is_called():
    """An empty list allows nobody."""
    with pytest.raises(NumberNotAllowed, match="no prefix of allow under"):
        allowed_number(Allowance((), 3, 5), NUMBERS, "+12125550100")


def counted(*seconds: float, tally: Tally | None = None) -> Tally:
    """Return the tally after calls at so many seconds after noon."""
    tally = tally or Tally()
    for each in seconds:
        tally = one_more(NEW_YORK, tally, NOON + timedelta(seconds=each))
    return tally


def test_minute_lets_no_more_through_than_its_limit():
    """The fourth call within a minute waits until the first is a minute old."""
    tally = counted(0, 10, 20)
    with pytest.raises(TooManyOriginates, match="3 calls were started within a minute"):
        counted(59.9, tally=tally)
    assert counted(60, tally=tally).started == 4


def test_day_lets_no_more_through_than_its_limit():
    """After the sixth there is no more until midnight, UTC; then the count begins anew."""
    tally = counted(0, 100, 200, 300, 400)
    with pytest.raises(DailyLimitReached, match="5 calls were started today"):
        counted(43_199, tally=tally)
    assert counted(43_200, tally=tally).started == 1


def test_clock_that_is_set_back_frees_nobody():
    """What was counted a moment ago counts, though it now lies ahead."""
    with pytest.raises(TooManyOriginates):
        counted(-5, tally=counted(0, 1, 2))


def test_tally_survives_being_written():
    """What is read is what was written."""
    tally = counted(0, 1)
    assert tally_from(tally_text(tally)) == tally


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "nonsense", '{"day": "x", "started": -1, "lately": []}', '{"day": 1, "started": 1, "lately": []}',
     '{"day": "x", "started": 1, "lately": ["y"]}', '{"day": "x", "started": 1, "lately": 3}'],
)  # fmt: skip
def test_what_is_no_tally_is_not_taken_for_an_empty_one(text):
    """A count that cannot be read is an error, never a new beginning."""
    with pytest.raises(ValueError, match="it holds no count of calls"):
        tally_from(text)
