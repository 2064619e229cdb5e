"""A real Asterisk for the demo, the tests and curious people: found or made, then run in private copies. PostgreSQL too.

    asterisk = find_asterisk()
    with asterisk.start(SiteSettings(bridge="127.0.0.1:4573")) as pbx:
        print(pbx.cli("dialplan show millis"))

Standard library only, because it runs before anything is installed. It knows `asterisk-conf/` and nothing of
`agi_bridge`.
"""

from .asterisk import Asterisk, find_asterisk
from .errors import AsteriskFailed, AsteriskUnavailable, PostgresUnavailable
from .pbx import Pbx
from .place import Guest
from .postgres import Postgres, PostgresServer, find_postgres
from .site import SiteSettings

__all__ = [
    "Asterisk",
    "AsteriskFailed",
    "AsteriskUnavailable",
    "Guest",
    "Pbx",
    "Postgres",
    "PostgresServer",
    "PostgresUnavailable",
    "SiteSettings",
    "find_asterisk",
    "find_postgres",
]
