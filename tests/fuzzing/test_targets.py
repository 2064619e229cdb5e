"""What scripts/fuzz tries for hours, tried for a moment, without the fuzzer and on every Python."""

import pytest
from fuzzing import agi_bytes, sip_uri
from fuzzing.target import Target
from fuzzing.targets import TARGETS
from hypothesis import given
from hypothesis import strategies as st

SEEDS = [
    pytest.param(target, seed, id=f"{name}-{place}")
    for name, target in TARGETS.items()
    for place, seed in enumerate(target.seeds)
]


def bent(target: Target) -> st.SearchStrategy[bytes]:
    """Return seeds of *target*, cut, joined, and with words and noise in between."""
    words = st.sampled_from([word.encode() for word in target.words])
    seeds = st.sampled_from(target.seeds)
    cuts = st.integers(0, target.longest_bytes)
    pieces = st.one_of(words, st.binary(max_size=4), st.builds(lambda seed, a, b: seed[a:b], seeds, cuts, cuts))
    beginnings = st.builds(lambda seed, cut: seed[:cut], seeds, cuts)
    return st.builds(lambda first, rest: (first + b"".join(rest))[: target.longest_bytes], beginnings, st.lists(pieces))


@pytest.mark.parametrize(("target", "seed"), SEEDS)
def test_promise_holds_for_honest_bytes(target: Target, seed: bytes):
    """The examples from which a fuzzer sets out break no promise."""
    target.broken_by(seed)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_promise_holds_for_bent_bytes(name: str, data: st.DataObject):
    """Nor do examples that were cut, joined and filled with what hurts."""
    TARGETS[name].broken_by(data.draw(bent(TARGETS[name])))


@pytest.mark.parametrize("name", TARGETS)
@given(noise=st.binary(max_size=64))
def test_promise_holds_for_noise(name: str, noise: bytes):
    """Nor does noise."""
    TARGETS[name].broken_by(noise)


@pytest.mark.parametrize(
    "dial",
    [
        "Local/millis/sip:a@127.0.0.1",
        "PJSIP/millis/sip:a@127.0.0.1&Local/s@lobby",
        "PJSIP/millis/sip:a@127.0.0.1,30,iU(lobby)",
        "PJSIP/millis/sip:a@127.0.0.1?X-Account=1",
        "PJSIP/millis/sip:${EXTEN}@127.0.0.1",
        "PJSIP/millis/sip:a@127.0.0.1:0",
        "PJSIP/millis/sip:a@127.0.0.1:99999",
        "PJSIP/millis/sip:a@127.0.0.1;transport=ws",
        "PJSIP/millis/sip:a@millis.ai.example.com",
        "PJSIP/millis/sip:127.0.0.1",
        "PJSIP/millis/tel:a@127.0.0.1",
        "PJSIP/millis/sip:a@127.0.0.1\n",
        "PJSIP/mil&lis/sip:a@127.0.0.1",
        "PJSIP/millis/sip:" + "a" * 250 + "@127.0.0.1",
    ],
)
def test_unsafe_dial_string_is_noticed(dial: str):
    """The fuzzer's own idea of a safe dial string refuses what an attacker would need."""
    with pytest.raises((AssertionError, ValueError)):
        sip_uri.must_be_safe(dial)


def test_recorded_conversations_are_seeds():
    """What a real Asterisk has said is where the fuzzer begins, the environment first."""
    assert all(said.startswith(b"agi_network: yes\n") for said in agi_bytes.recorded().values())
