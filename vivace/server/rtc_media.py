"""Media of WebRTC connections: the edited tracks that go out and the readers of what comes in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from time import perf_counter

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.codecs import h264, vpx
from aiortc.mediastreams import MediaStreamError
from jaxtyping import UInt8

from vivace.server.hub import Hub
from vivace.server.outlet import Outlet
from vivace.server.protocol import Error, ProtocolError
from vivace.server.sound import BLOCK, RATE_HZ
from vivace.server.sound_desk import SoundOutlet
from vivace.server.stereo import ToStereo

TICKS_PER_S = 90_000


def cap_bitrate(kbps: int) -> None:
    """Let aiortc's encoders take at most this much; aiortc knows one limit for the whole process."""
    most = 1000 * kbps
    vpx.MAX_BITRATE = h264.MAX_BITRATE = most
    vpx.MIN_BITRATE, h264.MIN_BITRATE = min(vpx.MIN_BITRATE, most), min(h264.MIN_BITRATE, most)
    vpx.DEFAULT_BITRATE = min(vpx.DEFAULT_BITRATE, most)
    h264.DEFAULT_BITRATE = min(h264.DEFAULT_BITRATE, most)


class EditedTrack(MediaStreamTrack):
    """The edited stream for one WebRTC viewer; its times are those of departure."""

    kind = "video"

    def __init__(self, outlet: Outlet, clock: Callable[[], float] = perf_counter) -> None:
        super().__init__()
        self._outlet = outlet
        self._clock = clock
        self._started_s = clock()
        self._last_ticks = -1

    async def recv(self) -> av.VideoFrame:
        """The next frame.

        Raises:
            MediaStreamError: If the session is over.
        """
        frame = await self._outlet.get()
        if frame is None:
            self.stop()
            raise MediaStreamError
        picture = av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")
        ticks = round((self._clock() - self._started_s) * TICKS_PER_S)
        self._last_ticks = max(self._last_ticks + 1, ticks)
        picture.pts = self._last_ticks
        picture.time_base = Fraction(1, TICKS_PER_S)
        return picture


class SoundTrack(MediaStreamTrack):
    """The delayed sound for one WebRTC viewer."""

    kind = "audio"

    def __init__(self, outlet: SoundOutlet) -> None:
        super().__init__()
        self._outlet = outlet

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms.

        Raises:
            MediaStreamError: If the session is over.
        """
        block = await self._outlet.get()
        if block is None:
            self.stop()
            raise MediaStreamError
        frame = av.AudioFrame.from_ndarray(block.samples.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = RATE_HZ
        frame.pts, frame.time_base = block.index * BLOCK, Fraction(1, RATE_HZ)
        return frame


class Ingest:
    """Takes the media of one WebRTC publisher; of frames that come while one is converted the newest wins."""

    def __init__(self, hub: Hub, end: Callable[[], None]) -> None:
        self._hub = hub
        self._end = end
        self._newest: av.VideoFrame | None = None
        self._has_newest = asyncio.Event()
        self._kinds: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def add_track(self, track: MediaStreamTrack) -> None:
        """Read a track; a second one of its kind is read and dropped, or it would pile up."""
        if track.kind in self._kinds:
            self._tasks.append(asyncio.create_task(self._discard(track)))
            return
        self._kinds.add(track.kind)
        if track.kind == "video":
            self._hub.audience.set_publisher(self)
            self._tasks.append(asyncio.create_task(self._read(track)))
            self._tasks.append(asyncio.create_task(self._convert()))
        else:
            self._tasks.append(asyncio.create_task(self._listen(track)))

    def replaced(self) -> None:
        """Another connection hands in the frames of this session now."""
        self._end()

    async def close(self) -> None:
        """Read no more."""
        self._hub.audience.remove_publisher(self)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, track: MediaStreamTrack) -> None:
        async for frame in _received(track):
            if isinstance(frame, av.VideoFrame):
                self._newest = frame
                self._has_newest.set()
        self._end()

    async def _convert(self) -> None:
        while True:
            await self._has_newest.wait()
            self._has_newest.clear()
            frame, self._newest = self._newest, None
            if frame is None or not self._hub.audience.is_publisher(self):
                continue
            if frame.width * frame.height > self._hub.limits.max_pixels:
                sentence = f"got video of {frame.width}x{frame.height}, which is more than this server takes"
                self._hub.tell(Error(code="too_large", sentence=sentence))
                self._end()
                return
            pixels = await asyncio.to_thread(_rgb, frame)
            captured_s = frame.time if frame.time is not None else perf_counter()
            try:
                self._hub.push(pixels, captured_s)
            except ProtocolError:
                self._end()
                return

    async def _listen(self, track: MediaStreamTrack) -> None:
        to_stereo = ToStereo()
        async for frame in _received(track):
            if isinstance(frame, av.AudioFrame) and self._hub.audience.is_publisher(self):
                for samples, media_s in to_stereo(frame):
                    self._hub.push_sound(samples, media_s)

    async def _discard(self, track: MediaStreamTrack) -> None:
        async for _ in _received(track):
            pass


async def _received(track: MediaStreamTrack) -> AsyncIterator[object]:
    """What comes on a track until it ends."""
    try:
        while True:
            yield await track.recv()
    except MediaStreamError:
        return


def _rgb(frame: av.VideoFrame) -> UInt8[np.ndarray, "h w c"]:
    return frame.to_ndarray(format="rgb24")
