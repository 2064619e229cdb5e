"""Phone numbers as people write them, and dial patterns as Asterisk reads them."""

import re

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge.numbers import Numbers, Pattern, PatternError, known_country, mask, never_dialled, without_fluff


@pytest.mark.parametrize(
    ("country", "text", "e164"),
    [
        pytest.param("US", "+15551230001", "+15551230001", id="E.164 stays as it is"),
        pytest.param("US", "5551230001", "+15551230001", id="ten digits of the United States"),
        pytest.param("US", "15551230001", "+15551230001", id="eleven digits of the United States"),
        pytest.param("US", "(555) 123-0001", "+15551230001", id="brackets and hyphens"),
        pytest.param("US", "+1.555.123.0001", "+15551230001", id="dots"),
        pytest.param("US", "01149301234567", "+49301234567", id="abroad, with the American prefix"),
        pytest.param("CA", "6135550100", "+16135550100", id="Canada shares the American plan"),
        pytest.param("GB", "020 7946 0958", "+442079460958", id="London, as dialled in Britain"),
        pytest.param("GB", "+44 (0)20 7946 0958", "+442079460958", id="London, with a zero in brackets"),
        pytest.param("GB", "0049 30 1234567", "+49301234567", id="abroad, with the European prefix"),
        pytest.param("DE", "030 1234567", "+49301234567", id="Berlin, as dialled in Germany"),
        pytest.param("DE", "030/1234567", "+49301234567", id="Berlin, with a slash"),
        pytest.param("DE", "+1 555 123 0001", "+15551230001", id="a plus sign overrides the default country"),
        pytest.param("FR", "01 23 45 67 89", "+33123456789", id="Paris, in pairs"),
        pytest.param("IT", "06 1234567", "+39061234567", id="Rome keeps its zero"),
        pytest.param("ES", "912345678", "+34912345678", id="Spain has no zero to lose"),
        pytest.param("BR", "011 2345-6789", "+551123456789", id="Sao Paulo"),
        pytest.param("IN", "098765 43210", "+919876543210", id="an Indian mobile"),
        pytest.param("AU", "(02) 5550 1234", "+61255501234", id="Sydney"),
        pytest.param(None, "+49 30 1234567", "+49301234567", id="a plus sign needs no default country"),
    ],
)
def test_number_is_read_as_e164(country, text, e164):
    """However a complete number is written, it becomes the same E.164."""
    assert Numbers(country).normalise(text) == e164


@pytest.mark.parametrize(
    ("country", "text"),
    [
        pytest.param(None, "5551230001", id="national digits without a default country"),
        pytest.param(None, "15551230001", id="a country code without its plus sign or a default country"),
        pytest.param("US", "5551234", id="a number that is only complete within a town"),
        pytest.param("US", "911", id="an emergency number"),
        pytest.param("DE", "112", id="a short number"),
        pytest.param("US", "100", id="an extension"),
        pytest.param("US", "+1555123000199999", id="too many digits"),
        pytest.param("US", "s", id="the extension s"),
        pytest.param("US", "*98", id="a feature code"),
        pytest.param("US", "alice5551230001", id="a SIP user with digits in the name"),
        pytest.param("US", "5551230001x", id="digits and a letter"),
        pytest.param("US", "5551230001 ext 5", id="a number with an extension"),
        pytest.param("US", "1-800-FLOWERS", id="letters for digits"),
        pytest.param("US", "tel:+15551230001", id="a URI"),
        pytest.param("US", "٥٥٥١٢٣٠٠٠١", id="digits of another script"),
        pytest.param("US", "+", id="a lone plus sign"),
        pytest.param("US", "-", id="a lone hyphen"),
        pytest.param("US", "", id="nothing"),
        pytest.param("US", "5" * 10_000, id="ten thousand digits"),
        pytest.param("US", "5551230001\n", id="a line feed"),
    ],
)
def test_what_is_no_complete_number_is_not_read_as_one(country, text):
    """A text that is no complete number has no E.164."""
    assert Numbers(country).normalise(text) is None


@given(st.text(max_size=40), st.sampled_from([None, "US", "DE", "IT"]))
def test_any_text_is_a_number_or_none(text, country):
    """No text makes the reading of numbers fail, and what it gives is E.164, which reads as itself."""
    numbers = Numbers(country)
    e164 = numbers.normalise(text)

    assert e164 is None or re.fullmatch(r"\+[0-9]{2,17}", e164)
    assert e164 is None or numbers.normalise(e164) in (e164, None)


