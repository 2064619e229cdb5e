"""What a terminal shows of a call."""

from dataclasses import replace

from agi_bridge.cli.call_line import HEADING, listed, listed_live
from agi_bridge.records.joining import joined
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


def test_call_that_is_up_begins_with_its_id():
    """What is not known yet has a sign, and what a PBX names its channels is no order to the terminal."""
    channel = {"name": "PJSIP/trunk-1\x1b[2J", "state": "Up"}
    call = {"bridge_call_id": "c1", "received_at": None, "caller_number": None, "did": "+15551230001", "rule": None}
    line = listed_live(call | {"pbx": "hq", "channels": [channel, channel]})

    assert line.split() == [
        "c1",
        "-",
        "-",
        "+15551230001",
        "-",
        "hq",
        *["PJSIP/trunk-1?[2J", "Up,", "PJSIP/trunk-1?[2J", "Up"],
    ]
