"""`agi-bridge init`: a first configuration from the command line alone."""

import io
import sys

import pytest

from agi_bridge.cli.exit_code import DONE, MISUSED
from tests.cli.program import KEY

ANSWERS = ("--did", "5551230001", "--agent", "-Nabc", "--fallback", "reception,s,1")


@pytest.fixture(autouse=True)
def nobody_to_ask(monkeypatch):
    """Read standard input as a script has it: from no terminal."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())


def test_init_writes_a_configuration_that_is_good(run, tmp_path):
    """What is written passes the check; a country in small letters is one, and what comes next is said."""
    code, out, err = run("init", "--country", "us", *ANSWERS, "--config", "first.toml")

    assert (code, err) == (DONE, "")
    assert out.splitlines()[-1] == "next: agi-bridge asterisk-config --flavor plain --config first.toml"
    assert 'default_country = "US"' in (tmp_path / "first.toml").read_text()
    assert run("check", "--config", "first.toml") == (DONE, "the configuration is good: 1 rule\n", "")


def test_init_names_every_option_that_is_wrong(run, tmp_path):
    """Nothing is written, and what a country looks like is said as it is taken."""
    code, out, err = run("init", "--country", "usa", *ANSWERS, "--config", "first.toml")

    assert (code, out) == (MISUSED, "")
    assert err == "--country: must be a two-letter country code, such as US or DE\n"
    assert KEY not in err
    assert list(tmp_path.iterdir()) == []
