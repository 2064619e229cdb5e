"""How fast something may happen: a bound on the rate, and on the burst. Pure: the time arrives as an argument."""


class Pace:
    """Lets *burst* through at once, and *per_second* in the long run. Times are in seconds of one monotonic clock."""

    __slots__ = ("_burst", "_filled_at", "_left", "_per_second")

    def __init__(self, per_second: float, burst: int, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = float(burst)
        self._filled_at = now

    def take(self, now: float) -> bool:
        """Return whether one more may go now, and count it if so."""
        self._left = min(self._burst, self._left + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
