"""The rules that routes become, and how they stand to each other."""

from pathlib import Path

import pytest

from agi_bridge.config import SHIPPED_BUDGET_SECONDS, SHIPPED_LONGEST_CALL_SECONDS
from agi_bridge.routing import Agent, Dialling
from tests.config.bridge_toml import GOOD, KEY, load, problems, route, warnings


def test_rule_with_every_key():
    """Every key of a route arrives in its rule."""
    loaded = load(
        """
        [account.second]
        api_key_env = "SECOND_KEY"

        [[route]]
        name = "all"
        did = ["+15551230001", "_1555XXX."]
        caller = ["withheld", "_1212."]
        context = "from-trunk"
        channel = ["PJSIP/trunk"]
        arguments = { queue = "sales", tier = ["gold", "_s."] }
        agent_id = "-Nabc"
        agent_config = { language = "de", llm = { temperature = 0.5 } }
        metadata = { team = "sales", tier = "${DB(crm/${CALLERID(num)})}" }
        include_metadata_in_prompt = true
        account = "second"
        region = "eu-west"
        endpoint = "millis-tls"
        ring_timeout_seconds = 30
        max_duration_seconds = 600
        dial_options = "gT"
        allow_feature_keys = true
        fallback = "queue,700,1"
        """,
        {"SECOND_KEY": KEY},
    )
    (rule,) = loaded.rules.rules

    assert [pattern.text for pattern in (*rule.did, *rule.caller, *rule.context, *rule.channel)] == [
        *("+15551230001", "_1555XXX.", "_1212.", "from-trunk", "PJSIP/trunk")
    ]
    assert (rule.withheld, rule.reject, rule.fallback) == (True, False, "queue,700,1")
    assert {name: [pattern.text for pattern in texts] for name, texts in rule.arguments.items()} == {
        "queue": ["sales"],
        "tier": ["gold", "_s."],
    }
    assert rule.agent == Agent(
        "-Nabc",
        {"language": "de", "llm": {"temperature": 0.5}},
        {"team": "sales", "tier": "${DB(crm/${CALLERID(num)})}"},
        True,
        "second",
        ("eu-west", "us-west"),
    )
    assert rule.dialling == Dialling("millis-tls", 30, 600, dial_options="gT")


def test_defaults_hold_where_a_route_says_nothing():
    """A route's own key beats that of [defaults]; metadata of both is sent, and agent_config replaced as a whole."""
    loaded = load(
        """
        [millis]
        region = "eu-west"

        [defaults]
        agent_id = "-Ndefault"
        agent_config = { language = "de" }
        metadata = { site = "hq", team = "none" }
        ring_timeout_seconds = 15
        fallback = "reception,s,1"

        [[route]]
        name = "sales"
        did = "+15551230001"
        metadata = { team = "sales" }
        agent_config_file = "sales.json"
        ring_timeout_seconds = 25

        [[route]]
        name = "rest"
        """,
        sales_json='{"language": "en-GB"}',
    )
    sales, rest = loaded.rules.rules

    assert sales.agent == Agent(
        "-Ndefault", {"language": "en-GB"}, {"site": "hq", "team": "sales"}, regions=("eu-west", "us-west")
    )
    assert rest.agent == Agent(
        "-Ndefault", {"language": "de"}, {"site": "hq", "team": "none"}, regions=("eu-west", "us-west")
    )
    assert (sales.dialling.ring_timeout_seconds, rest.dialling.ring_timeout_seconds) == (25, 15)
    assert (sales.fallback, rest.fallback) == ("reception,s,1", "reception,s,1")


@pytest.mark.parametrize(
    ("text", "regions"),
    [
        ('region = "us-west"', ("us-west", "eu-west")),
        ('region = "eu-west"', ("eu-west", "us-west")),
        ('region = "eu-west"\nfailover = false', ("eu-west",)),
    ],
)
def test_regions_are_asked_from_the_rules_own_on(text, regions):
    """A rule's region comes first, the other behind it, unless the rule forbids that."""
    (rule,) = load(route(text)).rules.rules

    assert rule.agent.regions == regions


def test_regions_with_one_address_are_one():
    """Where a single base_url stands for all regions, there is no second one to ask."""
    (rule,) = load(f'[millis]\nbase_url = "https://m.example"\n{GOOD}').rules.rules

    assert rule.agent.regions == ("us-west",)


def test_standby_uri_is_checked_like_one_from_millis():
    """A standby URI has passed the allow-list before the first call needs it."""
    (rule,) = load(route('standby_uri = "sip:standby@sip.millis.ai;transport=tls"')).rules.rules

    assert str(rule.agent.standby_uri) == "sip:standby@sip.millis.ai;transport=tls"


def test_rule_that_rejects_needs_neither_agent_nor_fallback_nor_key():
    """A rule that refuses its callers needs nothing but its conditions."""
    loaded = load('[[route]]\nname = "blocked"\ncaller = "withheld"\nreject = true\n', environ={})

    assert [(rule.name, rule.reject, rule.fallback) for rule in loaded.rules.rules] == [("blocked", True, "")]


