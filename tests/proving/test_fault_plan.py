"""The faults of a soak: honest half of the time, repeatable by a seed, and all of them understood by who plays them."""

from itertools import islice
from random import Random

import pytest
from proving.fault_plan import AGENT_FAULTS, MILLIS_FAULTS, spells

from agi_bridge.simulator.fault import Fault
from agi_bridge.simulator.sip import AgentBehaviour


@pytest.mark.parametrize("fault", MILLIS_FAULTS)
def test_millis_understands_each_fault(fault: str):
    """Each fault is one that the simulated Millis knows, and none is honesty."""
    assert Fault.parse(fault) != Fault()


@pytest.mark.parametrize("fault", AGENT_FAULTS, ids=str)
def test_agent_understands_each_fault(fault):
    """Each fault is a behaviour of the simulated agent."""
    assert AgentBehaviour(**fault) != AgentBehaviour()


def test_seed_says_it_all():
    """The same seed gives the same spells, another one gives others."""
    one, same, other = (list(islice(spells(Random(seed), 2), 20)) for seed in (1, 1, 2))

    assert one == same
    assert one != other


def test_everybody_is_honest_half_of_the_time():
    """Of many spells, about half are honest for each party, and each fault comes."""
    many = list(islice(spells(Random(1), 2), 2000))

    for region in range(2):
        assert 0.45 < sum(spell.millis[region] == "" for spell in many) / len(many) < 0.55
    assert {spell.millis[0] for spell in many} == {"", *MILLIS_FAULTS}
    assert all(fault in [spell.agent for spell in many] for fault in AGENT_FAULTS)
