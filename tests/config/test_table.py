"""The kinds of values that several tables have."""

from typing import get_args

from agi_bridge.config.table import Region
from agi_bridge.millis.models import REGIONS


def test_regions_are_those_of_the_client():
    """The regions that may be configured are those whose addresses are known."""
    assert set(get_args(Region)) == set(REGIONS)
