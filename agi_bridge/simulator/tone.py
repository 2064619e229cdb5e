"""Tones: making one, and recognising one in what came back.

Audio proves a call only when what one side says is what the other side hears, so each side speaks a pure tone of its
own and looks for the other's. Pure functions over 8 kHz samples and G.711 bytes (ITU-T G.711; `audioop`, which had
them, left Python in 3.13). Knows nothing of RTP, of sockets or of time.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

SAMPLE_RATE_HZ = 8000
AGENT_TONE_HZ = 440
CALLER_TONE_HZ = 1000
SILENCE_HZ = 0
HEARD_TONE_HZ = 660  # what an agent may go over to once it has heard the caller

# Ten windows a second tell 440 Hz alone from the two-frequency tones of telephone networks (350+440, 440+480).
WINDOW_SAMPLES = SAMPLE_RATE_HZ // 10
RECOGNISED_SHARE = 0.8
RECOGNISED_WINDOWS = 3
QUIETEST_RMS = 100  # about -50 dBFS: below it is line noise, not a tone
_AMPLITUDE = 8000  # -12 dBFS


def _ulaw_sample(code: int) -> int:
    code ^= 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw_sample(code: int) -> int:
    code ^= 0x55
    exponent = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + 8
    if exponent:
        magnitude = magnitude + 0x100 << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


PCMU, PCMA = 0, 8  # the static RTP payload types of RFC 3551
_SAMPLES = {PCMU: [_ulaw_sample(code) for code in range(256)], PCMA: [_alaw_sample(code) for code in range(256)]}


def decode(codec: int, payload: bytes) -> list[int]:
    """Return the 16-bit samples of a G.711 *payload*; *codec* is PCMU or PCMA."""
    samples = _SAMPLES[codec]
    return [samples[code] for code in payload]


def encode(codec: int, samples: Iterable[float]) -> bytes:
    """Return each sample as the G.711 code of the nearest level."""
    levels = sorted((sample, code) for code, sample in enumerate(_SAMPLES[codec]))

    def nearest(wanted: float) -> int:
        above = min(bisect_left(levels, (wanted, 0)), len(levels) - 1)
        below = max(above - 1, 0)
        return min(levels[below], levels[above], key=lambda level: abs(level[0] - wanted))[1]

    return bytes(map(nearest, samples))


def one_second_of(hz: int, codec: int) -> bytes:
    """Return a second of tone; a whole number of hertz repeats without a click."""
    repeats = math.gcd(SAMPLE_RATE_HZ, hz)
    step = 2 * math.pi * hz / SAMPLE_RATE_HZ
    return encode(codec, (_AMPLITUDE * math.sin(step * n) for n in range(SAMPLE_RATE_HZ // repeats))) * repeats


def tone_share(samples: Sequence[int], hz: int) -> float:
    """Return the share, 0 to 1, of the samples' energy that lies at *hz* (Goertzel's algorithm)."""
    energy = sum(sample * sample for sample in samples)
    if energy < QUIETEST_RMS**2 * len(samples) or not energy:
        return 0.0
    coefficient = 2 * math.cos(2 * math.pi * hz / SAMPLE_RATE_HZ)
    last = before = 0.0
    for sample in samples:
        last, before = sample + coefficient * last - before, last
    power = last * last + before * before - coefficient * last * before
    return 2 * power / (len(samples) * energy)


class ToneListener:
    """Listens to one stream of samples for a few known tones, for as long as the call lasts."""

    def __init__(self, listens_for_hz: Iterable[int]) -> None:
        self._windows = dict.fromkeys(listens_for_hz, 0)
        self._samples: list[int] = []
        self.heard_hz: tuple[int, ...] = ()

    def hear(self, samples: Sequence[int]) -> tuple[int, ...]:
        """Take the next samples; return the tones recognised for the first time, each only once a call."""
        self._samples += samples
        news: list[int] = []
        while len(self._samples) >= WINDOW_SAMPLES:
            window, self._samples = (self._samples[:WINDOW_SAMPLES], self._samples[WINDOW_SAMPLES:])
            for hz in self._windows:
                in_window = tone_share(window, hz) >= RECOGNISED_SHARE
                self._windows[hz] = self._windows[hz] + 1 if in_window else 0
                if self._windows[hz] == RECOGNISED_WINDOWS and hz not in self.heard_hz:
                    self.heard_hz += (hz,)
                    news.append(hz)
        return tuple(news)
