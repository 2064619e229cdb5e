"""`agi-bridge token`: a token, and its line for the configuration."""

import tomllib

from agi_bridge.access import digest
from agi_bridge.cli.exit_code import DONE


def test_token_is_printed_with_what_the_configuration_holds_of_it(run):
    """Whoever pipes it gets the token and the table with its hash; what to do with them goes to standard error."""
    code, out, err = run("token", "crm", "--scope", "read", "--scope", "control", "--scope", "read")

    secret, _, table = out.partition("\n")
    assert (code, len(err.splitlines())) == (DONE, 2)
    assert tomllib.loads(table) == {
        "token": [{"name": "crm", "scopes": ["read", "control"], "sha256": digest(secret)}],
    }
