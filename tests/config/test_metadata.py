"""Names and expressions of metadata."""

import pytest

from tests.config.bridge_toml import GOOD, problems, route


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            route('metadata = { session_id = "1" }'),
            'route "sales": metadata.session_id: is a name of Millis\'s own; choose another',
            id="a metadata name of Millis",
        ),
        pytest.param(
            f'{GOOD}\n[route.metadata]\nuniqueid = "1"',
            'route "sales": metadata.uniqueid: is sent with every call already; choose another name',
            id="a metadata name of ours",
        ),
        pytest.param(
            route('metadata = { "a-b" = "1" }'),
            "route \"sales\": metadata.a-b: must be letters, digits and '_', at most 64, and not begin with a digit",
            id="a metadata name that no prompt could use",
        ),
        pytest.param(
            GOOD.replace("[defaults]", '[defaults]\nmetadata = { from = "x" }'),
            "defaults.metadata.from: is a name of Millis's own; choose another",
            id="a metadata name of Millis under defaults",
        ),
        pytest.param(
            route('metadata = { tier = "${DB(crm/1)" }'),
            "route \"sales\": metadata.tier: has 1 '{' but 0 '}'",
            id="an expression that is not closed",
        ),
        pytest.param(
            route('metadata = { tier = "${DB(crm/1}" }'),
            "route \"sales\": metadata.tier: has 1 '(' but 0 ')'",
            id="a function that is not closed",
        ),
        pytest.param(
            route('metadata = { tier = "${A}\\n" }'),
            'route "sales": metadata.tier: a line end or NUL cannot be sent over AGI',
            id="an expression with a line feed",
        ),
    ],
)
def test_problem_with_metadata(text, problem):
    """A name that is taken, and an expression that Asterisk could not read, is a problem."""
    assert problems(text) == [problem]
