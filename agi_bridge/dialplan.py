"""What may be said to the dialplan: the SIP URI allow-list, the dial string, Dial options, and what DIALSTATUS means.

Pure. A SIP URI comes from the network and ends in `Dial()`, where "&" starts another destination, "," replaces our options
and "?" adds headers, whatever is quoted (app_dial.c:2629 of Asterisk 22.10.1). So nothing is escaped here: a text is on the
list of what is safe, or the call takes its fallback. It does not know AGI or Millis; `bridge.py` uses it for every call.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agi_bridge.call import Outcome, Reason, Result
from agi_bridge.errors import BadSipUri

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agi_bridge.routing import Dialling

# PJSIP takes 512 bytes for the URI and its angle brackets (PJSIP_MAX_URL_SIZE); nothing honest comes near this.
MAX_URI_CHARACTERS = 255

_URI = re.compile(
    r"(?P<scheme>sips?):"
    r"(?P<user>[A-Za-z0-9._+-]{1,128})@"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:;transport=(?P<transport>udp|tcp|tls))?",
    re.ASCII | re.IGNORECASE,
)

_PLACE = re.compile(
    r"[A-Za-z0-9_.-]{1,79},[A-Za-z0-9_+*#.-]{1,79},(?:[1-9][0-9]{0,5}|[A-Za-z_][A-Za-z0-9_-]{0,78})", re.ASCII
)
_ENDPOINT = re.compile(r"[A-Za-z0-9_.-]{1,79}", re.ASCII)
_DIAL_OPTIONS = re.compile(r"(?:[A-Za-z](?:\([A-Za-z0-9_:^*#.-]*\))?)*", re.ASCII)
_SOUND = re.compile(r"[A-Za-z0-9_/.-]{1,200}(?:&[A-Za-z0-9_/.-]{1,200}){0,9}", re.ASCII)
_MUSIC = re.compile(r"[A-Za-z0-9_-]{1,79}", re.ASCII)
# No Local channel: a ringing that is passed through one after the answer is never taken back (app_dial.c), and whoever was
# called hears nothing from then on.
_TRUNK = re.compile(
    r"PJSIP/\{(?:number|digits)\}@[A-Za-z0-9_.-]{1,79}"
    r"|PJSIP/[A-Za-z0-9_.-]{1,79}/sip:\{(?:number|digits)\}@[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:;transport=(?:udp|tcp|tls))?",
    re.ASCII,
)
_CALL_ID = re.compile(r"[A-Za-z0-9._+-]{1,128}", re.ASCII)

# Keys that let one party transfer, park or hand the call on: whoever presses them dials through the PBX.
FEATURE_OPTIONS = frozenset("tTkKxX")
# Set by us on every call, or against what we set: i (no redirects) and the limits on how long a call may last.
OWN_OPTIONS = frozenset("iSL")


@dataclass(frozen=True, slots=True)
class SipUri:
    """A SIP URI that has passed the allow-list: `str(uri)` may stand in a dial string."""

    text: str
    host: str

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str, allowed_hosts: Sequence[str]) -> SipUri:
        """Check *text* against the allow-list; raise BadSipUri, whose message never holds the URI itself.

        *allowed_hosts* are host names, IPv4 addresses, or `*.domain` for every name below a domain.
        """
        if len(text) > MAX_URI_CHARACTERS:
            raise BadSipUri(f"the SIP URI has {len(text)} characters, more than {MAX_URI_CHARACTERS}")
        match = _URI.fullmatch(text)
        if match is None:
            raise BadSipUri("the SIP URI is not of the form sip:user@host[:port][;transport=udp|tcp|tls]")
        host = match["host"].lower()
        if match["port"] and not 0 < int(match["port"]) < 65536:
            raise BadSipUri(f"the SIP URI names port {match['port']}")
        if not any(_host_matches(host, allowed) for allowed in allowed_hosts):
            raise BadSipUri(
                f"the SIP URI's host {host} is not in allowed_hosts; if it is Millis's, admit it with "
                f"allowed_hosts = {json.dumps([*allowed_hosts, host])} under [millis]"
            )
        return cls(text, host)


def _host_matches(host: str, allowed: str) -> bool:
    allowed = allowed.lower()
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed


def dial_string(endpoint: str, uri: SipUri) -> str:
    """Return the argument of Dial: the endpoint supplies codecs and transport, the URI is dialled as it is."""
    return f"PJSIP/{endpoint}/{uri}"


def dial_options(dialling: Dialling, music: str = "") -> str:
    """Return the options of Dial: never follow a redirect (i), end after the longest duration (S), then the rule's own.

    L adds the warning before the end, and m the *music* that the caller hears instead of ringing.
    """
    longest, warning = dialling.max_duration_seconds, dialling.warning_seconds
    warn = f"L({longest * 1000}:{warning * 1000})" if warning else ""
    return f"iS({longest}){warn}{f'm({music})' if music else ''}{dialling.dial_options}"


# What L plays, and to whom: the agent is no person who could make use of it.
WARNING_VARIABLES = {"LIMIT_WARNING_FILE": "beep", "LIMIT_PLAYAUDIO_CALLER": "yes", "LIMIT_PLAYAUDIO_CALLEE": "no"}


def check_sound(text: str) -> str:
    """Return *text* if it can be the name of a sound file, or several joined by "&"; raise ValueError."""
    if not _SOUND.fullmatch(text):
        raise ValueError(
            "must be the name of a sound without its ending, such as custom/welcome; several joined by '&'"
        )
    return text


def check_music(text: str) -> str:
    """Return *text* if it can be the name of a class of music on hold; raise ValueError."""
    if not _MUSIC.fullmatch(text):
        raise ValueError("must be the name of a class of music on hold: letters, digits, '_' and '-'")
    return text


def check_place(text: str) -> str:
    """Return *text* if it is a place in the dialplan, `context,exten,priority`; raise ValueError."""
    if not _PLACE.fullmatch(text):
        raise ValueError("must be a place in the dialplan, written context,exten,priority")
    return text


def check_endpoint(text: str) -> str:
    """Return *text* if it can be the name of a PJSIP endpoint; raise ValueError."""
    if not _ENDPOINT.fullmatch(text):
        raise ValueError("must be the name of a PJSIP endpoint: letters, digits, '_', '.' and '-'")
    return text


def check_trunk(text: str) -> str:
    """Return *text* if it is the dial string of a trunk, with a place for the number; raise ValueError."""
    if not _TRUNK.fullmatch(text):
        raise ValueError(
            "must be PJSIP/{number}@endpoint or PJSIP/endpoint/sip:{number}@host; {digits} is the number without its plus"
        )
    return text


def through_trunk(trunk: str, number: str) -> str:
    """Return what is dialled to reach *number*, in E.164, through *trunk*."""
    return trunk.replace("{number}", number).replace("{digits}", number.removeprefix("+"))


def check_dial_options(text: str, allow_feature_keys: bool) -> str:
    """Return *text* if a rule may add it to the options of Dial; raise ValueError with what is wrong."""
    if not _DIAL_OPTIONS.fullmatch(text):
        raise ValueError(
            "must be options of Dial, such as 'g' or 'gb(add-header^s^1)', without commas, quotes or blanks"
        )
    letters = set(re.sub(r"\([^)]*\)", "", text))
    if own := sorted(letters & OWN_OPTIONS):
        hint = "" if own[0] == "i" else "; max_duration_seconds is the limit of a call"
        raise ValueError(f"option {own[0]} is the bridge's own{hint}")
    if not allow_feature_keys and (keys := sorted(letters & FEATURE_OPTIONS)):
        raise ValueError(
            f"option {keys[0]} lets a party of the call dial through the PBX; "
            "if that is wanted, set allow_feature_keys = true beside it"
        )
    return text


def safe_call_id(text: str) -> str:
    """Return Millis's call id where it may stand in a channel variable and a log, else ""."""
    return text if _CALL_ID.fullmatch(text) else ""


