"""Where records are kept on this machine, if the configuration does not say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Where a service keeps what it must not lose (the Filesystem Hierarchy Standard); systemd's StateDirectory= makes it.
SYSTEM_FOLDER = Path("/var/lib/agi-bridge")


def state_folder(environ: Mapping[str, str], system_folder: Path = SYSTEM_FOLDER) -> Path:
    """Return systemd's folder for the service, else the system's if there is one, else the user's own.

    A command finds what the service keeps, because the system's folder is there once the service has one.
    """
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if system_folder.is_dir():
        return system_folder
    home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or "/", ".local", "state")
    return Path(home) / "agi-bridge"
