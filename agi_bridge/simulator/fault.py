"""The ways in which the simulated Millis API can misbehave: one value, and the text that a person types for it.

Pure. It must not know how a fault is carried out: that is `simulator/millis.py`. `agi-bridge simulate millis --fault`
and the tests speak this language.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

_SWITCHES = {"hang": "hang", "reset": "reset", "reset-mid-body": "reset_mid_body"}
_CHOICES = {
    "detail": ("string", "list"),
    "field": ("sip", "sip_uri", "both"),
    "body": ("json", "html", "empty", "huge", "not-json", "no-uri", "list"),
    "agent": ("active", "disabled", "missing"),
}
_NUMBERS: dict[str, tuple[str, type[int] | type[float], int, int]] = {
    "delay": ("delay_seconds", float, 0, 3600),
    "status": ("status", int, 200, 599),
    "retry-after": ("retry_after_seconds", int, 0, 86400),
    "credit": ("credit", float, -1_000_000, 1_000_000),
    "clock": ("clock_seconds", int, -31_536_000, 31_536_000),
}
ALLOWED_FAULTS = (
    "delay=SECONDS, status=200..599, retry-after=SECONDS, detail=string|list, field=sip|sip_uri|both, "
    "body=json|html|empty|huge|not-json|no-uri|list, agent=active|disabled|missing, credit=AMOUNT, clock=SECONDS, "
    "hang, reset, reset-mid-body, uri=TEXT (last: it takes the rest)"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A way for the API to misbehave; ``Fault()`` behaves. ``uri`` replaces the SIP URI that is answered.

    ``agent`` and ``credit`` are what the account is like, ``clock_seconds`` how far the API's clock is ahead.
    """

    delay_seconds: float = 0.0
    status: int = 200
    detail: str = "string"
    field: str = "sip"
    body: str = "json"
    uri: str | None = None
    hang: bool = False
    reset: bool = False
    reset_mid_body: bool = False
    retry_after_seconds: int | None = None
    agent: str = "active"
    credit: float = 25.0
    clock_seconds: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``status=422,detail=list`` and the like; raise ValueError that says what is allowed."""
        wanted: dict[str, Any] = {}
        rest = text.strip()
        while rest:
            if rest.startswith("uri="):  # a hostile URI may hold commas, so it takes all that is left
                wanted["uri"] = rest.removeprefix("uri=")
                break
            part, _, rest = rest.partition(",")
            rest = rest.lstrip()
            name, attribute, value = _parse_part(part.strip())
            if attribute in wanted:
                raise ValueError(f"fault {name!r} is given twice")
            wanted[attribute] = value
        return cls(**wanted)


def _parse_part(part: str) -> tuple[str, str, object]:
    name, _, value = part.partition("=")
    if part in _SWITCHES:
        return name, _SWITCHES[part], True
    if name in _CHOICES and value in _CHOICES[name]:
        return name, name, value
    if name in _NUMBERS:
        attribute, number, lowest, highest = _NUMBERS[name]
        with suppress(ValueError):
            if lowest <= number(value) <= highest:
                return name, attribute, number(value)
    raise ValueError(f"no fault {part!r}; allowed, separated by commas: {ALLOWED_FAULTS}")
