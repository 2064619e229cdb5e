"""What Millis answers, whatever it is.

Promised: a body is read, or refused with MillisNonsense; what goes into the log is bounded, is on one line and holds no SIP
URI; a URI that was read is then refused or safe (`sip_uri`); a call id is safe or dropped.
"""

import re

from agi_bridge.dialplan import SipUri, dial_string, safe_call_id
from agi_bridge.errors import BadSipUri, MillisNonsense, MillisRefused
from agi_bridge.millis.models import error_detail, parse_registration
from fuzzing.sip_uri import must_be_safe
from fuzzing.target import Target

_ALLOWED_HOSTS = ("*.millis.ai", "127.0.0.1")
_LONGEST_MESSAGE = 800  # a refusal of a host names it twice

# What an answer must not make us write: whoever knows the URI is admitted.
_TOLD_URI = re.compile(r"sips?:[A-Za-z0-9._+-]{1,128}@", re.IGNORECASE)


def broken_by(data: bytes) -> None:
    """Read the body as the answer to a registration and as that of a refusal."""
    _must_be_tellable(str(MillisRefused(422, error_detail(data))))
    try:
        registration = parse_registration(data)
    except MillisNonsense as error:
        _must_be_tellable(str(error))
        return
    assert _is_word(safe_call_id(registration.call_id)), "a call id that is no word"
    try:
        uri = SipUri.parse(registration.sip_uri, _ALLOWED_HOSTS)
    except BadSipUri as error:
        _must_be_tellable(str(error))
    else:
        must_be_safe(dial_string("millis", uri))


def _must_be_tellable(message: str) -> None:
    assert len(message) <= _LONGEST_MESSAGE, f"a message of {len(message)} characters"
    assert message.isprintable(), "a message with control signs"
    assert not _TOLD_URI.search(message.replace("sip:user@host", "")), "a message that tells a SIP URI"


def _is_word(text: str) -> bool:
    return all(sign.isascii() and (sign.isalnum() or sign in "._+-") for sign in text)


TARGET = Target(
    "millis-answers",
    broken_by,
    seeds=(
        b'{"call_id": "call-1", "sip": "sip:call-1@sip.millis.ai"}',
        b'{"sip_uri": "<sip:call-1@127.0.0.1:5090;transport=tcp>"}',
        b'{"detail": "Invalid API key"}',
        b'{"detail": [{"loc": ["body", "agent_id"], "msg": "Input should be a valid string", "type": "string_type"}]}',
        b'{"message": {"error": {"nested": ["sip:call-1@sip.millis.ai", 1e9, null, true]}}}',
        b'{"call_id": "call-\\ud800", "sip": "sip:call-1@127.0.0.1\\u0000"}',
        b"<!DOCTYPE html><html><body><h1>Something went wrong</h1></body></html>",
        b'{"detail": ' + b"[" * 900 + b"]" * 900 + b"}",
        b"[]",
        b"",
    ),
    words=(
        *('"call_id"', '"sip"', '"sip_uri"', '"detail"', '"message"', '"error"', '"loc"', '"msg"', '"sip:'),
        *("{", "}", "[", "]", ":", ",", '"', "\\u0000", "\\n", "\\ud800", "null", "true", "NaN", "1e999", "@127.0.0.1"),
        *("@sip.millis.ai", "[[[[[[[[", "\ufeff"),
    ),
    longest_bytes=4096,
)
