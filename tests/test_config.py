"""The configuration: what it may say, what it becomes, and every problem at once where it is wrong."""

import json
import weakref
from ipaddress import ip_network
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_bridge import config
from agi_bridge.agi.protocol import Request
from agi_bridge.call import CallerId
from agi_bridge.config import (
    SHIPPED_BUDGET_SECONDS,
    SHIPPED_LONGEST_CALL_SECONDS,
    Address,
    Config,
    File,
    WebSettings,
    parse_address,
    where_to_ask,
)
from agi_bridge.config.table import Region
from agi_bridge.errors import ConfigError
from agi_bridge.events.event import EventType
from agi_bridge.millis.models import REGIONS
from agi_bridge.numbers import Numbers, Pattern
from agi_bridge.routing import Agent, Dialling
from agi_bridge.transfer import Transfer

KEY = "0123456789abcdefSECRET"
ENVIRON = {"MILLIS_API_KEY": KEY}

GOOD = """
[defaults]
fallback = "millis-fallback,s,1"

[[route]]
name = "sales"
did = "+15551230001"
agent_id = "-Nabc"
"""


def reading(**files):
    """Return a reader of *files*, whose names have "_" for "."."""
    contents = {name.replace("_", "."): content for name, content in files.items()}

    def read_file(name):
        if name not in contents:
            raise FileNotFoundError(2, "No such file or directory")
        return contents[name].encode() if isinstance(contents[name], str) else contents[name]

    return read_file


def load(text=GOOD, environ=ENVIRON, **files):
    return config.load(text, environ, reading(**files))


def problems(text, environ=ENVIRON, **files):
    """Return the lines that `check` prints about *text*."""
    with pytest.raises(ConfigError) as caught:
        load(text, environ, **files)
    return str(caught.value).splitlines()


def route(lines="", name="sales"):
    """Return a configuration that is good but for *lines* in its only route."""
    return f"{GOOD.replace('sales', name)}\n{lines}\n"


def warnings(text, **files):
    return [str(warning) for warning in load(text, **files).warnings]


# What it becomes.


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


def test_each_region_may_have_an_address_of_its_own():
    """A table names the address of a region; the others keep theirs."""
    millis = load(f'[millis]\nbase_url = {{ eu-west = "https://m.example/" }}\n{GOOD}').millis

    assert (millis.url("eu-west"), millis.url("us-west")) == ("https://m.example", "https://api-west.millis.ai")


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
    ("text", "address", "shown"),
    [
        ("127.0.0.1:4573", Address("127.0.0.1", 4573), "127.0.0.1:4573"),
        ("0.0.0.0:0", Address("0.0.0.0", 0), "0.0.0.0:0"),
        ("[::1]:4573", Address("::1", 4573), "[::1]:4573"),
        ("bridge.example:4573", Address("bridge.example", 4573), "bridge.example:4573"),
        ("my_bridge:65535", Address("my_bridge", 65535), "my_bridge:65535"),
    ],
)
def test_address(text, address, shown):
    """An address is an IP address or a host name, and a port."""
    assert parse_address(text) == address
    assert str(address) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4573",
        ":4573",
        "127.0.0.1",
        "127.0.0.1:",
        "h:65536",
        "h:-1",
        "h:x",
        "h:٣",
        "a..b:1",
        "a b:1",
        "h:1\n",
        "é:1",
    ],
)
def test_what_is_no_address_is_refused(text):
    """A text without a host or a port is no address."""
    with pytest.raises(ValueError, match="address") as caught:
        parse_address(text)

    assert str(caught.value) == "must be an address and a port, such as 127.0.0.1:4573 or [::1]:4573"


def test_listening_may_be_on_several_addresses():
    """A list of addresses and one of networks arrive as such; limits have our defaults unless given."""
    agi = """
    [agi]
    listen = ["192.168.1.2:4573", "[::1]:4573"]
    allow = "192.168.1.0/24"
    line_limit_bytes = 2048
    """
    loaded = load(agi + GOOD)

    assert loaded.agi.addresses == [Address("192.168.1.2", 4573), Address("::1", 4573)]
    assert loaded.agi.networks == (ip_network("192.168.1.0/24"),)
    assert (loaded.agi.limits.line_bytes, loaded.agi.limits.command_bytes) == (2048, 2046)


@pytest.mark.parametrize(
    ("line", "worker", "addresses"),
    [
        pytest.param("", 1, [Address("127.0.0.1", 4574)], id="unless said otherwise"),
        pytest.param("", 3, [Address("127.0.0.1", 4576)], id="the third worker"),
        pytest.param('listen = ["[::1]:80", "[::1]:0"]', 2, [Address("::1", 81), Address("::1", 0)], id="any port"),
        pytest.param("listen = []", 1, [], id="turned off"),
    ],
)
def test_each_worker_has_a_web_port_of_its_own(line, worker, addresses):
    """Each worker is asked on the port after the one before; an empty list turns the web side off."""
    assert load(f"[web]\n{line}\n{GOOD}").web.addresses(worker) == addresses


def test_number_of_workers_may_be_given_elsewhere():
    """The command line wins over the file, and the rest of the configuration stays."""
    loaded = load(f"[agi]\nworkers = 2\n{GOOD}")
    assert loaded.with_workers(3).agi.workers == 3
    assert (loaded.agi.workers, loaded.with_workers(3).rules) == (2, loaded.rules)


@pytest.mark.parametrize(
    ("line", "us", "eu"),
    [
        pytest.param("", "https://api-west.millis.ai", "https://api-eu-west.millis.ai", id="the regions of Millis"),
        pytest.param(
            'base_url = "http://127.0.0.1:8089/"', "http://127.0.0.1:8089", "http://127.0.0.1:8089", id="ours"
        ),
        pytest.param('base_url = "https://m.example/v1"', "https://m.example/v1", "https://m.example/v1", id="a path"),
        pytest.param('base_url = "https://[::1]:1"', "https://[::1]:1", "https://[::1]:1", id="an IPv6 address"),
    ],
)
def test_address_of_the_api(line, us, eu):
    """Each region has its address, unless one is given for all."""
    millis = load(f"[millis]\n{line}\n{GOOD}").millis

    assert (millis.url("us-west"), millis.url("eu-west")) == (us, eu)


def test_regions_are_those_of_the_client():
    """The regions that may be configured are those whose addresses are known."""
    assert set(get_args(Region)) == set(REGIONS)


# The key.

SECOND = """
[account.second]
{}

[[route]]
name = "other"
agent_id = "-Nx"
account = "second"
"""


