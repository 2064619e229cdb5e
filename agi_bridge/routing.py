"""Which rule answers a call: an ordered list, first match wins.

Pure. A `Rule` is one `[[route]]` table of the configuration, read and checked; `RuleBook` is all of them, indexed once;
`choose_route` is the decision, total and printable: "no rule matched" is a route too, and so is "the rule refuses".
It does not know Millis, AGI or how the chosen destination is dialled.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from agi_bridge.call import Outcome, Reason, Result
from agi_bridge.numbers import without_fluff

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agi_bridge.call import Call
    from agi_bridge.dialplan import SipUri
    from agi_bridge.numbers import Numbers, Pattern

# The word by which a rule's `caller` means "whoever withholds the number".
WITHHELD = "withheld"

# As many numbers as a large PBX has.
_REMEMBERED_DIDS = 16_384

NO_RULE = Outcome(Result.OPERATOR, Reason.NO_RULE)
BLOCKED_CALLER = Outcome(Result.OPERATOR, Reason.BLOCKED_CALLER)
# Of an outbound call, whoever was called is the caller's side.
ANSWERED_BY_MACHINE = Outcome(Result.CALLER, Reason.ANSWERED_BY_MACHINE)

# What is done where a machine answers, as an argument of the dialplan's.
HANG_UP = "hang-up"


@dataclass(frozen=True, slots=True)
class Agent:
    """The Millis agent that a rule names, and what it is told.

    `metadata` holds a rule's own keys: a literal, or an expression (`${…}`) that Asterisk evaluates for each call.
    `regions` are asked in their order; `standby_uri` is dialled when none of them can be had.
    """

    agent_id: str | None = None
    agent_config: Mapping[str, Any] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    include_metadata_in_prompt: bool = False
    account: str = "default"
    regions: tuple[str, ...] = ("us-west",)
    standby_uri: SipUri | None = None

    def regions_after(self, failed: str) -> tuple[str, ...]:
        """Return the regions to ask when the agent leg of *failed* was refused: the others, or the same where it is alone."""
        return tuple(region for region in self.regions if region != failed) or self.regions


@dataclass(frozen=True, slots=True)
class Dialling:
    """How the PBX dials the agent: PJSIP endpoint, seconds of ringing and of talking, further Dial options.

    With `redial`, an agent leg that fails is dialled once more, with another registration. `warning_seconds` before the
    longest duration is over the caller hears a beep; 0: none.
    """

    endpoint: str = "millis"
    ring_timeout_seconds: int = 10
    max_duration_seconds: int = 3600
    warning_seconds: int = 0
    dial_options: str = ""
    redial: bool = True


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the caller gets before the agent is called: an answer, a `prompt` played once, a class of `music` from then on.

    Without any of it the caller hears ringing. Prompt and music need the answer, and bring it.
    """

    answer: bool = False
    prompt: str = ""
    music: str = ""

    def __bool__(self) -> bool:
        return bool(self.answer or self.prompt or self.music)


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[[route]]`: conditions that must all hold, and what then happens.

    An empty condition holds always. `fallback` is `context,exten,priority` in the PBX. An outbound rule has no conditions: it is
    for calls that we make, chosen by its name; whoever asks for such a call may have one of `agents` in place of its own.
    """

    name: str
    fallback: str
    agent: Agent = Agent()
    dialling: Dialling = Dialling()
    welcome: Welcome = Welcome()
    did: tuple[Pattern, ...] = ()
    caller: tuple[Pattern, ...] = ()
    withheld: bool = False
    context: tuple[Pattern, ...] = ()
    channel: tuple[Pattern, ...] = ()
    arguments: Mapping[str, tuple[Pattern, ...]] = field(default_factory=dict)
    reject: bool = False
    is_outbound: bool = False
    agents: tuple[str, ...] = ()

    def agent_for(self, call: Call) -> Agent:
        """Return the agent of *call*: the rule's own, unless another was asked for that may be."""
        wanted = call.arguments.get("agent", "") if call.is_outbound else ""
        # A standby URI leads to the one agent that it was made for.
        return replace(self.agent, agent_id=wanted, standby_uri=None) if wanted in self.agents else self.agent


@dataclass(frozen=True, slots=True)
class Route:
    """What was decided for one call. `refusal` is None where the call goes to the rule's agent.

    `nearest` names the rule that would have come closest, where none matched.
    """

    rule: Rule | None
    fallback: str
    refusal: Outcome | None = None
    nearest: NearestRule | None = None

    @property
    def answering(self) -> Rule | None:
        """Return the rule whose agent takes the call; None where the call is refused."""
        return self.rule if self.refusal is None else None

    @property
    def rule_name(self) -> str:
        """Return the name for logs and metrics; "" where no rule matched."""
        return self.rule.name if self.rule else ""


@dataclass(frozen=True, slots=True)
class NearestRule:
    """The rule with the number that shares the longest beginning with the one that was dialled.

    `number` is as the rule writes it.
    """

    name: str
    number: str


class RuleBook:
    """All rules of one configuration, indexed by the fixed beginning of their numbers; never changes.

    A call then meets only the rules whose number it could be, however many there are.
    """

    def __init__(self, rules: Sequence[Rule], numbers: Numbers, default_fallback: str) -> None:
        self.rules = tuple(rules)
        self.numbers = numbers
        self.default_fallback = default_fallback
        self.outbound = {rule.name: rule for rule in self.rules if rule.is_outbound}
        by_literal: dict[str, list[int]] = defaultdict(list)
        by_digits: dict[str, NearestRule] = {}
        for place, rule in enumerate(self.rules):
            if rule.is_outbound:
                continue
            literals = {literal: pattern for pattern in rule.did for literal in self._literals(pattern)}
            for literal in literals or {""}:
                by_literal[literal].append(place)
            for literal, pattern in literals.items():
                by_digits.setdefault(literal.removeprefix("+"), NearestRule(rule.name, pattern.text))
        self._by_literal = dict(by_literal)
        # A called number is called again. Bound to this object, so that it goes with the configuration; weakly, so that it
        # goes at once, and a reload leaves nothing behind for the garbage collector, which seldom comes by.
        self.for_did = lru_cache(maxsize=_REMEMBERED_DIDS)(partial(RuleBook._for_did, weakref.proxy(self)))
        self._literal_lengths = sorted({len(literal) for literal in by_literal})
        self._by_digits = by_digits
        self._sorted_digits = sorted(by_digits)

    def _for_did(self, spellings: tuple[str, ...]) -> tuple[Rule, ...]:
        """Return, in their order, the rules whose `did` fits a number with these *spellings*."""
        places: set[int] = set()
        for spelling in spellings:
            plain = without_fluff(spelling)
            for length in self._literal_lengths:
                if length > len(plain):
                    break
                places.update(self._by_literal.get(plain[:length], ()))
        rules = (self.rules[place] for place in sorted(places))
        return tuple(rule for rule in rules if not rule.did or _any_match(rule.did, spellings, self.numbers))

    def nearest(self, spellings: Iterable[str]) -> NearestRule | None:
        """Return the rule whose number begins most like one of the *spellings*; None where none begins alike.

        A "+" does not count: that it is missing, or too much, is the commonest reason for asking.
        """
        nearest, shared = None, 0
        for spelling in spellings:
            digits = without_fluff(spelling).removeprefix("+")
            place = bisect_left(self._sorted_digits, digits)
            for literal in self._sorted_digits[max(place - 1, 0) : place + 1]:
                alike = _shared_beginning(literal, digits)
                if alike > shared:
                    nearest, shared = self._by_digits[literal], alike
        return nearest

    def _literals(self, pattern: Pattern) -> tuple[str, ...]:
        """Return the beginnings to file *pattern* under; an exact number also under its E.164 form."""
        return self.numbers.spellings(pattern.literal) if pattern.is_exact else (pattern.literal,)


def choose_route(book: RuleBook, call: Call) -> Route:
    """Return the route of *call*: that of the first rule whose conditions all hold, or of the one that we called for."""
    if call.is_outbound:
        return _outbound_route(book, call)
    spellings = book.numbers.spellings(call.did_received) if call.did_received else ("",)
    for rule in book.for_did(spellings):
        if _holds(rule, call, book.numbers):
            return Route(rule, rule.fallback, BLOCKED_CALLER if rule.reject else None)
    return Route(None, book.default_fallback, NO_RULE, book.nearest(spellings))


def _outbound_route(book: RuleBook, call: Call) -> Route:
    rule = book.outbound.get(call.arguments.get("rule", ""))
    if rule is None:
        return Route(None, book.default_fallback, NO_RULE)
    is_unwanted = call.answered_by == "machine" and call.arguments.get("on_machine") == HANG_UP
    return Route(rule, rule.fallback, ANSWERED_BY_MACHINE if is_unwanted else None)


def _holds(rule: Rule, call: Call, numbers: Numbers) -> bool:
    """Return whether the conditions other than `did` hold."""
    return (
        (not (rule.caller or rule.withheld) or _caller_matches(rule, call, numbers))
        and (not rule.context or _any_match(rule.context, (call.context,)))
        and (not rule.channel or _any_match(rule.channel, (call.channel, _endpoint(call.channel))))
        and all(_any_match(patterns, (call.arguments.get(name, ""),)) for name, patterns in rule.arguments.items())
    )


def _caller_matches(rule: Rule, call: Call, numbers: Numbers) -> bool:
    received = call.caller.received
    if received is None:
        return rule.withheld
    return _any_match(rule.caller, numbers.spellings(received), numbers)


def _any_match(patterns: Iterable[Pattern], texts: Sequence[str], numbers: Numbers | None = None) -> bool:
    for pattern in patterns:
        if any(pattern.matches(text) for text in texts):
            return True
        # A number that the operator wrote in another way than the caller's, such as "030 1234" for "+49301234".
        if numbers and pattern.is_exact and (e164 := numbers.normalise(pattern.literal)) and e164 in texts:
            return True
    return False


def _endpoint(channel: str) -> str:
    """Return technology and endpoint of a channel: "PJSIP/trunk" of "PJSIP/trunk-0000001a"."""
    return channel.rpartition("-")[0]


def _shared_beginning(one: str, other: str) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
