"""The signature is that of the Standard Webhooks specification, and the example of the documentation verifies it."""

import base64
import hashlib
import hmac
import re
import time
from pathlib import Path

import pytest

from agi_bridge.events.signature import key_of, signed

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
EXAMPLE = re.search(
    r"^```python\n(.*?)^```", (Path(__file__).parents[2] / "docs" / "events.md").read_text(), re.MULTILINE | re.DOTALL
)


def test_what_is_signed():
    """Id, timestamp and body, joined by full stops."""
    expected = base64.b64encode(hmac.digest(b"k" * 24, b'1f.1767323045.{"a":1}', hashlib.sha256)).decode()

    assert signed(key_of(SECRET), "1f", 1767323045, b'{"a":1}') == {
        "webhook-id": "1f",
        "webhook-timestamp": "1767323045",
        "webhook-signature": f"v1,{expected}",
    }


def test_secret_is_base64_or_plain():
    """What follows whsec_ is base64; anything else is the key itself."""
    assert key_of(SECRET) == b"k" * 24
    assert key_of("a rather long secret") == b"a rather long secret"


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("whsec_!", "not base64"),
        ("short", "can be guessed"),
        ("whsec_c2hvcnQ=", "can be guessed"),
        ("", "can be guessed"),
    ],
)
def test_secret_of_no_use(secret, why):
    """A secret that is broken or short is refused."""
    with pytest.raises(ValueError, match=why):
        key_of(secret)


def test_documented_example_verifies():
    """The six lines of the documentation accept what we send, and nothing that was changed, is old, or is signed by others."""
    assert EXAMPLE
    names: dict[str, object] = {}
    exec(EXAMPLE[1], names)
    is_ours = names["is_ours"]
    assert callable(is_ours)
    key, now = key_of(SECRET), int(time.time())
    headers = signed(key, "1f", now, b"{}")

    assert is_ours(key, headers, b"{}")
    assert not is_ours(key, headers, b"{} ")
    assert not is_ours(b"x" * 24, headers, b"{}")
    assert not is_ours(key, headers | {"webhook-id": "2f"}, b"{}")
    assert not is_ours(key, signed(key, "1f", now - 3600, b"{}"), b"{}")
    assert len([line for line in EXAMPLE[1].splitlines() if line.startswith("    ")]) == 6
