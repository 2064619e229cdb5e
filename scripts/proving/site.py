"""The PBX that many calls go through: the shipped configuration, with room for them and without the story of each.

Its dialplan says in the log when a call begins and when it reaches the fallback, which is a witness of its own: it knows
nothing of what the bridge believes.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lab import Pbx, SiteSettings

TRUNK = "127.0.0.2"
DID = "15551230001"
FALLBACK = "desk,s,1"

_DIALPLAN = f"""
[desk]
exten => s,1,Log(NOTICE,witness: ${{UNIQUEID}} desk)
 same => n,Answer()
 same => n,Wait(5)
 same => n,Hangup()

[from-trunk](+)
exten => {DID},1,Log(NOTICE,witness: ${{UNIQUEID}} began ${{CALLERID(num)}})
 same => n,Gosub(millis,s,1(${{EXTEN}}))
 same => n,Hangup()
"""
_FILES = {
    # A line for each step of each call would fill the disk, and cost more than the call.
    "logger.conf": "[general]\n[logfiles]\nfull.log => notice,warning,error\n",
    # Two ports for each of two legs. The lab's own slots begin at 20000.
    "rtp.conf": "[general]\nstrictrtp = yes\nrtpstart = 10000\nrtpend = 19999\n",
}


def settings(bridge: str) -> SiteSettings:
    """Return the site of a PBX that asks the bridge at this address."""
    return SiteSettings(bridge=bridge, trunk=TRUNK, default_fallback=FALLBACK, dialplan=_DIALPLAN, files=_FILES)


@dataclass(frozen=True)
class Witness:
    """What the PBX saw: who called, by uniqueid, and how often each of them reached the fallback."""

    began: dict[str, str]
    desk: Counter[str]


def witness(log: str) -> Witness:
    """Read the PBX's log."""
    began: dict[str, str] = {}
    desk: Counter[str] = Counter()
    for uniqueid, what, caller in re.findall(r"witness: (\S+) (began|desk) ?(\S*)", log):
        if what == "began":
            began[uniqueid] = caller
        else:
            desk[uniqueid] += 1
    return Witness(began, desk)


def asterisk_pid(pbx: Pbx) -> int:
    """Return the process of the PBX as this machine knows it; 0 where it lives in a container."""
    pid = int((pbx.folder / "run/asterisk.pid").read_text())
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return 0
    return pid if name == "asterisk" else 0
