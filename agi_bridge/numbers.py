"""Phone numbers and Asterisk's dial patterns.

Pure. Numbers become E.164 here and nowhere else; patterns mean here what `pbx_config` of a real Asterisk takes them to
mean, which `tests/asterisk` checks against one. Nothing here knows what a rule or a call is.
"""

from __future__ import annotations

import re
import weakref
from dataclasses import dataclass, field
from functools import lru_cache, partial

import phonenumbers

# What may stand in an extension besides a pattern's own signs; pbx_config takes nearly everything, PBX users write these.
_LITERAL = re.compile(r"[0-9A-Za-z+*#_./@:]")
_CLASSES = {"X": "[0-9]", "Z": "[1-9]", "N": "[2-9]"}

# How people and carriers write numbers. Without this, the 5550100 of a SIP user "alice5550100" would be read as one.
_WRITTEN_NUMBER = re.compile(r"\+?[0-9 ()./-]+", re.ASCII)

# Complete as it is: in this plan nothing could be left out or put in too much. Reading it would take longer than routing it.
_NORTH_AMERICAN = re.compile(r"\+1[2-9][0-9]{2}[2-9][0-9]{6}", re.ASCII)

# Fifteen digits and what people put between them; a longer text is no number and must not be remembered either.
_LONGEST_NUMBER = 40

# What is left of a number that is not to be known: enough to see a slip in its format.
_SHOWN_AT_START = 4
_SHOWN_AT_END = 2
_NUMBER_IN_TEXT = re.compile(r"(?<![\w-])\+?[0-9]{7,15}(?!\w)", re.ASCII)

# One busy line's worth of distinct callers; reading a number costs some 25 µs, remembering it nothing.
_REMEMBERED_NUMBERS = 16_384


class Numbers:
    """Reads numbers as somebody in *default_country* (ISO 3166-1, such as "DE") would dial them."""

    def __init__(self, default_country: str | None) -> None:
        self.default_country = default_country
        # Bound to this object, so that it goes with the configuration; weakly, so that it goes at once.
        self._read = lru_cache(maxsize=_REMEMBERED_NUMBERS)(partial(Numbers._parse, weakref.proxy(self)))

    def normalise(self, text: str) -> str | None:
        """Return *text* as E.164, such as "+15551230001", or None where it is no complete number."""
        if _NORTH_AMERICAN.fullmatch(text):
            return text
        return self._read(text) if len(text) <= _LONGEST_NUMBER and _WRITTEN_NUMBER.fullmatch(text) else None

    def _parse(self, text: str) -> str | None:
        try:
            number = phonenumbers.parse(text, self.default_country)
        except phonenumbers.NumberParseException:
            return None
        # Not is_possible_number, which also takes what can be dialled only within a town, such as 5551234.
        if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
            return None
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    def spellings(self, text: str) -> tuple[str, ...]:
        """Return every way in which a rule may write the number *text*: as it came, as E.164, and that without "+"."""
        e164 = self.normalise(text)
        candidates = (text,) if e164 is None else (text, e164, e164[1:])
        return tuple(dict.fromkeys(candidates))


def never_dialled(e164: str) -> str:
    """Return why no program may dial a number of ours, whatever prefixes are allowed; "" where it may."""
    number = phonenumbers.parse(e164)
    national = phonenumbers.national_significant_number(number)
    regions = phonenumbers.region_codes_for_country_code(number.country_code or 0)
    # A short number with its country's code before it is still one to some carriers.
    if phonenumbers.is_valid_short_number(number) or any(
        phonenumbers.is_emergency_number(national, region) for region in regions
    ):
        return "is an emergency or short number"
    if phonenumbers.number_type(number) == phonenumbers.PhoneNumberType.PREMIUM_RATE:
        return "is a premium-rate number"
    return ""


def known_country(country: str) -> bool:
    """Return whether *country* is an ISO 3166-1 code with a numbering plan."""
    return country in phonenumbers.SUPPORTED_REGIONS


def calling_code(country: str) -> int:
    """Return what the numbers of a known *country* begin with after the plus sign, such as 49 for "DE"."""
    return phonenumbers.country_code_for_region(country)


