"""What a route may say."""

import pytest

from agi_bridge.agi.protocol import Request
from agi_bridge.call import CallerId
from agi_bridge.numbers import Numbers
from tests.config.bridge_toml import GOOD, PATTERN_HINT, PLACE, problems, route


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            GOOD.replace("+15551230001", "_1[2-5"),
            f"route \"sales\": did: '[' at place 3 is never closed {PATTERN_HINT}",
            id="a bad pattern",
        ),
        pytest.param(
            route('caller = ["_X.", "_1}"]'),
            f"route \"sales\": caller[2]: '}}' at place 3 cannot stand in a pattern {PATTERN_HINT}",
            id="a bad pattern in a list",
        ),
        pytest.param(
            route('arguments = { queue = "_X.1" }'),
            f"route \"sales\": arguments.queue: nothing may follow '.', which already takes the rest {PATTERN_HINT}",
            id="a bad pattern for an argument",
        ),
        pytest.param(
            route('caller = "Anonymous"'),
            'route "sales": caller: is no number; for callers who withhold theirs, write "withheld"',
            id="another word for withheld",
        ),
        pytest.param(
            GOOD.replace("+15551230001", "1555123XXXX"),
            'route "sales": did: looks like a pattern, and patterns begin with "_"; write "_1555123XXXX"',
            id="a pattern without its underscore",
        ),
        pytest.param(
            GOOD.replace("millis-fallback,s,1", "reception"),
            f"defaults.fallback: {PLACE}",
            id="a fallback that is no place",
        ),
        pytest.param(
            route('endpoint = "a/b"'),
            "route \"sales\": endpoint: must be the name of a PJSIP endpoint: letters, digits, '_', '.' and '-'",
            id="an endpoint that would change the dial string",
        ),
        pytest.param(
            route("ring_timeout_seconds = 0"),
            'route "sales": ring_timeout_seconds: input should be greater than or equal to 1',
            id="a ring timeout of nothing",
        ),
        pytest.param(
            route("max_duration_seconds = 86401"),
            'route "sales": max_duration_seconds: input should be less than or equal to 86400',
            id="a call of more than a day",
        ),
        pytest.param(
            route('region = "us-east"'),
            "route \"sales\": region: input should be 'us-west' or 'eu-west'",
            id="a region that Millis has not",
        ),
        pytest.param(
            route('prompt = "welcome,s"'),
            'route "sales": prompt: must be the name of a sound without its ending, such as custom/welcome; '
            "several joined by '&'",
            id="a prompt that is more than a sound",
        ),
        pytest.param(
            route('music = "default)x(s"'),
            "route \"sales\": music: must be the name of a class of music on hold: letters, digits, '_' and '-'",
            id="music that is more than a class",
        ),
    ],
)
def test_problem_with_a_key_of_a_route(text, problem):
    """A value that no call could meet, or no dialplan carry, is refused where it stands."""
    assert problems(text) == [problem]


@pytest.mark.parametrize("word", ["anonymous", "private", "restricted", "unavailable", "unknown", "Withheld"])
def test_no_rule_waits_for_a_word_that_never_comes(word):
    """A word that a call never has as its caller's number is refused in a rule, and the right one is named."""
    caller = CallerId.from_request(Request({"callerid": word}), Numbers("US"))
    (told,) = problems(route(f'caller = ["_X.", "{word}"]'))

    assert caller.number is None
    assert told == 'route "sales": caller[2]: is no number; for callers who withhold theirs, write "withheld"'
