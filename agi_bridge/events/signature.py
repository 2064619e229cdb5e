"""How a target knows that an event is from us, is as we sent it, and is not an old one sent again. Pure.

The three headers are those of the Standard Webhooks specification, so that its libraries can verify them:

    webhook-id: 1f0c…
    webhook-timestamp: 1767323045
    webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=

What is signed, with HMAC-SHA256, is the id, the timestamp and the body, joined by full stops.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_PREFIX = "whsec_"
SHORTEST_KEY_BYTES = 16


def key_of(secret: str) -> bytes:
    """Return the key that a secret stands for: what follows `whsec_` is base64, anything else is itself; raise ValueError."""
    if not secret.startswith(_PREFIX):
        key = secret.encode()
    else:
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise ValueError("what follows whsec_ is not base64") from None
    if len(key) < SHORTEST_KEY_BYTES:
        raise ValueError(f"can be guessed: it has fewer than {SHORTEST_KEY_BYTES} bytes")
    return key


def signed(key: bytes, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers for one request."""
    text = b"%s.%d.%s" % (id.encode(), timestamp, body)
    signature = base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{signature}"}
