"""WebRTC by WHIP and WHEP: offers and answers, late candidates, orders on data channels."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)

from vivace.server.access import new_key
from vivace.server.control import Control
from vivace.server.hub import Hub
from vivace.server.jitter import receive_eagerly
from vivace.server.metrics import Metrics
from vivace.server.protocol import ProtocolError, ServerMessage
from vivace.server.recording import Recordings
from vivace.server.rtc_media import EditedTrack, Ingest, SoundTrack, cap_bitrate
from vivace.server.settings import ServerSettings
from vivace.server.trickle import MAX_CANDIDATES, parse_fragment, username_of

MAX_BUFFERED_BYTES = 200_000
# A connection that has not come about by then is ended; while more candidates may come ICE waits for ever.
CONNECT_S = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """What an offer led to: the resource's name, the answer and the tag of its ICE session."""

    name: str
    sdp: str
    tag: str


@dataclass(slots=True, eq=False)
class _Peer:
    connection: RTCPeerConnection
    hub: Hub
    ice_username: str | None
    tag: str
    num_candidates: int = 0
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
        self._tasks: set[asyncio.Task[None]] = set()
        cap_bitrate(settings.limits.bitrate_kbps)
        receive_eagerly()

    @property
    def num_peers(self) -> int:
        """Connections that are open or being opened."""
        return len(self._peers)

    async def publish(self, hub: Hub, offer: str) -> Answered:
        """Answer a WHIP offer.

        Raises:
            ProtocolError: If the offer cannot be read or has no video.
        """
        name, connection = new_key(), RTCPeerConnection(self._configuration)
        ingest = Ingest(hub, lambda: self._end_soon(name))
        peer = self._peers[name] = _Peer(connection, hub, username_of(offer), new_tag(), ingest=ingest)
        connection.on("track", ingest.add_track)
        connection.on("datachannel", lambda channel: self._serve_channel(peer, channel, may_control=True))
        return await self._answer(name, peer, offer)

    async def play(self, hub: Hub, offer: str) -> Answered:
        """Answer a WHEP offer; sound goes out where it asks for some.

        Raises:
            ProtocolError: If the offer cannot be read, has no video, or there are too many viewers.
        """
        outlet = hub.audience.add_viewer()
        name, connection = new_key(), RTCPeerConnection(self._configuration)
        peer = self._peers[name] = _Peer(connection, hub, username_of(offer), new_tag())
        peer.releases.append(lambda: hub.audience.remove_viewer(outlet))
        connection.addTrack(EditedTrack(outlet))
        connection.on("datachannel", lambda channel: self._serve_channel(peer, channel, may_control=False))
        return await self._answer(name, peer, offer, self._add_sound)

    async def add_candidates(self, name: str, text: str, tag: str | None) -> None:
        """Take candidates that came after the offer; of a connection that is gone they are dropped.

        Args:
            name: The connection's resource.
            text: A fragment.
            tag: Which ICE session the client means, None where it does not say.

        Raises:
            ProtocolError: If the fragment cannot be read, the tag is missing or another one, there are too
                many candidates, or the fragment restarts ICE, which aiortc cannot do.
        """
        peer = self._peers.get(name)
        if peer is None:
            return
        fragment = parse_fragment(text)
        if tag is None:
            raise ProtocolError("no_tag", "expected If-Match with the ETag of the answer")
        if tag not in ("*", peer.tag):
            raise ProtocolError("other_tag", "this is not the connection's ICE session; use the last ETag")
        if fragment.username not in (None, peer.ice_username):
            raise ProtocolError(
                "no_restart", "ICE cannot be restarted here; DELETE this and POST a new offer"
            )
        # each one makes the server knock at an address that the client chose
        peer.num_candidates += len(fragment.candidates)
        if peer.num_candidates > MAX_CANDIDATES:
            raise ProtocolError("too_large", f"expected at most {MAX_CANDIDATES} candidates of a connection")
        for candidate in fragment.candidates:
            # a name in a candidate is looked up on the network, for which nobody has to wait
            self._soon(peer.connection.addIceCandidate(candidate), "a WebRTC candidate")
        if fragment.is_last:
            self._soon(peer.connection.addIceCandidate(None), "the last WebRTC candidate")

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
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(
        self,
        name: str,
        peer: _Peer,
        offer: str,
        add_tracks: Callable[[_Peer], None] = lambda peer: None,
    ) -> Answered:
        connection = peer.connection

        def on_state() -> None:
            if connection.connectionState in ("failed", "closed"):
                self._end_soon(name)

        connection.on("connectionstatechange", on_state)
        try:
            await connection.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
            if not any(one.kind == "video" for one in connection.getTransceivers()):
                raise ValueError("there is no video in it")
            add_tracks(peer)
            answer = await connection.createAnswer()
            await connection.setLocalDescription(answer)
        # what aiortc raises for a broken offer depends on where it breaks
        except Exception as error:
            await self.end(name)
            reason = " ".join(str(error).split())[:200]
            raise ProtocolError("bad_message", f"cannot answer this offer: {reason}") from None
        timer = asyncio.get_running_loop().call_later(CONNECT_S, self._end_unconnected, name)
        peer.releases.append(timer.cancel)
        return Answered(name, connection.localDescription.sdp, peer.tag)

    def _add_sound(self, peer: _Peer) -> None:
        found = [one for one in peer.connection.getTransceivers() if one.kind == "audio"]
        if found:
            outlet = peer.hub.sound.add_outlet()
            peer.releases.append(lambda: peer.hub.sound.remove_outlet(outlet))
            found[0].sender.replaceTrack(SoundTrack(outlet))
            found[0].direction = "sendonly"

    def _end_unconnected(self, name: str) -> None:
        peer = self._peers.get(name)
        if peer is not None and peer.connection.connectionState in ("new", "connecting"):
            self._end_soon(name)

    def _end_soon(self, name: str) -> None:
        self._soon(self.end(name), "end of a WebRTC connection")

    def _soon(self, work: Coroutine[None, None, None], what: str) -> None:
        async def done() -> None:
            try:
                await work
            # aiortc refuses in many ways, for example candidates after the last one
            except Exception as error:
                _log.info("%s failed: %s", what, error)

        task = asyncio.get_running_loop().create_task(done(), name=what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _serve_channel(self, peer: _Peer, channel: RTCDataChannel, *, may_control: bool) -> None:
        hub = peer.hub

        def send(message: ServerMessage) -> None:
            if channel.readyState == "open" and channel.bufferedAmount < MAX_BUFFERED_BYTES:
                channel.send(message.model_dump_json())

        control = Control(hub, self._recordings, self._metrics, send, may_control=may_control)
        try:
            stop_listening = hub.audience.add_listener(send)
        except ProtocolError as error:
            self._metrics.refused.labels(error.answer.code).inc()
            channel.close()
            return
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


def new_tag() -> str:
    """A strong entity tag, quotes included."""
    return f'"{secrets.token_hex(8)}"'
