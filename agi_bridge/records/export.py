"""Records as text: CSV for spreadsheets, JSON for programs, one line each. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agi_bridge.call import CallRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COLUMNS = tuple(field.name for field in fields(CallRecord))

# What a spreadsheet takes for a formula; a caller chooses their own name. A bare phone number is none.
_FORMULA = re.compile(r"\s*(?!\+[0-9]+\Z)[=+@-]")


def as_object(record: CallRecord) -> dict[str, Any]:
    """Return *record* as values for JSON; nothing is left out, times are text."""
    return {name: _plain(getattr(record, name)) for name in COLUMNS}


def as_json_line(record: CallRecord) -> str:
    """Return *record* as an object on one line, without line feed; nothing is left out, times are text."""
    return json.dumps(as_object(record))


def json_lines(records: Iterable[CallRecord]) -> Iterator[str]:
    """Yield each record as a line of JSON."""
    return map(as_json_line, records)


def csv_lines(records: Iterable[CallRecord]) -> Iterator[str]:
    """Yield the names of the columns and then each record, without line feeds; no cell can become a formula."""
    yield _csv_line(COLUMNS)
    for record in records:
        yield _csv_line([_cell(getattr(record, name)) for name in COLUMNS])


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = str(_plain(value))
    if isinstance(value, bool):
        return text.lower()
    # A field of several lines is good CSV, but not for everybody who reads line by line.
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    return f"'{text}" if isinstance(value, str) and _FORMULA.match(text) else text


def _plain(value: Any) -> Any:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value
