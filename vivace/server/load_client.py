"""Synthetic users in a process of their own: send marked frames, note when each one comes back edited.

`python -m vivace.server.load_client` reads an order as JSON on its input and writes what it saw as JSON; the
clock is the machine's monotonic one, which the server's process shares.
"""

import asyncio
import json
import logging
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from time import perf_counter
from typing import Any, Literal

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from jaxtyping import UInt8
from websockets.asyncio.client import connect

from vivace.server.frame_wire import WireFrame, pack_frame, parse_frame
from vivace.server.jitter import receive_eagerly
from vivace.server.marks import NUM_NUMBERS, mark, read_mark

NUM_PICTURES = 48
# After the last frame was sent, what is on its way is waited for.
LAST_WAIT_S = 1.0
CONNECT_S = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadOrder:
    """What the users do.

    Attributes:
        address: Of the server.
        over: How frames go.
        sessions: Name and key of each one's session.
        fps: Frames a second that each one sends.
        duration_s: For how long.
        width_px: Of its pictures.
        height_px: Likewise.
        new_prompt: Asked for half-way.
    """

    address: str
    over: Literal["websocket", "webrtc"]
    sessions: tuple[tuple[str, str], ...]
    fps: float
    duration_s: float
    width_px: int
    height_px: int
    new_prompt: str


@dataclass(kw_only=True, slots=True)
class Seen:
    """What one user saw, in seconds of the machine's monotonic clock.

    Attributes:
        sent_s: When each frame was handed to the codec, by its number.
        received: Number and time of each edited frame, decoded.
        num_unread: Edited frames whose number could not be read.
        asked_s: When the instruction was changed.
    """

    sent_s: list[float] = field(default_factory=list)
    received: list[tuple[int, float]] = field(default_factory=list)
    num_unread: int = 0
    asked_s: float | None = None

    def take(self, luma: np.ndarray) -> None:
        """Note an edited frame."""
        now_s = perf_counter()
        short = read_mark(luma)
        # the newest number of that remainder that was sent
        newest = len(self.sent_s) - 1
        number = -1 if short is None else newest - (newest - short) % NUM_NUMBERS
        if number < 0:
            self.num_unread += 1
        else:
            self.received.append((number, now_s))


class _Scene:
    """Pictures like those of a camera, smooth and moving; noise would only measure the codec's despair."""

    def __init__(self, order: LoadOrder) -> None:
        rows = np.linspace(0, 4, order.height_px)[:, None, None]
        columns = np.linspace(0, 6, order.width_px)[None, :, None]
        colors = np.array([0.0, 1.0, 2.0])
        self._pictures = [
            (
                128
                + 60 * np.sin(columns + colors + 2 * np.pi * index / NUM_PICTURES)
                + 50 * np.cos(3 * rows - 2 * np.pi * index / NUM_PICTURES)
            ).astype(np.uint8)
            for index in range(NUM_PICTURES)
        ]

    def picture(self, number: int) -> UInt8[np.ndarray, "h w c"]:
        """The frame of that number."""
        return mark(self._pictures[number % NUM_PICTURES], number)


class _Camera(MediaStreamTrack):
    kind = "video"

    def __init__(self, order: LoadOrder, scene: _Scene, seen: Seen, half_way: Callable[[], None]) -> None:
        super().__init__()
        self._order = order
        self._scene = scene
        self._seen = seen
        self._half_way = half_way
        self._start_s: float | None = None
        self.is_over = asyncio.Event()

    async def recv(self) -> av.VideoFrame:
        number, order = len(self._seen.sent_s), self._order
        if number >= order.duration_s * order.fps:
            self.is_over.set()
            await asyncio.sleep(3600)
        if self._start_s is None:
            self._start_s = perf_counter()
        at_s = number / order.fps
        await asyncio.sleep(max(0.0, self._start_s + at_s - perf_counter()))
        frame = av.VideoFrame.from_ndarray(self._scene.picture(number), format="rgb24")
        frame.pts, frame.time_base = round(at_s * 90_000), Fraction(1, 90_000)
        self._seen.sent_s.append(perf_counter())
        if number == int(order.duration_s * order.fps / 2):
            self._half_way()
        return frame