@pytest.mark.parametrize(
    ("environ", "line", "files"),
    [
        pytest.param({"MILLIS_API_KEY": "the-key"}, "", {}, id="the environment"),
        pytest.param({"MILLIS_API_KEY": " the-key\n"}, "", {}, id="with blanks around it"),
        pytest.param(
            {"MILLIS_API_KEY_FILE": "a.key"}, "", {"a_key": "the-key\n"}, id="a file that the environment names"
        ),
        pytest.param({}, 'api_key_file = "a.key"', {"a_key": "the-key"}, id="a file that the configuration names"),
        pytest.param(
            {"MILLIS_API_KEY": "", "MILLIS_API_KEY_FILE": "a.key"},
            "",
            {"a_key": "the-key"},
            id="an empty variable, and a file",
        ),
        pytest.param(
            {"MILLIS_API_KEY_FILE": "a.key"},
            'api_key_file = "b.key"',
            {"a_key": "the-key", "b_key": "other"},
            id="the environment's file before the configuration's",
        ),
        pytest.param(
            {"MILLIS_API_KEY": "the-key"},
            'api_key_file = "b.key"',
            {"b_key": "other"},
            id="the environment before a file",
        ),
    ],
)
def test_key_comes_from(environ, line, files):
    """The key is found in the environment, else in a file, without the blanks around it."""
    keys = load(f"[millis]\n{line}\n{GOOD}", environ, **files).api_keys

    assert {name: key.get_secret_value() for name, key in keys.items()} == {"default": "the-key"}


@pytest.mark.parametrize(
    ("line", "environ", "files"),
    [
        ('api_key_file = "2.key"', {}, {"2_key": "second-key\n"}),
        ('api_key_env = "SECOND_KEY"', {"SECOND_KEY": "second-key"}, {}),
    ],
)
def test_account_has_a_key_of_its_own(line, environ, files):
    """A named account brings its key in a file or in an environment variable."""
    loaded = load(GOOD + SECOND.format(line), {**ENVIRON, **environ}, **files)

    assert {name: key.get_secret_value() for name, key in loaded.api_keys.items()} == {
        "default": KEY,
        "second": "second-key",
    }
    assert [rule.agent.account for rule in loaded.rules.rules] == ["default", "second"]


def test_key_is_needed_only_where_something_is_registered():
    """To look at routes, no key is needed, and none is read."""
    loaded = config.load(f'[millis]\napi_key_file = "gone.key"\n{GOOD}', {}, reading(), need_keys=False)

    assert loaded.api_keys == {}


def test_key_is_never_shown():
    """Neither the configuration nor a problem with it shows the key."""
    loaded = load(f'[millis]\napi_key_file = "a.key"\n{GOOD}', a_key=KEY)
    told = [repr(loaded), str(loaded), repr(loaded.millis), *problems(GOOD, {"MILLIS_API_KEY": f"{KEY}\n{KEY}"})]

    assert not [text for text in told if KEY in text]


# The secret.

SECRET = "a-secret-of-20-signs"


@pytest.mark.parametrize(
    ("environ", "line", "files", "secret"),
    [
        pytest.param({}, "", {}, "", id="nowhere"),
        pytest.param({"AGI_BRIDGE_SECRET": f" {SECRET}\n"}, "", {}, SECRET, id="the environment"),
        pytest.param({}, 'secret_file = "agi.secret"', {"agi_secret": f"{SECRET}\n"}, SECRET, id="a file"),
        pytest.param(
            {"AGI_BRIDGE_SECRET": SECRET}, 'secret_file = "gone"', {}, SECRET, id="the environment before a file"
        ),
        pytest.param(
            {"AGI_BRIDGE_SECRET": ""},
            'secret_file = "agi.secret"',
            {"agi_secret": SECRET},
            SECRET,
            id="an empty variable, and a file",
        ),
    ],
)
def test_secret_comes_from(environ, line, files, secret):
    """The secret is found in the environment, else in a file, else none is wanted; it is never shown."""
    loaded = load(f"[agi]\n{line}\n{GOOD}", {**ENVIRON, **environ}, **files)

    assert loaded.agi.secret.get_secret_value() == secret
    assert SECRET not in repr(loaded) + str(loaded)


def test_secret_is_read_only_where_somebody_connects():
    """To look at routes, no secret is read."""
    loaded = config.load(f'[agi]\nsecret_file = "gone"\n{GOOD}', {}, reading(), need_keys=False)

    assert not loaded.agi.secret


@pytest.mark.parametrize(
    ("environ", "files", "problem"),
    [
        pytest.param(
            {},
            {},
            "agi.secret_file: cannot read agi.secret: No such file or directory (write it beside the configuration, or name another)",
            id="a file that is missing",
        ),
        pytest.param(
            {},
            {"agi_secret": "\n"},
            "agi.secret_file: agi.secret is empty (write the secret into it, or leave secret_file out)",
            id="an empty file",
        ),
        *(
            pytest.param(
                {"AGI_BRIDGE_SECRET": secret},
                {},
                "AGI_BRIDGE_SECRET: the secret holds signs that a dialplan cannot carry, or more than 200 "
                "(letters, digits and . _ ~ + / = -, such as `openssl rand -hex 24` prints)",
                id=name,
            )
            for name, secret in {
                "a comma": f"{SECRET},x",
                "a variable": f"{SECRET}${{X}}",
                "a blank": f"{SECRET} x",
                "letters beyond ASCII": f"{SECRET}ö",
                "too much": "x" * 201,
            }.items()
        ),
    ],
)
def test_problem_with_the_secret(environ, files, problem):
    """A secret that is wanted but cannot be had, or that the dialplan could not hand over, is a problem."""
    told = problems(f'[agi]\nsecret_file = "agi.secret"\n{GOOD}', {**ENVIRON, **environ}, **files)

    assert told == [problem]


def test_secret_that_can_be_guessed_is_warned_of():
    """A short secret works, with a warning that does not repeat it."""
    loaded = load(GOOD, {**ENVIRON, "AGI_BRIDGE_SECRET": "sesame"})

    assert [str(warning) for warning in loaded.warnings] == [
        "AGI_BRIDGE_SECRET: the secret can be guessed (take at least 16 signs)"
    ]


# Who may connect.


@pytest.mark.parametrize(
    ("listen", "allow"),
    [
        ("127.0.0.1:1", "127.0.0.1"),
        ("127.0.0.1:1", "127.0.0.0/8"),
        ("127.0.0.1:1", "0.0.0.0/0"),
        ("[::1]:1", "::1"),
        ("[::1]:1", "::/0"),
        ("localhost:1", "::1"),
        ("192.168.1.2:1", "192.168.1.10"),
        ("192.168.1.2:1", "203.0.113.0/24"),
        ("0.0.0.0:1", "127.0.0.1"),
        ("0.0.0.0:1", "192.168.1.10"),
        ("[::]:1", "fd00::/8"),
        ("bridge.example.com:1", "192.168.1.10"),
    ],
)
def test_somebody_can_connect(listen, allow):
    """An allow list is good if an address on it can reach one that is listened on."""
    assert load(f'[agi]\nlisten = "{listen}"\nallow = "{allow}"\n{GOOD}')
    assert load(f'[agi]\nlisten = ["10.0.0.1:1", "{listen}"]\nallow = "{allow}"\n{GOOD}')


