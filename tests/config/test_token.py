"""Who may ask things over HTTP."""

import pytest

from agi_bridge.access import Scope, Token
from tests.config.bridge_toml import GOOD, load, problems

ONE, OTHER = "1" * 64, "2" * 64


def token(name: str, sha256: str, scopes: str = '"read"') -> str:
    """Return a `[[token]]` table."""
    return f'\n[[token]]\nname = "{name}"\nscopes = {scopes}\nsha256 = "{sha256}"\n'


def test_tokens_are_those_of_the_file():
    """Each [[token]] is one person or program, with what it opens."""
    loaded = load(GOOD + token("crm", ONE, '["read", "control"]') + token("nagios", OTHER))

    assert loaded.tokens == (
        Token("crm", frozenset({Scope.READ, Scope.CONTROL}), ONE),
        Token("nagios", frozenset({Scope.READ}), OTHER),
    )
    assert load(GOOD).tokens == ()


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        (token("crm", ONE) + token("crm", OTHER), 'token "crm": the name stands there twice (keep one of them)'),
        (token("crm", ONE) + token("nagios", ONE), 'token "nagios": the hash stands there twice (keep one of them)'),
        (
            token("crm", "secret"),
            "token[1].sha256: is no hash of a token (agi-bridge token prints one, with the token to give away)",
        ),
        (
            token("the crm", ONE),
            r"token[1].name: string should match pattern '^[A-Za-z0-9][\w.-]{0,63}$'",
        ),
    ],
    ids=["a name twice", "a hash twice", "a token in the place of its hash", "a name with a blank"],
)
def test_token_that_says_nobody_in_particular(tables: str, problem: str):
    """Whose a token is must be certain, and only its hash is written."""
    assert problems(GOOD + tables) == [problem]
