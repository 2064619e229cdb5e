"""Which way calls take through a dialplan, and what they are dialled with."""

import pytest

from agi_bridge.doctor.console_text import Context
from agi_bridge.doctor.paths import AgiStep, Paths, expanded, missing_targets


def plan(**contexts: tuple[str, ...]) -> dict[str, Context]:
    return {name.replace("_", "-"): Context({"s": steps}) for name, steps in contexts.items()}


@pytest.mark.parametrize(
    "step",
    [
        "Goto(far,s,1)",
        "Gosub(far,s,1(a,b))",
        "GotoIf($[1]?far,s,1)",
        "GotoIf($[1]?here:far,s,1)",
        "ExecIf($[1]?Goto(far,s,1))",
        "GotoIfTime(*,*,*,*?far,s,1)",
        "Dial(Local/100@far)",
        "Dial(Local/100@far/n,20)",
        "Set(CHANNEL(hangup_handler_push)=far,s,1)",
        "Goto(${WHERE},s,1)",
        "Goto(${DEEPER},s,1)",
    ],
)
def test_call_is_followed_to_the_next_context(step):
    """Whatever step names a context leads there, by way of global variables too."""
    contexts = plan(start=(step,), far=(), other=())

    paths = Paths(contexts, {"WHERE": "far", "DEEPER": "${WHERE}"})

    assert paths.onwards_from(["start"]) == {"start", "far"}
    assert paths.leading_to(["far"]) == {"start", "far"}


def test_macros_and_included_contexts_are_followed():
    """A macro is a context of its own name, and an included context is part of the one that includes it."""
    contexts = plan(macro_one=("Goto(far,s,1)",), far=())
    contexts["start"] = Context({"s": ("Macro(one,a)",)}, ("parked", "nowhere"))
    contexts["parked"] = Context()

    assert Paths(contexts, {}).onwards_from(["start", "nosuch"]) == {"start", "macro-one", "far", "parked"}


def test_circle_of_contexts_ends():
    """Contexts that include each other are followed once."""
    contexts = {"a": Context({}, ("b",)), "b": Context({}, ("a",))}

    assert Paths(contexts, {}).onwards_from(["a"]) == {"a", "b"}
    assert expanded("${A}", {"A": "${A}"}) == "${A}"


@pytest.mark.parametrize(
    ("step", "letters", "is_ours"),
    [
        ("Dial(${MILLIS_DIAL},${MILLIS_DIAL_TIMEOUT},${MILLIS_DIAL_OPTIONS}g)", "g", True),
        ("Dial(${MILLIS_DIAL},30,Tt)", "Tt", True),
        ("Dial(PJSIP/100&PJSIP/101,20,rU(sub^T)b(x^s^1(T,t)))", "rUb", False),
        ("Dial(PJSIP/100,,${OPTIONS})", "HT", False),
        ("Dial(PJSIP/100)", "", False),
        ("ExecIf($[1]?Dial(PJSIP/100,10,k))", "k", False),
    ],
)
def test_options_of_dial_are_read(step, letters, is_ours):
    """Letters within the brackets of an option are its arguments; a global variable is put in, one of the call is not."""
    [dial] = Paths(plan(here=(step,)), {"OPTIONS": "HT"}).dials

    assert (dial.context, dial.letters, dial.is_ours) == ("here", frozenset(letters), is_ours)


def test_other_applications_are_no_dial():
    """RetryDial and a variable that is called so are something else."""
    assert Paths(plan(here=("RetryDial(x,1,1,PJSIP/1)", "Set(Dial=1)")), {}).dials == []


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ("AGI(agi://${MILLIS_BRIDGE}/${ARG2},did=${ARG3})", AgiStep("here", "10.0.0.7:4573", "${ARG2}")),
        ("AGI(agi://10.0.0.7/route?x=1,did=1)", AgiStep("here", "10.0.0.7", "route")),
        ("AGI(agi://[::1]:4573)", AgiStep("here", "[::1]:4573", "")),
    ],
)
def test_agi_steps_are_read(step, found):
    """An AGI over the network has a server and a verb; one that runs a script here is none."""
    contexts = plan(here=(step, "AGI(script.sh)", "NoOp()"))

    assert Paths(contexts, {"MILLIS_BRIDGE": "10.0.0.7:4573"}).agis == [found]


def test_missing_subroutines_are_named():
    """A subroutine that does not exist is named with who calls it."""
    contexts = plan(millis=("Gosub(millis-ask,s,1)", "Set(CHANNEL(hangup_handler_push)=millis-ended,s,1)"))

    assert missing_targets(contexts, ["millis"]) == {"millis-ask": "millis", "millis-ended": "millis"}