@pytest.mark.parametrize(
    ("listen", "allow"),
    [
        ("127.0.0.1:1", "192.168.1.10"),
        ("127.0.0.1:1", "::1"),
        ("[::1]:1", "127.0.0.1"),
        ("localhost:1", "192.168.1.0/24"),
        ("192.168.1.2:1", "127.0.0.0/8"),
        ("192.168.1.2:1", "fd00::/8"),
        ("[fd00::1]:1", "::1"),
        ("[::]:1", "192.168.1.10"),
    ],
)
def test_nobody_can_connect(listen, allow):
    """An allow list from which nobody can reach any address that is listened on is a problem."""
    [problem] = problems(f'[agi]\nlisten = "{listen}"\nallow = "{allow}"\n{GOOD}')

    assert problem.startswith(f"agi.allow: nobody could connect: no address on it can reach {listen} (")


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_network_of_everybody_is_warned_of(network):
    """To allow everybody is possible, and said to be so."""
    assert warnings(f'[agi]\nallow = ["127.0.0.1", "{network}"]\n{GOOD}') == [
        f"agi.allow: {network} admits everybody (name the addresses of the PBX, and no more)"
    ]


# What is wrong with it.

NO_KEY = (
    "millis.api_key_file: there is no Millis API key "
    "(set MILLIS_API_KEY, or name a file in MILLIS_API_KEY_FILE or api_key_file)"
)
PATTERN_HINT = '(write a number, or a pattern such as "_1NXXNXXXXXX" or "_X.")'
PLACE = "must be a place in the dialplan, written context,exten,priority"
URL = "must be an http:// or https:// address without user name, query or fragment"


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
            f"{GOOD}{GOOD.partition('[[')[1]}{GOOD.partition('[[')[2]}",
            'route "sales": the name is given to two routes (rename one of them)',
            id="two rules with one name",
        ),
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
            GOOD.replace('"sales"', "7"),
            'route 1: name: the number 7 has no quotes (write "7")',
            id="a name that is a number",
        ),
        pytest.param(
            route(name="my sales"),
            "route \"my sales\": name: must be letters, digits, '_', '.' and '-', at most 64, "
            "and begin with a letter or digit",
            id="a name with a blank",
        ),
        pytest.param("", "route: there is no [[route]], so every call would take its fallback", id="an empty file"),
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
        pytest.param(
            GOOD.replace("+15551230001", "1555123XXXX"),
            'route "sales": did: looks like a pattern, and patterns begin with "_"; write "_1555123XXXX"',
            id="a pattern without its underscore",
        ),
        pytest.param("route = [5]", "route 1: must be a table", id="a route that is a number"),
        pytest.param(f"agi = 5\n{GOOD}", "agi: must be a table", id="a table that is a number"),
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
            route('dial_options = "gt"'),
            'route "sales": dial_options: option t lets a party of the call dial through the PBX; '
            "if that is wanted, set allow_feature_keys = true beside it",
            id="a feature key",
        ),
        pytest.param(
            route("ring_timeout_seconds = 0"),
            'route "sales": ring_timeout_seconds: input should be greater than or equal to 1',
            id="a ring timeout of nothing",
        ),
        pytest.param(
            route('ring_timeout_seconds = "20"'),
            'route "sales": ring_timeout_seconds: input should be a valid integer (without quotes)',
            id="quotes around a count",
        ),
        pytest.param(
            route("max_duration_seconds = 86401"),
            'route "sales": max_duration_seconds: input should be less than or equal to 86400',
            id="a call of more than a day",
        ),
        pytest.param(
            route('reject = "yes"'),
            'route "sales": reject: input should be a valid boolean (without quotes)',
            id="a word for a boolean",
        ),
        pytest.param(
            route('region = "us-east"'),
            "route \"sales\": region: input should be 'us-west' or 'eu-west'",
            id="a region that Millis has not",
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
            f"{GOOD}\n[account.default]",
            "account.default: is the account of [millis] already (give this one another name)",
            id="an account with the name of the first",
        ),
        pytest.param(
            GOOD + SECOND.format('api_key_env = "SECOND_KEY"'),
            "account.second: there is no Millis API key (set SECOND_KEY, or name a file in api_key_file)",
            id="an account whose variable is not set",
        ),
        pytest.param(
            GOOD + SECOND.format(""),
            "account.second: there is no Millis API key "
            "(name a file in api_key_file, or an environment variable in api_key_env)",
            id="an account without a key",
        ),
        pytest.param(
            GOOD + SECOND.format('api_key_file = "2.key"'),
            "account.second: cannot read 2.key: No such file or directory (write it beside the configuration, or name another)",
            id="an account whose key file is missing",
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
            f'[numbers]\ndefault_country = "uk"\n{GOOD}',
            "numbers.default_country: must be a two-letter country code in capitals, such as US or DE",
            id="a country that is none",
        ),
        pytest.param(
            f'[numbers]\ndid_expression = "${{FROM_DID"\n{GOOD}',
            "numbers.did_expression: has 1 '{' but 0 '}'",
            id="a DID expression that is not closed",
        ),
        pytest.param(
            f'[agi]\nlisten = "4573"\n{GOOD}',
            "agi.listen: must be an address and a port, such as 127.0.0.1:4573 or [::1]:4573",
            id="a port without an address",
        ),
        pytest.param(
            f'[agi]\nallow = ["10.0.0.1/8"]\n{GOOD}',
            "agi.allow[1]: must be an IP address or network, such as 192.168.1.0/24 (10.0.0.1/8 has host bits set)",
            id="a network with host bits",
        ),
        pytest.param(
            f"[agi]\nallow = []\n{GOOD}",
            "agi.allow: nobody could connect: no address on it can reach 127.0.0.1:4573 "
            "(allow the address of the PBX, as the bridge sees it; 127.0.0.1 and ::1 if it is on the same machine)",
            id="an allow list with nobody on it",
        ),
        pytest.param(
            f'[agi]\nlisten = ["127.0.0.1:4573", "[::1]:4573"]\nallow = "192.168.1.10"\n{GOOD}',
            "agi.allow: nobody could connect: no address on it can reach 127.0.0.1:4573 or [::1]:4573 "
            "(allow the address of the PBX, as the bridge sees it; 127.0.0.1 and ::1 if it is on the same machine)",
            id="an allow list without this machine, and nowhere else to listen",
        ),
        pytest.param(
            route('arguments = { secret = "abc" }'),
            'route "sales": arguments: no rule sees the argument secret (give yours another name)',
            id="a rule that asks for the secret",
        ),
        pytest.param(
            f"[agi]\nsetup_timeout_seconds = 3\n{GOOD}",
            "agi.setup_timeout_seconds: must be longer than millis.timeout_seconds",
            id="less time for a call than for Millis",
        ),
        pytest.param(
            f"[millis]\nconnect_timeout_seconds = 5\n{GOOD}",
            "millis.connect_timeout_seconds: is longer than millis.timeout_seconds, which holds for all",
            id="more time to connect than for all",
        ),
        pytest.param(
            f"[millis]\nregion_timeout_seconds = 5\n{GOOD}",
            "millis.region_timeout_seconds: is longer than millis.timeout_seconds, which holds for all regions",
            id="more time for one region than for all",
        ),
        pytest.param(
            f"[millis]\ntimeout_seconds = 2\nregion_timeout_seconds = 2\n{GOOD}",
            "millis.region_timeout_seconds: leaves no time for the second region after a first one that does not answer "
            "(make it shorter than timeout_seconds, or set failover = false under [defaults])",
            id="no time for the second region",
        ),
        pytest.param(
            f'[millis]\nbase_url = {{ us-east = "https://m.example" }}\n{GOOD}',
            'millis.base_url: there is no region "us-east"; there are: us-west, eu-west',
            id="an address for a region that there is not",
        ),
        pytest.param(
            f"[millis]\nbase_url = {{ us-west = 1 }}\n{GOOD}",
            "millis.base_url: must be an address in quotes, or a table with one for each region",
            id="an address of a region without quotes",
        ),
        pytest.param(
            route("max_duration_seconds = 60\nwarning_seconds = 60"),
            'route "sales": warning_seconds: must be shorter than max_duration_seconds, which it comes before',
            id="a warning before the call",
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
        pytest.param(
            route('standby_uri = "sip:standby@example.com"'),
            "route \"sales\": standby_uri: the SIP URI's host example.com is not in allowed_hosts; if it is Millis's, "
            'admit it with allowed_hosts = ["*.millis.ai", "example.com"] under [millis]',
            id="a standby URI off the allow-list",
        ),
        pytest.param(
            f"[millis]\ntimeout_seconds = nan\n{GOOD}",
            "millis.timeout_seconds: input should be less than or equal to 3600",
            id="a time that is no number",
        ),
        pytest.param(
            f'[millis]\nauthorization_scheme = "Bearer:"\n{GOOD}',
            'millis.authorization_scheme: must be a word such as "Bearer", or "" for the key alone',
            id="a scheme that is no word",
        ),
        pytest.param(
            f"[millis]\nallowed_hosts = []\n{GOOD}",
            "millis.allowed_hosts: must not be empty",
            id="no allowed hosts",
        ),
        pytest.param(
            f'[millis]\nallowed_hosts = "*"\n{GOOD}',
            "millis.allowed_hosts: must be a host name, an IPv4 address, or *.domain",
            id="any host allowed",
        ),
        *(
            pytest.param(f'[millis]\nbase_url = "{url}"\n{GOOD}', f"millis.base_url: {URL}", id=f"the address {url}")
            for url in (
                *("api.millis.ai", "ftp://h", "http://", "http://u:p@h", "http://h?a=1", "http://h#a", "http://a b"),
                *(
                    "http://h:65536",
                    "http://h:x",
                    "http://a..b",
                    "http://[::1",
                    "http://[1]",
                    "http://h\\n",
                    "http://é",
                ),
            )
        ),
        pytest.param(
            "x = ",
            "file: is not TOML: Invalid value (at end of document) "
            '(texts and phone numbers stand in quotes, such as did = "+15551230001")',
            id="no TOML",
        ),
    ],
)
def test_problem_is_told_with_its_path_and_what_to_do(text, problem):
    """Each problem is one line: where it is, what is wrong, and what to do."""
    assert problems(text) == [problem]


