"""Where Asterisk reaches the bridge, who may connect, and the secret."""

from ipaddress import ip_network

import pytest

from agi_bridge import config
from agi_bridge.config.address import Address
from tests.config.bridge_toml import ENVIRON, GOOD, load, problems, reader, warnings

SECRET = "a-secret-of-20-signs"


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
    loaded = config.load(f'[agi]\nsecret_file = "gone"\n{GOOD}', {}, reader(), need_keys=False)

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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
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
    ],
)
def test_problem_with_agi(text, problem):
    """An address that is none, and an allow list that helps nobody, is a problem."""
    assert problems(text) == [problem]


@pytest.mark.parametrize("address", ["0.0.0.0:4573", "[::]:4573", "8.8.8.8:4573"])
def test_listening_for_strangers_is_warned_of(address):
    """An address that other networks reach loads with a warning."""
    assert warnings(f'[agi]\nlisten = "{address}"\n{GOOD}') == [
        f"agi.listen: {address} can be reached from other networks, and FastAGI has no password "
        "(listen on 127.0.0.1 or a private address, and let a firewall admit only the PBX)"
    ]


def test_private_address_gives_no_warning():
    """An address of this machine or of a private network needs no word."""
    assert (
        warnings(f'[agi]\nlisten = ["127.0.0.1:4573", "[::1]:4573", "192.168.1.2:4573", "bridge:4573"]\n{GOOD}') == []
    )
