"""Dial patterns mean to the bridge what they mean to a real `pbx_config`: the same pairs of pattern and number match.

Each pattern is an extension in a context of its own, and DIALPLAN_EXISTS is asked for all numbers at once. It is Asterisk's
default matcher; the one of extenpatternmatchnew=yes reads some sets and hyphens in another way.
"""

import random
import re
from collections.abc import Mapping

import pytest
from lab import Asterisk, SiteSettings
from lab.site import SHIPPED

from agi_bridge.numbers import Pattern

PATTERNS = [
    *(
        "_1NXXNXXXXXX",
        "_NXXXXXX",
        "_X.",
        "_X!",
        "_.",
        "_!",
        "_+.",
        "_+X.",
        "_+1NXXNXXXXXX",
        "_+!",
        "_1.",
        "_1!",
        "_12X3.",
    ),
    *("_x.", "_n", "_z", "_N", "_Z", "_nzx", "_xyz", "_1N"),
    *(
        "_[2-5]",
        "_[2-5]X",
        "_[25-7]",
        "_[1-35]",
        "_[1-3-5]",
        "_[2-2]",
        "_[+0-9].",
        "_[+*#0-9]X",
        "_[+]1",
        "_[+]!",
        "_X[*#]",
    ),
    *("_[a-c]", "_[X]", "_[N]X", "_1[n]", "_[xnz]", "_[0-9a-f]X", "_[a-cx-z]", "_[hH]i", "_A[bB]"),
    *("_[2-]", "_[-2]", "_[^2]", "_[!2]", "_[.]", "_[*-9]"),
    *("_abc", "_ABC", "_aBc", "abc", "Abc", "_a-b", "_hello", "s", "_s", "i"),
    *("12", "1-2-3", "+1", "*12", "#2", "_1-2-3", "_1-", "_-1", "_X-X", "_*X", "_#X", "_X_", "_X@", "_X:", "_1 2"),
]
NUMBERS = [
    *(
        "0",
        "1",
        "2",
        "5",
        "8",
        "9",
        "12",
        "23",
        "123",
        "1233",
        "12530",
        "1253x",
        "12X3",
        "5551234",
        "12125551234",
        "11125551234",
    ),
    *("15551230001", "+1", "++1", "+12", "+15551230001", "+12125551234", "*", "#", "+", "*1", "*12", "#2", "1*", "1#"),
    *("-", "1-", "-1", "5-5", "1-2", "1-2-3", "1-23", "+1-212-555-1234"),
    *(
        "a",
        "A",
        "b",
        "c",
        "ab",
        "AB",
        "Ab",
        "aB",
        "abc",
        "ABC",
        "aBc",
        "Abc",
        "x",
        "X",
        "n",
        "N",
        "z",
        "Z",
        "xyz",
        "XYZ",
        "2f",
    ),
    *("s", "i", "h", "t", "hi", "Hi", "hello", "1_", "1@", "1:", "1.", "1!", "1.2", ".", "!", "^", "5X", "é", "1é"),
]

SEED = 20260805
RANDOM_PATTERNS = 400
NUMBERS_EACH = 10
PAIRS_IN_A_LINE = 100  # a line of extensions.conf has 8191 bytes

Pairs = Mapping[str, list[str]]  # a pattern and the numbers to try it with


def random_pairs() -> dict[str, list[str]]:
    """Return patterns of all kinds, each with numbers that fit it or nearly do."""
    chance = random.Random(SEED)  # not for secrets
    return {
        "".join(text): [near(chance, signs) for _ in range(NUMBERS_EACH)]
        for text, signs in (random_pattern(chance) for _ in range(RANDOM_PATTERNS))
    }


def random_pattern(chance: random.Random) -> tuple[str, list[str]]:
    """Return a pattern, and for each of its signs a text of what may stand there."""
    kinds = {
        "X": "0123456789",
        "Z": "123456789",
        "N": "23456789",
        "x": "0123456789",
        "z": "123456789",
        "n": "23456789",
        "-": "",
        **{sign: sign for sign in "0123456789+*#abcABC"},
    }
    text, signs = "_", []
    for _ in range(chance.randint(1, 8)):
        if chance.random() < 0.2:
            members = "".join(
                chance.choices(["0-3", "2-5", "7", "9", "+", "*", "#", "a-c", "B", "X", "4-4"], k=chance.randint(1, 3))
            )
            text += f"[{members}]"
            signs.append(members.replace("-", ""))
        else:
            sign = chance.choice([*kinds, "X", "X", "N", "Z"])
            text += sign
            signs.append(kinds[sign])
    ending = chance.choice(["", "", ".", "!"])
    return text + ending, [*signs, "0123456789"] if ending else signs


def near(chance: random.Random, signs: list[str]) -> str:
    """Return a number with one of each of *signs*, and perhaps one thing wrong with it."""
    number = [chance.choice(sign) for sign in signs if sign]
    place = chance.randrange(len(number) + 1)
    match chance.randrange(6):
        case 0:
            number.insert(place, chance.choice("0123456789+*#-abXNZ"))
        case 1:
            del number[place : place + 1]
        case 2:
            number[place : place + 1] = chance.choice("0123456789+*#-abXNZ")
        case 3:
            number.insert(place, "-")
    return "".join(number) or "0"


@pytest.fixture(scope="module")
def matched(asterisk: Asterisk) -> dict[tuple[str, str], bool]:
    """What a real Asterisk says of every pair."""
    table: Pairs = dict.fromkeys(PATTERNS, NUMBERS)
    pairs = [(pattern, number) for pairs in (table, random_pairs()) for pattern in pairs for number in pairs[pattern]]
    contexts = {pattern: f"pattern-{place}" for place, pattern in enumerate(dict(pairs))}
    dialplan = [f"[{context}]\nexten => {pattern},1,NoOp()" for pattern, context in contexts.items()]
    dialplan.append("[ask]\nexten => s,1,NoOp()")
    for start in range(0, len(pairs), PAIRS_IN_A_LINE):
        asked = (
            f"${{DIALPLAN_EXISTS({contexts[pattern]},{number},1)}}"
            for pattern, number in pairs[start : start + PAIRS_IN_A_LINE]
        )
        dialplan.append(f" same => n,Log(NOTICE,answers {''.join(asked)})")
    dialplan.append(" same => n,Log(NOTICE,that was all)\n")
    originate = {"modules.conf": (SHIPPED / "modules.conf").read_text() + "load = res_clioriginate.so\n"}
    with asterisk.start(SiteSettings(dialplan="\n".join(dialplan), files=originate)) as pbx:
        pbx.cli("channel originate Local/s@ask application Wait 10")
        pbx.wait_for_log("that was all", 20)
        answers = "".join(re.findall(r": answers ([01]+)", pbx.log_text()))
    return {pair: answer == "1" for pair, answer in zip(pairs, answers, strict=True)}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern(matched: dict[tuple[str, str], bool], pattern: str):
    """A pattern matches the same numbers of a list as in Asterisk."""
    ours = [number for number in NUMBERS if Pattern.compile(pattern).matches(number)]

    assert ours == [number for number in NUMBERS if matched[pattern, number]]


def test_random_patterns(matched: dict[tuple[str, str], bool]):
    """Random patterns match the same numbers as in Asterisk: those that fit, and those that nearly do."""
    pairs = [(pattern, number) for pattern, numbers in random_pairs().items() for number in numbers]
    ours = {(pattern, number): Pattern.compile(pattern).matches(number) for pattern, number in pairs}

    assert [pair for pair in pairs if ours[pair] != matched[pair]] == []
    assert 0.2 < sum(ours.values()) / len(pairs) < 0.8
