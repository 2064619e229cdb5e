"""The command line of `scripts/asterisk-lab`."""

import pytest
from lab import command


@pytest.mark.parametrize(
    "words", [["-sn", "uas", "-i", "127.0.0.1"], ["127.0.0.1:5060", "-m", "1"], ["-h"], ["--", "-v"]]
)
def test_sipp_gets_its_arguments_as_they_are(words):
    """Also where the first of them looks like an option of ours."""
    assert command._parser().parse_args(["sipp", *words]).words == words
