"""Tones: G.711, and telling a tone from what is none."""

import math
import random

import pytest

from agi_bridge.simulator.tone import (
    AGENT_TONE_HZ,
    CALLER_TONE_HZ,
    PCMA,
    PCMU,
    SAMPLE_RATE_HZ,
    ToneListener,
    decode,
    encode,
    one_second_of,
    tone_share,
)


def sine(*hertz, amplitude=8000, count=SAMPLE_RATE_HZ):
    return [
        round(sum(amplitude * math.sin(2 * math.pi * hz * n / SAMPLE_RATE_HZ) for hz in hertz)) for n in range(count)
    ]


def noise(amplitude):
    source = random.Random(1)
    return [source.randint(-amplitude, amplitude) for _ in range(SAMPLE_RATE_HZ)]


@pytest.mark.parametrize(
    ("codec", "code", "sample"),
    [
        (PCMU, 0x00, -32124),
        (PCMU, 0x80, 32124),
        (PCMU, 0x7F, 0),
        (PCMU, 0xFF, 0),
        (PCMU, 0xA3, 7164),
        (PCMA, 0x2A, -32256),
        (PCMA, 0xAA, 32256),
        (PCMA, 0x55, -8),
        (PCMA, 0xD5, 8),
        (PCMA, 0x83, 5760),
    ],
)
def test_g711_codes_stand_for_the_samples_of_the_standard(codec, code, sample):
    """Each code decodes to the level that ITU-T G.711 gives it."""
    assert decode(codec, bytes([code])) == [sample]


@pytest.mark.parametrize("codec", [PCMU, PCMA])
def test_a_sample_is_encoded_as_the_nearest_level(codec):
    """No sample comes back further off than half a step of its segment, and clipping keeps the loudest level."""
    samples = range(-33000, 33001, 37)

    heard = decode(codec, encode(codec, samples))

    assert all(abs(before - after) <= max(16, abs(before) / 30) for before, after in zip(samples, heard, strict=True))


@pytest.mark.parametrize("codec", [PCMU, PCMA])
@pytest.mark.parametrize("hz", [AGENT_TONE_HZ, CALLER_TONE_HZ, 441])
def test_a_tone_that_was_made_is_recognised_once(codec, hz):
    """A second of tone is a second long, and its frequency is news exactly once."""
    audio = one_second_of(hz, codec)
    listener = ToneListener([hz, hz + 100])

    news = [listener.hear(decode(codec, audio[n : n + 160])) for n in range(0, len(audio), 160)]

    assert len(audio) == SAMPLE_RATE_HZ
    assert [each for each in news if each] == [(hz,)]
    assert listener.heard_hz == (hz,)


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(sine(350, AGENT_TONE_HZ), id="dial tone"),
        pytest.param(sine(AGENT_TONE_HZ, 480), id="ringing tone"),
        pytest.param(sine(CALLER_TONE_HZ), id="the other side's tone"),
        pytest.param(sine(AGENT_TONE_HZ + 20), id="a tone close by"),
        pytest.param(sine(AGENT_TONE_HZ, amplitude=50), id="a tone below the noise floor"),
        pytest.param([0] * SAMPLE_RATE_HZ, id="silence"),
        pytest.param(noise(8000), id="noise"),
        pytest.param((sine(AGENT_TONE_HZ, count=1600) + [0] * 1600) * 3, id="beeps of a fifth of a second"),
    ],
)
def test_what_is_not_the_tone_is_not_recognised(samples):
    """Only the tone itself, alone and for long enough, is heard."""
    listener = ToneListener([AGENT_TONE_HZ])

    assert listener.hear(samples) == ()


def test_a_tone_is_recognised_through_some_noise():
    """A noisy line does not hide the tone."""
    mixed = [tone + hiss for tone, hiss in zip(sine(AGENT_TONE_HZ), noise(2000), strict=True)]

    assert ToneListener([AGENT_TONE_HZ]).hear(mixed) == (AGENT_TONE_HZ,)


def test_the_share_of_a_tone_is_its_share_of_the_energy():
    """Two equally loud tones have half of the energy each."""
    assert tone_share(sine(400, 1200), 400) == pytest.approx(0.5, abs=0.01)
    assert tone_share(sine(400), 400) == pytest.approx(1.0, abs=0.01)
    assert tone_share([], 400) == 0
