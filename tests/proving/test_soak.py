"""The command line of a soak; what it does is done by scripts/soak itself, which CI runs."""

import pytest
from proving import soak


@pytest.mark.parametrize("arguments", [["--rate", "0"], ["--minutes", "-1"], ["--seed", "x"]])
def test_wrong_command_line(arguments, monkeypatch, capsys):
    """A soak of no calls is refused with exit code 2, before anything starts."""
    monkeypatch.setattr("sys.argv", ["soak", *arguments])

    with pytest.raises(SystemExit) as ended:
        soak.main()

    assert (ended.value.code, capsys.readouterr().out) == (2, "")
