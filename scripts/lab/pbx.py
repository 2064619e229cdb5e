"""One private Asterisk: its own folder, ports and configuration, from its start to the end of a `with` block."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import AsteriskFailed
from .place import Guest, Place
from .site import ADDRESS, SiteSettings, write_configuration
from .slot import Slot, claimed
from .steps import tail

_BOOT_SECONDS = 30
_STOP_SECONDS = 5
_POLL_SECONDS = 0.01

# asterisk.conf of a private instance: the shipped one, with every path moved into its folder.
_ASTERISK_CONF = """\
[directories]
astetcdir => {folder}/etc
astvarlibdir => {folder}/lib
astdbdir => {folder}/lib
astspooldir => {folder}/spool
astrundir => {folder}/run
astlogdir => {folder}/log

#include {folder}/etc/asterisk.conf
"""


class Pbx:
    """A running Asterisk."""

    def __init__(self, slot: Slot, guest: Guest) -> None:
        self.slot = slot
        self.address = ADDRESS
        self.sip_port = slot.sip_port
        self.tls_port = slot.tls_port
        self.manager_port = slot.manager_port
        self.folder = slot.folder
        self.conf_dir = slot.folder / "etc"
        self._guest = guest

    def cli(self, command: str, seconds: float = 5) -> str:
        """Run a command on Asterisk's console and return what it printed."""
        return ask(self.folder, command, seconds)

    def log_text(self) -> str:
        """Return the whole log so far, every level and the dialplan's steps included."""
        return (self.folder / "log/full.log").read_text(errors="replace")

    def problems(self) -> list[str]:
        """Return the log's warnings and errors."""
        return [line for line in self.log_text().splitlines() if re.search(r"\] (WARNING|ERROR)\[", line)]

    def wait_for_log(self, pattern: str, seconds: float = 5) -> re.Match[str]:
        """Wait until the log has a match for *pattern* and return it; raise AsteriskFailed if it never comes."""
        deadline = time.monotonic() + seconds
        while True:
            if found := re.search(pattern, self.log_text()):
                return found
            if time.monotonic() > deadline or not self._guest.running:
                raise AsteriskFailed(
                    f"no {pattern!r} in Asterisk's log within {seconds:g} s; its end:\n{tail(self.log_text())}"
                )
            time.sleep(_POLL_SECONDS)


@contextmanager
def private_pbx(place: Place, site: SiteSettings) -> Iterator[Pbx]:
    """Start an Asterisk at *site* and wait until it has booted; stop it when the block ends."""
    with claimed() as slot:
        folder = slot.folder
        for name in ("lib", "spool", "run", "log"):
            (folder / name).mkdir()
        seen = place.seen(folder)
        write_configuration(folder / "etc", seen / "etc", site, slot)
        (folder / "asterisk.conf").write_text(_ASTERISK_CONF.format(folder=seen))
        argv = ["asterisk", "-C", str(seen / "asterisk.conf"), "-f", "-n"]
        with Guest(place, argv, folder, folder / "console.log") as guest:
            _wait_until_booted(folder, guest)
            yield Pbx(slot, guest)
            # A channel whose AGI server is silent can hold up the stop; then the lifeline ends it.
            with suppress(AsteriskFailed):
                ask(folder, "core stop now", _STOP_SECONDS)
                guest.wait(_STOP_SECONDS)


def ask(folder: Path, command: str, seconds: float) -> str:
    """Run a console command on the Asterisk in *folder*, over its control socket as `asterisk -rx` does.

    Asterisk greets with a line "host/pid/version", prints the command's output and closes.
    """
    deadline = time.monotonic() + seconds
    said = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(seconds)
            control.connect(str(folder / "run/asterisk.ctl"))
            control.sendall(f"cli quit after {command}\0".encode())
            while chunk := control.recv(65536):
                said += chunk
                control.settimeout(max(0.001, deadline - time.monotonic()))
    except OSError as error:
        raise AsteriskFailed(f"Asterisk's console did not answer {command!r}: {error}") from error
    return said.partition(b"\n")[2].decode(errors="replace")


def _wait_until_booted(folder: Path, guest: Guest) -> None:
    deadline = time.monotonic() + _BOOT_SECONDS
    while guest.running and time.monotonic() < deadline:
        with suppress(AsteriskFailed):
            if "fully booted" in ask(folder, "core waitfullybooted", _BOOT_SECONDS):
                return
        time.sleep(_POLL_SECONDS)
    raise AsteriskFailed(f"Asterisk did not start; the last it said:\n{tail(guest.text())}")
