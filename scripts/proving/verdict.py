"""What a soak has shown: every call ended in exactly one way, and nothing was left behind. Pure.

Three witnesses are compared, none of whom knows the others: the callers (SIPp), the PBX's log (`site.py`) and the bridge's log.
A problem is a sentence that says which call, or what is left.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proving.site import Witness
from proving.trend import Trend

# What the bridge calls a conversation with an agent.
_ANSWERED = "answered"
# And an agent that answered and hung up at once, whom the caller has not had.
_DROPPED = "agent-dropped"

# Free lists and caches may move by a few objects; a leak is one for every call, or for every tenth.
_OBJECTS_OF_NOBODY = 400
_OBJECTS_A_CALL = 0.05

# The bridge collects its garbage rarely (app.py), so up to this much lies about until then: a slope in a short run.
_GROWTH_KILOBYTES = 2048

# Of one kind, the first few say enough.
_TOLD = 5


@dataclass(frozen=True)
class Left:
    """What is in the bridge when no call is there: its descriptors by what they are, its tasks, its objects by type."""

    descriptors: Counter[str]
    tasks: int
    objects: int
    types: Mapping[str, int]


def calls_without_one_outcome(lines: Iterable[Mapping[str, Any]], seen: Witness, patient: str) -> Iterator[str]:
    """Yield a sentence for each call that did not end in exactly one way; *patient* is the number of callers who wait.

    A call's outcome is the last line of the bridge that carries its bridge_call_id.
    """
    by_uniqueid: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        if line.get("event") == "call":
            by_uniqueid[line["uniqueid"]].append(line)
    for uniqueid in by_uniqueid.keys() - seen.began.keys():
        yield f"call {uniqueid} is in the bridge's log, and the PBX knows nothing of it"
    for uniqueid, number in seen.began.items():
        trouble = _trouble(by_uniqueid.get(uniqueid, []), seen.desk[uniqueid], waits=number == patient)
        if trouble:
            yield f"call {uniqueid}: {trouble}"


def _trouble(lines: Sequence[Mapping[str, Any]], at_desk: int, *, waits: bool) -> str:
    """Return what is wrong with a call, by the bridge's lines on it and by how often it reached the fallback; or ""."""
    if not lines:
        return "no line in the bridge's log" if waits else ""
    if len({line["bridge_call_id"] for line in lines}) > 1:
        return f"{len(lines)} lines with different bridge_call_ids, of {_story(lines)}"
    verbs = [line["verb"] for line in lines]
    # Asked and told in turns; a second time where the rule redials.
    if verbs != [("route", "ended")[place % 2] for place in range(len(verbs))]:
        return f"its lines are {_story(lines)}"
    if verbs[-1] == "route" and str(lines[-1]["reason"]).startswith("routed"):
        return f"nobody reported how it ended after {_story(lines)}"
    ways = at_desk + (lines[-1]["reason"] == _ANSWERED)
    # A caller whom an agent has answered, if only to hang up, talks to whoever comes next for a moment, and leaves.
    answered_before = any(line["reason"] == _DROPPED for line in lines)
    if ways > 1 or (waits and ways == 0 and not answered_before):
        times = {0: "nobody", 1: "the fallback"}.get(at_desk, f"the fallback {at_desk} times")
        return f"the caller reached {times}, and the bridge says {_story(lines)}"
    return ""


def _story(lines: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{line['verb']}/{line['reason']}" for line in lines)


def outcomes(lines: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Return how many calls ended with each result and reason: the last line of each bridge_call_id."""
    last = {
        line["bridge_call_id"]: f"{line['result']}/{line['reason']}" for line in lines if line.get("event") == "call"
    }
    return Counter(last.values())


def descriptors_left(before: Left, after: Left) -> Iterator[str]:
    """Yield a sentence for each descriptor that the bridge has after the calls and did not have before them."""
    # As many as before are none too many: one connection may have taken the place of another.
    if after.descriptors.total() > before.descriptors.total():
        for what, count in (after.descriptors - before.descriptors).items():
            yield f"{count} left over: {what}"


def memory_left(before: Left, after: Left, calls: int) -> Iterator[str]:
    """Yield a sentence for tasks and objects that are alive after *calls* calls and were not before them."""
    if after.tasks > before.tasks:
        yield f"{after.tasks - before.tasks} tasks left over"
    grown = after.objects - before.objects
    if grown > _OBJECTS_OF_NOBODY + _OBJECTS_A_CALL * calls:
        most = Counter(after.types) - Counter(before.types)
        kinds = ", ".join(f"{count} {name}" for name, count in most.most_common(_TOLD))
        yield f"{grown} objects left over after {calls} calls; of these {kinds}"


def growing(memory: Trend) -> Iterator[str]:
    """Yield a sentence if memory grows more than its noise explains."""
    if memory.growth > _GROWTH_KILOBYTES and memory.slope > memory.noise:
        yield f"memory grows by {memory}, {memory.growth:.0f} KB while it was watched"


def odd_lines(lines: Iterable[Mapping[str, Any]], noise: Iterable[str], exit_code: int | None) -> Iterator[str]:
    """Yield a sentence for whatever the bridge said that it does not say on a good day."""
    for text in noise:
        yield f"the bridge printed {text!r}"
    for line in lines:
        if line.get("level") in ("error", "critical") or line.get("event") == "draining":
            yield f"the bridge logged {line}"
    if exit_code != 0:
        yield f"the bridge ended with exit code {exit_code}"
    if not any(line.get("event") == "no longer listening" for line in lines):
        yield "the bridge did not say how it ended"


def told(*kinds: Iterable[str]) -> list[str]:
    """Return the problems, of each kind as many as a person reads."""
    shown = []
    for problems in map(list, kinds):
        rest = len(problems) - _TOLD
        shown += [*problems[:_TOLD], *([f"… and {rest} more like these"] if rest > 0 else [])]
    return shown
