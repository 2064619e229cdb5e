"""Which version a database of records has, and the way to the newest one.

Alembic takes nearly a second to load, so it is loaded only where there is something to migrate.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from agi_bridge.errors import RecordsError
from agi_bridge.records.schema import VERSIONS, calls

if TYPE_CHECKING:
    from sqlalchemy import Connection

FOLDER = Path(__file__).with_name("migrations")
_VERSION_TABLE = "alembic_version"


def version_of(connection: Connection) -> str | None:
    """Return the version of the database, None where there is nothing in it yet; raise RecordsError if it is not ours."""
    tables = set(inspect(connection).get_table_names())
    if _VERSION_TABLE not in tables:
        if calls.name in tables:
            raise RecordsError(f"the database has a table {calls.name} that is not ours; name another database")
        return None
    version: str | None = connection.scalar(text(f"SELECT version_num FROM {_VERSION_TABLE}"))  # noqa: S608 - a constant
    if version is not None and version not in VERSIONS:
        raise RecordsError(
            f"the database has version {version}, which a newer agi-bridge made; this one knows {VERSIONS[-1]}. "
            "Upgrade agi-bridge, or name another database; nothing was changed"
        )
    return version


def migrate(connection: Connection) -> str | None:
    """Bring the database to the newest version, in the transaction of *connection*; return the version that it had."""
    before = version_of(connection)
    if before != VERSIONS[-1]:
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return before
