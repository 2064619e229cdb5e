"""What SIPp counted."""

import pytest
from proving import sipp

STAT = """\
TotalCallCreated;SuccessfulCall(C);FailedCall(C);Retransmissions(C);
1;0;0;0;
3;2;1;4;
"""
RTT = """\
Date_ms;response_time_ms;rtd_no
110.0;10.0;1
1215.0;15.0;1
"""


def test_counts_are_those_of_the_last_line(tmp_path):
    """Of a line a second the last one holds for all; times are from INVITE to answer."""
    (tmp_path / "stat.csv").write_text(STAT)
    (tmp_path / "caller_1_rtt.csv").write_text(RTT)
    (tmp_path / "errors.log").write_text("aborted on timeout")

    counted = sipp._counted(tmp_path)

    assert (counted.created, counted.succeeded, counted.failed, counted.retransmissions) == (3, 2, 1, 4)
    assert (counted.setup(0.5), counted.setup(1)) == (15, 15)
    assert counted.placing_seconds == pytest.approx(1.1)
    assert counted.errors == "aborted on timeout"


def test_nobody_was_answered(tmp_path):
    """Without an answer there is no time to tell."""
    (tmp_path / "stat.csv").write_text(STAT)

    counted = sipp._counted(tmp_path)

    assert counted.setup(0.5) != counted.setup(0.5)
    assert counted.placing_seconds == 0
