"""The PBXs, and the secrets of their manager interfaces."""

from ipaddress import ip_network

import pytest

from agi_bridge import config
from agi_bridge.config.address import Address
from tests.config.bridge_toml import AMI, ENVIRON, GOOD, load, pbx, problems, reader


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
    [hq] = config.load(GOOD + pbx(secret=""), {}, reader(), need_keys=False).pbxs

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
