"""What counts as lost, doubled or left behind, and how it is told."""

from collections import Counter
from typing import Any

import pytest
from proving.site import Witness
from proving.trend import Trend
from proving.verdict import (
    Left,
    calls_without_one_outcome,
    descriptors_left,
    growing,
    memory_left,
    odd_lines,
    outcomes,
    told,
)

PATIENT = "+15557654321"
NOTHING = Left(Counter({"TCP listening on 127.0.0.1:4573": 1}), tasks=1, objects=100, types={"builtins.set": 60})


def line(verb: str, reason: str, uniqueid: str = "1.1", bridge_call_id: str = "a") -> dict[str, Any]:
    """Return a line of the bridge's log on a call."""
    return {
        "event": "call",
        "verb": verb,
        "result": "completed" if reason in ("routed", "answered") else "millis",
        "reason": reason,
        "uniqueid": uniqueid,
        "bridge_call_id": bridge_call_id,
    }


def seen(*desk: str, caller: str = PATIENT) -> Witness:
    """Return what the PBX saw of one call, and who reached the fallback."""
    return Witness({"1.1": caller}, Counter(desk))


GOOD = [
    pytest.param([line("route", "routed"), line("ended", "answered")], seen(), id="an agent"),
    pytest.param([line("route", "millis-timeout")], seen("1.1"), id="the fallback at once"),
    pytest.param(
        [line("route", "routed"), line("ended", "agent-busy")], seen("1.1"), id="the fallback after the agent"
    ),
    pytest.param(
        [
            line("route", "routed"),
            line("ended", "agent-busy"),
            line("route", "routed-redial"),
            line("ended", "answered"),
        ],
        seen(),
        id="an agent at the second attempt",
    ),
    pytest.param(
        [
            line("route", "routed"),
            line("ended", "agent-dropped"),
            line("route", "routed-redial"),
            line("ended", "caller-hung-up"),
        ],
        seen(),
        id="an agent that hung up, and the caller left before the next one came",
    ),
    pytest.param([line("route", "caller-hung-up")], seen(caller="+1"), id="nobody, because the caller left"),
    pytest.param([], seen(caller="+1"), id="nobody, because the caller left before the bridge was asked"),
]

BAD = [
    pytest.param([], seen(), "call 1.1: no line in the bridge's log", id="never asked"),
    pytest.param(
        [line("route", "routed"), line("ended", "agent-busy")],
        seen(),
        "call 1.1: the caller reached nobody, and the bridge says route/routed, ended/agent-busy",
        id="nobody",
    ),
    pytest.param(
        [line("route", "routed")],
        seen(caller="+1"),
        "call 1.1: nobody reported how it ended after route/routed",
        id="never reported",
    ),
    pytest.param(
        [line("route", "routed"), line("ended", "answered")],
        seen("1.1"),
        "call 1.1: the caller reached the fallback, and the bridge says route/routed, ended/answered",
        id="an agent and the fallback",
    ),
    pytest.param(
        [line("route", "millis-timeout")],
        seen("1.1", "1.1"),
        "call 1.1: the caller reached the fallback 2 times, and the bridge says route/millis-timeout",
        id="the fallback twice",
    ),
    pytest.param(
        [line("route", "routed"), line("ended", "answered"), line("ended", "answered")],
        seen(),
        "call 1.1: its lines are route/routed, ended/answered, ended/answered",
        id="ended twice",
    ),
    pytest.param(
        [line("route", "routed"), line("ended", "answered", bridge_call_id="b")],
        seen(),
        "call 1.1: 2 lines with different bridge_call_ids, of route/routed, ended/answered",
        id="two identities",
    ),
    pytest.param(
        [line("route", "routed"), line("ended", "answered"), line("route", "routed", "2.2", "c")],
        seen(),
        "call 2.2 is in the bridge's log, and the PBX knows nothing of it",
        id="a call that never was",
    ),
]


