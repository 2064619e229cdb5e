"""The command line of the fuzzer, and what is understood of what libFuzzer says."""

from pathlib import Path

import pytest
from fuzzing import __main__ as command
from fuzzing.targets import TARGETS

QUIET = """\
#4096	pulse  cov: 27 ft: 29 corp: 6/299b lim: 512 exec/s: 2048 rss: 71Mb
Done 8300 runs in 3 second(s)
stat::number_of_executed_units: 8300
"""
BROKEN = """\
#2	INITED cov: 20 ft: 20 corp: 1/1b exec/s: 0 rss: 71Mb
AssertionError: a host that is not allowed
Test unit written to /cache/found/sip-uri-crash-1
stat::number_of_executed_units: 77
"""


def test_quiet_run_is_read():
    """Executions and covered edges are taken from what the fuzzer says; nothing was found."""
    fuzzed = command._read("sip-uri", 3, QUIET, 0)

    assert (fuzzed.executions, fuzzed.covered) == (8300, 27)
    assert (fuzzed.found, fuzzed.failed) == (None, False)


def test_finding_is_read():
    """A broken promise comes with the file that holds its bytes."""
    fuzzed = command._read("sip-uri", 3, BROKEN, 77)

    assert (fuzzed.executions, fuzzed.found, fuzzed.failed) == (77, Path("/cache/found/sip-uri-crash-1"), True)


def test_failure_of_the_fuzzer_is_no_success():
    """A worker that could not even start is not taken for one that found nothing."""
    assert command._read("sip-uri", 3, "ModuleNotFoundError: atheris", 1).failed


def test_replay_tries_the_bytes_of_a_file(tmp_path, monkeypatch, capsys):
    """A file is tried on its target without the fuzzer."""
    (tmp_path / "bytes").write_bytes(TARGETS["sip-uri"].seeds[0])
    monkeypatch.setattr("sys.argv", ["fuzz", "sip-uri", "--replay", str(tmp_path / "bytes")])

    assert command.main() == 0
    assert "the promise holds" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nonsense"], ["--replay", "file"], ["--seconds", "x"]])
def test_wrong_command_line(arguments, monkeypatch, capsys):
    """What is no target is refused with exit code 2."""
    monkeypatch.setattr("sys.argv", ["fuzz", *arguments])

    with pytest.raises(SystemExit) as ended:
        command.main()

    assert (ended.value.code, capsys.readouterr().out) == (2, "")
