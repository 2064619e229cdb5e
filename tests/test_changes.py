"""What differs between two configurations, as the operator wrote it."""

import pytest

from agi_bridge import config
from agi_bridge.changes import changes, values

OLD = """
[agi]
session_limit = 10

[defaults]
fallback = "reception,s,1"

[[route]]
name = "a"
did = "1"
agent_id = "x"

[[route]]
name = "b"
did = "2"
agent_id = "x"
"""


def load(text, key="k", secret=""):
    environ = {"MILLIS_API_KEY": key, "AGI_BRIDGE_SECRET": secret}
    return config.load(text, environ, lambda name: b"")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        pytest.param("", "", (), id="nothing"),
        pytest.param("session_limit = 10", "session_limit = 11", ("agi.session_limit",), id="a key"),
        pytest.param('did = "1"', 'did = "_1."', ('route "a" changed',), id="a condition"),
        pytest.param('name = "a"', 'name = "c"', ('route "a" removed', 'route "c" added'), id="a name"),
        pytest.param(
            '"reception,s,1"', '"q,s,1"', ('route "a" changed', 'route "b" changed', "defaults.fallback"), id="all"
        ),
    ],
)
def test_what_changed_is_told(before, after, told):
    """Each change is told once, as a key of the file or a route by its name."""
    assert changes(load(OLD), load(OLD.replace(before, after))) == told


def test_tokens_are_told_by_their_names():
    """A token that came, went or changed is named, and its hash is not shown."""
    table = '\n[[token]]\nname = "{}"\nscopes = "read"\nsha256 = "{}"\n'
    none, desk, again, crm = (
        load(OLD + text)
        for text in ("", table.format("desk", "a" * 64), table.format("desk", "b" * 64), table.format("crm", "a" * 64))
    )

    assert changes(none, desk) == ('token "desk" added',)
    assert changes(desk, again) == ('token "desk" changed',)
    assert changes(desk, crm) == ('token "desk" removed', 'token "crm" added')


def test_pbxs_are_told_by_their_names():
    """A PBX that came, went or changed is named; what changed in it may be its secret, and is not shown."""
    table = '[[pbx]]\nname = "{}"\nami_secret_env = "{}"\npeers = "{}"\n'
    environ = {"MILLIS_API_KEY": "k", "A": "one-secret", "B": "another-secret"}
    hq, branch, again, home = (
        OLD + table.format(*row)
        for row in (
            *(("hq", "A", "10.0.0.1"), ("branch", "A", "10.0.0.2"), ("hq", "B", "10.0.0.1"), ("home", "A", "10.0.0.3")),
        )
    )
    before = config.load(hq, environ, lambda name: b"")
    for after, told in (
        (hq, ()),
        (again, ('pbx "hq" changed',)),
        (branch, ('pbx "hq" removed', 'pbx "branch" added')),
        (home, ('pbx "hq" removed', 'pbx "home" added')),
    ):
        assert changes(before, config.load(after, environ, lambda name: b"")) == told


def test_another_order_is_a_change():
    """The first rule that matches wins, so the order counts."""
    head, first, second = OLD.partition("[[route]]")[0], *OLD.split("[[route]]")[1:]
    assert changes(load(OLD), load(f"{head}[[route]]{second}\n[[route]]{first}")) == ("the order of the routes",)


def test_a_key_of_millis_is_compared_but_not_shown():
    """Another API key is told by the name of its account, another secret of AGI as such."""
    assert changes(load(OLD), load(OLD, secret="0123456789abcdef")) == ("the secret of AGI requests",)
    assert changes(load(OLD), load(OLD, key="other")) == ("the API key of account default",)


def test_values_are_found_by_the_keys_of_the_file():
    """A key is a table, a dot and a name."""
    assert values(load(OLD), ("agi.session_limit", "log.level")) == {"agi.session_limit": 10, "log.level": "info"}


def test_another_list_of_transfers_is_told_with_what_else_to_do():
    """The PBX holds the list too, so a reload reminds of it."""
    listed = OLD + '\n[[transfer]]\nname = "sales"\ndestination = "q,600,1"\n'
    [told] = changes(load(OLD), load(listed))

    assert told == "the [[transfer]] list; the PBX has a list of its own, see agi-bridge asterisk-config"
    assert changes(load(listed), load(listed)) == ()


def test_a_password_of_records_is_compared_but_not_shown():
    """Another password is a change without a key of its own."""
    text = f'[records]\nurl = "postgresql://agi@db/x"\npassword_file = "p"\n{OLD}'
    before = config.load(text, {"MILLIS_API_KEY": "k"}, lambda name: b"one")
    after = config.load(text, {"MILLIS_API_KEY": "k"}, lambda name: b"two")

    assert changes(before, after) == ("the password of records",)


def test_webhooks_are_told_by_their_names():
    """A target that came, went or changed is named; what changed in it may be its secret, and is not shown."""
    table = '[[webhook]]\nname = "{}"\nurl = "https://crm.example"\nsecret_env = "{}"\n'
    environ = {"MILLIS_API_KEY": "k", "A": "one-secret-of-many", "B": "another-secret-of-many"}
    crm, desk, again = (OLD + table.format(*row) for row in (("crm", "A"), ("desk", "A"), ("crm", "B")))
    before = config.load(crm, environ, lambda name: b"")
    for after, told in (
        (OLD, ('webhook "crm" removed',)),
        (crm + table.format("desk", "A"), ('webhook "desk" added',)),
        (desk, ('webhook "crm" removed', 'webhook "desk" added')),
        (again, ('webhook "crm" changed',)),
        (crm, ()),
    ):
        assert changes(before, config.load(after, environ, lambda name: b"")) == told


ORIGINATE = """
[originate]
pbx = "hq"
trunk = "PJSIP/{number}@carrier"
caller_id = "+15551230001"
daily_limit = 5

[[pbx]]
name = "hq"
ami_secret_env = "MILLIS_API_KEY"
"""


def test_limits_of_calls_that_we_make_are_told_key_by_key():
    """Who may call whom is what an operator wants to see change, or not."""
    before = load(OLD + ORIGINATE)
    assert changes(before, load(OLD + ORIGINATE.replace("5\n", "6\n", 1))) == ("originate.daily_limit",)
    assert "originate added" in changes(load(OLD), before)
    assert "originate removed" in changes(before, load(OLD))
