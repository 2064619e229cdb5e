"""RTP: packets that are audio, packets that are not, and their pace."""

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, closing
from itertools import pairwise

import pytest

from agi_bridge.simulator.rtp import RtpSession, audio_of
from agi_bridge.simulator.tone import AGENT_TONE_HZ, CALLER_TONE_HZ, PCMA, PCMU, one_second_of

HEADER = struct.pack("!BBHII", 0x80, PCMU, 1, 160, 7)
SECONDS = 5


@asynccontextmanager
async def session(listens_for_hz=(AGENT_TONE_HZ,), on_tone=lambda hz: None):
    rtp = await RtpSession.open("127.0.0.1", listens_for_hz, on_tone)
    try:
        yield rtp
    finally:
        await rtp.close()


@pytest.mark.parametrize(
    ("datagram", "audio"),
    [
        pytest.param(HEADER + b"abc", (0, b"abc"), id="plain"),
        pytest.param(HEADER, (0, b""), id="no payload"),
        pytest.param(b"\x80\x88" + HEADER[2:] + b"abc", (8, b"abc"), id="PCMA with the marker bit"),
        pytest.param(b"\x82" + HEADER[1:] + b"12345678abc", (0, b"abc"), id="two contributing sources"),
        pytest.param(b"\x90" + HEADER[1:] + b"\0\0\0\x01" + b"4444abc", (0, b"abc"), id="header extension"),
        pytest.param(b"\xa0" + HEADER[1:] + b"abc\0\x02", (0, b"abc"), id="padding"),
    ],
)
def test_the_audio_is_found_behind_every_kind_of_header(datagram, audio):
    """Sources, an extension and padding are no audio."""
    assert audio_of(datagram) == audio


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(b"", id="empty"),
        pytest.param(HEADER[:-1], id="half a header"),
        pytest.param(b"OPTIONS sip:x SIP/2.0\r\n", id="SIP"),
        pytest.param(b"\x8f" + HEADER[1:], id="fifteen sources that are not there"),
        pytest.param(b"\x90" + HEADER[1:], id="an extension that is not there"),
        pytest.param(b"\x90" + HEADER[1:] + b"\0\0\xff\xff", id="an extension longer than the packet"),
        pytest.param(b"\xa0" + HEADER[1:] + b"\xff", id="more padding than payload"),
    ],
)
async def test_what_is_not_rtp_is_counted_and_dropped(datagram):
    """A malformed packet costs one count; the audio after it is still heard."""
    tones: asyncio.Queue[int] = asyncio.Queue()
    async with session(on_tone=tones.put_nowait) as rtp:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as far_side:
            far_side.sendto(datagram, ("127.0.0.1", rtp.port))
            audio = one_second_of(AGENT_TONE_HZ, PCMU)
            for n in range(0, 3200, 160):
                far_side.sendto(HEADER + audio[n : n + 160], ("127.0.0.1", rtp.port))
            async with asyncio.timeout(SECONDS):
                assert await tones.get() == AGENT_TONE_HZ

        assert rtp.packets_malformed == 1


async def test_other_payloads_are_neither_audio_nor_malformed():
    """A telephone event passes without a count."""
    tones: asyncio.Queue[int] = asyncio.Queue()
    async with session(on_tone=tones.put_nowait) as rtp:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as far_side:
            far_side.sendto(b"\x80\x65" + HEADER[2:] + b"\x05\x0a\x00\xa0", ("127.0.0.1", rtp.port))
            far_side.sendto(HEADER + one_second_of(AGENT_TONE_HZ, PCMU), ("127.0.0.1", rtp.port))
            async with asyncio.timeout(SECONDS):
                await tones.get()

        assert (rtp.packets_received, rtp.packets_malformed) == (1, 0)


@pytest.mark.parametrize("codec", [PCMU, PCMA])
async def test_two_sessions_hear_each_other(codec):
    """Each recognises the other's tone, in either codec, and not its own."""
    tones: asyncio.Queue[int] = asyncio.Queue()
    both = (AGENT_TONE_HZ, CALLER_TONE_HZ)
    async with session(both, tones.put_nowait) as agent, session(both, tones.put_nowait) as caller:
        agent.speak(("127.0.0.1", caller.port), codec, AGENT_TONE_HZ)
        caller.speak(("127.0.0.1", agent.port), codec, CALLER_TONE_HZ)
        async with asyncio.timeout(SECONDS):
            assert {await tones.get(), await tones.get()} == set(both)

        assert agent.heard_hz == (CALLER_TONE_HZ,)
        assert caller.heard_hz == (AGENT_TONE_HZ,)


async def test_packets_are_numbered_and_twenty_milliseconds_apart():
    """Sequence numbers rise by one, timestamps by 160 samples, and the clock agrees."""
    loop = asyncio.get_running_loop()
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as far_side:
        far_side.bind(("127.0.0.1", 0))
        far_side.setblocking(False)
        async with session() as rtp:
            began = loop.time()
            rtp.speak(far_side.getsockname(), PCMU, AGENT_TONE_HZ)
            async with asyncio.timeout(SECONDS):
                packets = [await loop.sock_recv(far_side, 2048) for _ in range(11)]
            took = loop.time() - began

    fields = [struct.unpack("!BBHII", packet[:12]) for packet in packets]
    assert [len(packet) for packet in packets] == [172] * 11
    assert [marker for _, marker, *_ in fields] == [0x80] + [0] * 10
    assert [(after[2] - before[2]) & 0xFFFF for before, after in pairwise(fields)] == [1] * 10
    assert [after[3] - before[3] for before, after in pairwise(fields)] == [160] * 10
    assert took >= 0.19
