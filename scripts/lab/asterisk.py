"""Finding an Asterisk: the installed one, else a Debian tree of our own, else Docker.

Only versions from 20 on count. Whichever it is, SIPp is beside it.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from . import debian_root, docker_image
from .errors import AsteriskFailed, AsteriskUnavailable
from .pbx import Pbx, private_pbx
from .place import DebianRoot, Guest, Host, Place
from .site import SHIPPED, SiteSettings
from .steps import Say, run

OLDEST = 20


@dataclass(frozen=True)
class Asterisk:
    """An Asterisk that can be started any number of times, with SIPp beside it."""

    kind: str  # "installed", "Debian tree" or "Docker"
    version: str
    place: Place

    @property
    def root(self) -> Path | None:
        """The folder that holds the Debian tree, if that is what it is."""
        return self.place.root if isinstance(self.place, DebianRoot) else None

    def start(self, site: SiteSettings | None = None) -> AbstractContextManager[Pbx]:
        """Run a private instance for the length of a `with` block."""
        return private_pbx(self.place, site or SiteSettings())

    def sipp(self, arguments: Sequence[str], folder: Path) -> Guest:
        """Start SIPp in *folder*; `wait` for it, or leave it to the end of a `with` block.

        Files named in *arguments* are found by their names in *folder*. What SIPp prints is in `Guest.text()`.
        """
        descriptor, output = tempfile.mkstemp(prefix="sipp-", suffix=".out", dir=folder)
        os.close(descriptor)
        return Guest(self.place, ["sipp", *arguments, "-nostdin"], folder.resolve(), Path(output))


def find_asterisk(say: Say = print) -> Asterisk:
    """Return an Asterisk, made now if need be; raise AsteriskUnavailable with one reason for each way there is."""
    reasons: list[str] = []
    try:
        return _installed()
    except AsteriskUnavailable as unavailable:
        reasons += unavailable.reasons
    for kind, source in (("Debian tree", debian_root), ("Docker", docker_image)):
        if reason := source.obstacle():
            reasons.append(reason)
            continue
        try:
            place = source.prepare(say)
            return Asterisk(kind, _version(place), place)
        except AsteriskUnavailable as unavailable:
            reasons += unavailable.reasons
    raise AsteriskUnavailable(reasons)


def _installed() -> Asterisk:
    """Return the machine's own Asterisk, if it will do."""
    if not shutil.which("asterisk"):
        raise AsteriskUnavailable(["no Asterisk is installed"])
    if not shutil.which("sipp"):
        raise AsteriskUnavailable(["Asterisk is installed, but SIPp (Debian: sip-tester) is not"])
    version = _version(Host())
    if int(version.partition(".")[0]) < OLDEST:
        raise AsteriskUnavailable([f"the installed Asterisk is {version}; it takes {OLDEST} or newer"])
    if lacking := _needed_modules() - _installed_modules():
        raise AsteriskUnavailable([f"the installed Asterisk {version} lacks {', '.join(sorted(lacking))}"])
    return Asterisk("installed", version, Host())


def _version(place: Place) -> str:
    """Return "22.10.1" from "Asterisk 22.10.1~dfsg…"; "20.7" from "Asterisk certified-20.7-cert5"."""
    try:
        printed = run(place.command(["asterisk", "-V"], SHIPPED), seconds=30)
    except AsteriskFailed as failure:
        raise AsteriskUnavailable([f"its Asterisk does not run: {failure}"]) from failure
    if not (found := re.search(r"\d+(\.\d+)*", printed)):
        raise AsteriskUnavailable([f"its Asterisk does not tell its version, but {printed!r}"])
    return found[0]


def _needed_modules() -> set[str]:
    return set(re.findall(r"^load\s*=>?\s*(\S+)", (SHIPPED / "modules.conf").read_text(), re.MULTILINE))


def _installed_modules() -> set[str]:
    folders = ("lib/asterisk", "lib64/asterisk", "lib/*/asterisk")
    return {module.name for folder in folders for module in Path("/usr").glob(f"{folder}/modules/*.so")}
