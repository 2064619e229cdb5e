"""Where records are kept on this machine, and their database opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agi_bridge.config import RecordSettings
    from agi_bridge.records.store import Store

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


def record_folder(settings: RecordSettings, config_file: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of records; one that the configuration names is relative to the configuration's own."""
    return Path(config_file).parent / settings.folder if settings.folder else state_folder(environ)


def open_store(settings: RecordSettings, folder: Path, *, for_reading: bool = False) -> Store:
    """Return the database of records, open; raise RecordsError."""
    # SQLAlchemy takes half a second to load: no caller waits for that at a restart, and no command that reads no records.
    from agi_bridge.records.store import Store, database_url

    url, password = settings.database
    address = database_url(url.get_secret_value(), password.get_secret_value(), folder)
    opened = Store.open_for_reading if for_reading else Store.open_for_writing
    return opened(address, settings.write_timeout_seconds)