@pytest.mark.parametrize(
    ("environ", "line", "files", "problem"),
    [
        pytest.param({}, "", {}, NO_KEY, id="no key at all"),
        pytest.param({"MILLIS_API_KEY": " "}, "", {}, NO_KEY, id="an empty variable"),
        pytest.param({}, 'api_key_file = "a.key"', {"a_key": "\n"}, NO_KEY, id="an empty file"),
        pytest.param(
            {},
            'api_key_file = "gone.key"',
            {},
            "millis.api_key_file: cannot read gone.key: No such file or directory (write it beside the configuration, or name another)",
            id="a missing file that the configuration names",
        ),
        pytest.param(
            {"MILLIS_API_KEY_FILE": "gone.key"},
            "",
            {},
            "MILLIS_API_KEY_FILE: cannot read gone.key: No such file or directory (write it beside the configuration, or name another)",
            id="a missing file that the environment names",
        ),
        pytest.param(
            {},
            'api_key_file = "a.key"',
            {"a_key": b"\xff"},
            "millis.api_key_file: a.key is not UTF-8 text",
            id="a file that is no text",
        ),
        *(
            pytest.param(
                {"MILLIS_API_KEY": key},
                "",
                {},
                "millis.api_key_file: the Millis key holds blanks or signs that no HTTP header can carry",
                id=f"a key with {what}",
            )
            for key, what in (("a b", "a blank"), ("a\r\nx: y", "a line end"), ("ké", "an accent"), ("a\x7f", "a DEL"))
        ),
    ],
)
def test_problem_with_the_key(environ, line, files, problem):
    """A key that is missing, cannot be read or cannot be sent is a problem by itself, which does not repeat it."""
    assert problems(f"[millis]\n{line}\n{GOOD}", environ, **files) == [problem]


def test_file_name_that_the_system_refuses_is_a_problem():
    """A name that cannot be a file's is told like a file that is not there."""

    def read_file(name):
        return open(name, "rb").read()

    with pytest.raises(ConfigError) as caught:
        config.load(f'[millis]\napi_key_file = "a\\u0000b"\n{GOOD}', {}, read_file)

    assert str(caught.value) == "millis.api_key_file: cannot read 'a\\x00b': embedded null byte"


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


def test_file_that_is_nested_too_deeply_is_a_problem():
    """No depth of brackets ends in anything but a problem."""
    (told,) = problems("x = " + "[" * 100_000)

    assert told.startswith("file: is not TOML: ")


@pytest.mark.parametrize("word", ["anonymous", "private", "restricted", "unavailable", "unknown", "Withheld"])
def test_no_rule_waits_for_a_word_that_never_comes(word):
    """A word that a call never has as its caller's number is refused in a rule, and the right one is named."""
    caller = CallerId.from_request(Request({"callerid": word}), Numbers("US"))
    (told,) = problems(route(f'caller = ["_X.", "{word}"]'))

    assert caller.number is None
    assert told == 'route "sales": caller[2]: is no number; for callers who withhold theirs, write "withheld"'


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


# What deserves a word.


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
        *(
            pytest.param(
                f'[agi]\nlisten = "{address}"\n{GOOD}',
                {},
                f"agi.listen: {address} can be reached from other networks, and FastAGI has no password "
                "(listen on 127.0.0.1 or a private address, and let a firewall admit only the PBX)",
                id=f"listening on {address}",
            )
            for address in ("0.0.0.0:4573", "[::]:4573", "8.8.8.8:4573")
        ),
        pytest.param(
            f'[web]\nlisten = "0.0.0.0:4574"\n{GOOD}',
            {},
            "web.listen: 0.0.0.0:4574 can be reached from other networks, and shows health and metrics to everybody "
            "(listen on 127.0.0.1 or a private address, and let a firewall admit only who watches the bridge)",
            id="a web port for everybody",
        ),
        pytest.param(
            f'[millis]\nbase_url = "http://m.example:8089"\n{GOOD}',
            {},
            "millis.base_url: sends the API key over the network unencrypted (use https://)",
            id="an API over plain HTTP",
        ),
        pytest.param(
            f"[millis]\nprobe_seconds = 30\n{GOOD}",
            {},
            "millis.probe_seconds: is not shorter than keepalive_seconds, so no connection stays warm between two probes "
            "(make it shorter)",
            id="probes too rare to keep a connection warm",
        ),
    ],
)
def test_warning_stops_nothing(text, files, warning):
    """What is allowed but dangerous loads with a warning."""
    assert warnings(text, **files) == [warning]


