"""The whole file: what cannot be read is told in words that an operator understands."""

import pytest

from tests.config.bridge_toml import GOOD, problems, route


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            f"[agi]\nlisten_on = 1\n{GOOD}",
            'agi.listen_on: there is no such key (did you mean "listen"?)',
            id="an unknown key in a table",
        ),
        pytest.param(f"[agy]\n{GOOD}", 'agy: there is no such key (did you mean "agi"?)', id="an unknown table"),
        pytest.param(
            route('agentid = "x"'),
            'route "sales": agentid: there is no such key (did you mean "agent_id"?)',
            id="an unknown key in a route",
        ),
        pytest.param(
            f"[account.second]\napi_key_fille = 1\n{GOOD}",
            'account.second.api_key_fille: there is no such key (did you mean "api_key_file"?)',
            id="an unknown key in an account",
        ),
        pytest.param(
            f"[account.second]\nxyz = 1\n{GOOD}",
            "account.second.xyz: there is no such key (there are: api_key_file, api_key_env)",
            id="an unknown key like no other",
        ),
        pytest.param(
            f'[account.""]\nxyz = 1\n{GOOD}',
            'account."".xyz: there is no such key (there are: api_key_file, api_key_env)',
            id="a table without a name",
        ),
        pytest.param(
            GOOD.replace('"+15551230001"', "15551230001"),
            'route "sales": did: the number 15551230001 has no quotes '
            '(write "15551230001" with its "+" and leading zeros)',
            id="a number without quotes",
        ),
        pytest.param(
            GOOD.replace('"+15551230001"', '["100", 101]'),
            'route "sales": did[2]: the number 101 has no quotes (write "101" with its "+" and leading zeros)',
            id="a number without quotes in a list",
        ),
        pytest.param(
            route("metadata = { tier = 1.5 }"),
            'route "sales": metadata.tier: the number 1.5 has no quotes (write "1.5")',
            id="metadata without quotes",
        ),
        pytest.param(
            GOOD.replace('"+15551230001"', "030"),
            "file: is not TOML: Expected newline or end of document after a statement (at line 7, column 8) "
            '(texts and phone numbers stand in quotes, such as did = "+15551230001")',
            id="a number that begins with zero, without quotes",
        ),
        pytest.param(
            GOOD.replace('"sales"', "7"),
            'route 1: name: the number 7 has no quotes (write "7")',
            id="a name that is a number",
        ),
        pytest.param(
            "route = 5",
            "route: is one table, but routes are a list (write [[route]], with two brackets on each side)",
            id="no routes but a number",
        ),
        pytest.param(
            '[route]\nname = "sales"',
            "route: is one table, but routes are a list (write [[route]], with two brackets on each side)",
            id="single brackets",
        ),
        pytest.param("route = [5]", "route 1: must be a table", id="a route that is a number"),
        pytest.param(f"agi = 5\n{GOOD}", "agi: must be a table", id="a table that is a number"),
        pytest.param(
            route('ring_timeout_seconds = "20"'),
            'route "sales": ring_timeout_seconds: input should be a valid integer (without quotes)',
            id="quotes around a count",
        ),
        pytest.param(
            route('reject = "yes"'),
            'route "sales": reject: input should be a valid boolean (without quotes)',
            id="a word for a boolean",
        ),
        pytest.param(
            "x = ",
            "file: is not TOML: Invalid value (at end of document) "
            '(texts and phone numbers stand in quotes, such as did = "+15551230001")',
            id="no TOML",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_its_path_and_what_to_do(text, problem):
    """Each problem is one line: where it is, what is wrong, and what to do."""
    assert problems(text) == [problem]


def test_file_that_is_nested_too_deeply_is_a_problem():
    """No depth of brackets ends in anything but a problem."""
    (told,) = problems("x = " + "[" * 100_000)

    assert told.startswith("file: is not TOML: ")
