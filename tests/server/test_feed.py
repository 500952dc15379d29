"""A session that the server feeds itself, from a clip: its pictures and, in step with them, its sound."""

import asyncio
import socket
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from aiortc import MediaStreamTrack

from fake_engine import FakeEngine
from rtc_peers import negotiate, peer
from rtmp_sender import free_port, publishing
from served import Served, serving, until
from small_clips import write_clip, write_flashes
from sound_checks import NEEDS_ADDRESS, begins, events, in_step, is_bright, is_loud
from vivace.server.outlet import ShownFrame
from vivace.server.settings import ServerSettings
from vivace.server.sound import RATE_HZ, SoundBlock


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Half a second at 25 frames a second."""
    return write_clip(tmp_path / "clip.mp4", [40 * index for index in range(12)])


def feeding(source: object, prompt: str = "grey 90"):
    engine = FakeEngine()
    settings = ServerSettings(source=str(source), source_prompt=prompt, native_fps=25)
    return engine, serving(engine, settings)  # pyright: ignore[reportArgumentType]


def opened(served: Served) -> dict[str, str]:
    hub = served.parts.fed
    assert hub is not None
    return {"session": hub.name, "key": hub.key}


def test_a_clip_is_edited_at_its_own_speed_and_begins_again(clip):
    engine, server = feeding(clip)
    with server as (address, parts):
        served = Served(address, parts, engine)

        async def watch() -> None:
            async with served.client(opened(served)) as client:
                frames = await client.see(24)
                assert round(float(frames[-1].pixels.mean())) == pytest.approx(90, abs=2)
                times_s = [frame.captured_us / 1e6 for frame in frames]
                assert times_s == sorted(times_s)
                # two rounds of 0.48 s at least, or frames came faster than life
                assert times_s[-1] - times_s[0] > 0.8
                await client.say("set_prompt", prompt="grey 200")
                await client.hear("prompt_reached")

        asyncio.run(watch())
        hub = parts.fed
    assert hub is not None
    assert hub.is_over


def test_a_client_that_publishes_takes_over_and_gives_back(clip):
    engine, server = feeding(clip)
    with server as (address, parts):
        served = Served(address, parts, engine)
        feed = parts._feed
        assert feed is not None

        async def publish() -> None:
            async with served.client(opened(served)) as client:
                await client.see(4)
                await client.show(4)
                await asyncio.to_thread(until, lambda: feed._is_replaced)

        asyncio.run(publish())
        until(lambda: not feed._is_replaced)


def test_a_source_that_is_not_there_is_tried_again(tmp_path, clip, caplog):
    late = tmp_path / "late.mp4"
    engine, server = feeding(late)
    with server as (address, parts):
        served = Served(address, parts, engine)
        until(lambda: "no file at" in caplog.text)
        clip.rename(late)

        async def watch() -> None:
            async with served.client(opened(served)) as client:
                await client.see(4)

        asyncio.run(watch())


def test_a_source_that_never_comes_keeps_nobody_from_ending_the_server():
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    _, server = feeding(f"rtmp://127.0.0.1:{port}/live/key?listen")
    with server as (address, _):
        assert httpx.get(f"{address}/readyz").json()["sessions"] == 1
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5


class Ear:
    """Notes when flashes and clicks arrived that a hub gives out."""

    def __init__(self, parts) -> None:
        self.levels: list[tuple[float, bool]] = []
        self.loudness: list[tuple[float, bool]] = []
        self.has_sound: list[bool] = []
        self._hub = parts.fed
        self._hub.recorder = self.see
        self._hub.sound.recorder = self.hear

    def see(self, frame: ShownFrame) -> None:
        self.levels.append((frame.arrived_s, frame.pixels.mean() > 128))
        self.has_sound.append(self._hub.sound.has_sound)

    def hear(self, block: SoundBlock) -> None:
        for start in range(0, len(block.samples), 96):
            is_on = np.abs(block.samples[start : start + 96].astype(float)).mean() > 1000
            self.loudness.append((block.arrived_s + start / RATE_HZ, bool(is_on)))

    def offsets_s(self) -> list[float]:
        """How much later than its flash every click arrived; flashes at the edges may miss theirs."""
        flashes, clicks = begins(self.levels), begins(self.loudness)
        return [min((click - flash for click in clicks), key=abs) for flash in flashes[1:-1]]


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "aac"), ("clip.mkv", "pcm_s16le")])
def test_the_sound_of_a_clip_arrives_with_its_pictures_also_when_it_begins_again(tmp_path, name, codec):
    clip = write_flashes(tmp_path / name, 2.4, codec=codec)
    _, server = feeding(clip, "mirror")
    with server as (_, parts):
        ear = Ear(parts)
        # two rounds and what lies between them
        until(lambda: len(begins(ear.levels)) >= 7, timeout_s=20)
        offsets_s = ear.offsets_s()
    print(f"sound after picture: {[round(1000 * one) for one in offsets_s]} ms")
    assert len(offsets_s) >= 5
    assert max(abs(one) for one in offsets_s) < 0.05


def test_a_program_that_sends_by_rtmp_is_heard_in_step_and_again_when_it_comes_back(tmp_path):
    clip = write_flashes(tmp_path / "clip.mp4", 4)
    address = f"rtmp://127.0.0.1:{free_port()}/live/key"
    _, server = feeding(f"{address}?listen", "mirror")
    with server as (_, parts):
        for _ in range(2):
            ear = Ear(parts)
            with publishing(clip, address):
                until(lambda ear=ear: len(begins(ear.levels)) >= 3, timeout_s=20)
                until(lambda: not parts.fed.sound.has_sound, timeout_s=20)
            offsets_s = ear.offsets_s()
            print(f"sound after picture: {[round(1000 * one) for one in offsets_s]} ms")
            assert offsets_s
            assert max(abs(one) for one in offsets_s) < 0.05


def test_sound_that_begins_late_stands_at_its_own_place(tmp_path):
    _, server = feeding(write_flashes(tmp_path / "clip.mp4", 4.4, sound_from_s=1.5), "mirror")
    with server as (_, parts):
        ear = Ear(parts)
        until(lambda: len(begins(ear.levels)) >= 4, timeout_s=20)
        flashes, clicks = begins(ear.levels), begins(ear.loudness)
    # the flash of the first second was silent
    assert clicks[0] == pytest.approx(flashes[1], abs=0.03)


def test_a_clip_without_sound_is_silent(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", [40 * index for index in range(12)], has_sound=False)
    _, server = feeding(clip)
    with server as (_, parts):
        ear = Ear(parts)
        until(lambda: len(ear.levels) > 24)
    assert not any(ear.has_sound)
    assert not ear.loudness


def test_a_client_that_publishes_silences_the_clip(tmp_path):
    engine, server = feeding(write_flashes(tmp_path / "clip.mp4", 6), "mirror")
    with server as (address, parts):
        served = Served(address, parts, engine)
        feed = parts._feed
        assert feed is not None
        until(lambda: parts.fed.sound.has_sound)

        async def publish() -> None:
            async with served.client(opened(served)) as client:
                await client.see(4)
                await client.show(1)
                await asyncio.to_thread(until, lambda: feed._is_replaced)
                # after two seconds without any a session has no sound
                await asyncio.to_thread(until, lambda: not parts.fed.sound.has_sound)

        asyncio.run(publish())
        until(lambda: parts.fed.sound.has_sound)


@NEEDS_ADDRESS
def test_a_whep_player_hears_the_clip_in_step(tmp_path):
    engine, server = feeding(write_flashes(tmp_path / "clip.mp4", 8), "mirror")
    with server as (address, parts):
        served = Served(address, parts, engine)

        async def watch() -> tuple[list[float], list[float]]:
            async with peer() as player:
                tracks: dict[str, MediaStreamTrack] = {}
                player.on("track", lambda track: tracks.update({track.kind: track}))
                player.addTransceiver("video", direction="recvonly")
                player.addTransceiver("audio", direction="recvonly")
                await negotiate(player, f"{served.address}/whep/{opened(served)['session']}")
                until_s = time.perf_counter() + 5.5
                return await asyncio.gather(
                    events(tracks["video"], is_bright, until_s), events(tracks["audio"], is_loud, until_s)
                )

        flashes, clicks = asyncio.run(watch())
    in_step(flashes, clicks)
