"""Sound in step with its picture: the delay alone, then from a WHIP publisher to a WHEP player and a file."""

import asyncio
from pathlib import Path
from time import perf_counter

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack
from hypothesis import given
from hypothesis import strategies as st

from rtc_peers import Clicks, Flashes, Metronome, negotiate, peer
from served import Served, until
from sound_checks import NEEDS_ADDRESS, begins, events, in_step, is_bright, is_loud
from vivace.server.sound import BLOCK, BLOCK_S, RATE_HZ, TOLERATED_S, ArrivalClock, SoundDelay
from vivace.server.stereo import ToStereo


def ramp(start: int, count: int = BLOCK) -> np.ndarray:
    """Samples that name their own place."""
    return np.repeat((start + np.arange(count)) % 30_000, 2).reshape(-1, 2).astype(np.int16)


def test_sound_comes_out_delayed_by_what_was_asked():
    delay = SoundDelay()
    for index in range(50):
        delay.push(ramp(index * BLOCK), index * BLOCK_S)
    blocks = [delay.take(0.5 + index * BLOCK_S, 0.4) for index in range(10)]
    heard = np.concatenate([block.samples for block in blocks])
    assert np.array_equal(heard, ramp(round(0.1 * RATE_HZ), 10 * BLOCK))
    assert [block.index for block in blocks] == list(range(10))
    assert blocks[3].arrived_s == pytest.approx(0.16)


def test_small_changes_of_the_delay_are_ridden_out_and_large_ones_followed_by_a_fade():
    delay = SoundDelay()
    for index in range(100):
        delay.push(ramp(index * BLOCK), index * BLOCK_S)
    first = delay.take(1.0, 0.5)
    small = delay.take(1.02, 0.5 + 0.8 * TOLERATED_S)
    assert small.arrived_s == pytest.approx(first.arrived_s + BLOCK_S)
    large = delay.take(1.04, 0.7)
    assert large.arrived_s == pytest.approx(0.34)
    expected = ramp(round(0.34 * RATE_HZ))
    assert np.array_equal(large.samples[300:], expected[300:])
    assert not np.array_equal(large.samples[:100], expected[:100])


def test_where_nothing_came_there_is_silence():
    delay = SoundDelay()
    delay.push(ramp(1), 0.0)
    delay.push(ramp(1), 1.0)
    assert not delay.take(1.0, 0.5).samples.any()
    delay.clear()
    assert not delay.take(1.02, 0.02).samples.any()


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 2000)), max_size=40), st.floats(0, 2))
def test_whatever_comes_in_blocks_are_whole_and_memory_is_bounded(pieces, delay_s):
    delay = SoundDelay()
    for start_s, count in pieces:
        delay.push(ramp(0, count), start_s)
    blocks = [delay.take(5 + index * BLOCK_S, delay_s) for index in range(5)]
    assert {block.samples.shape for block in blocks} == {(BLOCK, 2)}
    assert [block.index for block in blocks] == list(range(5))


def test_jitter_is_taken_out_of_arrival_times_and_a_jump_of_the_clock_followed():
    clock = ArrivalClock()
    rng = np.random.default_rng(0)
    found = [clock.arrival_s(i * 0.02, 100 + i * 0.02 + 0.05 * rng.random()) - i * 0.02 for i in range(200)]
    assert max(found[50:]) - min(found[50:]) < 0.005
    assert clock.arrival_s(500.0, 110.0) == pytest.approx(110.0)


def test_sound_of_any_form_becomes_48_khz_stereo():
    to_stereo = ToStereo()
    for rate_hz, layout in ((8_000, "mono"), (48_000, "stereo")):
        samples = np.full((1, 160 * (1 if layout == "mono" else 2)), 1000, np.int16)
        total = 0
        for index in range(50):
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, index * 160
            total += sum(len(piece) for piece, _ in to_stereo(frame))
        assert total == pytest.approx(50 * 160 * 48_000 / rate_hz, rel=0.03)


@NEEDS_ADDRESS
def test_a_click_is_heard_with_its_flash_by_a_player_and_in_a_recording(served: Served, tmp_path: Path):
    opened = served.open("mirror", width_px=64, height_px=48)

    async def talk() -> tuple[list[float], list[float], str]:
        metronome = Metronome()
        async with peer() as publisher, peer() as player, served.client(opened, frames="none") as client:
            publisher.addTrack(Flashes(metronome))
            publisher.addTrack(Clicks(metronome))
            await negotiate(publisher, f"{served.address}/whip/{opened['session']}", opened["key"])
            tracks: dict[str, MediaStreamTrack] = {}
            player.on("track", lambda track: tracks.update({track.kind: track}))
            player.addTransceiver("video", direction="recvonly")
            player.addTransceiver("audio", direction="recvonly")
            await negotiate(player, f"{served.address}/whep/{opened['session']}")
            hub = served.parts.lobby.find(opened["session"])
            await asyncio.to_thread(until, lambda: hub.sound.has_sound and hub.sound.delay_s is not None)
            await client.say("start_recording")
            until_s = perf_counter() + 4.5
            flashes, clicks = await asyncio.gather(
                events(tracks["video"], is_bright, until_s), events(tracks["audio"], is_loud, until_s)
            )
            await client.say("stop_recording")
            name = None
            while name is None:
                name = (await client.hear("recording_changed"))["recording"]
            return flashes, clicks, name

    flashes, clicks, name = asyncio.run(talk())
    in_step(flashes, clicks)
    take = tmp_path / "take.mp4"
    take.write_bytes(served.get(f"/recordings/{name}").content)
    in_step(*markers(take))


def markers(take: Path) -> tuple[list[float], list[float]]:
    """When flashes and clicks begin in a file."""
    with av.open(str(take)) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]
        bright = [(float(frame.time or 0), is_bright(frame)) for frame in file.decode(video=0)]
    with av.open(str(take)) as file:
        loud: list[tuple[float, bool]] = []
        for frame in file.decode(audio=0):
            level = np.abs(frame.to_ndarray()).mean(axis=0)
            for start in range(0, frame.samples, 240):
                loud.append(
                    (float(frame.time or 0) + start / RATE_HZ, level[start : start + 240].mean() > 0.08)
                )
    return begins(bright), begins(loud)
