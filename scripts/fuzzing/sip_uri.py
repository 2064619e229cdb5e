"""The allow-list of SIP URIs, whatever Millis answers.

Promised: a text is refused with BadSipUri, whose message does not repeat it, or it is safe to stand in a dial string and
leads to an allowed host. What is safe is said here a second time and in another way: sign by sign, without a pattern.
"""

from string import ascii_letters, digits

from agi_bridge.agi.protocol import execute, get_full_variable
from agi_bridge.dialplan import MAX_URI_CHARACTERS, SipUri, dial_string
from agi_bridge.errors import BadSipUri
from fuzzing.target import Target

_ALLOWED_HOSTS = ("*.millis.ai", "127.0.0.1")
_TRANSPORTS = (";transport=udp", ";transport=tcp", ";transport=tls")

# Signs that mean nothing to Dial, to MSet, to AGI's splitter, to the dialplan's substitution and to PJSIP within a URI.
_PLAIN = frozenset(ascii_letters + digits + "._+-")

# Too long to stand in a message by chance.
_TELLING_CHARACTERS = 64


def broken_by(data: bytes) -> None:
    """Have the text checked."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        uri = SipUri.parse(text, _ALLOWED_HOSTS)
    except BadSipUri as error:
        user, _, host = text.partition(":")[2].partition("@")
        told = str(error).replace(host.partition(":")[0].lower(), "") if host else str(error)
        assert len(user) < _TELLING_CHARACTERS or user not in told, "a refusal repeats the URI"
    else:
        assert str(uri) == text, "what is dialled is not what was checked"
        must_be_safe(dial_string("millis", uri))


def must_be_safe(dial: str) -> None:
    """Raise AssertionError where *dial* could mean anything but one URI on an allowed host, dialled through one endpoint."""
    technology, endpoint, uri = dial.split("/")
    assert (technology, _is_plain(endpoint)) == ("PJSIP", True), "another channel technology"
    assert len(uri) <= MAX_URI_CHARACTERS, "a URI longer than PJSIP takes"
    suffix = next((end for end in _TRANSPORTS if uri.lower().endswith(end)), "")
    scheme, _, rest = uri[: len(uri) - len(suffix)].partition(":")
    user, at, host = rest.partition("@")
    host, colon, port = host.partition(":")
    assert scheme.lower() in ("sip", "sips"), "no SIP URI"
    assert at, "a URI without a user"
    assert _is_plain(user), "a user that means something to Dial"
    assert _is_plain(host), "a host that means something to Dial"
    assert not colon or (_is_plain(port) and port.isdigit() and 0 < int(port) < 65536), "no port"
    assert host.lower() == "127.0.0.1" or host.lower().endswith(".millis.ai"), "a host that is not allowed"
    for command in (execute("Dial", f"{dial},20,i"), get_full_variable(dial)):
        assert not set(b"\n\r\0") & set(command.encode()[:-1]), "a command of more than one line"


def _is_plain(text: str) -> bool:
    return bool(text) and _PLAIN.issuperset(text)


TARGET = Target(
    "sip-uri",
    broken_by,
    seeds=(
        b"sip:call-1@sip.millis.ai",
        b"sips:call-1@sip.eu-west.millis.ai:5061;transport=tls",
        b"SIP:+15551230001@127.0.0.1:5090;transport=UDP",
        b"sip:a@127.0.0.1&Local/s@lobby",
        b"sip:a@millis.ai.example.com?X-Account=1",
    ),
    words=(
        *("sip:", "sips:", "@", ":", ";transport=udp", ";transport=tcp", ";transport=tls", ".millis.ai", "127.0.0.1"),
        *("&", "?", ",", "\n", "\r", "\0", '"', "\\", "${", "(", ")", "<", ">", "%00", "\u212a", "\uff0e"),
    ),
    longest_bytes=512,
)
