"""Records as text that spreadsheets and programs read, whatever a caller has called themselves."""

import csv
import json
from dataclasses import replace
from typing import Any

import pytest

from agi_bridge.records.export import COLUMNS, as_json_line, csv_lines, json_lines
from agi_bridge.records.joining import joined
from tests.records.reports import ended, routed

RECORD = joined(joined(None, routed()), ended()).record


def csv_row(**fields: Any) -> dict[str, str]:
    """Return the row of a record with these *fields*, by its columns, as a CSV reader sees it."""
    heading, row = csv.reader(csv_lines([replace(RECORD, **fields)]))
    return dict(zip(heading, row, strict=True))


def test_csv_has_a_column_for_each_field():
    """The first line names the columns; times have their zone, truth is a word, and nothing is empty."""
    row = csv_row()

    assert tuple(row) == COLUMNS
    assert row["received_at"] == "2026-07-01T12:00:00.000+00:00"
    assert (row["caller_number"], row["caller_withheld"], row["setup_seconds"]) == ("+15557654321", "false", "0.08")
    assert (row["transcript"], row["hangup_cause"]) == ("", "16")


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=HYPERLINK(A1)", "'=HYPERLINK(A1)"),
        ("+1+cmd|x!A1", "'+1+cmd|x!A1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "' =1"),
        ("\r\n=1", "'  =1"),
        (" =1", "' =1"),
        ("+15551230001", "+15551230001"),
        ('Ada, "the first"', 'Ada, "the first"'),
        ("Zoë 王", "Zoë 王"),
        ("a\u202eb", "a b"),
    ],
)
def test_no_cell_of_csv_is_a_formula(name, cell):
    """What a spreadsheet would run gets an apostrophe, and what would break the line a blank."""
    assert csv_row(caller_name=name)["caller_name"] == cell


def test_json_leaves_nothing_out():
    """Each field stands in the object, and one record is one line, whatever is in it."""
    line = as_json_line(replace(RECORD, caller_name="a\nb\u2028c"))
    read = json.loads(line)

    assert len(line.splitlines()) == 1
    assert tuple(read) == COLUMNS
    assert (read["caller_name"], read["ended_at"], read["answered_seconds"]) == (
        "a\nb\u2028c",
        "2026-07-01T12:00:30.000+00:00",
        28,
    )
    assert list(json_lines([RECORD, RECORD])) == [as_json_line(RECORD)] * 2
