"""Where an agent may send its caller."""

import pytest

from agi_bridge.transfer import Transfer
from tests.config.bridge_toml import GOOD, load, problems

TRANSFER = '\n[[transfer]]\nname = "sales"\ndestination = "q,600,1"\n'


def test_transfers_are_the_list_of_the_file():
    """Each [[transfer]] is one destination; what is left out has its default."""
    more = 'numbers = "+15551230100"\ndescription = "Prices."\n'
    assert load(GOOD + TRANSFER + more).transfers == (Transfer("sales", "q,600,1", 30, ("+15551230100",), "Prices."),)
    assert load(GOOD).transfers == ()


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (TRANSFER, 'transfer "sales": sales stands there twice (keep one of them)'),
        (
            'numbers = ["+1555", "1555"]\n',
            'transfer "sales": 1555 stands there twice (keep one of them)',
        ),
    ],
    ids=["name", "number with and without plus"],
)
def test_no_transfer_is_called_as_another(more: str, problem: str):
    """The dialplan would keep the first place only, so a name or a number stands once."""
    assert problems(GOOD + TRANSFER + more) == [problem]


def test_transfer_is_a_list():
    """One bracket too few is said so."""
    assert problems(GOOD + '\n[transfer]\nname = "sales"\n') == [
        "transfer: is one table, but transfers are a list (write [[transfer]], with two brackets on each side)"
    ]


def test_transfer_needs_a_name_and_a_place():
    """What is missing, and what Asterisk could not take, is said key by key."""
    found = problems(GOOD + '\n[[transfer]]\nname = "Sales-Team"\nnumbers = "555-1"\n')

    assert "transfer[1].destination: is missing" in found
    assert any("2 to 40 small letters" in line for line in found)
    assert any("phone number in digits" in line for line in found)
