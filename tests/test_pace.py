"""The bound on how fast something may happen."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from agi_bridge.pace import Pace


@given(
    rate=st.integers(1, 1000),
    burst=st.integers(1, 1000),
    pauses=st.lists(st.floats(0, 2, allow_nan=False), max_size=200),
)
def test_pace_never_lets_more_through_than_burst_and_rate(rate, burst, pauses):
    """Over any time, no more goes through than the burst and what the rate allows since."""
    now, taken = 0.0, 0
    pace = Pace(rate, burst, now)
    for pause in pauses:
        now += pause
        taken += pace.take(now)
    assert taken <= burst + now * rate + sys.float_info.epsilon * 1e6
