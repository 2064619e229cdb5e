"""`[originate]`: calls that we make. Without the table, none is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from agi_bridge import dialplan
from agi_bridge.allowance import Allowance
from agi_bridge.config.reading import closest
from agi_bridge.config.table import OneOrMany, Table, matching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agi_bridge.config.pbx import PbxSettings
    from agi_bridge.config.reading import Reading
    from agi_bridge.config.route import RouteSettings


_OwnNumber = Annotated[str, matching(r"\+?[0-9]{3,15}", 'must be a number of yours in digits, such as "+15551230001"')]
_Prefix = Annotated[
    str,
    matching(r"\+[1-9][0-9]{0,14}", 'must be the beginning of a number in E.164, with its plus sign, such as "+1212"'),
]


class OriginateSettings(Table):
    """`[originate]`: calls that we make, through which trunk, to whom and how often. Without it, none is made."""

    pbx: str
    trunk: Annotated[str, AfterValidator(dialplan.check_trunk)]
    caller_id: _OwnNumber
    allow: OneOrMany[_Prefix] = []
    rate_limit_per_minute: Annotated[int, Field(ge=1, le=600)] = 10
    daily_limit: Annotated[int, Field(ge=1, le=100_000)] = 100
    ring_timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    detect_machine: Literal["off", "hang-up", "connect"] = "off"
    folder: str | None = None

    @property
    def allowance(self) -> Allowance:
        """Return whom we may call, and how often."""
        return Allowance(tuple(self.allow), self.rate_limit_per_minute, self.daily_limit)


def check_originate(
    originate: OriginateSettings | None, routes: Sequence[RouteSettings], pbxs: Sequence[PbxSettings], reading: Reading
) -> None:
    """Look at how [originate] and the rest fit together."""
    outbound = [route.name for route in routes if route.direction == "outbound"]
    if originate is None:
        if outbound and not reading.has_refused_in("originate"):
            reading.warn(f'route "{outbound[0]}"', "is outbound, but without [originate] nobody is called")
        return
    names = [pbx.name for pbx in pbxs]
    if originate.pbx not in names and not reading.has_refused_in("pbx"):
        reading.refuse(
            "originate.pbx", f'there is no [[pbx]] with the name "{originate.pbx}"', closest(originate.pbx, names)
        )
    if not originate.allow:
        reading.warn("originate.allow", "is empty, so nobody is called", 'such as allow = ["+1212"]')
    if not outbound:
        reading.warn("originate", "no rule is outbound, so nobody is called", 'a [[route]] with direction = "outbound"')