@pytest.mark.parametrize(
    ("key", "files"),
    [
        pytest.param('agent_config = { language = "de", prompt = "Hi" }', {}, id="inline"),
        pytest.param(
            'agent_config_file = "a.json"', {"a_json": '{"language": "de", "prompt": "Hi"}'}, id="a JSON file"
        ),
        pytest.param('agent_config_file = "a.toml"', {"a_toml": 'language = "de"\nprompt = "Hi"'}, id="a TOML file"),
    ],
)
def test_agent_config_may_stand_in_the_file_or_beside_it(key, files):
    """The agent's configuration passes through unread, wherever it stands, and needs no agent id."""
    text = f'[[route]]\nname = "sales"\nfallback = "a,s,1"\n{key}\n'
    loaded = load(text, **files)

    assert loaded.rules.rules[0].agent.agent_config == {"language": "de", "prompt": "Hi"}
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            f"{GOOD}{GOOD.partition('[[')[1]}{GOOD.partition('[[')[2]}",
            'route "sales": the name is given to two routes (rename one of them)',
            id="two rules with one name",
        ),
        pytest.param(
            route(f'metadata = {{ tier = "${{DB({"x" * 2000})}}" }}'),
            'route "sales": metadata: its dialplan expressions need more than the 2046 bytes of one AGI command '
            "(shorten them, or raise command_limit_bytes under [agi] for Asterisk 20.16, 22.6 and newer)",
            id="expressions that do not fit into one question",
        ),
        pytest.param(
            '[[route]]\nname = "sales"\nfallback = "a,s,1"',
            'route "sales": agent_id: is missing (name the Millis agent, or give an agent_config)',
            id="no agent",
        ),
        pytest.param(
            '[[route]]\nname = "sales"\nagent_id = "x"',
            'route "sales": fallback: is missing, so a call could be lost '
            '(such as fallback = "millis-fallback,s,1", here or under [defaults])',
            id="no fallback",
        ),
        pytest.param(
            GOOD.replace('name = "sales"', ""),
            'route 1: name: is missing (such as name = "sales"; it is in the log of every call)',
            id="no name",
        ),
        pytest.param(
            route(name="my sales"),
            "route \"my sales\": name: must be letters, digits, '_', '.' and '-', at most 64, "
            "and begin with a letter or digit",
            id="a name with a blank",
        ),
        pytest.param("", "route: there is no [[route]], so every call would take its fallback", id="an empty file"),
        pytest.param(
            route('dial_options = "gt"'),
            'route "sales": dial_options: option t lets a party of the call dial through the PBX; '
            "if that is wanted, set allow_feature_keys = true beside it",
            id="a feature key",
        ),
        pytest.param(
            route('account = "secnd"') + "[account.second]\n",
            'route "sales": account: there is no [account.secnd] (did you mean "second"?)',
            id="an account that is spelled wrongly",
        ),
        pytest.param(
            route('account = "second"'),
            'route "sales": account: there is no [account.second] (add [account.second] with an api_key_file)',
            id="an account that is not there",
        ),
        pytest.param(
            route('agent_config_file = "gone.json"'),
            'route "sales": agent_config_file: cannot read gone.json: No such file or directory (write it beside the configuration, or name another)',
            id="an agent_config file that is missing",
        ),
        pytest.param(
            route('agent_config_file = "gone.json"').replace('agent_id = "-Nabc"', ""),
            'route "sales": agent_config_file: cannot read gone.json: No such file or directory (write it beside the configuration, or name another)',
            id="an agent_config file that is missing, and no agent id",
        ),
        pytest.param(
            route('agent_config = { language = "de", since = 2024-01-01 }'),
            'route "sales": agent_config: cannot be sent as JSON: Object of type date is not JSON serializable '
            "(write dates as text, no inf or nan)",
            id="a date in an agent_config",
        ),
        pytest.param(
            route('arguments = { secret = "abc" }'),
            'route "sales": arguments: no rule sees the argument secret (give yours another name)',
            id="a rule that asks for the secret",
        ),
        pytest.param(
            route("max_duration_seconds = 60\nwarning_seconds = 60"),
            'route "sales": warning_seconds: must be shorter than max_duration_seconds, which it comes before',
            id="a warning before the call",
        ),
        pytest.param(
            route('standby_uri = "sip:standby@example.com"'),
            "route \"sales\": standby_uri: the SIP URI's host example.com is not in allowed_hosts; if it is Millis's, "
            'admit it with allowed_hosts = ["*.millis.ai", "example.com"] under [millis]',
            id="a standby URI off the allow-list",
        ),
    ],
)
def test_problem_with_a_rule(text, problem):
    """A rule that lacks something, or whose keys do not fit together, is a problem."""
    assert problems(text) == [problem]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "a.json",
            "{",
            "agent_config_file: a.json is neither JSON nor, with the ending .toml, TOML: Expecting property",
        ),
        (
            "a.toml",
            "x",
            "agent_config_file: a.toml is neither JSON nor, with the ending .toml, TOML: Expected '=' after",
        ),
        ("a.json", "[1]", "agent_config_file: a.json must hold one object, not a list"),
        ("a.json", '"de"', "agent_config_file: a.json must hold one object, not a str"),
        ("a.json", b"\xff\xfe", "agent_config_file: a.json is not UTF-8 text"),
        (
            "a.json",
            "[" * 100_000,
            "agent_config_file: a.json is neither JSON nor, with the ending .toml, TOML: maximum",
        ),
        ("a.json", '{"language": "de", "x": NaN}', "agent_config: cannot be sent as JSON: Out of range float values"),
    ],
)
def test_problem_in_an_agent_config_file(name, content, problem):
    """A file that cannot be sent as an agent_config is named, with the reason."""
    (told,) = problems(route(f'agent_config_file = "{name}"'), **{name.replace(".", "_"): content})

    assert told.startswith(f'route "sales": {problem}')


