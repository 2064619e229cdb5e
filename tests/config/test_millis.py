"""How Millis is reached, and the keys."""

import pytest

from agi_bridge import config
from tests.config.bridge_toml import ENVIRON, GOOD, KEY, SECOND, load, problems, reader, route, warnings

NO_KEY = (
    "millis.api_key_file: there is no Millis API key "
    "(set MILLIS_API_KEY, or name a file in MILLIS_API_KEY_FILE or api_key_file)"
)

URL = "must be an http:// or https:// address without user name, query or fragment"


def test_each_region_may_have_an_address_of_its_own():
    """A table names the address of a region; the others keep theirs."""
    millis = load(f'[millis]\nbase_url = {{ eu-west = "https://m.example/" }}\n{GOOD}').millis

    assert (millis.url("eu-west"), millis.url("us-west")) == ("https://m.example", "https://api-west.millis.ai")


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
    loaded = config.load(f'[millis]\napi_key_file = "gone.key"\n{GOOD}', {}, reader(), need_keys=False)

    assert loaded.api_keys == {}


def test_key_is_never_shown():
    """Neither the configuration nor a problem with it shows the key."""
    loaded = load(f'[millis]\napi_key_file = "a.key"\n{GOOD}', a_key=KEY)
    told = [repr(loaded), str(loaded), repr(loaded.millis), *problems(GOOD, {"MILLIS_API_KEY": f"{KEY}\n{KEY}"})]

    assert not [text for text in told if KEY in text]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
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
    ],
)
def test_problem_with_millis(text, problem):
    """An address, a time or an account that does not fit is a problem."""
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


@pytest.mark.parametrize(
    ("text", "files", "warning"),
    [
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
def test_what_is_doubtful_of_millis_is_warned_of(text, files, warning):
    """What is allowed but dangerous, or of no use, loads with a warning."""
    assert warnings(text, **files) == [warning]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8089", "http://localhost", "http://[::1]:1/v1", "https://m.example"])
def test_api_here_or_over_tls_gives_no_warning(url):
    """An API on this machine or over TLS needs no word."""
    assert warnings(f'[millis]\nbase_url = "{url}"\n{GOOD}') == []


def test_trial_that_would_ask_the_real_millis_is_warned_of():
    """A simulated Millis for one region alone sends the calls that it refuses, and the key, to the real one."""
    half = '[millis]\nbase_url = { us-west = "http://127.0.0.1:8089" }\n'
    assert warnings(half + GOOD) == [
        "millis.base_url: has no address for eu-west, so calls that fail here go, with the key, to "
        "https://api-eu-west.millis.ai (write one address for both regions, or set failover = false under [defaults])"
    ]
    assert warnings(half + route("failover = false")) == []
