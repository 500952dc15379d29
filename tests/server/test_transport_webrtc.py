import asyncio
import json
from typing import Any

import aiortc.codecs.h264
import aiortc.codecs.vpx
import av
import httpx
import pytest
from aioice.ice import get_host_addresses
from aiortc import MediaStreamTrack, RTCSessionDescription

from rtc_peers import SDP, Camera, negotiate, peer, post_offer
from served import TIMEOUT_S, Serve, Served, until
from vivace.server import transport_webrtc
from vivace.server.app import STATUS
from vivace.server.protocol import ProtocolError
from vivace.server.settings import Limits, ServerSettings
from vivace.server.trickle import SDP_FRAGMENT, parse_fragment

pytestmark = pytest.mark.skipif(
    not get_host_addresses(use_ipv4=True, use_ipv6=False),
    reason="aiortc offers no loopback addresses, and this machine has no other",
)


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
        audience = served.parts.lobby.find(opened["session"]).audience
        await asyncio.to_thread(until, lambda: not audience.has_clients)
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
    assert not served.parts.lobby.find(opened["session"]).audience.has_clients


def test_an_offer_of_another_type_is_refused(served: Served):
    opened = served.open()
    answer = served.post(f"/whep/{opened['session']}", content="v=0", headers={"content-type": "text/plain"})
    assert answer.status_code == 415
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


async def patch(
    address: str, text: str, tag: str | None, key: str, kind: str = SDP_FRAGMENT
) -> httpx.Response:
    headers = {"content-type": kind, "authorization": f"Bearer {key}"}
    if tag is not None:
        headers["if-match"] = tag
    async with httpx.AsyncClient() as client:
        return await client.patch(address, content=text, headers=headers)


def without_candidates(offer: str) -> tuple[str, list[str]]:
    """An offer as a trickling client sends it, and what it sends later."""
    late = [line for line in offer.splitlines() if line.startswith(("a=candidate", "a=end-of-candidates"))]
    kept = [line for line in offer.splitlines() if line not in late]
    return "\r\n".join([*kept, ""]), late


def test_candidates_that_come_after_the_offer_make_the_connection(served: Served):
    opened = served.open("grey 60", width_px=64, height_px=48)
    endpoint = f"{served.address}/whip/{opened['session']}"

    async def talk() -> None:
        async with peer() as publisher:
            publisher.addTrack(Camera())
            await publisher.setLocalDescription(await publisher.createOffer())
            whole = publisher.localDescription.sdp
            offer, late = without_candidates(whole)
            assert late
            assert "a=candidate" not in offer
            answer = await post_offer(offer, endpoint, opened["key"])
            assert answer.headers["accept-patch"] == SDP_FRAGMENT
            place, tag = f"{served.address}{answer.headers['location']}", answer.headers["etag"]
            await publisher.setRemoteDescription(RTCSessionDescription(sdp=answer.text, type="answer"))

            own = next(line for line in whole.splitlines() if line.startswith("a=ice-ufrag"))
            mid = next(line for line in whole.splitlines() if line.startswith("a=mid"))
            fragment = "\r\n".join([own, "m=video 9 UDP/TLS/RTP/SAVPF 0", mid, *dict.fromkeys(late), ""])
            key = opened["key"]
            assert (await patch(place, fragment, None, key)).status_code == 428
            assert (await patch(place, fragment, '"another"', key)).status_code == 412
            assert (await patch(place, fragment, tag, key, "text/plain")).status_code == 415
            assert (await patch(place, fragment, tag, "wrong")).status_code == 401
            restart = await patch(place, fragment.replace(own, "a=ice-ufrag:other"), tag, key)
            assert restart.status_code == 422
            assert "cannot be restarted" in restart.json()["sentence"]
            assert (await patch(place, fragment, tag, key)).status_code == 204
            hub = served.parts.lobby.find(opened["session"])
            await asyncio.to_thread(until, lambda: hub.session.figures().figures.counts.frames_in > 3)
            # what comes too late is dropped, and the connection stays
            assert (await patch(place, fragment, tag, key)).status_code == 204
            assert publisher.connectionState == "connected"
            flood = "\r\n".join(
                [mid, *(f"a=candidate:1 1 udp 1 192.0.2.9 {p} typ host" for p in range(9, 70))]
            )
            assert (await patch(place, flood, tag, key)).status_code == 413

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 400),
        ("a=mid:0\r\na=candidate:x", 400),
        ("a=candidate:1 1 udp 1 127.0.0.1 9 typ host", 400),
        ("a=mid:0\r\n" + "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n" * 65, 413),
        ("\0\1", 400),
    ],
)
def test_broken_fragments_are_one_sentence(text, status):
    with pytest.raises(ProtocolError) as refused:
        parse_fragment(text)
    assert STATUS[refused.value.answer.code] == status


def test_a_connection_that_never_comes_about_is_ended(serve: Serve, monkeypatch):
    monkeypatch.setattr(transport_webrtc, "CONNECT_S", 0.3)
    served = serve()
    opened = served.open("grey 60", width_px=64, height_px=48)

    async def talk() -> None:
        async with peer() as player:
            player.addTransceiver("video", direction="recvonly")
            await player.setLocalDescription(await player.createOffer())
            offer, _ = without_candidates(player.localDescription.sdp)
            await post_offer(offer, f"{served.address}/whep/{opened['session']}")
            hub = served.parts.lobby.find(opened["session"])
            assert hub.audience.num_viewers == 1
            await asyncio.to_thread(until, lambda: hub.audience.num_viewers == 0)
            await asyncio.to_thread(until, lambda: served.parts.peers.num_peers == 0)

    asyncio.run(talk())
