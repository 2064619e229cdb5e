"""Which way calls take through a dialplan, read from its text. Pure.

Asterisk alone knows where a call goes: a target may be computed. So this follows whatever name of a context a step mentions
as a target, which may be a little too much, and never what a variable of the call holds, which may be too little.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agi_bridge.doctor.console_text import Context

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# A name before a comma, as in Goto(NAME,s,1), after an @, as in Local/x@NAME, or alone in Macro(NAME).
_TARGET = re.compile(r"(?<![\w.-])([\w.-]+)(?=,)|@([\w.-]+)|(?<=Macro\()([\w.-]+)")
_DIAL = re.compile(r"\bDial\(")
_AGI = re.compile(r"\bE?AGI\(agi://([^/,)]+)/?([^,)]*)")

# How deep a global variable may name another.
_DEPTH = 5


@dataclass(frozen=True, slots=True)
class DialStep:
    """One `Dial` of the dialplan: where it stands, what it dials, and its options with global variables put in."""

    context: str
    target: str
    options: str

    @property
    def letters(self) -> frozenset[str]:
        """Return the options that are written out: without their arguments, and without what the call itself brings."""
        return frozenset(re.sub(r"[^A-Za-z]", "", _without_brackets(self.options)))

    @property
    def is_ours(self) -> bool:
        """Return whether it dials what the bridge said."""
        return "MILLIS_DIAL" in self.target


@dataclass(frozen=True, slots=True)
class AgiStep:
    """One `AGI` of the dialplan that asks a server over the network: where it stands, and whom it asks for what."""

    context: str
    server: str
    verb: str


class Paths:
    """A dialplan, read once: its `Dial` and `AGI` steps, and which context leads to which."""

    def __init__(self, contexts: Mapping[str, Context], variables: Mapping[str, str]) -> None:
        self.dials: list[DialStep] = []
        self.agis: list[AgiStep] = []
        self._onwards: dict[str, set[str]] = {}
        for name, context in contexts.items():
            steps = [expanded(step, variables) for step in context.applications]
            targets = {target for step in steps for target in _targets(step)} | set(context.includes)
            self._onwards[name] = targets & contexts.keys()
            self.dials += _dials(name, context.applications, variables)
            self.agis += _agis(name, steps)
        self._backwards: dict[str, set[str]] = {name: set() for name in contexts}
        for name, targets in self._onwards.items():
            for target in targets:
                self._backwards[target].add(name)

    def onwards_from(self, start: Iterable[str]) -> set[str]:
        """Return the contexts that a call may come through which enters at one of *start*, those included."""
        return _reached(self._onwards, start)

    def leading_to(self, goal: Iterable[str]) -> set[str]:
        """Return the contexts from which a call may come to one of *goal*, those included."""
        return _reached(self._backwards, goal)


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return *text* with the values of global variables in the place of their names; others stay."""
    for _ in range(_DEPTH):
        if "${" not in text:
            break
        text = _VARIABLE.sub(lambda found: variables.get(found[1], found[0]), text)
    return text


def missing_targets(contexts: Mapping[str, Context], of: Iterable[str]) -> dict[str, str]:
    """Return the contexts that a subroutine call in *of* names though they do not exist, each with who names it."""
    missing: dict[str, str] = {}
    for name in of:
        for step in contexts[name].applications:
            targets = re.findall(r'\bGosub\(([\w-]+),|hangup_handler_push\)="?([\w-]+),', step)
            missing |= {target: name for pair in targets for target in pair if target and target not in contexts}
    return missing


def _reached(ways: Mapping[str, set[str]], start: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    pending = [name for name in start if name in ways]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += ways[name]
    return seen


def _targets(step: str) -> Iterator[str]:
    """Yield every name in a step that could be of a context; a macro is a context of its own name."""
    for found in _TARGET.finditer(step):
        name = found[1] or found[2] or found[3]
        yield name
        yield f"macro-{name}"


def _dials(name: str, steps: Iterable[str], variables: Mapping[str, str]) -> Iterator[DialStep]:
    for step in steps:
        if found := _DIAL.search(step):
            arguments = _arguments(step[found.end() :])
            options = expanded(arguments[2], variables) if len(arguments) > 2 else ""
            yield DialStep(name, arguments[0], options)


def _agis(name: str, steps: Iterable[str]) -> Iterator[AgiStep]:
    for step in steps:
        if found := _AGI.search(step):
            yield AgiStep(name, found[1], found[2].partition("?")[0])


def _arguments(text: str) -> list[str]:
    """Return what stands between commas up to the closing bracket, as Asterisk reads it: brackets protect a comma."""
    arguments, depth = [""], 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if depth < 0:
            break
        if sign == "," and not depth:
            arguments.append("")
        else:
            arguments[-1] += sign
    return arguments


def _without_brackets(text: str) -> str:
    kept, depth = "", 0
    for sign in text:
        depth += sign in "([{"
        if not depth:
            kept += sign
        depth -= sign in ")]}" and depth > 0
    return kept
