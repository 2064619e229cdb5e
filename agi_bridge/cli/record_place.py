"""Where the records of calls are, and the times by which they are asked for; for the commands that read them."""

import os
from datetime import datetime
from pathlib import Path

import typer

from agi_bridge import config
from agi_bridge.cli.configuration import config_path, text_of
from agi_bridge.cli.option import DEFAULT_CONFIGS
from agi_bridge.cli.output import complain
from agi_bridge.errors import RecordsError
from agi_bridge.numbers import Numbers
from agi_bridge.records.place import record_folder
from agi_bridge.records.selection import parse_time


def record_settings(config_file: str | None) -> tuple[config.RecordSettings, Path, Numbers]:
    """Return where records are kept, and how numbers are read; the rest of the file may be wrong, or all of it missing."""
    path = config_path(config_file)
    is_there = bool(config_file) or path.exists()
    text = text_of(path) if is_there else ""
    settings, numbers = config.where_records_are(text, os.environ, lambda name: (path.parent / name).read_bytes())
    if not settings.enabled:
        raise RecordsError(f"records are switched off: enabled under [records] in {path}")
    folder = record_folder(settings, str(path.absolute()))
    if not is_there:
        complain(f"there is no {' and no '.join(DEFAULT_CONFIGS)}, so records are looked for in {folder}")
    return settings, folder, numbers


def time_option(text: str | None, option: str) -> datetime | None:
    try:
        return None if text is None else parse_time(text, datetime.now().astimezone())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
