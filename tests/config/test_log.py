"""How much is told, and in which form."""

from tests.config.bridge_toml import GOOD, load, problems


def test_numbers_are_masked_unless_the_file_says_otherwise():
    """Without a word, phone numbers are not in the log in full."""
    assert load(GOOD).log.numbers == "masked"
    assert load(f'[log]\nnumbers = "full"\n{GOOD}').log.numbers == "full"


def test_level_is_one_of_four():
    """What may be written is named."""
    assert problems(f'[log]\nlevel = "loud"\n{GOOD}') == [
        "log.level: input should be 'debug', 'info', 'warning' or 'error'"
    ]