@given(
    st.sampled_from(["", "1", "+1"]),
    st.from_regex(r"[2-9][0-9]{9}", fullmatch=True),
    st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE[1])),
)
def test_north_american_number_is_read_as_the_library_reads_it(prefix, digits, country):
    """That most North American numbers are read without the library makes no difference to any of them."""
    number = phonenumbers.parse(prefix + digits, country)

    assert Numbers(country).normalise(prefix + digits) == phonenumbers.format_number(
        number, phonenumbers.PhoneNumberFormat.E164
    )


@pytest.mark.parametrize(
    ("country", "text", "spellings"),
    [
        pytest.param("US", "5551230001", ("5551230001", "+15551230001", "15551230001"), id="national"),
        pytest.param("US", "15551230001", ("15551230001", "+15551230001"), id="without its plus sign"),
        pytest.param("US", "+15551230001", ("+15551230001", "15551230001"), id="E.164"),
        pytest.param("US", "100", ("100",), id="no complete number"),
        pytest.param(None, "15551230001", ("15551230001",), id="unreadable without a country"),
    ],
)
def test_spellings_begin_with_the_number_as_it_came(country, text, spellings):
    """A rule may write a number as it came, as E.164, or as E.164 without the plus sign."""
    assert Numbers(country).spellings(text) == spellings


@pytest.mark.parametrize(
    ("country", "known"),
    [("US", True), ("DE", True), ("us", False), ("UK", False), ("XX", False), ("", False), ("USA", False)],
)
def test_countries_are_iso_codes(country, known):
    """Only two-letter codes of ISO 3166-1, in capitals, are countries."""
    assert known_country(country) is known


MATCHES = [
    pytest.param("15551230001", "15551230001", id="a number matches itself"),
    pytest.param("+15551230001", "+15551230001", id="a plus sign is a sign like others"),
    pytest.param("1-555-123-0001", "15551230001", id="hyphens in a number do not count"),
    pytest.param("1 555 123 0001", "15551230001", id="blanks in a number do not count"),
    pytest.param("15551230001", "1-555-123-0001", id="hyphens in what was dialled do not count"),
    pytest.param("from-trunk", "from-trunk", id="a context with a hyphen matches itself"),
    pytest.param("_15551230001", "15551230001", id="a pattern may be all literal"),
    pytest.param("_X", "0", id="X is any digit, from 0"),
    pytest.param("_X", "9", id="X is any digit, to 9"),
    pytest.param("_Z", "1", id="Z begins at 1"),
    pytest.param("_N", "2", id="N begins at 2"),
    pytest.param("_xzn", "012", id="x, z and n may be lower case"),
    pytest.param("_1NXXNXXXXXX", "12125550100", id="an American number"),
    pytest.param("_1-NXX-NXX-XXXX", "12125550100", id="hyphens in a pattern do not count"),
    pytest.param("_1 NXX NXX XXXX", "12125550100", id="blanks in a pattern do not count"),
    pytest.param("_[2-5]", "2", id="a range holds its beginning"),
    pytest.param("_[2-5]", "5", id="a range holds its end"),
    pytest.param("_[13-57]", "4", id="signs and ranges mix in a set"),
    pytest.param("_[13-57]", "7", id="a sign may follow a range"),
    pytest.param("_[a-c]X", "b7", id="a range may be of letters"),
    pytest.param("_[X]", "X", id="a class in a set is only a letter"),
    pytest.param("_[-5]", "5", id="a hyphen at the beginning of a set is no range"),
    pytest.param("_[5-]", "5", id="a hyphen at the end of a set is no range either"),
    pytest.param("_0[1-9].", "0302", id="a dot takes the rest"),
    pytest.param("_X.", "12", id="a dot takes one sign"),
    pytest.param("_.", "s", id="a dot alone takes anything"),
    pytest.param("_X!", "1", id="an exclamation mark takes nothing"),
    pytest.param("_X!", "123*#", id="an exclamation mark takes anything"),
    pytest.param("_!", "", id="an exclamation mark alone takes even nothing"),
    pytest.param("_+49.", "+4930", id="a plus sign in a pattern is literal"),
    pytest.param("_*98#", "*98#", id="star and hash are literal"),
    # In extensions.conf a slash ends the extension; here patterns are for channels too.
    pytest.param("_PJSIP/tr.", "PJSIP/trunk", id="a slash and capitals that are no classes are literal"),
]


