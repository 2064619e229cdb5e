"""Who may come in, by address and by rate; each step of time is written down."""

import ipaddress

import pytest

from agi_bridge.agi.door import MOST_PEERS, Door

NETWORKS = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "192.0.2.1", "fe80::/10", "2001:db8::/32")))


@pytest.mark.parametrize(
    ("peer", "refusal"),
    [
        ("10.1.2.3", None),
        ("192.0.2.1", None),
        ("192.0.2.2", "refused_peer"),
        ("::ffff:10.1.2.3", None),
        ("::ffff:192.0.2.2", "refused_peer"),
        ("2001:db8::1", None),
        ("2001:db9::1", "refused_peer"),
        ("fe80::1%eth0", None),
    ],
)
def test_peer_is_compared_with_the_networks(peer, refusal):
    """An address on the list may come in, also one of IPv4 that came by way of IPv6, or that names its interface."""
    door = Door(NETWORKS, 1, 1)
    assert [door.refusal(peer, 0.0), door.refusal(peer, 10.0)] == [refusal, refusal]


def test_burst_is_let_through_at_once():
    """A full bucket holds the whole burst, and not one more."""
    door = Door(NETWORKS, 10, 3)
    assert [door.refusal("10.0.0.1", 5.0) for _ in range(4)] == [None, None, None, "refused_rate"]


def test_bucket_fills_with_time():
    """After a burst, connections come in at the rate; a long silence fills the bucket no further than the burst."""
    door = Door(NETWORKS, 10, 2)
    times = [0, 0, 0, 0.05, 0.1, 0.1, 0.2, 60, 60, 60]
    let_in = [door.refusal("10.0.0.1", now) is None for now in times]
    assert let_in == [True, True, False, False, True, False, True, True, True, False]


def test_each_peer_has_its_own_bucket():
    """One peer's flood is not another one's."""
    door = Door(NETWORKS, 1, 1)
    assert [door.refusal(peer, 0.0) for peer in ("10.0.0.1", "10.0.0.1", "10.0.0.2")] == [None, "refused_rate", None]


def test_peers_are_forgotten_before_they_are_too_many():
    """However many addresses come, allowed or not, the memory of them has a bound; the latest are known."""
    door = Door(NETWORKS, 1, 1)
    for number in range(3 * MOST_PEERS):
        door.refusal(str(ipaddress.ip_address("10.0.0.0") + number), 0.0)
        door.refusal(str(ipaddress.ip_address("198.51.0.0") + number), 0.0)
    assert len(door._peers) == MOST_PEERS
    latest = str(ipaddress.ip_address("10.0.0.0") + 3 * MOST_PEERS - 1)
    assert door.refusal(latest, 0.0) == "refused_rate"
