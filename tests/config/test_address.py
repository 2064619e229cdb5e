"""Where things are in a network: an address is a host and a port."""

import pytest

from agi_bridge.config.address import Address, parse_address


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