@pytest.mark.parametrize(
    "text",
    [
        f'[agi]\nlisten = ["127.0.0.1:4573", "[::1]:4573", "192.168.1.2:4573", "bridge:4573"]\n{GOOD}',
        *(
            f'[millis]\nbase_url = "{url}"\n{GOOD}'
            for url in ("http://127.0.0.1:8089", "http://localhost", "http://[::1]:1/v1", "https://m.example")
        ),
    ],
)
def test_what_is_harmless_gives_no_warning(text):
    """Private addresses, and an API on this machine or over TLS, need no word."""
    assert warnings(text) == []


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
    site = (Path(__file__).parent.parent / "asterisk-conf" / "site" / "extensions.conf").read_text().splitlines()

    assert f"MILLIS_BUDGET_SECONDS = {SHIPPED_BUDGET_SECONDS}" in site
    assert f"MILLIS_LONGEST_CALL_SECONDS = {SHIPPED_LONGEST_CALL_SECONDS}" in site


@pytest.mark.parametrize(
    ("agi", "web", "whose"),
    [
        ('"127.0.0.1:4573"', '"127.0.0.1:4573"', "127.0.0.1:4573"),
        ('"0.0.0.0:4574"', '"127.0.0.1:4574"', "127.0.0.1:4574"),
        ('["[::1]:4573", "10.0.0.7:4573"]', '"0.0.0.0:4573"', "0.0.0.0:4573"),
        ('"127.0.0.1:4575"\nworkers = 2', '"127.0.0.1:4574"', "the web port of worker 2 would be 127.0.0.1:4575"),
        ('"bridge:4573"', '"bridge:4573"', "bridge:4573"),
    ],
)
def test_web_port_that_is_also_for_asterisk(agi, web, whose):
    """Two servers cannot listen at one place, and which worker would is said."""
    assert problems(f"[agi]\nlisten = {agi}\n[web]\nlisten = {web}\n{GOOD}") == [
        f"web.listen: {whose}, where listen under [agi] waits for Asterisk (choose another port)"
    ]


@pytest.mark.parametrize(
    ("agi", "web"),
    [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:4574", "10.0.0.7:4574"),
        ("127.0.0.1:4574", "[::]:4574"),
        ("bridge:4574", "127.0.0.1:4574"),
    ],
)
def test_ports_that_do_not_meet(agi, web):
    """Any free port, another address and the other IP version are no clash, and who knows what a name stands for."""
    assert isinstance(load(f'[agi]\nlisten = "{agi}"\n[web]\nlisten = "{web}"\n{GOOD}'), Config)


def test_ports_are_compared_where_both_could_be_read():
    """A default that stands in for an address that is no address causes no second complaint."""
    (problem,) = problems(f'[agi]\nlisten = "127.0.0.1:4574"\n[web]\nlisten = "4575"\n{GOOD}')
    assert problem.startswith("web.listen: must be an address and a port")


def test_trial_that_would_ask_the_real_millis_is_warned_of():
    """A simulated Millis for one region alone sends the calls that it refuses, and the key, to the real one."""
    half = '[millis]\nbase_url = { us-west = "http://127.0.0.1:8089" }\n'
    assert warnings(half + GOOD) == [
        "millis.base_url: has no address for eu-west, so calls that fail here go, with the key, to "
        "https://api-eu-west.millis.ai (write one address for both regions, or set failover = false under [defaults])"
    ]
    assert warnings(half + route("failover = false")) == []


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


# Where an agent may send its caller.

TRANSFER = '\n[[transfer]]\nname = "sales"\ndestination = "q,600,1"\n'


def test_transfers_are_the_list_of_the_file():
    """Each [[transfer]] is one destination; what is left out has its default."""
    more = 'numbers = "+15551230100"\ndescription = "Prices."\n'
    assert load(GOOD + TRANSFER + more).transfers == (Transfer("sales", "q,600,1", 30, ("+15551230100",), "Prices."),)
    assert load(GOOD).transfers == ()


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (TRANSFER, 'transfer "sales": sales stands there twice (keep one of them)'),
        (
            'numbers = ["+1555", "1555"]\n',
            'transfer "sales": 1555 stands there twice (keep one of them)',
        ),
    ],
    ids=["name", "number with and without plus"],
)
def test_no_transfer_is_called_as_another(more: str, problem: str):
    """The dialplan would keep the first place only, so a name or a number stands once."""
    assert problems(GOOD + TRANSFER + more) == [problem]


def test_transfer_is_a_list():
    """One bracket too few is said so."""
    assert problems(GOOD + '\n[transfer]\nname = "sales"\n') == [
        "transfer: is one table, but transfers are a list (write [[transfer]], with two brackets on each side)"
    ]


def test_transfer_needs_a_name_and_a_place():
    """What is missing, and what Asterisk could not take, is said key by key."""
    found = problems(GOOD + '\n[[transfer]]\nname = "Sales-Team"\nnumbers = "555-1"\n')

    assert "transfer[1].destination: is missing" in found
    assert any("2 to 40 small letters" in line for line in found)
    assert any("phone number in digits" in line for line in found)


# Where records are.


def records(line="", environ=None, **files):
    """Return what holds for records, the rest of the file being wrong."""
    text = f"[records]\n{line}\n[[route]]\nnonsense = 1\n"
    return config.where_records_are(text, environ or {}, reading(**files))[0]


@pytest.mark.parametrize(
    ("environ", "line", "files", "url", "password"),
    [
        pytest.param({}, "", {}, "", "", id="nowhere: the usual file"),
        pytest.param({}, 'url = "sqlite:////data/calls.sqlite"', {}, "sqlite:////data/calls.sqlite", "", id="a file"),
        pytest.param({}, 'url = "postgresql://agi@db/calls"', {}, "postgresql://agi@db/calls", "", id="a server"),
        pytest.param(
            {},
            'url = "postgresql://agi@db:5433/calls?sslmode=require"\npassword_file = "db.password"',
            {"db_password": "hunter2\n"},
            "postgresql://agi@db:5433/calls?sslmode=require",
            "hunter2",
            id="a server with a password",
        ),
        pytest.param({}, 'url = "postgresql:///calls?host=/run/postgresql"', {}, "postgresql:///calls?host=/run/postgresql", "", id="a socket"),
        pytest.param(
            {"AGI_BRIDGE_RECORDS_URL": "postgresql://agi:hunter2@db/calls\n"},
            'url = "sqlite:////x"\npassword_file = "gone"',
            {},
            "postgresql://agi:hunter2@db/calls",
            "",
            id="the environment before the file",
        ),
    ],
)  # fmt: skip
def test_records_are_kept_where(environ, line, files, url, password):
    """Address and password of the database come from the environment, else from the file; no password is ever shown."""
    loaded = records(line, environ, **files)

    assert tuple(each.get_secret_value() for each in loaded.database) == (url, password)
    assert "hunter2" not in repr(loaded) + str(loaded)
    whole = load(f"[records]\n{line}\n{GOOD}", ENVIRON | environ, **files).records
    assert whole.database == loaded.database


