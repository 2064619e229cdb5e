"""The conversation of `agi-bridge init`: asks for what a first configuration needs, and writes it with its key.

A shell around `first_config.py`, which has the questions and judges the answers. Only a person at a terminal is asked; what
the command line answers already is not asked again. Nothing is written before the last answer is accepted.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from agi_bridge.errors import ConfigError, Problem
from agi_bridge.files import replace_text
from agi_bridge.first_config import EXAMPLE, KEY_FILE, QUESTIONS, Answers, BadAnswer, Question, accept, render

Say = Callable[[str], None]

_FORCE = "--force replaces it, and keeps a backup"
_BY_OTHERS = 0o007


@dataclass(frozen=True, slots=True)
class Key:
    """The API key, and what it was found in; `text` is "" where it was not found."""

    text: str = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True)
class Terminal:
    """A person: how to tell something, how to ask, and how to ask for what must not be seen.

    To ask raises EOFError where no answer will come.
    """

    say: Say
    ask: Callable[[str], str]
    ask_secret: Callable[[str], str]


def obstacles(path: Path, force: bool) -> list[Problem]:
    """Return why no configuration can be written to *path*, before anybody is bothered with questions."""
    folder = path.parent
    if not folder.is_dir():
        return [Problem("--config", f"there is no folder {folder}", f"make it: install -d -m 750 {folder}")]
    if path.is_dir():
        return [Problem("--config", f"{path} is a folder", "name the file, such as bridge.toml in it")]
    if path.exists() and not force:
        return [Problem("--config", f"{path} is there already", _FORCE)]
    if not os.access(folder, os.W_OK):
        return [Problem("--config", f"cannot write into {folder}", "run this as root, or name another file")]
    return []


def key_at_hand(key_from: str, path: Path, environ: Mapping[str, str], standard_input: TextIO | None) -> Key:
    """Return the API key that nobody needs to be asked for; raise ConfigError where *key_from* has none.

    No option takes the key itself: whoever lists processes would see it.
    """
    if key_from == "-":
        text = standard_input.readline() if standard_input else ""
        key = Key(text.strip(), "standard input")
    elif key_from:
        key = Key(_read(Path(key_from)), key_from)
    elif environ.get("MILLIS_API_KEY", "").strip():
        return Key(environ["MILLIS_API_KEY"].strip(), "MILLIS_API_KEY")
    else:
        return Key(_kept_key(path), str(path.with_name(KEY_FILE)))
    if not key.text:
        raise ConfigError([Problem("--key-from", f"there is no key in {key.source}")])
    return key


def from_flags(given: Mapping[str, str], key: Key) -> Answers:
    """Return the answers where nobody can be asked; raise ConfigError with every flag that is missing or wrong."""
    answers, problems = EXAMPLE, []
    for question in QUESTIONS:
        text = (key.text if question.is_secret else given[question.flag]) or question.usual(answers)
        if not text:
            hint = f"{question.words} {question.hint(answers)}"
            problems.append(Problem(question.flag, "is missing, and there is no terminal to ask at", hint))
            continue
        try:
            answers = accept(question, text, answers)
        except BadAnswer as bad:
            problems.append(Problem(question.flag, str(bad)))
    if problems:
        raise ConfigError(problems)
    return answers


def from_person(given: Mapping[str, str], key: Key, path: Path, terminal: Terminal) -> Answers:
    """Return the answers, asking for what is not *given*; raise ConfigError where something given is wrong."""
    terminal.say(f"A few questions, then {path} is written. Enter takes what is in [brackets].")
    if key.text:
        terminal.say(f"The API key is the one in {key.source}; --key-from gives another.")
    answers = EXAMPLE
    for question in QUESTIONS:
        text = key.text if question.is_secret else given[question.flag]
        if not text:
            answers = _asked(question, answers, terminal)
            continue
        try:
            answers = accept(question, text, answers)
        except BadAnswer as bad:
            raise ConfigError([Problem(question.flag, str(bad))]) from None
    return answers


def write(answers: Answers, path: Path, force: bool) -> list[str]:
    """Write the configuration to *path* and the key beside it, and return what was done, a line for each thing.

    Raises ConfigError where a key would be lost or a file cannot be written; what is there then stays as it was.
    """
    key_path = path.with_name(KEY_FILE)
    former_key = _kept_key(path)
    if former_key and former_key != answers.key and not force:
        raise ConfigError([Problem("--key-from", f"{key_path} holds another key", _FORCE)])
    done = []
    if former_key != answers.key:
        done += _written(key_path, f"{answers.key}\n", mode=0o600)
    # The key first: a configuration never names one that is not there.
    return done + _written(path, render(answers), mode=0o640)


def _kept_key(path: Path) -> str:
    """Return the key that stands beside the configuration at *path* already, "" where there is none."""
    key_path = path.with_name(KEY_FILE)
    return _read(key_path) if key_path.exists() else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise ConfigError([Problem("--key-from", f"cannot read {path}: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem("--key-from", f"{path} is not UTF-8 text")]) from None


def _asked(question: Question, before: Answers, terminal: Terminal) -> Answers:
    """Ask until the answer can be accepted."""
    usual = question.usual(before)
    prompt = f"  {question.hint(before)}{f' [{usual}]' if usual else ''}: "
    ask = terminal.ask_secret if question.is_secret else terminal.ask
    terminal.say(f"\n{question.words}")
    while True:
        text = ask(prompt).strip() or usual
        try:
            after = accept(question, text, before)
        except BadAnswer as bad:
            terminal.say(f"  ! {bad}")
            continue
        if question.read_as(after) not in ("", text):
            terminal.say(f"  = {question.read_as(after)}")
        return after


def _written(path: Path, text: str, *, mode: int) -> list[str]:
    """Replace a file, and take it from those who could read it but should not, with the backup that is made like it."""
    try:
        if path.exists():
            path.chmod(path.stat().st_mode & 0o7777 & ~_BY_OTHERS)
        backup = replace_text(path, text, mode=mode)
    except OSError as error:
        raise ConfigError([Problem("--config", f"cannot write {path}: {error.strerror}")]) from error
    return [f"wrote {path}"] + ([f"kept the one before as {backup}"] if backup else [])
