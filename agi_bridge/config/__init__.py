"""The configuration: TOML text in, a checked `Config` out, or every problem at once.

Pure: the text, the environment and a way to read files are handed in. What the file may say is stated once, in the pydantic
models of this package, one module for each table, whose keys `docs/configuration.md` explains; what the rest of the program
uses are the values they become. `loading.py` has the way from the one to the other.
"""

from agi_bridge.config.address import Address, Network, parse_address
from agi_bridge.config.agi import SHIPPED_BUDGET_SECONDS, AgiSettings
from agi_bridge.config.file import File
from agi_bridge.config.loading import Config, load, where_records_are, where_to_ask
from agi_bridge.config.log import LogSettings
from agi_bridge.config.metadata import MetadataSettings
from agi_bridge.config.millis import DEFAULT_ACCOUNT, AccountSettings, BackfillSettings, MillisSettings
from agi_bridge.config.numbers import NumberSettings
from agi_bridge.config.originate import OriginateSettings
from agi_bridge.config.pbx import PbxSettings
from agi_bridge.config.prefetch import PrefetchSettings
from agi_bridge.config.records import RecordSettings
from agi_bridge.config.route import DefaultSettings, RouteSettings
from agi_bridge.config.rule import SHIPPED_LONGEST_CALL_SECONDS
from agi_bridge.config.token import TokenSettings
from agi_bridge.config.transfer import TransferSettings
from agi_bridge.config.web import WebSettings
from agi_bridge.config.webhook import WebhookSettings

__all__ = [
    "DEFAULT_ACCOUNT",
    "SHIPPED_BUDGET_SECONDS",
    "SHIPPED_LONGEST_CALL_SECONDS",
    "AccountSettings",
    "Address",
    "AgiSettings",
    "BackfillSettings",
    "Config",
    "DefaultSettings",
    "File",
    "LogSettings",
    "MetadataSettings",
    "MillisSettings",
    "Network",
    "NumberSettings",
    "OriginateSettings",
    "PbxSettings",
    "PrefetchSettings",
    "RecordSettings",
    "RouteSettings",
    "TokenSettings",
    "TransferSettings",
    "WebSettings",
    "WebhookSettings",
    "load",
    "parse_address",
    "where_records_are",
    "where_to_ask",
]
