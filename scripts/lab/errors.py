"""What can go wrong in the lab.

LabError
├── AsteriskUnavailable   none of the ways to get an Asterisk is open on this machine
├── AsteriskFailed        it, or another program, is there, but did not do what we asked
└── PostgresUnavailable   none of the ways to get a PostgreSQL is open on this machine
"""


class LabError(Exception):
    """The lab could not do its part; the message is written for the person at the terminal."""


class AsteriskUnavailable(LabError):
    """No Asterisk can be had here. `reasons` holds one sentence per way that was tried."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("no real Asterisk on this machine:\n" + "\n".join(f"  - {reason}" for reason in reasons))
        self.reasons = tuple(reasons)


class AsteriskFailed(LabError):
    """An Asterisk, or a program beside it, did not start, answer or end in its time."""


class PostgresUnavailable(LabError):
    """No PostgreSQL can be had here; the message says why."""
