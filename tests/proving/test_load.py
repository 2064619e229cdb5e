"""When Asterisk counts as saturated."""

from dataclasses import replace

import pytest
from proving import load
from proving.load import Shares, Step
from proving.sipp import Callers

CALM = Callers(
    created=1000, succeeded=1000, failed=0, retransmissions=0, setup_ms=[9.0] * 1000, placing_seconds=10, errors=""
)
SHARES = Shares(asterisk=0.9, bridge=0.08, sipp=0.2, ours=0.1, machine=1.4)


@pytest.mark.parametrize(
    ("callers", "placed", "limits"),
    [
        pytest.param(CALM, 100, "", id="everybody is answered at once"),
        pytest.param(replace(CALM, failed=1), 100, "1 calls failed", id="a call fails"),
        pytest.param(replace(CALM, retransmissions=10), 100, "", id="few messages are repeated"),
        pytest.param(replace(CALM, retransmissions=11), 100, "11 messages repeated", id="many messages are repeated"),
        pytest.param(replace(CALM, setup_ms=[9.0] * 900 + [400.0] * 100), 100, "slow", id="some wait long"),
        pytest.param(CALM, 94, "callers late", id="callers come too late"),
    ],
)
def test_limits(callers, placed, limits):
    """A rate is carried unless a call fails, messages are repeated, callers wait, or callers cannot be placed in time."""
    assert Step(100, placed, callers, SHARES).limits == limits


@pytest.mark.parametrize("arguments", [["nonsense"], ["calls", "--rates", "fast"], ["--seconds", "x"]])
def test_wrong_command_line(arguments, monkeypatch, capsys):
    """What cannot be loaded is refused with exit code 2, before anything starts."""
    monkeypatch.setattr("sys.argv", ["load", *arguments])

    with pytest.raises(SystemExit) as ended:
        load.main()

    assert (ended.value.code, capsys.readouterr().out) == (2, "")