@pytest.mark.parametrize(("lines", "witness"), GOOD)
def test_call_with_one_outcome(lines, witness):
    """A caller who reaches an agent or the fallback, or who leaves, has one outcome."""
    assert list(calls_without_one_outcome(lines, witness, PATIENT)) == []


@pytest.mark.parametrize(("lines", "witness", "sentence"), BAD)
def test_call_without_one_outcome(lines, witness, sentence):
    """A caller who reaches nobody or two, or whom the bridge tells wrongly, is named with the whole story."""
    assert list(calls_without_one_outcome(lines, witness, PATIENT)) == [sentence]


def test_outcome_is_the_last_line_of_a_call():
    """Of several lines on a call, the last one counts."""
    lines = [line("route", "routed"), line("ended", "answered"), line("route", "millis-timeout", "2.2", "b")]

    assert outcomes(lines) == Counter({"completed/answered": 1, "millis/millis-timeout": 1})


def test_nothing_is_left_over():
    """The same descriptors, tasks and objects as before are no leak, nor are a few objects more."""
    after = Left(NOTHING.descriptors, tasks=1, objects=300, types={"builtins.set": 260})

    assert list(descriptors_left(NOTHING, after)) == []
    assert list(memory_left(NOTHING, after, calls=1000)) == []


def test_kept_connection_may_take_another_ones_place():
    """As many descriptors as before are no leak, though one of them leads elsewhere."""
    before = Left(Counter({"TCP established to 127.0.0.1:80": 1}), 1, 1, {})
    after = Left(Counter({"TCP established to 127.0.0.2:80": 1}), 1, 1, {})

    assert list(descriptors_left(before, after)) == []


def test_everything_left_over_is_named():
    """Sockets are told by where they lead, tasks by their number, objects by what they are."""
    sockets = NOTHING.descriptors + Counter({"TCP close-wait to 127.0.0.1:8080": 3})
    after = Left(sockets, tasks=5, objects=1300, types={"builtins.set": 1060})

    assert list(descriptors_left(NOTHING, after)) == ["3 left over: TCP close-wait to 127.0.0.1:8080"]
    assert list(memory_left(NOTHING, after, calls=1000)) == [
        "4 tasks left over",
        "1200 objects left over after 1000 calls; of these 1000 builtins.set",
    ]


@pytest.mark.parametrize(
    ("memory", "sentences"),
    [
        (Trend(900, 50, 10_000), ["memory grows by +900.0 ± 50.0 KB/min, 10000 KB while it was watched"]),
        (Trend(900, 50, 900), []),
        (Trend(900, 1000, 10_000), []),
        (Trend(-900, 50, -10_000), []),
    ],
    ids=["a leak", "a step", "noise", "less than before"],
)
def test_memory_grows(memory, sentences):
    """Memory grows where it grows by more than a step and by more than its noise."""
    assert list(growing(memory)) == sentences


def test_quiet_bridge_says_nothing_odd():
    """Warnings are what a soak is made of; they are not odd."""
    lines = [{"event": "call", "level": "warning"}, {"event": "no longer listening", "level": "info"}]

    assert list(odd_lines(lines, [], 0)) == []


def test_odd_lines_are_told():
    """An error, a traceback, a drain that had something to do, a bad exit code and a missing last line are told."""
    lines: list[dict[str, Any]] = [
        {"event": "unexpected failure", "level": "error"},
        {"event": "draining", "level": "info", "calls": 1},
    ]

    assert list(odd_lines(lines, ["Traceback"], 1)) == [
        "the bridge printed 'Traceback'",
        "the bridge logged {'event': 'unexpected failure', 'level': 'error'}",
        "the bridge logged {'event': 'draining', 'level': 'info', 'calls': 1}",
        "the bridge ended with exit code 1",
        "the bridge did not say how it ended",
    ]


def test_many_problems_are_cut():
    """A thousand of a kind are told by the first ones and a number, and hide no other kind."""
    assert told(map(str, range(9)), ["x"]) == [*map(str, range(5)), "… and 4 more like these", "x"]
