"""How numbers are read."""

import pytest

from tests.config.bridge_toml import GOOD, problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            f'[numbers]\ndefault_country = "uk"\n{GOOD}',
            "numbers.default_country: must be a two-letter country code in capitals, such as US or DE",
            id="a country that is none",
        ),
        pytest.param(
            f'[numbers]\ndid_expression = "${{FROM_DID"\n{GOOD}',
            "numbers.did_expression: has 1 '{' but 0 '}'",
            id="a DID expression that is not closed",
        ),
    ],
)
def test_problem_with_numbers(text, problem):
    """A country that is none and an expression that Asterisk could not read are problems."""
    assert problems(text) == [problem]
