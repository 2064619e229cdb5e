"""The audio of one SIP leg: RTP over UDP (RFC 3550), 20 ms of G.711 in each packet.

Sends one tone and listens for others; SIP decides when and where to. Packets are heard in order of arrival, without a
jitter buffer: both ends stand on one machine or one Docker network.
"""

import asyncio
import random
import struct
from collections.abc import Callable, Iterable
from typing import cast

from agi_bridge.simulator import tone

PACKET_SECONDS = 0.02
PACKET_SAMPLES = 160
LATEST_SECONDS = 0.2  # a sender further behind than this skips ahead instead of sending a burst
_HEADER = struct.Struct("!BBHII")


def audio_of(datagram: bytes) -> tuple[int, bytes]:
    """Return payload type and payload of an RTP packet; raise ValueError when it is none."""
    if len(datagram) < _HEADER.size or datagram[0] >> 6 != 2:
        raise ValueError("not RTP version 2")
    start = _HEADER.size + 4 * (datagram[0] & 0x0F)
    if datagram[0] & 0x10:
        if len(datagram) < start + 4:
            raise ValueError("header extension cut off")
        start += 4 + 4 * int.from_bytes(datagram[start + 2 : start + 4], "big")
    end = len(datagram) - (datagram[-1] if datagram[0] & 0x20 else 0)
    if start > end:
        raise ValueError("shorter than its own header")
    return datagram[1] & 0x7F, datagram[start:end]


class RtpSession(asyncio.DatagramProtocol):
    """One UDP port for the audio of one leg; lives from the SDP that names its port until the leg ends."""

    def __init__(self, listens_for_hz: Iterable[int], on_tone: Callable[[int], None]) -> None:
        self._listener = tone.ToneListener(listens_for_hz)
        self._on_tone = on_tone
        self._transport: asyncio.DatagramTransport
        self._loop = asyncio.get_running_loop()
        self._closed = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._source = random.getrandbits(32)
        self._sequence = random.getrandbits(16)
        self.packets_received = 0
        self.packets_sent = 0
        self.packets_malformed = 0

    @classmethod
    async def open(cls, host: str, listens_for_hz: Iterable[int], on_tone: Callable[[int], None]) -> "RtpSession":
        """Bind a free UDP port on *host*. The caller must `close()`."""
        loop = asyncio.get_running_loop()
        _, session = await loop.create_datagram_endpoint(lambda: cls(listens_for_hz, on_tone), local_addr=(host, 0))
        return session

    @property
    def port(self) -> int:
        return int(self._transport.get_extra_info("sockname")[1])

    @property
    def heard_hz(self) -> tuple[int, ...]:
        """The tones recognised so far, in order."""
        return self._listener.heard_hz

    def speak(self, address: tuple[str, int], codec: int, hz: int) -> None:
        """Send the tone to *address* from now on, in place of whatever was being sent."""
        self.pause()
        second = tone.one_second_of(hz, codec)
        packets = [second[n : n + PACKET_SAMPLES] for n in range(0, len(second), PACKET_SAMPLES)]
        self._speak(address, codec, packets, self._loop.time())

    def pause(self) -> None:
        if self._timer:
            self._timer.cancel()

    async def close(self) -> None:
        self.pause()
        self._transport.close()
        await self._closed

    def _speak(self, address: tuple[str, int], codec: int, packets: list[bytes], due: float) -> None:
        marker = 0x80 if not self.packets_sent else 0
        timestamp = self.packets_sent * PACKET_SAMPLES
        header = _HEADER.pack(0x80, codec | marker, self._sequence, timestamp & 0xFFFFFFFF, self._source)
        self._transport.sendto(header + packets[self.packets_sent % len(packets)], address)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self.packets_sent += 1
        due = max(due, self._loop.time() - LATEST_SECONDS) + PACKET_SECONDS
        self._timer = self._loop.call_at(due, self._speak, address, codec, packets, due)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # which asyncio's own transport does not inherit

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed.done():  # whoever waited for it may have been cancelled
            self._closed.set_result(None)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            codec, payload = audio_of(data)
        except ValueError:
            self.packets_malformed += 1
            return
        if codec not in (tone.PCMU, tone.PCMA):
            return  # telephone events, comfort noise, RTCP on a shared port
        self.packets_received += 1
        for hz in self._listener.hear(tone.decode(codec, payload)):
            self._on_tone(hz)
