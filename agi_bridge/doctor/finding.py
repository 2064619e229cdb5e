"""What the doctor says: a `Finding` for each thing that was looked at, fine or not. Pure.

It does not know how anything is looked at. Whatever leaves here has passed `masked`: a report is made to be sent to somebody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Severity(IntEnum):
    """How bad it is, the worst last."""

    OK = 0
    INFO = 1  # nothing to mend, but good to know; also what could not be looked at
    WARNING = 2  # calls go through, but not all of them, or not safely
    ERROR = 3  # calls do not reach their agent, or strangers reach more than they should

    @property
    def word(self) -> str:
        """Return the word for it, as printed."""
        return self.name.lower()


class Part(StrEnum):
    """What can be examined by itself: `--only`."""

    MILLIS = "millis"
    BRIDGE = "bridge"
    PBX = "pbx"


class Check(StrEnum):
    """Every check there is, in the order in which equally bad findings are told. The first word is its part."""

    BRIDGE_CONFIG = "bridge-config"
    BRIDGE_RUNNING = "bridge-running"
    BRIDGE_PORTS = "bridge-ports"
    BRIDGE_LISTEN = "bridge-listen"
    BRIDGE_LIMITS = "bridge-limits"
    MILLIS_REGION = "millis-region"
    MILLIS_CERTIFICATE = "millis-certificate"
    MILLIS_KEY = "millis-key"
    MILLIS_CREDIT = "millis-credit"
    MILLIS_AGENT = "millis-agent"
    MILLIS_CLOCK = "millis-clock"
    MILLIS_STANDBY = "millis-standby"
    PBX_CONSOLE = "pbx-console"
    PBX_VERSION = "pbx-version"
    PBX_MODULES = "pbx-modules"
    PBX_CONTEXTS = "pbx-contexts"
    PBX_GLOBALS = "pbx-globals"
    PBX_INBOUND = "pbx-inbound"
    PBX_FALLBACK = "pbx-fallback"
    PBX_HANGUP_HANDLER = "pbx-hangup-handler"
    PBX_PING = "pbx-ping"
    PBX_ENDPOINT = "pbx-endpoint"
    PBX_TRANSPORT = "pbx-transport"
    PBX_CODECS = "pbx-codecs"
    PBX_MEDIA = "pbx-media"
    PBX_NAT = "pbx-nat"
    PBX_RTP = "pbx-rtp"
    PBX_TRANSFER = "pbx-transfer"
    PBX_STRANGERS = "pbx-strangers"

    @property
    def part(self) -> Part:
        """Return what it is a check of."""
        return Part(self.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy` is empty where nothing is to be done, `why` where that needs no reason."""

    severity: Severity
    check: Check
    looked_at: str
    found: str
    why: str = ""
    remedy: str = ""


def fine(check: Check, looked_at: str, found: str) -> Finding:
    """Return a finding about something that is as it should be."""
    return Finding(Severity.OK, check, looked_at, found)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings in the order in which to act on them."""
    order = {check: place for place, check in enumerate(Check)}
    return sorted(findings, key=lambda finding: (-finding.severity, order[finding.check]))


def worst(findings: Iterable[Finding]) -> Severity:
    """Return how bad the worst of them is."""
    return max((finding.severity for finding in findings), default=Severity.OK)


_SIP_USER = re.compile(r"(sips?:)[^@\s\"'<>&,;]+@", re.IGNORECASE)
# A phone number, but no part of a word, an IP address, a version or a time.
_NUMBER = re.compile(r"(?<![\w.:-])\+?[0-9]{7,15}(?![\w.:])", re.ASCII)
_SHOWN_AT_START, _SHOWN_AT_END = 4, 2
_LONGEST_TEXT = 1000
# A shorter one would be found in the middle of words; none is printed on purpose.
_SHORTEST_SECRET = 6


def masked(finding: Finding, secrets: Sequence[str]) -> Finding:
    """Return the finding without keys and secrets, users of SIP URIs and the middle of phone numbers, and printable."""
    return replace(
        finding,
        looked_at=_masked(finding.looked_at, secrets),
        found=_masked(finding.found, secrets),
        why=_masked(finding.why, secrets),
        remedy=_masked(finding.remedy, secrets),
    )


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "*****")
    text = _SIP_USER.sub(r"\1*****@", text)
    text = _NUMBER.sub(lambda number: _with_hidden_middle(number[0]), text)
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"


def _with_hidden_middle(number: str) -> str:
    hidden = len(number) - _SHOWN_AT_START - _SHOWN_AT_END
    return number[:_SHOWN_AT_START] + "*" * hidden + number[-_SHOWN_AT_END:]
