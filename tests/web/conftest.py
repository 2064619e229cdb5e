import socket

import pytest


@pytest.fixture
def other_address() -> str:
    """An address of this machine that is not loopback: what comes from it looks as if it came from outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError as error:
            pytest.skip(f"this machine has loopback alone: {error}")
        address: str = sock.getsockname()[0]
        return address