@pytest.mark.parametrize(
    ("line", "environ", "files", "problem"),
    [
        (
            'url = "mysql://db/calls"',
            {},
            {},
            'records.url: must be such as "postgresql://user@host/database" or "sqlite:////var/lib/agi-bridge/calls.sqlite"',
        ),
        (
            'url = "sqlite:///calls.sqlite"',
            {},
            {},
            'records.url: must be such as "postgresql://user@host/database" or "sqlite:////var/lib/agi-bridge/calls.sqlite"',
        ),
        (
            'url = "postgresql://agi:hunter2@db/calls"',
            {},
            {},
            "records.url: must not hold a password; write it into a file, and name that in password_file",
        ),
        (
            'password_file = "gone"',
            {},
            {},
            "records.password_file: cannot read gone: No such file or directory (write it beside the configuration, or name another)",
        ),
        ('password_file = "x.y"', {}, {"x_y": " \n"}, "records.password_file: x.y is empty"),
        (
            "",
            {"AGI_BRIDGE_RECORDS_URL": "db:5432"},
            {},
            'AGI_BRIDGE_RECORDS_URL: must be such as "postgresql://user:password@host/database"',
        ),
        ("keep_days = -1", {}, {}, "records.keep_days: input should be greater than or equal to 0"),
        ("keepdays = 1", {}, {}, 'records.keepdays: there is no such key (did you mean "keep_days"?)'),
    ],
)
def test_problem_with_records(line, environ, files, problem):
    """What is wrong with the place of records is told by those who only read them, too."""
    with pytest.raises(ConfigError) as caught:
        records(line, environ, **files)

    assert str(caught.value).splitlines() == [problem]
    assert problems(f"[records]\n{line}\n{GOOD}", ENVIRON | environ, **files) == [problem]
    assert "hunter2" not in str(caught.value)


# PBXs


def pbx(lines="", name="hq", secret='ami_secret_env = "AMI"'):
    """Return a `[[pbx]]` table."""
    return f'\n[[pbx]]\nname = "{name}"\n{secret}\n{lines}\n'


AMI = ENVIRON | {"AMI": "the-secret"}


def test_pbx_has_defaults_for_all_but_its_name_and_secret():
    """A PBX on the same machine, with the user of the shipped manager.conf, needs a name and a secret."""
    [hq] = load(GOOD + pbx(), AMI).pbxs

    assert (hq.name, hq.ami_address, hq.ami_user) == ("hq", Address("127.0.0.1", 5038), "agi-bridge")
    assert (hq.secret.get_secret_value(), hq.authority, hq.ami_tls) == ("the-secret", "", False)
    assert hq.networks == (ip_network("127.0.0.1"), ip_network("::1"))
    assert load(GOOD).pbxs == ()


def test_several_pbxs_with_every_key():
    """Each PBX has addresses, a user, a secret and limits of its own."""
    first = pbx('peers = ["192.168.1.7", "192.168.2.0/24"]\nami_host = "pbx1.example"\nami_tls = true', "hq")
    second = pbx(
        'peers = "192.168.3.7"\nami_port = 5039\nami_user = "bridge"\nami_tls = true\nami_ca_file = "ca.crt"',
        "branch",
        'ami_secret_file = "ami.secret"',
    )
    certificate = "-----BEGIN CERTIFICATE-----\n"
    hq, branch = load(GOOD + first + second, AMI, ami_secret="other\n", ca_crt=certificate).pbxs

    assert (hq.name, str(hq.ami_address)) == ("hq", "pbx1.example:5038")
    assert (branch.ami_user, branch.secret.get_secret_value(), branch.authority) == ("bridge", "other", certificate)
    assert branch.ami_address == Address("127.0.0.1", 5039)


def test_secret_of_a_pbx_is_never_shown():
    """Neither a text of the settings nor a problem has it, but another secret is another PBX."""
    one, other = (load(GOOD + pbx(), ENVIRON | {"AMI": secret}).pbxs for secret in ("the-secret", "the-other"))

    assert "the-secret" not in repr(one) + str(one)
    assert one != other
    assert one == load(GOOD + pbx(), AMI).pbxs