@pytest.mark.parametrize(("pattern", "text"), MATCHES)
def test_pattern_matches(pattern, text):
    """A pattern takes what Asterisk's takes."""
    assert Pattern.compile(pattern).matches(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        pytest.param("15551230001", "155512300011", id="a number does not match a longer one"),
        pytest.param("15551230001", "1555123000", id="a number does not match a shorter one"),
        pytest.param("1555123000X", "15551230001", id="without its underscore a pattern is a literal text"),
        pytest.param("1.3", "123", id="without an underscore a dot is a dot"),
        pytest.param("_X", "a", id="X is no letter"),
        pytest.param("_X", "٣", id="X is no digit of another script"),
        pytest.param("_Z", "0", id="Z is not 0"),
        pytest.param("_N", "1", id="N is not 1"),
        pytest.param("_1NXXNXXXXXX", "11125550100", id="an area code that begins with 1"),
        pytest.param("_1NXXNXXXXXX", "1212555010", id="a digit too few"),
        pytest.param("_1NXXNXXXXXX", "121255501000", id="a digit too many"),
        pytest.param("_1NXXNXXXXXX", "12125550100\n", id="a line feed at the end"),
        pytest.param("_[2-5]", "1", id="before a range"),
        pytest.param("_[2-5]", "6", id="behind a range"),
        pytest.param("_[13-57]", "2", id="between the members of a set"),
        pytest.param("_[13-57]", "-", id="the hyphen of a range is no member"),
        pytest.param("_[X]", "5", id="a class in a set is no class"),
        pytest.param("_[^5]", "4", id="a set cannot be negated"),
        pytest.param("_X.", "1", id="a dot wants at least one sign"),
        pytest.param("_X.", "", id="a pattern does not match nothing"),
        pytest.param("_+49.", "4930", id="a plus sign in a pattern must be there"),
    ],
)
def test_pattern_does_not_match(pattern, text):
    """A pattern refuses what Asterisk's refuses."""
    assert not Pattern.compile(pattern).matches(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a pattern cannot be empty"),
        (" - ", "a pattern cannot be empty"),
        ("_", "a pattern needs something after its underscore"),
        ("_-", "a pattern needs something after its underscore"),
        ("_X.5", "nothing may follow '.', which already takes the rest"),
        ("_!X", "nothing may follow '!', which already takes the rest"),
        ("_..", "nothing may follow '.', which already takes the rest"),
        ("_1[2-5", "'[' at place 3 is never closed"),
        ("_[]", "'[]' matches nothing"),
        ("_[5-2]", "the range 5-2 runs backwards"),
        ("_1]", "']' at place 3 cannot stand in a pattern"),
        ("_12{3", "'{' at place 4 cannot stand in a pattern"),
        ("_1\n", "'\\n' at place 3 cannot stand in a pattern"),
        ("_é", "'é' at place 2 cannot stand in a pattern"),
    ],
)
def test_wrong_pattern_is_refused_with_its_fault(text, message):
    """A text that is no pattern says what is wrong, and where, counted from 1."""
    with pytest.raises(PatternError) as caught:
        Pattern.compile(text)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "literal", "is_exact"),
    [
        ("+1-555", "+1555", True),
        ("_1555XXX", "1555", False),
        ("_X.", "", False),
        ("_+49[23].", "+49", False),
        ("_030!", "030", False),
        ("_1X2", "1", False),
    ],
)
def test_literal_is_what_every_match_begins_with(text, literal, is_exact):
    """A pattern knows its literal beginning, by which rules are found."""
    pattern = Pattern.compile(text)

    assert (pattern.literal, pattern.is_exact) == (literal, is_exact)


def test_patterns_are_equal_by_their_text():
    """Two patterns of the same text are the same pattern."""
    assert Pattern.compile("_X.") == Pattern.compile("_X.") != Pattern.compile("_Z.")


@given(st.text(alphabet="_0123456789XZNxzn[]-.!+*# aé\\^", max_size=12), st.text(max_size=12))
def test_any_text_is_a_pattern_or_a_pattern_error(pattern, text):
    """No text makes the reading of patterns fail with anything but a PatternError; a match begins with the literal."""
    try:
        compiled = Pattern.compile(pattern)
    except PatternError:
        return
    if compiled.matches(text):
        assert without_fluff(text).startswith(compiled.literal)


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+15551230001", "+155******01"),
        ("5551230001", "5551****01"),
        ("1234567", "1234*67"),
        ("123456", "12****"),
        ("12345", "12***"),
        ("1000", "1000"),
        ("s", "s"),
        ("", ""),
    ],
)
def test_mask_keeps_beginning_length_and_end(number, masked):
    """The middle of a number is hidden; an extension, which names nobody outside, is not."""
    assert mask(number) == masked


@pytest.mark.parametrize(
    ("e164", "why"),
    [
        ("+15551230001", ""),
        ("+442079460958", ""),
        ("+4311234567", ""),
        ("+43112", "is an emergency or short number"),
        ("+39113", "is an emergency or short number"),
        ("+4911833", "is an emergency or short number"),
        ("+19005551234", "is a premium-rate number"),
        ("+979123456789", "is a premium-rate number"),
    ],
)
def test_numbers_that_no_program_may_dial(e164, why):
    """A short number with its country's code before it is one still; a number that begins like one is not."""
    assert never_dialled(e164) == why
