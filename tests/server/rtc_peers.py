"""The other end of WebRTC connections: cameras, microphones and what they are negotiated with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from time import perf_counter

import av
import httpx
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

SDP = {"content-type": "application/sdp"}
RATE_HZ = 48_000
BLOCK = 960


class Camera(MediaStreamTrack):
    """A grey picture, 30 times a second."""

    kind = "video"

    def __init__(self, size: tuple[int, int] = (64, 48)) -> None:
        super().__init__()
        self._pixels = np.full((size[1], size[0], 3), 128, np.uint8)
        self._count = 0

    async def recv(self) -> av.VideoFrame:
        await asyncio.sleep(1 / 30)
        frame = av.VideoFrame.from_ndarray(self._pixels, format="rgb24")
        frame.pts, frame.time_base = self._count * 3000, Fraction(1, 90_000)
        self._count += 1
        return frame


class Metronome:
    """A camera and a microphone of one device: a flash and a click at every full second."""

    def __init__(self, fps: int = 16) -> None:
        self.fps = fps
        self.start_s: float | None = None

    async def until(self, media_s: float) -> None:
        """Wait for a moment of the recording."""
        if self.start_s is None:
            self.start_s = perf_counter()
        await asyncio.sleep(max(0.0, self.start_s + media_s - perf_counter()))


class Flashes(MediaStreamTrack):
    """Dark, but white for the first fifth of every second."""

    kind = "video"

    def __init__(self, metronome: Metronome, size: tuple[int, int] = (64, 48)) -> None:
        super().__init__()
        self._metronome = metronome
        self._size = size
        self._count = 0

    async def recv(self) -> av.VideoFrame:
        at_s = self._count / self._metronome.fps
        await self._metronome.until(at_s)
        grey = 235 if at_s % 1 < 0.2 else 20
        frame = av.VideoFrame.from_ndarray(np.full((*self._size[::-1], 3), grey, np.uint8), format="rgb24")
        frame.pts, frame.time_base = round(at_s * 90_000), Fraction(1, 90_000)
        self._count += 1
        return frame


class Clicks(MediaStreamTrack):
    """Silence, but a tone of 1 kHz for the first fifth of every second."""

    kind = "audio"

    def __init__(self, metronome: Metronome) -> None:
        super().__init__()
        self._metronome = metronome
        self._count = 0

    async def recv(self) -> av.AudioFrame:
        times_s = (self._count * BLOCK + np.arange(BLOCK)) / RATE_HZ
        # a microphone has a block once it is over
        await self._metronome.until(times_s[-1])
        tone = 12_000 * np.sin(2 * np.pi * 1000 * times_s) * (times_s % 1 < 0.2)
        samples = np.repeat(tone.astype(np.int16), 2).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate = RATE_HZ
        frame.pts, frame.time_base = self._count * BLOCK, Fraction(1, RATE_HZ)
        self._count += 1
        return frame


@asynccontextmanager
async def peer() -> AsyncIterator[RTCPeerConnection]:
    """A connection that is closed in the end."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        yield connection
    finally:
        await connection.close()


async def negotiate(connection: RTCPeerConnection, address: str, key: str | None = None) -> httpx.Response:
    """Offer to an endpoint and take its answer."""
    await connection.setLocalDescription(await connection.createOffer())
    answer = await post_offer(connection.localDescription.sdp, address, key)
    await connection.setRemoteDescription(RTCSessionDescription(sdp=answer.text, type="answer"))
    return answer


async def post_offer(offer: str, address: str, key: str | None = None) -> httpx.Response:
    """The answer to an offer."""
    headers = SDP if key is None else {**SDP, "authorization": f"Bearer {key}"}
    async with httpx.AsyncClient() as client:
        answer = await client.post(address, content=offer, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer
