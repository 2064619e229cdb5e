"""SIP messages and their SDP bodies: bytes to values and back (RFC 3261, RFC 4566). Pure.

Everything that arrives is somebody else's text, so a message that lacks what a call needs is refused here, once, with
`SipSyntaxError`, and `sip.py` can trust the rest. Knows IPv4, UDP and G.711 and nothing of calls, timers or sockets.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from agi_bridge.simulator.tone import PCMA, PCMU

REASONS = {
    100: "Trying", 180: "Ringing", 200: "OK", 302: "Moved Temporarily", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 420: "Bad Extension", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 486: "Busy Here", 487: "Request Terminated",
    488: "Not Acceptable Here", 500: "Server Internal Error", 503: "Service Unavailable", 603: "Decline",
}  # fmt: skip
_COMPACT = {"v": "Via", "f": "From", "t": "To", "i": "Call-ID", "m": "Contact", "l": "Content-Length",
            "c": "Content-Type", "k": "Supported", "x": "Session-Expires"}  # fmt: skip
_REQUEST_LINE = re.compile(r"([A-Z]+) (\S+) SIP/2\.0")
_STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6]\d\d)(?: (.*))?")
_CSEQ = re.compile(r"(\d{1,10})\s+([A-Z]+)")
_NAME_ADDRESS = re.compile(r'(?:"((?:[^"\\]|\\.)*)"\s*|([^<"]*))<([^>]*)>(.*)', re.DOTALL)
_UNRESERVED_IN_USER = "-_.!~*'()&=+$,"


class SipSyntaxError(ValueError):
    """These bytes are no SIP message, or no SDP, that a call could be made with."""


@dataclass(frozen=True)
class SipMessage:
    """One request (it has a *uri*) or response (it has a *status*), as it stood in one datagram."""

    method: str  # of a response: the method it answers, from CSeq
    headers: tuple[tuple[str, str], ...]
    uri: str = ""
    status: int = 0
    body: bytes = b""

    @classmethod
    def parse(cls, datagram: bytes) -> "SipMessage":
        head, end, body = datagram.lstrip(b"\r\n").partition(b"\r\n\r\n")
        if not end:
            raise SipSyntaxError("headers do not end")
        unfolded = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "replace"))
        start, *lines = unfolded.split("\r\n")
        if any(line.splitlines() != [line] or ":" not in line for line in lines):
            raise SipSyntaxError("a header is not `name: value` on one line")
        fields = [line.partition(":") for line in lines]
        headers = tuple((_COMPACT.get(name.strip().lower(), name.strip()), value.strip()) for name, _, value in fields)
        request, response = (_REQUEST_LINE.fullmatch(start), _STATUS_LINE.fullmatch(start))
        if request:
            message = cls(request[1], headers, uri=request[2])
        elif response:
            message = cls("", headers, status=int(response[1]))
        else:
            raise SipSyntaxError(f"not a start line: {start[:80]!r}")
        return message._checked(body)

    def _checked(self, body: bytes) -> "SipMessage":
        missing = [name for name in ("Via", "From", "To", "Call-ID", "CSeq") if not self.get(name)]
        if missing:
            raise SipSyntaxError(f"no {', '.join(missing)}")
        cseq = _CSEQ.fullmatch(self.get("CSeq"))
        if not cseq or self.method not in ("", cseq[2]):
            raise SipSyntaxError(f"CSeq is {self.get('CSeq')[:80]!r}")
        length = self.get("Content-Length") or str(len(body))
        if not re.fullmatch(r"[0-9]{1,5}", length) or int(length) > len(body):
            raise SipSyntaxError(f"Content-Length is {length[:80]!r}, the body has {len(body)} bytes")
        return SipMessage(cseq[2], self.headers, self.uri, self.status, body[: int(length)])

    def encode(self) -> bytes:
        start = f"SIP/2.0 {self.status} {REASONS.get(self.status, 'Refused')}" if self.status else ""
        start = start or f"{self.method} {self.uri} SIP/2.0"
        lines = [start, *(f"{name}: {value}" for name, value in self.headers), f"Content-Length: {len(self.body)}"]
        if self.body:
            lines.append("Content-Type: application/sdp")  # we send no other
        if any(line.splitlines() != [line] for line in lines):
            raise SipSyntaxError("a header must stay on one line")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + self.body

    def get(self, name: str) -> str:
        """Return the first header of that name, or ''."""
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> list[str]:
        return [value for header, value in self.headers if header.lower() == name.lower()]

    def tokens(self, name: str) -> set[str]:
        """Return what a comma-separated header such as Supported lists."""
        return {token.strip().lower() for value in self.all(name) for token in value.split(",")} - {""}

    @property
    def call_id(self) -> str:
        return self.get("Call-ID")

    @property
    def cseq(self) -> int:
        return int(self.get("CSeq").split()[0])

    @property
    def branch(self) -> str:
        """The transaction's name: the branch of the topmost Via."""
        return parameter(self.get("Via").partition(",")[0], "branch")

    @property
    def from_tag(self) -> str:
        return NameAddress.parse(self.get("From")).tag

    @property
    def to_tag(self) -> str:
        return NameAddress.parse(self.get("To")).tag


