"""`[log]`: how much is told, and in which form."""

from __future__ import annotations

from typing import Literal

from agi_bridge.config.table import Table


class LogSettings(Table):
    """`[log]`: how much is told, in which form, and whether phone numbers are shown in full."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    numbers: Literal["masked", "full"] = "masked"