def test_secrets_of_pbxs_are_not_asked_for_where_nothing_is_done():
    """What only looks at the rules needs no secret, as it needs no key."""
    [hq] = config.load(GOOD + pbx(secret=""), {}, reading(), need_keys=False).pbxs

    assert hq.secret.get_secret_value() == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            pbx(name=""),
            'pbx 1: name: is missing (such as name = "hq"; it is in the log and the metrics)',
            id="no name",
        ),
        pytest.param(
            pbx(name="h q"),
            "pbx \"h q\": name: must be letters, digits, '_', '.' and '-', at most 64, and begin with a letter or digit",
            id="no such name",
        ),
        pytest.param(
            pbx() + pbx('peers = "10.0.0.1"'),
            'pbx "hq": the name is given to two PBXs (rename one of them)',
            id="one name twice",
        ),
        pytest.param(
            pbx() + pbx('peers = ["127.0.0.0/24", "10.0.0.1"]', "branch"),
            'pbx "branch": peers: has an address that "hq" has too, so nobody could tell whose a call is (give each PBX its own)',
            id="one address twice",
        ),
        pytest.param(
            '\n[agi]\nallow = "127.0.0.1"' + pbx('peers = ["192.168.1.7", "::1"]'),
            'pbx "hq": peers: allow under [agi] has none of these addresses, so this PBX could not connect '
            "(allow them there, or correct them here)",
            id="not allowed",
        ),
        pytest.param(
            pbx('ami_pasword = "x"'),
            'pbx "hq": ami_pasword: there is no such key (did you mean "ami_port"?)',
            id="an unknown key",
        ),
        pytest.param(
            "\n[pbx]\nname = 'hq'",
            "pbx: is one table, but PBXs are a list (write [[pbx]], with two brackets on each side)",
            id="one bracket",
        ),
        pytest.param(pbx("peers = []"), 'pbx "hq": peers: must not be empty', id="no peer"),
        pytest.param(
            pbx('peers = "pbx.example"'),
            'pbx "hq": peers: must be an IP address or network, such as 192.168.1.0/24 '
            "('pbx.example' does not appear to be an IPv4 or IPv6 network)",
            id="a name for a peer",
        ),
        pytest.param(pbx('ami_host = "a b"'), 'pbx "hq": ami_host: must be an IP address or a host name', id="no host"),
        pytest.param(
            pbx('ami_user = "a b"'),
            'pbx "hq": ami_user: must be printable signs without blanks, at most 200',
            id="no user",
        ),
        pytest.param(
            pbx("ami_port = 70000"),
            'pbx "hq": ami_port: input should be less than or equal to 65535',
            id="no port",
        ),
        pytest.param(
            pbx("ami_reconnect_seconds = 60"),
            'pbx "hq": ami_reconnect_seconds: is longer than ami_reconnect_limit_seconds, which it grows to',
            id="times that do not fit",
        ),
        pytest.param(
            pbx(secret='ami_secret_env = "NONE"'),
            'pbx "hq": ami_secret_file: there is no secret for agi-bridge (set NONE, or a file in ami_secret_file)',
            id="no secret in the environment",
        ),
        pytest.param(
            pbx(secret=""),
            'pbx "hq": ami_secret_file: there is no secret for agi-bridge '
            "(name an environment variable in ami_secret_env, or a file in ami_secret_file)",
            id="no secret at all",
        ),
        pytest.param(
            pbx(secret='ami_secret_file = "none"'),
            'pbx "hq": ami_secret_file: cannot read none: No such file or directory (write it beside the configuration, or name another)',
            id="no file",
        ),
        pytest.param(
            pbx(secret='ami_secret_file = "a.secret"'),
            'pbx "hq": ami_secret_file: the secret holds signs that manager.conf cannot carry (letters and digits will do)',
            id="a secret with a line end",
        ),
        pytest.param(
            pbx('ami_ca_file = "ca.crt"'),
            'pbx "hq": ami_ca_file: is of no use without ami_tls = true',
            id="an authority without TLS",
        ),
        pytest.param(
            pbx('ami_tls = true\nami_ca_file = "a.secret"'),
            'pbx "hq": ami_ca_file: a.secret holds no certificate in PEM',
            id="an authority that is none",
        ),
    ],
)
def test_pbx_that_cannot_be_used_is_told(text, told):
    """Each problem of a PBX is told by the name of the PBX, with what to do."""
    assert problems(GOOD + text, AMI, a_secret="one\ntwo", ca_crt="-----BEGIN CERTIFICATE-----") == [told]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("", []),
        ('ami_host = "localhost"', []),
        ('ami_host = "10.0.0.7"\nami_tls = true', []),
        (
            'ami_host = "10.0.0.7"',
            [
                'pbx "hq": ami_tls: is off, so the secret goes to 10.0.0.7 unencrypted '
                "(turn it on, or keep both ends in a network of their own)"
            ],
        ),
        (
            "ami_connect_timeout_seconds = 1",
            [
                'pbx "hq": ami_connect_timeout_seconds: is over before Asterisk says that a secret is wrong, which takes it '
                "a second (allow two seconds or more)"
            ],
        ),
    ],
)
def test_doubtful_pbx_is_warned_of(lines, told):
    """What can be served but should not be is a warning."""
    assert [str(warning) for warning in load(GOOD + pbx(lines), AMI).warnings] == told


# Webhooks


HOOK = ENVIRON | {"CRM": "a-secret-of-twenty-signs"}


def webhook(lines="", name="crm", url="https://crm.example/hook", secret='secret_env = "CRM"'):
    """Return a `[[webhook]]` table."""
    return f'\n[[webhook]]\nname = "{name}"\nurl = "{url}"\n{secret}\n{lines}\n'


def test_webhook_has_defaults_for_all_but_name_address_and_secret():
    """A target is told everything, numbers whole, unless the file says otherwise."""
    [crm] = load(GOOD + webhook(), HOOK).webhooks

    assert crm.events == list(EventType)
    assert (crm.numbers, crm.secret.get_secret_value()) == ("full", "a-secret-of-twenty-signs")
    assert "a-secret" not in repr(crm)
    assert load(GOOD).webhooks == ()


def test_webhook_with_an_authority_and_a_secret_in_a_file():
    """Both are read beside the configuration, and the address stays as it is written."""
    more = webhook(
        'ca_file = "ca.crt"\nevents = "call-ended"', url="https://crm.example/hook/", secret='secret_file = "crm"'
    )
    certificate = "-----BEGIN CERTIFICATE-----\n"
    [crm] = load(GOOD + more, crm="sixteen-signs-at-least\n", ca_crt=certificate).webhooks

    assert (crm.url, crm.events, crm.authority) == ("https://crm.example/hook/", ["call-ended"], certificate)
    assert crm.secret.get_secret_value() == "sixteen-signs-at-least"


def test_secrets_of_webhooks_are_not_asked_for_where_nothing_is_done():
    """A command that sends nothing does not need them."""
    [crm] = config.load(GOOD + webhook(secret=""), {}, reading(), need_keys=False).webhooks
    assert crm.secret.get_secret_value() == ""


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x", "http://[::1]/", "http://10.1.2.3", "http://192.168.0.9/", "http://crm:8080/x"]
)
def test_plain_http_is_for_what_is_near_and_wants_a_reason(url):
    """This machine, a private network or another container may be told without TLS, if somebody has said why."""
    assert load(GOOD + webhook('plain_http_reason = "beside us"', url=url), HOOK).webhooks[0].url == url
    assert problems(GOOD + webhook(url=url), HOOK) == [
        'webhook "crm": plain_http_reason: is missing: what is sent can be read on the way '
        '(use https, or say why not, such as plain_http_reason = "the CRM is on this machine")'
    ]


@pytest.mark.parametrize(
    "url",
    ["http://crm.example/x", "http://8.8.8.8/", "http://134744072/", "http://0x8080808/", "http://[2001:4860::1]/"],
)
def test_plain_http_goes_nowhere_else(url):
    """No reason makes it good to send callers' numbers over the internet as they are."""
    assert problems(GOOD + webhook('plain_http_reason = "it works"', url=url), HOOK) == [
        'webhook "crm": url: would send numbers of callers over the network unencrypted '
        "(use https; plain http is for this machine and for private networks)"
    ]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (webhook() + webhook(), 'webhook "crm": the name is given to two webhooks (rename one of them)'),
        (webhook(name="../up"), 'webhook "../up": name: string should match pattern'),
        (webhook(url="crm"), 'webhook "crm": url: must be an http:// or https:// address without user name'),
        (
            webhook(url="https://u:p@crm/"),
            'webhook "crm": url: must be an http:// or https:// address without user name',
        ),
        (webhook('events = "call-end"'), 'webhook "crm": events: is no event; did you mean "call-ended"?'),
        (webhook("events = []"), 'webhook "crm": events: must not be empty'),
        (webhook('plain_http_reason = "x"'), 'webhook "crm": plain_http_reason: is of no use with https (take it out)'),
        (webhook("retry_seconds = 400"), 'webhook "crm": retry_seconds: is longer than retry_limit_seconds'),
        (webhook(secret=""), 'webhook "crm": secret_file: there is no secret to sign events with (name a file'),
        (
            webhook(secret='secret_env = "NONE"'),
            'webhook "crm": secret_file: there is no secret to sign events with (set',
        ),
        (
            webhook(secret='secret_env = "SHORT"'),
            "SHORT: the secret is of no use: can be guessed: it has fewer than 16",
        ),
        (webhook(secret='secret_env = "BROKEN"'), "BROKEN: the secret is of no use: what follows whsec_ is not base64"),
        (webhook(secret='secret_file = "none"'), 'webhook "crm": secret_file: cannot read none'),
        (webhook('ca_file = "crm"'), 'webhook "crm": ca_file: crm holds no certificate in PEM'),
        ('\n[webhook]\nname = "crm"\n', "webhook: is one table, but webhooks are a list (write [[webhook]]"),
    ],
)
def test_webhook_that_cannot_be_used(table, told):
    """Each fault is named with its place, and with what to do."""
    [problem] = problems(GOOD + table, HOOK | {"SHORT": "short", "BROKEN": "whsec_!"}, crm="x")
    assert problem.startswith(told)