def without_fluff(text: str) -> str:
    """Return *text* without hyphens and blanks, which make a number readable and mean nothing (pbx.c, ext_strncpy)."""
    return text.replace("-", "").replace(" ", "")


def mask(number: str) -> str:
    """Return *number* with its middle hidden: beginning, length and end still show a slip in its format."""
    hidden = len(number) - _SHOWN_AT_START - _SHOWN_AT_END
    if hidden <= 0:
        return (
            number if len(number) <= _SHOWN_AT_START else number[:_SHOWN_AT_END] + "*" * (len(number) - _SHOWN_AT_END)
        )
    return number[:_SHOWN_AT_START] + "*" * hidden + number[-_SHOWN_AT_END:]


def mask_within(text: str) -> str:
    """Return *text* with the numbers in it masked. The serial number at the end of a channel's name is none."""
    return _NUMBER_IN_TEXT.sub(lambda found: mask(found[0]), text)


class PatternError(ValueError):
    """The text is no pattern that Asterisk would read."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A number, or an Asterisk dial pattern such as `_1NXXNXXXXXX`; immutable, made once when the rules are read.

    `literal` is the text that everything it matches begins with; the whole number where `is_exact`.
    """

    text: str
    literal: str = field(compare=False)
    _regex: re.Pattern[str] | None = field(compare=False, repr=False)

    @classmethod
    def compile(cls, text: str) -> Pattern:
        """Read a pattern; raise PatternError with what is wrong and where."""
        literal = without_fluff(text)
        if not literal:
            raise PatternError("a pattern cannot be empty")
        if not literal.startswith("_"):
            return cls(text, literal, None)
        regex, literal = _translate(text)
        return cls(text, literal, re.compile(regex, re.ASCII | re.DOTALL))

    @property
    def is_exact(self) -> bool:
        """Return whether this is a plain number; ten thousand of them would be a lot of regular expressions."""
        return self._regex is None

    def matches(self, text: str) -> bool:
        """Return whether the whole of *text* fits; hyphens and blanks in it do not count."""
        plain = without_fluff(text)
        return plain == self.literal if self._regex is None else self._regex.fullmatch(plain) is not None


def _translate(pattern: str) -> tuple[str, str]:
    """Return the regular expression for a pattern, and its literal beginning; places are counted from 1."""
    parts: list[str] = []
    literal: list[str] = []
    still_literal = True
    position = pattern.index("_") + 1
    while position < len(pattern):
        sign = pattern[position]
        position += 1
        if sign in "- ":
            continue
        if sign in ".!":
            if position < len(pattern):
                raise PatternError(f"nothing may follow {sign!r}, which already takes the rest")
            parts.append(".+" if sign == "." else ".*")
        elif sign == "[":
            end = pattern.find("]", position)
            if end < 0:
                raise PatternError(f"'[' at place {position} is never closed")
            parts.append(_character_set(pattern[position:end]))
            position = end + 1
            still_literal = False
        elif sign.upper() in _CLASSES:
            parts.append(_CLASSES[sign.upper()])
            still_literal = False
        elif _LITERAL.fullmatch(sign):
            parts.append(re.escape(sign))
            if still_literal:
                literal.append(sign)
        else:
            raise PatternError(f"{sign!r} at place {position} cannot stand in a pattern")
    if not parts:
        raise PatternError("a pattern needs something after its underscore")
    return "".join(parts), "".join(literal)


def _character_set(text: str) -> str:
    """Return the regular expression for what stands between "[" and "]": signs and ranges such as `2-5`."""
    members: list[str] = []
    position = 0
    while position < len(text):
        first = text[position]
        last = first
        if text[position + 1 : position + 2] == "-" and position + 2 < len(text):
            last = text[position + 2]
            if last < first:
                raise PatternError(f"the range {first}-{last} runs backwards")
            position += 2
        position += 1
        members.append(re.escape(first) if first == last else f"{re.escape(first)}-{re.escape(last)}")
    if not members:
        raise PatternError("'[]' matches nothing")
    return f"[{''.join(members)}]"