async def over_webrtc(order: LoadOrder, name: str, key: str, scene: _Scene) -> Seen:
    """One user who publishes by WHIP and watches by WHEP."""
    seen = Seen()
    publisher, player = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    try:
        control = publisher.createDataChannel("control")

        def ask() -> None:
            seen.asked_s = perf_counter()
            control.send(json.dumps({"type": "set_prompt", "prompt": order.new_prompt}))

        tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
        player.on("track", tracks.put_nowait)
        player.addTransceiver("video", direction="recvonly")
        await _negotiate(player, f"{order.address}/whep/{name}", None)
        watching = asyncio.create_task(_watch(await tracks.get(), seen))
        camera = _Camera(order, scene, seen, ask)
        publisher.addTrack(camera)
        await _negotiate(publisher, f"{order.address}/whip/{name}", key)
        await asyncio.wait_for(camera.is_over.wait(), order.duration_s + CONNECT_S)
        await asyncio.sleep(LAST_WAIT_S)
        watching.cancel()
    finally:
        await asyncio.gather(publisher.close(), player.close())
    return seen


async def over_websocket(order: LoadOrder, name: str, key: str, scene: _Scene) -> Seen:
    """One user who sends and gets JPEGs."""
    seen = Seen()
    address = f"{order.address.replace('http', 'ws', 1)}/sessions/{name}/socket"
    async with connect(address, proxy=None, max_size=None) as socket:
        await socket.send(json.dumps({"type": "hello", "v": 1, "key": key, "frames": "jpeg"}))

        async def watch() -> None:
            async for data in socket:
                if isinstance(data, bytes):
                    seen.take(parse_frame(data, max_pixels=10**8).pixels)

        watching = asyncio.create_task(watch())
        start_s, total = perf_counter(), round(order.duration_s * order.fps)
        for number in range(total):
            await asyncio.sleep(max(0.0, start_s + number / order.fps - perf_counter()))
            seen.sent_s.append(perf_counter())
            wire = WireFrame(
                pixels=scene.picture(number), index=number, captured_us=round(number / order.fps * 1e6)
            )
            await socket.send(pack_frame(wire))
            if number == total // 2:
                seen.asked_s = perf_counter()
                await socket.send(json.dumps({"type": "set_prompt", "prompt": order.new_prompt}))
        await asyncio.sleep(LAST_WAIT_S)
        watching.cancel()
    return seen


async def run(order: LoadOrder) -> list[Seen]:
    """All users at once."""
    scene = _Scene(order)
    use = over_webrtc if order.over == "webrtc" else over_websocket
    return await asyncio.gather(*(use(order, name, key, scene) for name, key in order.sessions))


async def _watch(track: MediaStreamTrack, seen: Seen) -> None:
    try:
        while True:
            frame = await track.recv()
            assert isinstance(frame, av.VideoFrame)
            seen.take(frame.to_ndarray(format="gray"))
    except MediaStreamError:
        return


async def _negotiate(connection: RTCPeerConnection, address: str, key: str | None) -> None:
    await connection.setLocalDescription(await connection.createOffer())
    headers = {"content-type": "application/sdp"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    wish = urllib.request.Request(
        address, data=connection.localDescription.sdp.encode(), headers=headers, method="POST"
    )

    def post() -> str:
        with urllib.request.urlopen(wish, timeout=CONNECT_S) as answer:
            return answer.read().decode()

    answer = await asyncio.to_thread(post)
    await connection.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))


def main() -> None:
    """Read the order, do it, say what was seen."""
    logging.basicConfig(level=logging.ERROR)
    # browsers show a frame once it is whole, too
    receive_eagerly()
    read: dict[str, Any] = json.loads(sys.stdin.read())
    order = LoadOrder(**{**read, "sessions": tuple((name, key) for name, key in read["sessions"])})
    seen = asyncio.run(run(order))
    print(json.dumps([asdict(one) for one in seen]))


if __name__ == "__main__":
    main()