# What else Millis is told.

PEOPLE = 'sql = "SELECT name FROM people WHERE phone = :caller_number"\ndatabase_url = "postgresql://agi@db/crm"\n'


def test_lookup_has_its_secrets_from_files():
    """The configuration names files; what they say is in no text of it."""
    by_http = load(
        GOOD + '\n[prefetch]\nurl = "https://crm/people"\ntoken_file = "crm"\n', crm=" of the crm\n"
    ).prefetch
    by_sql = load(GOOD + f'\n[prefetch]\n{PEOPLE}password_file = "db"\n', db="of the db").prefetch

    assert [secret.get_secret_value() for secret in (*by_http.secrets, *by_sql.secrets)] == [
        "of the crm",
        "",
        "",
        "of the db",
    ]
    assert "of the crm" not in repr(by_http)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (f'{PEOPLE}url = "https://crm/"', "prefetch.sql: stands beside url; keep one of the two"),
        ('sql = "SELECT 1"', "prefetch.database_url: is missing; sql needs it"),
        ('database_url = "postgresql://agi@db/crm"', "prefetch.sql: is missing; database_url needs it"),
        (
            'sql = "SELECT 1 WHERE a = :caller"\ndatabase_url = "postgresql://agi@db/crm"',
            "prefetch.sql: there is no parameter :caller; there are: bridge_call_id, ",
        ),
        (f'{PEOPLE}password_file = "empty"', "prefetch.password_file: empty holds no secret on one line"),
        (f'{PEOPLE}password_file = "none"', "prefetch.password_file: cannot read none"),
        ('url = "crm"', "prefetch.url: must be an http:// or https:// address"),
    ],
)
def test_lookup_that_cannot_be_used(lines, told):
    """Each fault is named with its place, before any call comes."""
    assert problems(GOOD + f"\n[prefetch]\n{lines}\n", empty="\n")[0].startswith(told)


def test_types_in_a_query_are_no_parameters():
    """PostgreSQL writes them with two colons."""
    sql = "SELECT visits::text FROM people WHERE phone = :caller_number"
    assert load(GOOD + f'\n[prefetch]\nsql = "{sql}"\ndatabase_url = "postgresql://agi@db/crm"\n').prefetch.sql == sql


def test_lookup_over_the_network_wants_encryption():
    """Who calls whom is told to whoever listens on the way."""
    warnings = load(GOOD + '\n[prefetch]\nurl = "http://crm.example/people"\n').warnings

    assert [warning.path for warning in warnings] == ["prefetch.url"]


# Calls that we make.

ORIGINATE = """
[originate]
pbx = "hq"
trunk = "PJSIP/{number}@carrier"
caller_id = "+15551230001"
allow = ["+1212", "+49"]
"""
OUTBOUND = '\n[[route]]\nname = "out"\ndirection = "outbound"\nagent_id = "a"\nfallback = "c,s,1"\n'


def test_nobody_is_called_by_default():
    """Without the table there is nothing to call with, and without a prefix nobody to call."""
    assert load(GOOD).originate is None
    assert (
        "is empty, so nobody is called"
        in warnings(GOOD + pbx() + OUTBOUND + ORIGINATE.replace('allow = ["+1212", "+49"]', ""), environ=ENVIRON | AMI)[
            0
        ]
    )


def test_originate_has_limits_where_nothing_is_said_of_them():
    """Trunk, number and prefixes are the operator's; the rest is careful."""
    originate = load(GOOD + pbx() + OUTBOUND + ORIGINATE, ENVIRON | AMI).originate
    assert originate is not None
    assert originate.allowance.allow == ("+1212", "+49")
    assert (originate.rate_limit_per_minute, originate.daily_limit, originate.ring_timeout_seconds) == (10, 100, 30)
    assert originate.detect_machine == "off"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("PJSIP/{number}@carrier", "PJSIP/carrier", "originate.trunk: must be PJSIP/{number}@endpoint"),
        ("PJSIP/{number}@carrier", "Local/{number}@out/n", "originate.trunk: must be PJSIP/{number}@endpoint"),
        ("PJSIP/{number}@carrier", "PJSIP/{number}@c&Local/s@x", "originate.trunk: must be PJSIP/{number}@endpoint"),
        ("PJSIP/{number}@carrier", "PJSIP/{number}@c,60", "originate.trunk: must be PJSIP/{number}@endpoint"),
        ('"+1212"', '"1212"', "originate.allow[1]: must be the beginning of a number in E.164"),
        ('"+1212"', '"+"', "originate.allow[1]: must be the beginning of a number in E.164"),
        ('"+1212"', '""', "originate.allow[1]: must be the beginning of a number in E.164"),
        ('caller_id = "+15551230001"', 'caller_id = "Acme <1>"', "originate.caller_id: must be a number of yours in digits"),
        ('"hq"\ntrunk', '"hk"\ntrunk', 'originate.pbx: there is no [[pbx]] with the name "hk" (there are: hq)'),
        ('direction = "outbound"', 'direction = "outbound"\ndid = "1"', 'route "out": did: cannot stand in an outbound'),
        ('direction = "outbound"', 'agents = "x"', 'route "out": agents: is for outbound rules'),
        ('direction = "outbound"', 'direction = "outbound"\nagents = "a,b"', 'route "out": agents[1]: must be the id'),
    ],
)  # fmt: skip
def test_originate_that_does_not_fit_is_one_clear_problem(old, new, problem):
    """What could dial elsewhere, or nobody, is found before anything is dialled."""
    text = GOOD + pbx() + OUTBOUND + ORIGINATE
    assert old in text
    [found] = problems(text.replace(old, new, 1), ENVIRON | AMI)
    assert found.replace("agents:", "agents[1]:" if "agents[1]" in problem else "agents:").startswith(problem)


def test_outbound_rule_takes_no_call_from_an_inbound_one():
    """It has no conditions, and shadows nothing."""
    text = OUTBOUND + route(name="rest") + pbx() + ORIGINATE
    assert load(text, ENVIRON | AMI).warnings == ()