ANSWERED = Outcome(Result.COMPLETED, Reason.ANSWERED)

# What each DIALSTATUS (app_dial.c) says about the agent leg. An outage must not look like a busy agent.
_OUTCOMES = {
    "ANSWER": ANSWERED,
    "CANCEL": Outcome(Result.CALLER, Reason.CALLER_HUNG_UP),
    "BUSY": Outcome(Result.MILLIS, Reason.AGENT_BUSY),
    "NOANSWER": Outcome(Result.MILLIS, Reason.AGENT_NO_ANSWER),
    "CONGESTION": Outcome(Result.MILLIS, Reason.AGENT_CONGESTION),
    "CHANUNAVAIL": Outcome(Result.MILLIS, Reason.AGENT_UNAVAILABLE),
    "DONTCALL": Outcome(Result.PBX, Reason.DIAL_REFUSED),
    "TORTURE": Outcome(Result.PBX, Reason.DIAL_REFUSED),
    "INVALIDARGS": Outcome(Result.PBX, Reason.DIAL_REFUSED),
}
_NEVER_DIALLED = Outcome(Result.UNKNOWN, Reason.NEVER_DIALLED)
_REDIRECTED = Outcome(Result.MILLIS, Reason.AGENT_UNAVAILABLE)
_DROPPED = Outcome(Result.MILLIS, Reason.AGENT_DROPPED)
TRANSFERRED = Outcome(Result.COMPLETED, Reason.TRANSFERRED)
_TRANSFER_ANSWERED = Outcome(Result.COMPLETED, Reason.TRANSFER_ANSWERED)
_TRANSFER_UNANSWERED = Outcome(Result.PBX, Reason.TRANSFER_UNANSWERED)


