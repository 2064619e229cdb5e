"""Where each worker is asked for health, metrics and the API."""

import pytest

from agi_bridge.config import Config
from agi_bridge.config.address import Address
from tests.config.bridge_toml import GOOD, load, problems, warnings


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


def test_listening_for_strangers_is_warned_of():
    """An address that other networks reach loads with a warning."""
    assert warnings(f'[web]\nlisten = "0.0.0.0:4574"\n{GOOD}') == [
        "web.listen: 0.0.0.0:4574 can be reached from other networks, and shows health and metrics to everybody "
        "(listen on 127.0.0.1 or a private address, and let a firewall admit only who watches the bridge)"
    ]


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