def test_agent_config_may_stand_in_one_place_only():
    """An agent_config beside an agent_config_file is a problem."""
    text = route('agent_config = { language = "de" }\nagent_config_file = "a.json"')

    assert problems(text, a_json='{"language": "de"}') == [
        'route "sales": agent_config_file: stands beside agent_config; keep one of the two'
    ]


@pytest.mark.parametrize(
    ("text", "files", "warning"),
    [
        pytest.param(
            route('agent_config = { prompt = "Hi" }'),
            {},
            'route "sales": agent_config: names no language '
            "(Millis may then speak en-US, whatever the agent's own language is)",
            id="an agent_config without a language",
        ),
        pytest.param(
            route('agent_config_file = "a.json"'),
            {"a_json": "{}"},
            'route "sales": agent_config: names no language '
            "(Millis may then speak en-US, whatever the agent's own language is)",
            id="an agent_config file without a language",
        ),
    ],
)
def test_agent_config_without_a_language_is_warned_of(text, files, warning):
    """Whether it stands in the file or beside it, a language that is not named may be a surprise."""
    assert warnings(text, **files) == [warning]


def test_times_that_the_shipped_dialplan_would_cut_short_are_warned_of():
    """What to raise in the dialplan is named, once for each place where a time is written."""
    text = "[agi]\nsetup_timeout_seconds = 6" + GOOD.replace("[defaults]", "[defaults]\nmax_duration_seconds = 20000")
    ends = "is not shorter than the 14400 s after which the shipped dialplan ends every call"
    raised = "(raise MILLIS_LONGEST_CALL_SECONDS in site/extensions.conf above it)"
    assert warnings(f"{text}max_duration_seconds = 14400\n") == [
        "agi.setup_timeout_seconds: is not shorter than the 6 s that the shipped dialplan waits for the bridge "
        "(raise MILLIS_BUDGET_SECONDS in site/extensions.conf above it)",
        f"defaults.max_duration_seconds: {ends} {raised}",
        f'route "sales": max_duration_seconds: {ends} {raised}',
    ]
    assert warnings(route("max_duration_seconds = 14399")) == []


def test_shipped_dialplan_sets_what_is_compared_with():
    """The two numbers are those of the dialplan that is shipped."""
    site = (Path(__file__).parents[2] / "asterisk-conf" / "site" / "extensions.conf").read_text().splitlines()

    assert f"MILLIS_BUDGET_SECONDS = {SHIPPED_BUDGET_SECONDS}" in site
    assert f"MILLIS_LONGEST_CALL_SECONDS = {SHIPPED_LONGEST_CALL_SECONDS}" in site


def test_rules_that_can_never_match_are_warned_of():
    """A rule behind one that takes every call, and a number that an earlier rule has, are named."""
    text = """
[defaults]
fallback = "reception,s,1"
agent_id = "-N1"
[[route]]
name = "first"
did = ["+15551230001"]
[[route]]
name = "second"
did = ["+15551230001", "+15551230002"]
[[route]]
name = "all"
[[route]]
name = "late"
did = "+15551230003"
"""
    warnings = [str(warning) for warning in load(text).warnings]
    assert warnings == [
        'route "second": did: "+15551230001" is taken by "first" before it',
        'route "late": never matches, because "all" before it takes every call (put it before)',
    ]


@pytest.mark.parametrize("did", ["hello", "sip:100", "+1555I230001"])
def test_did_that_is_no_number_is_warned_of(did):
    """It may be the name of an extension, and more likely it is a slip."""
    assert warnings(GOOD.replace("+15551230001", did)) == [
        f'route "sales": did: "{did}" is no number, and fits only an extension of that very name '
        '(write a number such as "+15551230001", or a pattern such as "_+1555124XXXX")'
    ]


@pytest.mark.parametrize("did", ["s", "_X.", "_[+]1N.", "(555) 123-0001", "*98", "100"])
def test_did_that_can_be_one_is_not_warned_of(did):
    """A number as people write it, a short code, a pattern, and the extension of calls without a number."""
    assert warnings(GOOD.replace("+15551230001", did)) == []
