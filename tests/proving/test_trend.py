"""The line through samples: its slope, and how much of it is noise."""

from random import Random

import pytest
from proving.trend import Trend, trend


def test_straight_line_has_its_slope_and_no_noise():
    """Ten kilobytes a second are six hundred a minute, without a doubt."""
    found = trend([(at, 1000 + 10 * at) for at in range(60)])

    assert found.slope == pytest.approx(600)
    assert found.growth == pytest.approx(590)
    assert found.noise == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_noise_around_a_level_is_no_slope(seed: int):
    """What goes up and down around one level has a slope within its noise, or hardly beyond."""
    chance = Random(seed)
    found = trend([(at, 60_000 + chance.uniform(-50, 50)) for at in range(120)])

    assert abs(found.slope) < 2 * found.noise


def test_step_counts_as_few_samples():
    """A single step among many equal samples is told with a noise as large as what it could mean."""
    found = trend([(at, 1000.0 if at < 30 else 1100.0) for at in range(60)])

    assert found.noise > found.slope / 2


@pytest.mark.parametrize("samples", [[], [(0, 1)], [(0, 1), (1, 2)], [(0, 1), (0, 2), (0, 3), (1, 9)]])
def test_too_few_samples_have_no_trend(samples):
    """Without three moments there is no line to draw."""
    assert trend(samples) == Trend(0.0, 0.0, 0.0)


def test_trend_reads_as_a_slope_with_its_noise():
    """It is told in kilobytes a minute."""
    assert str(Trend(12.34, 5.6, 100)) == "+12.3 ± 5.6 KB/min"