@dataclass(frozen=True)
class NameAddress:
    """A From, To or Contact value: `"Ann" <sip:+15551230001@host>;tag=1`."""

    name: str
    uri: str
    parameters: str = ""

    @classmethod
    def parse(cls, value: str) -> "NameAddress":
        match = _NAME_ADDRESS.fullmatch(value.strip())
        if not match:
            uri, mark, parameters = value.strip().partition(";")
            return cls("", uri, mark + parameters)
        quoted, plain, uri, parameters = match.groups()
        name = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain.strip()
        return cls(name, uri, parameters)

    def __str__(self) -> str:
        name = self.name.replace("\\", r"\\").replace('"', r"\"")
        return f'"{name}" <{self.uri}>{self.parameters}' if name else f"<{self.uri}>{self.parameters}"

    @property
    def user(self) -> str:
        return user_of(self.uri)

    @property
    def tag(self) -> str:
        return parameter(self.parameters, "tag")


def parameter(text: str, name: str) -> str:
    """Return the value of `;name=value` in *text*, or ''."""
    match = re.search(rf";\s*{name}\s*=\s*([^;,\s]+)", text, re.IGNORECASE)
    return match[1] if match else ""


def sip_uri(user: str, host: str, port: int) -> str:
    return f"sip:{quote(user, safe=_UNRESERVED_IN_USER)}@{host}:{port}"


def user_of(uri: str) -> str:
    """Return the unescaped user part of a SIP URI, or ''."""
    user, at, _ = uri.partition(":")[2].partition("@")
    return unquote(re.split("[;:]", user)[0]) if at else ""


@dataclass(frozen=True)
class Sdp:
    """What the far side offers or answers: where it hears, and in which codec."""

    host: str
    port: int
    codec: int  # PCMU or PCMA, whichever it prefers
    telephone_event: int | None
    direction: str
    media: tuple[tuple[str, ...], ...]  # kind, port, transport and payloads of each `m=` line, in order
    audio: int  # which of them this is about

    @classmethod
    def parse(cls, body: bytes) -> "Sdp":
        session, *sections = re.split(r"(?m)^m=", body.decode("utf-8", "replace").replace("\r\n", "\n"))
        media = tuple(match.groups() for section in sections if (match := _MEDIA_LINE.match(section)))
        ours = [place for place, line in enumerate(media) if line[0] == "audio" and line[2] == "RTP/AVP"]
        if not ours or len(media) != len(sections):
            raise SipSyntaxError("no audio over plain RTP")
        section, (_, port, _, payloads) = sections[ours[0]], media[ours[0]]
        codecs = [codec for payload in payloads.split() if (codec := _CODECS.get(payload)) is not None]
        if not codecs or not 0 < int(port) < 65536:
            raise SipSyntaxError(f"no G.711 audio: port {port}, payloads {payloads[:80]!r}")
        try:
            host = str(ipaddress.IPv4Address(_line(r"c=IN IP4 (\S+)", section, session)))
        except ValueError as error:
            raise SipSyntaxError(f"no IPv4 address for the audio: {error}") from error
        event = _line(r"a=rtpmap:(\d{2,3}) telephone-event/8000", section)
        direction = _line(r"a=(sendrecv|sendonly|recvonly|inactive)$", section, session) or "sendrecv"
        return cls(host, int(port), codecs[0], int(event) if event else None, direction, media, ours[0])

    @classmethod
    def find(cls, body: bytes) -> "Sdp | None":
        """Return the SDP, or None when we cannot talk on its terms."""
        try:
            return cls.parse(body)
        except SipSyntaxError:
            return None

    @property
    def hears(self) -> bool:
        """False while it has put us on hold."""
        return self.direction in ("sendrecv", "recvonly") and self.host != "0.0.0.0"  # noqa: S104 - RFC 2543's hold


_MEDIA_LINE = re.compile(r"(\S+) (\d{1,5})(?:/\d+)? (\S+) ([^\n]+)")
_CODECS = {str(PCMU): PCMU, str(PCMA): PCMA}
_CODEC_NAMES = {PCMU: "PCMU/8000", PCMA: "PCMA/8000"}


def _line(pattern: str, *sections: str) -> str:
    """Return what *pattern* catches in the first section that has such a line, or ''."""
    found = (re.search(f"(?m)^{pattern}", section) for section in sections)
    return next((match[1] for match in found if match), "")


def offer_sdp(host: str, port: int, version: int) -> bytes:
    """Offer G.711 in both flavours; *version* counts the SDPs that we send within a call."""
    return _sdp(host, port, version, [_audio_section(port, [PCMU, PCMA], 101, "sendrecv")])


def answer_sdp(offer: Sdp, host: str, port: int, version: int) -> bytes:
    """Accept the offer's audio and refuse its other media, which must keep their places."""
    ours = {"sendonly": "recvonly", "recvonly": "sendonly"}.get(offer.direction, offer.direction)
    media = [f"m={kind} 0 {transport} {payloads}" for kind, _, transport, payloads in offer.media]
    media[offer.audio] = _audio_section(port, [offer.codec], offer.telephone_event, ours)
    return _sdp(host, port, version, media)


def _audio_section(port: int, codecs: Iterable[int], telephone_event: int | None, direction: str) -> str:
    names = {codec: _CODEC_NAMES[codec] for codec in codecs}
    if telephone_event is not None:
        names[telephone_event] = "telephone-event/8000"
    maps = [f"a=rtpmap:{payload} {name}" for payload, name in names.items()]
    media = f"m=audio {port} RTP/AVP {' '.join(map(str, names))}"
    return "\r\n".join([media, *maps, "a=ptime:20", f"a={direction}"])


def _sdp(host: str, session: int, version: int, media: Iterable[str]) -> bytes:
    lines = ["v=0", f"o=- {session} {version} IN IP4 {host}", "s=agi_bridge", f"c=IN IP4 {host}", "t=0 0", *media]
    return ("\r\n".join(lines) + "\r\n").encode()
