"""How a file becomes a configuration: all of it, or every problem at once."""

import json
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge import config
from agi_bridge.config import WebSettings, where_to_ask
from agi_bridge.config.address import Address
from agi_bridge.config.file import File
from agi_bridge.errors import ConfigError
from agi_bridge.numbers import Pattern
from agi_bridge.routing import Agent, Dialling
from tests.config.bridge_toml import GOOD, PATTERN_HINT, PLACE, load, problems

ALL_WRONG = """
[agi]
listen = "nowhere"
backlogg = 5

[millis]
api_key_file = "gone.key"
timeout_seconds = 20

[numbers]
default_country = "USA"

[defaults]
fallback = "nowhere"

[[route]]
name = "sales"
did = 15551230001
agent_id = "-Nabc"
metadata = { from = "x", uniqueid = "y", "1a" = "z" }

[[route]]
name = "sales"
did = ["+15551230002", "_1[2", "_X.5"]
agentid = "-Nabc"
dial_options = "t"

[[route]]
did = "_X."
agent_id = "-Nabc"
agent_config_file = "gone.json"
account = "second"
"""

TEXT = st.text(max_size=8)

VALUE = st.recursive(
    TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)

KEYS = sorted({*File.model_fields, *config.RouteSettings.model_fields, *config.MillisSettings.model_fields, "x"})

TABLES = st.recursive(
    st.dictionaries(st.sampled_from(KEYS), VALUE, max_size=4),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), VALUE | inner | st.lists(inner, max_size=2), max_size=4),
    max_leaves=5,
)


def test_smallest_configuration():
    """Two tables and four keys are enough; all else has a default."""
    loaded = load()
    (rule,) = loaded.rules.rules

    assert (rule.name, rule.fallback, rule.did) == ("sales", "millis-fallback,s,1", (Pattern.compile("+15551230001"),))
    assert (rule.agent, rule.dialling) == (Agent("-Nabc", regions=("us-west", "eu-west")), Dialling())
    assert (rule.caller, rule.withheld, rule.context, rule.channel, rule.arguments, rule.reject) == (
        *((), False, (), (), {}, False),
    )
    assert loaded.rules.default_fallback == "millis-fallback,s,1"
    assert (loaded.warnings, loaded.log.numbers, loaded.metadata.value_limit_characters) == ((), "masked", 512)
    assert (loaded.millis.timeout_seconds, loaded.millis.connect_timeout_seconds) == (3.9, 1.0)
    assert (loaded.agi.addresses, loaded.agi.backlog) == ([Address("127.0.0.1", 4573)], 1024)


def test_number_of_workers_may_be_given_elsewhere():
    """The command line wins over the file, and the rest of the configuration stays."""
    loaded = load(f"[agi]\nworkers = 2\n{GOOD}")
    assert loaded.with_workers(3).agi.workers == 3
    assert (loaded.agi.workers, loaded.with_workers(3).rules) == (2, loaded.rules)


def test_all_problems_are_told_at_once():
    """One run finds every problem: unknown keys, wrong values, and what does not fit together."""
    assert problems(ALL_WRONG, {}) == [
        "agi.listen: must be an address and a port, such as 127.0.0.1:4573 or [::1]:4573",
        'agi.backlogg: there is no such key (did you mean "backlog"?)',
        "numbers.default_country: must be a two-letter country code in capitals, such as US or DE",
        f"defaults.fallback: {PLACE}",
        'route "sales": metadata.from: is a name of Millis\'s own; choose another',
        'route "sales": metadata.uniqueid: is sent with every call already; choose another name',
        "route \"sales\": metadata.1a: must be letters, digits and '_', at most 64, and not begin with a digit",
        'route "sales": did: the number 15551230001 has no quotes (write "15551230001" with its "+" and leading zeros)',
        f"route \"sales\": did[2]: '[' at place 3 is never closed {PATTERN_HINT}",
        f"route \"sales\": did[3]: nothing may follow '.', which already takes the rest {PATTERN_HINT}",
        'route "sales": agentid: there is no such key (did you mean "agent_id"?)',
        'route "sales": agent_id: is missing (name the Millis agent, or give an agent_config)',
        'route "sales": dial_options: option t lets a party of the call dial through the PBX; '
        "if that is wanted, set allow_feature_keys = true beside it",
        'route 3: name: is missing (such as name = "sales"; it is in the log of every call)',
        "route 3: agent_config_file: cannot read gone.json: No such file or directory (write it beside the configuration, or name another)",
        "route 3: account: there is no [account.second] (add [account.second] with an api_key_file)",
        'route "sales": the name is given to two routes (rename one of them)',
        "agi.setup_timeout_seconds: must be longer than millis.timeout_seconds",
        "millis.api_key_file: cannot read gone.key: No such file or directory (write it beside the configuration, or name another)",
    ]


def test_what_is_written_wrongly_is_not_called_missing():
    """A key with a wrong value is told once, not a second time as missing."""
    assert problems('[[route]]\nname = "sales"\nagent_id = 5\nfallback = "nowhere"') == [
        'route "sales": agent_id: the number 5 has no quotes (write "5")',
        f'route "sales": fallback: {PLACE}',
    ]


@given(TABLES)
def test_any_file_becomes_a_configuration_or_problems(tables):
    """Whatever a file holds, it is read, or each problem is a line with a path and a message."""
    text = "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in tables.items())
    try:
        load(text)
        told = []
    except ConfigError as error:
        told = error.problems

    assert all(problem.path and problem.message for problem in told)


def toml(value):
    """Write *value* as TOML, which differs from JSON in its inline tables and in inf and nan."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case float():
            return repr(value)
        case str():
            return json.dumps(value).replace("\x7f", "\\u007f")
        case _:
            return json.dumps(value)


def test_configuration_that_is_replaced_is_gone_at_once():
    """A reload drops a whole configuration; nothing in it forms a circle that would wait for the garbage collector."""
    loaded = load()
    assert loaded.rules.for_did(("+15551230001",))
    parts = weakref.ref(loaded.rules), weakref.ref(loaded.rules.numbers)
    del loaded
    assert [part() for part in parts] == [None, None]


def test_where_a_bridge_is_asked_is_read_from_a_file_that_is_not_finished():
    """The web side and the number of workers are found whatever else is wrong; what is wrong with them is told."""
    unfinished = '[agi]\nlistn = 1\nworkers = 3\n[web]\nlisten = "127.0.0.1:1"\n[[route]]\n'
    web, workers = where_to_ask(unfinished)

    assert (web.listen, workers) == (["127.0.0.1:1"], 3)
    assert where_to_ask("agi = 1") == (WebSettings(), 1)
    with pytest.raises(ConfigError, match=r'^web.listn: there is no such key \(did you mean "listen"\?\)$'):
        where_to_ask(unfinished.replace("[web]\nlisten", "[web]\nlistn"))
    with pytest.raises(ConfigError, match=r"^file: has tables inside tables, hundreds deep$"):
        where_to_ask(f"[web]\nx{'.a' * 900} = 1")
