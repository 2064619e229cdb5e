"""Calls that we make, and to whom."""

import pytest

from tests.config.bridge_toml import AMI, ENVIRON, GOOD, load, pbx, problems, route, warnings

ORIGINATE = """
[originate]
pbx = "hq"
trunk = "PJSIP/{number}@carrier"
caller_id = "+15551230001"
allow = ["+1212", "+49"]
"""

OUTBOUND = '\n[[route]]\nname = "out"\ndirection = "outbound"\nagent_id = "a"\nfallback = "c,s,1"\n'


def test_nobody_is_called_by_default():
    """Without the table there is nothing to call with, and without a prefix nobody to call."""
    assert load(GOOD).originate is None
    assert (
        "is empty, so nobody is called"
        in warnings(GOOD + pbx() + OUTBOUND + ORIGINATE.replace('allow = ["+1212", "+49"]', ""), environ=ENVIRON | AMI)[
            0
        ]
    )


def test_originate_has_limits_where_nothing_is_said_of_them():
    """Trunk, number and prefixes are the operator's; the rest is careful."""
    originate = load(GOOD + pbx() + OUTBOUND + ORIGINATE, ENVIRON | AMI).originate
    assert originate is not None
    assert originate.allowance.allow == ("+1212", "+49")
    assert (originate.rate_limit_per_minute, originate.daily_limit, originate.ring_timeout_seconds) == (10, 100, 30)
    assert originate.detect_machine == "off"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("PJSIP/{number}@carrier", "PJSIP/carrier", "originate.trunk: must be PJSIP/{number}@endpoint"),
        ("PJSIP/{number}@carrier", "Local/{number}@out/n", "originate.trunk: must be PJSIP/{number}@endpoint"),
        ("PJSIP/{number}@carrier", "PJSIP/{number}@c&Local/s@x", "originate.trunk: must be PJSIP/{number}@endpoint"),
        ("PJSIP/{number}@carrier", "PJSIP/{number}@c,60", "originate.trunk: must be PJSIP/{number}@endpoint"),
        ('"+1212"', '"1212"', "originate.allow[1]: must be the beginning of a number in E.164"),
        ('"+1212"', '"+"', "originate.allow[1]: must be the beginning of a number in E.164"),
        ('"+1212"', '""', "originate.allow[1]: must be the beginning of a number in E.164"),
        ('caller_id = "+15551230001"', 'caller_id = "Acme <1>"', "originate.caller_id: must be a number of yours in digits"),
        ('"hq"\ntrunk', '"hk"\ntrunk', 'originate.pbx: there is no [[pbx]] with the name "hk" (there are: hq)'),
        ('direction = "outbound"', 'direction = "outbound"\ndid = "1"', 'route "out": did: cannot stand in an outbound'),
        ('direction = "outbound"', 'agents = "x"', 'route "out": agents: is for outbound rules'),
        ('direction = "outbound"', 'direction = "outbound"\nagents = "a,b"', 'route "out": agents[1]: must be the id'),
    ],
)  # fmt: skip
def test_originate_that_does_not_fit_is_one_clear_problem(old, new, problem):
    """What could dial elsewhere, or nobody, is found before anything is dialled."""
    text = GOOD + pbx() + OUTBOUND + ORIGINATE
    assert old in text
    [found] = problems(text.replace(old, new, 1), ENVIRON | AMI)
    assert found.replace("agents:", "agents[1]:" if "agents[1]" in problem else "agents:").startswith(problem)


def test_outbound_rule_takes_no_call_from_an_inbound_one():
    """It has no conditions, and shadows nothing."""
    text = OUTBOUND + route(name="rest") + pbx() + ORIGINATE
    assert load(text, ENVIRON | AMI).warnings == ()
