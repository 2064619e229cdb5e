"""Whether something grows: a line through samples, by least squares. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt


@dataclass(frozen=True)
class Trend:
    """*slope* a minute, and how much of that may be noise (two standard errors); *growth* over the whole time."""

    slope: float
    noise: float
    growth: float

    def __str__(self) -> str:
        return f"{self.slope:+.1f} ± {self.noise:.1f} KB/min"


def trend(samples: Sequence[tuple[float, float]]) -> Trend:
    """Return the trend of (seconds, kilobytes); without three samples at different times there is none."""
    if len(samples) < 3 or len({at for at, _ in samples}) < 3:
        return Trend(0.0, 0.0, 0.0)
    count = len(samples)
    mean_at = sum(at for at, _ in samples) / count
    mean = sum(value for _, value in samples) / count
    spread = sum((at - mean_at) ** 2 for at, _ in samples)
    slope = sum((at - mean_at) * (value - mean) for at, value in samples) / spread
    left = [value - mean - slope * (at - mean_at) for at, value in samples]
    # Memory moves in steps, so neighbouring samples repeat each other: only as many count as there are changes.
    changes = sum(one != other for (_, one), (_, other) in pairwise(samples))
    effective = min(max(changes, 3), count)
    error = sqrt(sum(each * each for each in left) / count / max(effective - 2, 1)) / sqrt(spread / count)
    return Trend(slope * 60, 2 * error * 60, slope * (samples[-1][0] - samples[0][0]))
