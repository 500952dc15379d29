import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import aiortc.codecs.h264
import aiortc.codecs.vpx
import av
import httpx
import numpy as np
import pytest
from aioice.ice import get_host_addresses
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from served import TIMEOUT_S, Serve, Served, until
from vivace.server.settings import Limits, ServerSettings

pytestmark = pytest.mark.skipif(
    not get_host_addresses(use_ipv4=True, use_ipv6=False),
    reason="aiortc offers no loopback addresses, and this machine has no other",
)
SDP = {"content-type": "application/sdp"}


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


class Messages:
    """What a data channel said."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._came: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        channel.on("message", lambda text: self._came.put_nowait(json.loads(text)))

    async def hear(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT_S):
            while (message := await self._came.get())["type"] != kind:
                pass
        return message

    def say(self, kind: str, **fields: Any) -> None:
        self.channel.send(json.dumps({"type": kind, **fields}))


@asynccontextmanager
async def peer() -> AsyncIterator[RTCPeerConnection]:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        yield connection
    finally:
        await connection.close()


async def negotiate(connection: RTCPeerConnection, address: str, key: str | None = None) -> httpx.Response:
    await connection.setLocalDescription(await connection.createOffer())
    headers = SDP if key is None else {**SDP, "authorization": f"Bearer {key}"}
    async with httpx.AsyncClient() as client:
        answer = await client.post(address, content=connection.localDescription.sdp, headers=headers)
    assert answer.status_code == 201, answer.text
    await connection.setRemoteDescription(RTCSessionDescription(sdp=answer.text, type="answer"))
    return answer


async def grey(track: MediaStreamTrack) -> float:
    async with asyncio.timeout(TIMEOUT_S):
        frame = await track.recv()
    assert isinstance(frame, av.VideoFrame)
    return float(frame.to_ndarray(format="rgb24").mean())


async def grey_of(track: MediaStreamTrack, wanted: float) -> None:
    """Wait for a picture of that grey."""
    async with asyncio.timeout(TIMEOUT_S):
        while abs(await grey(track) - wanted) > 6:
            pass


def test_a_whip_publisher_is_seen_by_a_whep_player_and_steered_over_a_data_channel(served: Served):
    opened = served.open("grey 60", width_px=64, height_px=48)

    async def talk() -> None:
        async with peer() as publisher, peer() as player:
            publisher.addTrack(Camera())
            control = Messages(publisher.createDataChannel("control"))
            made = await negotiate(publisher, f"{served.address}/whip/{opened['session']}", opened["key"])
            assert made.headers["location"].startswith(f"/whip/{opened['session']}/")
            assert made.headers["content-type"].startswith("application/sdp")
            assert (await control.hear("welcome"))["may_control"]

            tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
            player.on("track", tracks.put_nowait)
            player.addTransceiver("video", direction="recvonly")
            played = await negotiate(player, f"{served.address}/whep/{opened['session']}")
            track = await tracks.get()
            await grey_of(track, 60)
            control.say("set_prompt", prompt="grey 200")
            assert (await control.hear("prompt_reached"))["frame"] > 0
            await grey_of(track, 200)
            stats = await control.hear("stats")
            assert stats["num_viewers"] == 1

            async with httpx.AsyncClient(base_url=served.address) as client:
                location = played.headers["location"]
                assert (await client.delete(location)).status_code == 200
                assert (await client.delete(location)).status_code == 404
                assert (await client.delete(made.headers["location"])).status_code == 401
        await asyncio.to_thread(until, lambda: not served.parts.lobby.find(opened["session"]).has_clients)
        assert served.parts.peers.num_peers == 0

    asyncio.run(talk())


def test_a_publisher_that_vanishes_leaves_its_place_to_the_next(served: Served):
    opened = served.open("grey 60", width_px=64, height_px=48)
    address = f"{served.address}/whip/{opened['session']}"

    async def talk() -> None:
        async with peer() as first, peer() as second:
            first.addTrack(Camera())
            await negotiate(first, address, opened["key"])
            until(lambda: served.parts.peers.num_peers == 1)
            second.addTrack(Camera())
            await negotiate(second, address, opened["key"])
            await asyncio.to_thread(until, lambda: served.parts.peers.num_peers == 1)

    asyncio.run(talk())


def test_video_larger_than_allowed_is_refused(serve: Serve):
    served = serve(ServerSettings(limits=Limits(max_pixels=64 * 48)))
    opened = served.open()

    async def talk() -> None:
        async with peer() as publisher:
            publisher.addTrack(Camera((96, 64)))
            control = Messages(publisher.createDataChannel("control"))
            await negotiate(publisher, f"{served.address}/whip/{opened['session']}", opened["key"])
            assert (await control.hear("error"))["code"] == "too_large"
            await asyncio.to_thread(until, lambda: served.parts.peers.num_peers == 0)

    asyncio.run(talk())


def test_publishing_needs_the_key_and_a_session(served: Served):
    opened = served.open()
    answer = served.post(f"/whip/{opened['session']}", content="v=0", headers=SDP)
    assert answer.status_code == 401
    assert served.post(f"/whep/{'x' * 24}", content="v=0", headers=SDP).status_code == 404


@pytest.mark.parametrize("offer", ["", "v=0", "x" * 1000, "v=0\r\nm=video 9 RTP/AVP 96\r\n", "\0\1\2"])
def test_a_broken_offer_is_one_sentence_and_leaves_nothing(served: Served, offer):
    opened = served.open()
    headers = {**SDP, "authorization": f"Bearer {opened['key']}"}
    before = served.parts.peers.num_peers
    for kind in ("whip", "whep"):
        answer = served.post(f"/{kind}/{opened['session']}", content=offer, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["sentence"]
    assert served.parts.peers.num_peers == before
    assert not served.parts.lobby.find(opened["session"]).has_clients


def test_an_offer_of_another_type_is_refused(served: Served):
    opened = served.open()
    answer = served.post(f"/whep/{opened['session']}", content="v=0", headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert "application/sdp" in answer.json()["sentence"]


def test_the_bitrate_has_a_limit(serve: Serve, monkeypatch):
    for codec in (aiortc.codecs.vpx, aiortc.codecs.h264):
        for name in ("MIN_BITRATE", "MAX_BITRATE", "DEFAULT_BITRATE"):
            monkeypatch.setattr(codec, name, getattr(codec, name))
    serve(ServerSettings(limits=Limits(bitrate_kbps=200)))
    for codec in (aiortc.codecs.vpx, aiortc.codecs.h264):
        encoder = codec.Vp8Encoder() if codec is aiortc.codecs.vpx else codec.H264Encoder()
        encoder.target_bitrate = 5_000_000
        assert encoder.target_bitrate == 200_000
