"""The AGI parser, whatever Asterisk or a stranger sends.

Promised: nothing but AgiProtocolError is raised, and after it nothing is understood any more; how the bytes are cut into
segments changes nothing; what is kept stays within the limits; a line gives one event at most.

The first byte of an input says how it is cut, which limits hold, and whether we ask something whenever we may.
"""

from collections.abc import Iterable, Iterator
from itertools import cycle
from pathlib import Path

from agi_bridge.agi.protocol import (
    ENVIRONMENT_ORDER,
    AgiConnection,
    Event,
    Limits,
    Reply,
    Request,
    UsageError,
    assign,
    execute,
    get_full_variable,
)
from agi_bridge.errors import AgiProtocolError
from fuzzing.target import Target

_WIRE = Path(__file__).resolve().parents[2] / "tests/wire"
_LIMITS = (Limits(), Limits(line_bytes=64, environment_lines=24, environment_bytes=512))
_COMMANDS = (
    get_full_variable("${URIENCODE(${CHANNEL(linkedid)})}"),
    assign({"MILLIS_STATUS": "ok"}),
    execute("Dial", "PJSIP/millis/sip:x@127.0.0.1,30,i"),
)

# What became of some bytes: the events, and whether it ended in an error.
Heard = tuple[list[Event], bool]


def broken_by(data: bytes) -> None:
    """Feed the bytes in two ways and compare."""
    if not data:
        return
    how, wire = data[0], data[1:]
    limits = _LIMITS[how & 1]
    size = 1 + 4 * (how >> 2)
    if how & 2:
        # We ask between two lines, and only there; so no segment may reach beyond one.
        lines = _lines(wire)
        coarse = _heard(lines, limits, asks=True)
        fine = _heard([piece for line in lines for piece in _pieces(line, size)], limits, asks=True)
        assert coarse == fine, "the way in which lines are cut changes what is heard"
    else:
        events, failed = _heard([wire], limits)
        fine = _heard(_pieces(wire, size), limits)
        assert failed == fine[1], "the way in which bytes are cut changes whether they are AGI"
        # In one piece, an error takes with it the events that came with it.
        assert failed or events == fine[0], "the way in which bytes are cut changes what is heard"


def _lines(wire: bytes) -> list[bytes]:
    *lines, rest = wire.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


def _pieces(wire: bytes, size: int) -> Iterator[bytes]:
    return (wire[at : at + size] for at in range(0, len(wire), size))


def _heard(segments: Iterable[bytes], limits: Limits, *, asks: bool = False) -> Heard:
    connection = AgiConnection(limits)
    commands = cycle(_COMMANDS)
    events: list[Event] = []
    for segment in segments:
        try:
            new = connection.receive_data(segment)
        except AgiProtocolError:
            _stays_broken(connection)
            return events, True
        assert len(new) <= segment.count(b"\n"), "more events than lines"
        assert len(connection._buffer) <= limits.line_bytes, "an unfinished line grows beyond its limit"
        for event in new:
            _is_bounded(event, limits)
            if asks and isinstance(event, Request | Reply | UsageError):
                line = connection.send(next(commands))
                assert line.count(b"\n") == 1, "a command of more than one line"
        events += new
    return events, False


def _stays_broken(connection: AgiConnection) -> None:
    try:
        connection.receive_data(b"")
    except AgiProtocolError:
        return
    raise AssertionError("bytes after an error are understood")


def _is_bounded(event: Event, limits: Limits) -> None:
    # One more line is let in before the sum is looked at.
    most = limits.environment_bytes + limits.line_bytes
    if isinstance(event, Request):
        assert len(event.fields) <= limits.environment_lines, "an environment of too many lines"
        assert sum(len(name) + len(value) for name, value in event.fields.items()) <= most, "an environment too large"
    elif isinstance(event, UsageError):
        assert sum(map(len, event.lines)) <= most, "a usage text too large"


def recorded() -> dict[str, bytes]:
    """Return what a real Asterisk has said in each recorded conversation, by its name."""
    said = {}
    for path in sorted(_WIRE.glob("*.txt")):
        lines = (line for line in path.read_bytes().splitlines() if line.startswith(b"<"))
        said[path.stem] = b"".join(line[2:] + b"\n" for line in lines)
    return said


TARGET = Target(
    "agi-bytes",
    broken_by,
    seeds=tuple(bytes([how]) + wire for wire in recorded().values() for how in (0, 31, 94, 251)),
    words=(
        *(f"agi_{name}: " for name in ENVIRONMENT_ORDER),
        *(
            "agi_arg_1: ",
            "agi_arg_2: did=",
            "\n",
            "\n\n",
            "HANGUP\n",
            "100 result=0 Trying...\n",
            "200 result=1 (",
            ")\n",
        ),
        *(
            "200 result=0\n",
            "200 result=-1\n",
            "510 Invalid or unknown command\n",
            "511 ",
            "503 ",
            "520 ",
            "520-",
            "520-\n",
        ),
        *("520 End of proper usage.\n", "?did=", "&", "%0A", "%2B", "=", ":"),
    ),
    longest_bytes=1024,
)