def outcome_of_dial(dialstatus: str, hangup_cause: str = "", *, dropped: bool = False) -> Outcome:
    """Return how the agent leg went; *dropped* says that the agent hung up within the second in which it had answered.

    A blocked redirect shows as BUSY with hangup cause 0, which no busy agent gives.
    """
    if dialstatus == "BUSY" and hangup_cause == "0":
        return _REDIRECTED
    if dialstatus == "ANSWER" and dropped:
        return _DROPPED
    return _OUTCOMES.get(dialstatus, _NEVER_DIALLED)


CALLED_ANSWERED = Outcome(Result.COMPLETED, Reason.CALLED_ANSWERED)
# The PBX was asked to call, and then lost to us: it may have called all the same.
CALLED_UNKNOWN = Outcome(Result.UNKNOWN, Reason.CALLED_UNKNOWN)
_CALLED_UNREACHABLE = Outcome(Result.PBX, Reason.CALLED_UNREACHABLE)
_CALLED = {
    "BUSY": Outcome(Result.CALLER, Reason.CALLED_BUSY),
    "NOANSWER": Outcome(Result.CALLER, Reason.CALLED_NO_ANSWER),
}

# What Dial would have said, by the hangup cause (Q.850): busy, no user responding, no answer, no circuit, congestion.
_DIALSTATUS = {17: "BUSY", 18: "NOANSWER", 19: "NOANSWER", 34: "CONGESTION", 42: "CONGESTION"}


def dialstatus_of_cause(hangup_cause: int | None) -> str:
    """Return Dial's word for a call that was not answered; Originate has only the hangup cause."""
    return _DIALSTATUS.get(hangup_cause or 0, "CHANUNAVAIL")


def outcome_of_called(dialstatus: str) -> Outcome:
    """Return how a call went that we made and nobody answered."""
    return _CALLED.get(dialstatus, _CALLED_UNREACHABLE)


def outcome_of_transfer(dialstatus: str) -> Outcome:
    """Return how a transfer went; "" and CANCEL say that the caller hung up before anybody had answered."""
    if dialstatus == "ANSWER":
        return _TRANSFER_ANSWERED
    return _OUTCOMES["CANCEL"] if dialstatus in ("", "CANCEL") else _TRANSFER_UNANSWERED
