"""The first configuration: the answers to a few questions in, the text of a `bridge.toml` out.

Pure: it asks nobody and writes nothing; `conversation.py` does. An answer is judged by loading a file that holds it, so that
`agi-bridge init` accepts nothing that `agi-bridge check` refuses, and says what is wrong in the same words.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agi_bridge import config
from agi_bridge.errors import ConfigError
from agi_bridge.millis.models import REGIONS
from agi_bridge.numbers import Numbers, calling_code, known_country

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Beside the configuration, which names it.
KEY_FILE = "millis.key"

# The answer that gives the agent every number.
ALL_NUMBERS = "all"

# A place in the dialplan that each distribution has, or may well have. Only the first is there for certain: the shipped
# dialplan brings it.
FALLBACKS = {
    "plain": ("millis-fallback,s,1", "says sorry and hangs up"),
    "freepbx": ("ext-queues,600,1", "queue 600"),
    "issabel": ("ext-queues,600,1", "queue 600"),
    "vitalpbx": ("cos-all,600,1", "queue 600"),
}

# The calling codes of Africa begin with 2, those of Europe with 3 and 4.
_NEAR_EUROPE = ("2", "3", "4")


@dataclass(frozen=True, slots=True)
class Answers:
    """What was answered so far. No *dids* means every number."""

    flavor: str
    country: str
    region: str
    key: str
    dids: tuple[str, ...]
    agent_id: str
    fallback: str

    def __repr__(self) -> str:
        return f"Answers({self.flavor!r}, {self.dids!r}, {self.agent_id!r})"  # never the key


# Stands for what is not answered yet: a file must be whole to be judged.
EXAMPLE = Answers(
    flavor="plain",
    country="US",
    region="us-west",
    key="key",
    dids=("+15551230001",),
    agent_id="-NxYourAgentId",
    fallback="millis-fallback,s,1",
)


def _nothing(_: Answers) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that a first configuration needs: how it is asked, and what becomes of the answer.

    `flag` answers it on the command line. `words` and `hint` ask a person; `usual` is what an empty answer means, "" where
    there must be one. `take` puts an answer to the others, unjudged, and `read_as` tells how it was understood.
    """

    flag: str
    words: str
    hint: Callable[[Answers], str]
    take: Callable[[Answers, str], Answers]
    usual: Callable[[Answers], str] = _nothing
    read_as: Callable[[Answers], str] = _nothing
    is_secret: bool = False


class BadAnswer(ValueError):
    """The answer cannot stand in a configuration; the message says why, and never holds a secret."""


def _hint_for_fallback(answers: Answers) -> str:
    place, what = FALLBACKS[answers.flavor]
    return f"context,extension,priority, such as {place} ({what})"


def _numbers(answers: Answers, text: str) -> Answers:
    """Take numbers with commas between them, each as E.164 where it is a complete number in the country."""
    if text.lower() == ALL_NUMBERS:
        return replace(answers, dids=())
    normalise = Numbers(answers.country).normalise
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        # A configuration may name an extension of letters, but whoever types one here has most likely missed the question.
        if part and not part.startswith("_") and not any(sign.isdigit() for sign in part):
            raise BadAnswer(f'"{part}" has no digits; write a number such as {EXAMPLE.dids[0]}, or {ALL_NUMBERS}')
    return replace(answers, dids=tuple(dict.fromkeys(normalise(part) or part for part in parts)))


def _country(answers: Answers, text: str) -> Answers:
    """Take a country in small letters too, which the configuration itself does not."""
    if not known_country(text.upper()):
        raise BadAnswer("must be a two-letter country code, such as US or DE")
    return replace(answers, country=text.upper())


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _region_near(country: str) -> str:
    return "eu-west" if str(calling_code(country)).startswith(_NEAR_EUROPE) else "us-west"


