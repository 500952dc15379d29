"""WebRTC by WHIP and WHEP: one offer, one answer; frames in, frames out, orders on data channels."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from time import perf_counter

import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.codecs import h264, vpx
from aiortc.mediastreams import MediaStreamError

from vivace.server.access import new_key
from vivace.server.control import Control
from vivace.server.hub import Hub
from vivace.server.metrics import Metrics
from vivace.server.outlet import Outlet
from vivace.server.protocol import Error, ProtocolError, ServerMessage
from vivace.server.recording import Recordings
from vivace.server.settings import ServerSettings

TICKS_PER_S = 90_000
MAX_BUFFERED_BYTES = 200_000


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


class Ingest:
    """Takes the frames of one WebRTC publisher; of those that come while one is converted the newest wins."""

    def __init__(self, hub: Hub, end: Callable[[], None]) -> None:
        self._hub = hub
        self._end = end
        self._newest: av.VideoFrame | None = None
        self._has_newest = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def add_track(self, track: MediaStreamTrack) -> None:
        """Read a track; sound is read and dropped, or it would pile up."""
        if track.kind == "video":
            self._hub.set_publisher(self)
            self._tasks.append(asyncio.create_task(self._read(track)))
            self._tasks.append(asyncio.create_task(self._convert()))
        else:
            self._tasks.append(asyncio.create_task(self._discard(track)))

    def replaced(self) -> None:
        """Another connection hands in the frames of this session now."""
        self._end()

    async def close(self) -> None:
        """Read no more."""
        self._hub.remove_publisher(self)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                if isinstance(frame, av.VideoFrame):
                    self._newest = frame
                    self._has_newest.set()
        except MediaStreamError:
            self._end()

    async def _convert(self) -> None:
        while True:
            await self._has_newest.wait()
            self._has_newest.clear()
            frame, self._newest = self._newest, None
            if frame is None or not self._hub.is_publisher(self):
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

    async def _discard(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                await track.recv()
        except MediaStreamError:
            return


def _rgb(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="rgb24")


@dataclass(slots=True, eq=False)
class _Peer:
    connection: RTCPeerConnection
    hub: Hub
    ingest: Ingest | None = None
    releases: list[Callable[[], None]] = field(default_factory=list)


class RtcPeers:
    """All WebRTC connections of a server by their resource names."""

    def __init__(self, settings: ServerSettings, recordings: Recordings, metrics: Metrics) -> None:
        servers = [
            RTCIceServer(urls=one.url, username=one.username, credential=one.credential)
            for one in settings.ice_servers
        ]
        # without a list aiortc would ask a public server
        self._configuration = RTCConfiguration(iceServers=servers)
        self._recordings = recordings
        self._metrics = metrics
        self._peers: dict[str, _Peer] = {}
        self._ending: set[asyncio.Task[None]] = set()
        cap_bitrate(settings.limits.bitrate_kbps)

    @property
    def num_peers(self) -> int:
        """Connections that are open or being opened."""
        return len(self._peers)

    async def publish(self, hub: Hub, offer: str) -> tuple[str, str]:
        """Answer a WHIP offer: the resource's name and the answer.

        Raises:
            ProtocolError: If the offer cannot be read or has no video.
        """
        name, connection = new_key(), RTCPeerConnection(self._configuration)
        ingest = Ingest(hub, lambda: self._end_soon(name))
        peer = self._peers[name] = _Peer(connection, hub, ingest)
        connection.on("track", ingest.add_track)
        connection.on("datachannel", lambda channel: self._serve_channel(peer, channel, may_control=True))
        return name, await self._answer(name, connection, offer)

    async def play(self, hub: Hub, offer: str) -> tuple[str, str]:
        """Answer a WHEP offer: the resource's name and the answer.

        Raises:
            ProtocolError: If the offer cannot be read, has no video, or there are too many viewers.
        """
        outlet = hub.add_viewer()
        name, connection = new_key(), RTCPeerConnection(self._configuration)
        peer = self._peers[name] = _Peer(connection, hub, releases=[lambda: hub.remove_viewer(outlet)])
        connection.addTrack(EditedTrack(outlet))
        connection.on("datachannel", lambda channel: self._serve_channel(peer, channel, may_control=False))
        return name, await self._answer(name, connection, offer)

    def hub_of(self, name: str) -> Hub | None:
        """The session of a connection."""
        peer = self._peers.get(name)
        return None if peer is None else peer.hub

    async def end(self, name: str) -> None:
        """Close a connection; doing so twice is fine."""
        peer = self._peers.pop(name, None)
        if peer is None:
            return
        if peer.ingest is not None:
            await peer.ingest.close()
        for release in peer.releases:
            release()
        await peer.connection.close()

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(self.end(name) for name in tuple(self._peers)))
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _answer(self, name: str, connection: RTCPeerConnection, offer: str) -> str:
        def on_state() -> None:
            if connection.connectionState in ("failed", "closed"):
                self._end_soon(name)

        connection.on("connectionstatechange", on_state)
        try:
            await connection.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
            if not any(one.kind == "video" for one in connection.getTransceivers()):
                raise ValueError("there is no video in it")
            answer = await connection.createAnswer()
            await connection.setLocalDescription(answer)
        # what aiortc raises for a broken offer depends on where it breaks
        except Exception as error:
            await self.end(name)
            reason = " ".join(str(error).split())[:200]
            raise ProtocolError("bad_message", f"cannot answer this offer: {reason}") from None
        return connection.localDescription.sdp

    def _end_soon(self, name: str) -> None:
        task = asyncio.get_running_loop().create_task(self.end(name), name="end of a WebRTC connection")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _serve_channel(self, peer: _Peer, channel: RTCDataChannel, *, may_control: bool) -> None:
        hub = peer.hub

        def send(message: ServerMessage) -> None:
            if channel.readyState == "open" and channel.bufferedAmount < MAX_BUFFERED_BYTES:
                channel.send(message.model_dump_json())

        control = Control(hub, self._recordings, self._metrics, send, may_control=may_control)
        stop_listening = hub.add_listener(send)
        orders: asyncio.Queue[str | bytes] = asyncio.Queue(maxsize=64)

        async def obey() -> None:
            while True:
                await control.handle(await orders.get())

        def take(text: str | bytes) -> None:
            if not orders.full():
                orders.put_nowait(text)

        task = asyncio.create_task(obey())

        def closed() -> None:
            stop_listening()
            task.cancel()

        channel.on("message", take)
        channel.on("close", closed)
        peer.releases.append(closed)
        control.greet()
