"""Many callers on the trunk, and the agent that many calls reach: SIPp, and what it counted."""

import csv
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import Asterisk, AsteriskFailed, Guest

# SIPp's own: all calls went well, or some did not.
_ALL_WELL, _SOME_FAILED = 0, 1

_CALLER = """\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="caller">
  <send retrans="500" start_rtd="1"><![CDATA[
    INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
    From: "Patient" <sip:{number}@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>
    Call-ID: [call_id]
    CSeq: 1 INVITE
    Contact: <sip:{number}@[local_ip]:[local_port]>
    Max-Forwards: 70
    Content-Type: application/sdp
    Content-Length: [len]

    v=0
    o=- 1 1 IN IP4 [local_ip]
    s=-
    c=IN IP4 [local_ip]
    t=0 0
    m=audio [media_port] RTP/AVP 0
    a=rtpmap:0 PCMU/8000
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rtd="1" rrs="true" timeout="{patience_ms}"/>
  <send><![CDATA[
    ACK [next_url] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
    From: "Patient" <sip:{number}@[local_ip]:[local_port]>;tag=[call_number]
    [last_To:]
    Call-ID: [call_id]
    CSeq: 1 ACK
    Max-Forwards: 70
    Content-Length: 0
  ]]></send>
  <recv request="BYE" timeout="{talk_ms}" ontimeout="tired" next="goodbye"/>
  <label id="tired"/>
  <send retrans="500"><![CDATA[
    BYE [next_url] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
    From: "Patient" <sip:{number}@[local_ip]:[local_port]>;tag=[call_number]
    [last_To:]
    Call-ID: [call_id]
    CSeq: 2 BYE
    Max-Forwards: 70
    Content-Length: 0
  ]]></send>
  <recv request="BYE" optional="true" next="crossed"/>
  <recv response="200" next="end"/>
  <label id="crossed"/>
  <send next="end">{yes}</send>
  <label id="goodbye"/>
  <send>{yes}</send>
  <label id="end"/>
</scenario>
"""
_YES = """<![CDATA[
    SIP/2.0 200 OK
    [last_Via:]
    [last_From:]
    [last_To:]
    [last_Call-ID:]
    [last_CSeq:]
    Content-Length: 0
  ]]>"""


@dataclass(frozen=True)
class Callers:
    """What became of a crowd of callers. A call succeeds where somebody has answered and both sides said goodbye."""

    created: int
    succeeded: int
    failed: int
    retransmissions: int
    setup_ms: Sequence[float]
    placing_seconds: float  # from the first INVITE to the last one that was answered
    errors: str

    def setup(self, share: float) -> float:
        """Return the milliseconds from INVITE to answer that this share of the calls did not exceed."""
        ordered = sorted(self.setup_ms)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


@dataclass(frozen=True)
class Crowd:
    """Callers who call one after another, whatever becomes of the calls before; `ended` waits for the last."""

    guest: Guest
    folder: Path
    seconds: float

    def ended(self) -> Callers:
        """Wait until the last call is over, and count; raise AsteriskFailed where SIPp itself failed."""
        code = self.guest.wait(self.seconds)
        if code not in (_ALL_WELL, _SOME_FAILED):
            raise AsteriskFailed(f"SIPp ended with {code}:\n{self.guest.text()[-2000:]}")
        return _counted(self.folder)


def callers(
    asterisk: Asterisk,
    folder: Path,
    *,
    host: str,
    target: str,
    did: str,
    number: str,
    rate: float,
    calls: int,
    talk_seconds: float,
    patience_seconds: float,
) -> Crowd:
    """Begin *calls* calls, *rate* a second, from *host*; each hangs up after *talk_seconds* if it has not been hung up on."""
    folder.mkdir()
    text = _CALLER.format(
        number=number, yes=_YES, talk_ms=round(talk_seconds * 1000), patience_ms=round(patience_seconds * 1000)
    )
    (folder / "caller.xml").write_text(text)
    arguments = [
        *(target, "-sf", "caller.xml", "-i", host, "-p", str(free_port(host)), "-s", did),
        # SIPp takes whole numbers, of calls in each so many milliseconds.
        *("-r", str(max(round(rate * 10), 1)), "-rp", "10000", "-m", str(calls), "-l", str(calls)),
        *("-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_rtt", "-rtt_freq", "1"),
        *("-trace_err", "-error_file", "errors.log", "-recv_timeout", str(round(patience_seconds * 1000))),
    ]
    longest = calls / rate + 3 * (talk_seconds + patience_seconds) + 60
    return Crowd(asterisk.sipp(arguments, folder), folder, longest)


def agent(asterisk: Asterisk, folder: Path) -> tuple[Guest, str]:
    """Start an agent that answers every call at once; return it and its address."""
    port = free_port("127.0.0.1")
    guest = asterisk.sipp(["-sn", "uas", "-i", "127.0.0.1", "-p", str(port)], folder)
    return guest, f"127.0.0.1:{port}"


def free_port(host: str) -> int:
    """Return a UDP port that nobody has."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _counted(folder: Path) -> Callers:
    with (folder / "stat.csv").open(newline="") as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    errors = folder / "errors.log"
    setups = _setups(folder)
    begun = [at - took for at, took in setups]
    return Callers(
        created=int(last["TotalCallCreated"]),
        succeeded=int(last["SuccessfulCall(C)"]),
        failed=int(last["FailedCall(C)"]),
        retransmissions=int(last["Retransmissions(C)"]),
        setup_ms=[took for _, took in setups],
        placing_seconds=(max(begun) - min(begun)) / 1e3 if begun else 0.0,
        errors=errors.read_text(errors="replace") if errors.exists() else "",
    )


def _setups(folder: Path) -> list[tuple[float, float]]:
    """Return when each call was answered and how long that took, in milliseconds; SIPp names the file itself."""
    found = []
    for path in folder.glob("*rtt.csv"):
        for line in path.read_text().splitlines()[1:]:
            fields = line.split(";")
            if len(fields) > 1:
                found.append((float(fields[0]), float(fields[1])))
    return found
