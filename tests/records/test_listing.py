"""What a terminal shows of a record."""

from dataclasses import replace

from agi_bridge.records.joining import joined
from agi_bridge.records.listing import HEADING, listed
from tests.records.reports import ended, routed

RECORD = joined(joined(None, routed()), ended()).record


def test_a_line_stands_under_its_heading():
    """Every column begins where its name does."""
    line = listed(RECORD)

    for name, value in {"caller": "+15557654321", "did": "+15551230001", "rule": "sales", "reason": "answered"}.items():
        assert line[HEADING.index(name) :].startswith(value)
    assert line.endswith("28 s  c1")


def test_what_is_not_known_has_a_sign():
    """A withheld number is told from one that nobody sent."""
    withheld = replace(RECORD, caller_number=None, caller_withheld=True, rule=None)

    assert "withheld" in listed(withheld)
    assert " - " in listed(withheld)


def test_a_caller_cannot_write_to_the_terminal():
    """Escape sequences come out as question marks, and no text is longer than a line bears."""
    line = listed(replace(RECORD, caller_number="\x1b[2J" + "x" * 500))

    assert "\x1b" not in line
    assert len(line) < 200