QUESTIONS = (
    Question(
        "--flavor",
        "Which distribution is the PBX?",
        lambda _: f"plain (Asterisk without a web interface), {_listed([*FALLBACKS][1:])}",
        lambda answers, text: replace(answers, flavor=text.lower()),
        usual=lambda _: EXAMPLE.flavor,
    ),
    Question(
        "--country",
        "In which country is it?",
        lambda _: "two letters, such as US or DE",
        _country,
    ),
    Question(
        "--region",
        "Which region of Millis is asked first?",
        lambda _: _listed([*REGIONS]),
        lambda answers, text: replace(answers, region=text.lower()),
        usual=lambda answers: _region_near(answers.country),
    ),
    Question(
        "--key-from",
        "What is the private API key of your Millis account?",
        lambda _: "it is not shown",
        lambda answers, text: replace(answers, key=text),
        is_secret=True,
    ),
    Question(
        "--did",
        "Which numbers reach the agent?",
        lambda _: f"with commas between them, or {ALL_NUMBERS}",
        _numbers,
        read_as=lambda answers: ", ".join(answers.dids),
    ),
    Question(
        "--agent",
        "What is the id of that agent at Millis?",
        lambda _: f"such as {EXAMPLE.agent_id}",
        lambda answers, text: replace(answers, agent_id=text),
    ),
    Question(
        "--fallback",
        "Where does a caller go when no agent can be had?",
        _hint_for_fallback,
        lambda answers, text: replace(answers, fallback=text),
        usual=lambda answers: EXAMPLE.fallback if answers.flavor == EXAMPLE.flavor else "",
    ),
)


def accept(question: Question, text: str, before: Answers) -> Answers:
    """Return the answers *before* with one more, or raise BadAnswer.

    *before* holds what was accepted already, and the EXAMPLE's for the rest, so whatever is wrong is wrong with this answer.
    """
    text = text.strip()
    if not text:
        raise BadAnswer("needs an answer")
    if not text.isprintable():
        raise BadAnswer("holds signs that cannot be printed")
    answers = question.take(before, text)
    if answers.flavor not in FALLBACKS:
        raise BadAnswer(f"must be {_listed([*FALLBACKS])}")
    try:
        found = config.load(render(answers), {"MILLIS_API_KEY": answers.key}, _no_file).warnings
    except ConfigError as error:
        found = tuple(error.problems)
    if found:
        raise BadAnswer(found[0].message + (f" ({found[0].suggestion})" if found[0].suggestion else ""))
    return answers


def render(answers: Answers) -> str:
    """Return the text of the configuration; the key is not in it, but in the file that it names."""
    return f"""\
# agi_bridge: which calls reach which Millis agent, and where they go when none can be had.
# docs/configuration.md explains every key. After a change: agi-bridge check, then agi-bridge reload.

[millis]
region = {_quoted(answers.region)}
# The key stands in a file of its own, beside this one.
api_key_file = {_quoted(KEY_FILE)}

[numbers]
# Numbers without a country code are read as they are dialled here.
default_country = {_quoted(answers.country)}

[defaults]
# context,extension,priority in the PBX's dialplan: where a caller goes when no agent can be had.
fallback = {_quoted(answers.fallback)}

# One [[route]] for each agent. The first whose conditions all hold takes the call.
[[route]]
# It is in the log line of every call.
name = "main"
{_condition(answers.dids)}
agent_id = {_quoted(answers.agent_id)}
# A call with the agent ends after so long, whatever is being said.
max_duration_seconds = 3600
"""


def _condition(dids: Sequence[str]) -> str:
    if not dids:
        return "# Without did = […], every number that the PBX sends. Rules for certain numbers go before this one."
    written = ", ".join(map(_quoted, dids))
    return f'# Numbers, or Asterisk patterns such as "_+1555124XXXX".\ndid = [{written}]'


def _quoted(text: str) -> str:
    """Return *text* as a TOML string; what is printable needs no other escapes than JSON's."""
    return json.dumps(text, ensure_ascii=False)


def _no_file(name: str) -> bytes:
    raise FileNotFoundError(name)
