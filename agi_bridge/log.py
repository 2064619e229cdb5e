"""How log lines look and what they hide. Everything else just calls structlog.

One line an event: JSON where a machine reads, coloured text on a terminal. Fields that hold phone numbers are masked here,
in one place, by their names; secrets and SIP URIs are never given to a log at all.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from agi_bridge.numbers import mask, mask_within

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from agi_bridge.config import LogSettings

NUMBER_FIELDS = ("did", "did_received", "nearest_did", "caller_number")

# What may hold a number among other words: "Local/15551230001@office-00000003;1", or what Millis says of a number.
TEXT_FIELDS = ("channel", "detail", "why")

# Made once: json.dumps makes a new encoder for each line that is not encoded by its defaults.
_encode = json.JSONEncoder(default=str).encode


def configure(settings: LogSettings, stream: TextIO = sys.stderr, *, for_good: bool = False) -> None:
    """Make structlog write to *stream* as the settings say; lines of libraries go the same way, from warnings up.

    *for_good* lets every logger keep what it finds here, which is faster; nothing can be configured anew afterwards.
    """
    as_json = settings.format == "json" or (settings.format == "auto" and not stream.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.numbers == "masked":
        processors.append(_mask_numbers)
    if as_json:
        processors += [structlog.processors.format_exc_info, _as_json]
    else:
        processors += [
            _event_on_one_line,
            # The default shows the variables of every function, and so the key.
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _LineLogger(stream),
        cache_logger_on_first_use=for_good,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()], force=True)


class _LineLogger:
    """Writes lines to a stream whose failures stay its own: a full disk or a broken pipe must not end a call, nor the bridge."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        """Write *line*, or lose it."""
        with suppress(OSError):
            self._stream.write(line + "\n")
            self._stream.flush()

    # What structlog calls, by the level of the event.
    debug = info = warning = error = critical = write


class _Forward(logging.Handler):
    """Hands lines of the standard library's logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)


def _mask_numbers(logger: Any, method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in NUMBER_FIELDS:
        number = fields.get(name)
        if number:
            fields[name] = mask(number)
    for name in TEXT_FIELDS:
        text = fields.get(name)
        if text:
            fields[name] = mask_within(text)
    return fields


def _event_on_one_line(logger: Any, method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what the event of a library may hold; the renderer does so for fields alone."""
    event = str(fields.get("event", ""))
    if not event.isprintable():
        fields["event"] = repr(event)
    return fields


def _as_json(logger: Any, method: str, fields: MutableMapping[str, Any]) -> str:
    """Return the line in ASCII, so that no sign that a terminal or a log reader acts on gets into it."""
    return _encode(fields)
