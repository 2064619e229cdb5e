"""What the lab changes in `asterisk-conf/` for one private Asterisk: values in the `site/` files, and nothing else.

It edits as an administrator would: a key that the shipped file does not have is an error, so the lab cannot drift
away from what is shipped.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .slot import Slot

SHIPPED = Path(__file__).resolve().parents[2] / "asterisk-conf"
ADDRESS = "127.0.0.1"

# Asterisk complains without these. Every package brings them, so we ship none; here the least that it takes will do.
_LEFT_TO_THE_PACKAGE = {
    "indications.conf": "[general]\ncountry = us\n[us]\ndescription = US\nring = 440+480/2000,0/4000\n",
    "musiconhold.conf": "[default]\nmode = playlist\nentry = /usr/share/asterisk/sounds/en/beep\n",
    **dict.fromkeys(
        (f"{name}.conf" for name in ("acl", "ccss", "cdr", "cel", "features", "pjproject", "stasis", "udptl")), ""
    ),
}


@dataclass(frozen=True)
class SiteSettings:
    """The site that an Asterisk of the lab is at. The defaults suit a bridge on its usual port."""

    bridge: str = "127.0.0.1:4573"
    budget_seconds: float = 6
    default_fallback: str = "millis-fallback,s,1"
    # Who may call on the trunk: SIPp with `-i 127.0.0.2`.
    trunk: str = "127.0.0.2"
    # The authority that the agent's TLS certificate must come from, in PEM; the machine's authorities if empty.
    ca_certificate: str = ""
    # More of the same: text added to site/extensions.conf, site/pjsip.conf and site/manager.conf.
    dialplan: str = ""
    pjsip: str = ""
    manager: str = ""
    # Whole files that take the place of shipped ones, or stand beside them: name -> text. A name may be in a folder.
    files: Mapping[str, str] = field(default_factory=dict)


def write_configuration(folder: Path, seen: Path, site: SiteSettings, slot: Slot) -> None:
    """Copy the shipped configuration to *folder*, which Asterisk knows as *seen*, and edit its site files."""
    shutil.copytree(SHIPPED, folder)
    for name, text in {**_LEFT_TO_THE_PACKAGE, **site.files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    sip = {
        "site-udp.bind": f"{ADDRESS}:{slot.sip_port}",
        "site-tcp.bind": f"{ADDRESS}:{slot.sip_port}",
        "site-tls.bind": f"{ADDRESS}:{slot.tls_port}",
        "site-trunk.match": site.trunk,
    }
    if site.ca_certificate:
        (folder / "ca.crt").write_text(site.ca_certificate)
        sip["site-tls.ca_list_file"] = str(seen / "ca.crt")
    _edit(folder / "site/pjsip.conf", sip, site.pjsip)
    _edit(
        folder / "site/extensions.conf",
        {
            "globals.MILLIS_BRIDGE": site.bridge,
            "globals.MILLIS_BUDGET_SECONDS": f"{site.budget_seconds:g}",
            "globals.MILLIS_DEFAULT_FALLBACK": site.default_fallback,
        },
        site.dialplan,
    )
    rtp = slot.rtp_ports
    _edit(folder / "site/rtp.conf", {".rtpstart": str(rtp.start), ".rtpend": str(rtp.stop - 1)})
    _edit(folder / "site/manager.conf", {".port": str(slot.manager_port)}, site.manager)


def edited(text: str, values: Mapping[str, str]) -> str:
    """Return a configuration file with other *values* ("section.key" -> value); KeyError if it lacks one of them."""
    missing = dict(values)
    section = ""
    lines = []
    for line in text.splitlines():
        if heading := re.match(r"\[([\w-]+)\]", line):
            section = heading[1]
        elif (pair := re.match(r"([\w-]+)(\s*=>?\s*)", line)) and f"{section}.{pair[1]}" in values:
            line = pair[0] + missing.pop(f"{section}.{pair[1]}")
        lines.append(line)
    if missing:
        raise KeyError(f"the shipped file has no {', '.join(missing)}")
    return "\n".join(lines) + "\n"


def _edit(path: Path, values: Mapping[str, str], more: str = "") -> None:
    path.write_text(edited(path.read_text(), values) + more)
