"""The first configuration: which answers are taken, and the file that they make."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge import config
from agi_bridge.first_config import EXAMPLE, FALLBACKS, KEY_FILE, QUESTIONS, BadAnswer, accept, render
from agi_bridge.flavor import FLAVORS
from agi_bridge.millis.models import REGIONS
from agi_bridge.numbers import known_country

BY_FLAG = {question.flag: question for question in QUESTIONS}
GOOD = {
    "--flavor": "freepbx",
    "--country": "DE",
    "--region": "eu-west",
    "--key-from": "sk-0123456789",
    "--did": "+49301234567",
    "--agent": "-NxAgent",
    "--fallback": "ext-queues,600,1",
}


def load(answers):
    """Load what is rendered, with the key where the file says that it is."""
    return config.load(render(answers), {}, {KEY_FILE: answers.key.encode()}.__getitem__)


def answered(**answers):
    """Return the answers to all questions, the good ones where no other is given."""
    after = EXAMPLE
    for flag, text in (GOOD | {f"--{name.replace('_', '-')}": text for name, text in answers.items()}).items():
        after = accept(BY_FLAG[flag], text, after)
    return after


def test_good_answers_are_every_question():
    """The tests below leave no question out, and ask in the order in which a person is asked."""
    assert list(GOOD) == [question.flag for question in QUESTIONS]


@pytest.mark.parametrize(
    ("flag", "text", "complaint"),
    [
        ("--flavor", "issabell", "must be plain, freepbx, issabel or vitalpbx"),
        ("--did", "hello", '"hello" has no digits; write a number such as +15551230001, or all'),
        ("--country", "Germany", "must be a two-letter country code, such as US or DE"),
        ("--region", "eu", "input should be 'us-west' or 'eu-west'"),
        ("--key-from", "two words", "the Millis key holds blanks or signs that no HTTP header can carry"),
        ("--key-from", "schlüssel", "the Millis key holds blanks or signs that no HTTP header can carry"),
        (
            "--did",
            "0A",
            '"0A" is no number, and fits only an extension of that very name '
            '(write a number such as "+15551230001", or a pattern such as "_+1555124XXXX")',
        ),
        ("--did", "1NXX", 'looks like a pattern, and patterns begin with "_"; write "_1NXX"'),
        (
            "--did",
            "+15551230001,",
            'a pattern cannot be empty (write a number, or a pattern such as "_1NXXNXXXXXX" or "_X.")',
        ),
        ("--agent", "x" * 201, "string should have at most 200 characters"),
        ("--agent", "-Nx\x1b[31m", "holds signs that cannot be printed"),
        ("--agent", "-Nx\udcff", "holds signs that cannot be printed"),
        ("--fallback", "queue 600", "must be a place in the dialplan, written context,exten,priority"),
        ("--fallback", "  ", "needs an answer"),
    ],
)
def test_bad_answer_is_told_as_check_tells_it(flag, text, complaint):
    """Whatever `check` would refuse is refused when it is said, in the same words."""
    with pytest.raises(BadAnswer) as refused:
        accept(BY_FLAG[flag], text, EXAMPLE)
    assert str(refused.value) == complaint


@pytest.mark.parametrize(
    ("country", "typed", "written"),
    [
        ("DE", "030 1234567", ["+49301234567"]),
        ("US", "(555) 123-0001, +1 555 123 0002", ["+15551230001", "+15551230002"]),
        ("US", "_+1555124XXXX,600", ["_+1555124XXXX", "600"]),
        ("US", "5551230001, +15551230001", ["+15551230001"]),
    ],
)
def test_numbers_are_read_as_dialled_in_the_country(country, typed, written):
    """Complete numbers become E.164, once each; patterns and extensions stay as they are."""
    answers = answered(country=country, did=typed)
    assert tomllib.loads(render(answers))["route"][0]["did"] == written
    assert BY_FLAG["--did"].read_as(answers) == ", ".join(written)


def test_all_numbers_is_a_rule_without_a_number():
    """Whoever wants every number to reach the agent gets a rule without that condition."""
    [rule] = load(answered(did="All")).rules.rules
    assert rule.did == ()


@pytest.mark.parametrize(
    ("country", "region"), [("DE", "eu-west"), ("ZA", "eu-west"), ("US", "us-west"), ("BR", "us-west")]
)
def test_usual_region_is_the_nearer_one(country, region):
    """Europe and Africa are nearer to the region in Europe."""
    assert BY_FLAG["--region"].usual(accept(BY_FLAG["--country"], country, EXAMPLE)) == region


def test_distributions_are_those_that_asterisk_config_knows():
    """The next step is a command that takes the same name."""
    assert set(FALLBACKS) == set(FLAVORS)


@pytest.mark.parametrize("flavor", FALLBACKS)
def test_fallback_is_explained_for_each_distribution(flavor):
    """The example is a place that may be written; only the one that we ship is taken without a word."""
    answers = accept(BY_FLAG["--flavor"], flavor, EXAMPLE)
    question = BY_FLAG["--fallback"]
    place, _ = FALLBACKS[flavor]
    assert place in question.hint(answers)
    assert accept(question, place, answers).fallback == place
    assert question.usual(answers) == (place if flavor == "plain" else "")


def test_key_is_neither_written_nor_shown():
    """The key stands in its own file alone, and in no message about the answers."""
    answers = answered()
    assert GOOD["--key-from"] not in render(answers) + repr(answers)


SIGNS = st.text(max_size=30) | st.text(alphabet='0123456789+_XNZ.![]-, ()"\\#abc\n', max_size=30)
TYPED = {
    "--flavor": st.sampled_from([*FALLBACKS]) | SIGNS,
    "--country": st.text(alphabet="ABDEGRSUabde", min_size=2, max_size=2).filter(
        lambda text: known_country(text.upper())
    ),
    "--region": st.sampled_from([*REGIONS]) | SIGNS,
    "--key-from": SIGNS,
    "--did": SIGNS,
    "--agent": SIGNS,
    "--fallback": st.from_regex(r"\A[a-z]{1,5},[a-z0-9]{1,5},[1-9]\Z") | SIGNS,
}


@given(st.fixed_dictionaries(TYPED))
def test_accepted_answers_make_a_good_configuration(typed):
    """Whatever is accepted, `check` finds neither a problem nor a reason to warn in the file."""
    answers = EXAMPLE
    for question in QUESTIONS:
        try:
            answers = accept(question, typed[question.flag], answers)
        except BadAnswer:
            answers = accept(question, GOOD[question.flag], answers)
    loaded = load(answers)

    [rule] = loaded.rules.rules
    assert loaded.warnings == ()
    assert (rule.agent.agent_id, rule.fallback) == (answers.agent_id, answers.fallback)
    assert tuple(pattern.text for pattern in rule.did) == answers.dids
    assert loaded.api_keys["default"].get_secret_value() == answers.key
