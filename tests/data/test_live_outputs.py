"""What is watched while it is written: HLS playlists and RTMP, read back by a player on this machine."""

import socket
import threading
from fractions import Fraction
from pathlib import Path

import av
import pytest

from small_clips import picture, write_clip
from vivace.core.errors import InputError
from vivace.data.frame_timing import TimedFrame
from vivace.data.media_sink import Pace
from vivace.data.sink_options import SinkOptions
from vivace.data.video_sink import open_sink
from vivace.data.video_source import open_source

WIDTH, HEIGHT = 80, 48


def frame(index: int, fps: int = 25) -> TimedFrame:
    return TimedFrame(pixels=picture(index), time_s=Fraction(index, fps), duration_s=Fraction(1, fps))


def copy(source_path: Path, output: str | Path) -> None:
    """Write a clip with its sound."""
    with (
        open_source(source_path, has_audio=True) as source,
        open_sink(output, width_px=WIDTH, height_px=HEIGHT, source=source) as sink,
    ):
        for one in source:
            sink.write(one)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds with sound."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", [40 * index for index in range(125)])


def seen(address: str, options: dict[str, str] | None = None) -> tuple[list[float], float]:
    """Times of the pictures from the first one on, and seconds of sound."""
    with av.open(address, options=options or {}) as player:
        times, sound_s = [], 0.0
        try:
            for one in player.decode():
                if isinstance(one, av.VideoFrame):
                    times.append(float(one.time or 0))
                elif isinstance(one, av.AudioFrame):
                    sound_s += one.samples / one.sample_rate
        except av.error.OSError:
            # FFmpeg's RTMP listener takes the publisher's leaving for an error
            assert address.startswith("rtmp:")
    return [time - times[0] for time in times], sound_s


def test_a_playlist_is_played_with_its_sound_and_leaves_nothing_else(clip, tmp_path):
    playlist = tmp_path / "live 100%.m3u8"
    copy(clip, playlist)
    times, sound_s = seen(f"file:{playlist}")
    assert times == pytest.approx([0.04 * index for index in range(125)], abs=0.001)
    assert sound_s == pytest.approx(5.0, abs=0.15)
    text = playlist.read_text()
    assert text.rstrip().endswith("#EXT-X-ENDLIST")
    segments = [line for line in text.splitlines() if line.endswith(".ts")]
    assert segments == ["live 100%_00000.ts", "live 100%_00001.ts", "live 100%_00002.ts"]
    assert {path.name for path in tmp_path.iterdir()} == {playlist.name, *segments}


def test_a_playlist_is_played_while_it_is_written(tmp_path):
    playlist = tmp_path / "live.m3u8"
    with open_sink(playlist, width_px=WIDTH, height_px=HEIGHT, fps=Fraction(25)) as sink:
        for index in range(130):
            sink.write(frame(index))
        text = playlist.read_text()
        assert "#EXT-X-ENDLIST" not in text
        assert text.count(".ts") == 2
        with av.open(f"file:{tmp_path / 'live_00000.ts'}") as first:
            assert sum(1 for _ in first.decode(video=0)) == 50


def test_a_shorter_run_leaves_no_segment_of_the_one_before(tmp_path):
    playlist = tmp_path / "live.m3u8"
    for count in (110, 10):
        with open_sink(playlist, width_px=WIDTH, height_px=HEIGHT, fps=Fraction(25)) as sink:
            for index in range(count):
                sink.write(frame(index))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live.m3u8", "live_00000.ts"]
    assert len(seen(f"file:{playlist}")[0]) == 10


def test_an_edit_that_fails_leaves_no_playlist(tmp_path):
    (tmp_path / "other_00000.ts").write_bytes(b"mine")
    sink = open_sink(tmp_path / "live.m3u8", width_px=WIDTH, height_px=HEIGHT, fps=Fraction(25))
    for index in range(60):
        sink.write(frame(index))
    sink.__exit__(RuntimeError, RuntimeError("the model failed"), None)
    assert [path.name for path in tmp_path.iterdir()] == ["other_00000.ts"]


def test_a_playlist_that_cannot_be_written_is_refused(clip, tmp_path):
    size = {"width_px": WIDTH, "height_px": HEIGHT, "fps": Fraction(25)}
    with pytest.raises(InputError, match="create it first"):
        open_sink(tmp_path / "nowhere" / "live.m3u8", **size)
    (tmp_path / "folder.m3u8").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        open_sink(tmp_path / "folder.m3u8", **size)
    (tmp_path / "old.m3u8").touch()
    with pytest.raises(InputError, match="exists already"):
        open_sink(tmp_path / "old.m3u8", **size, options=SinkOptions(is_overwritten=False))
    with pytest.raises(InputError, match="cannot hold vp9"):
        open_sink(tmp_path / "live.m3u8", **size, options=SinkOptions(codec="vp9"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def test_an_rtmp_server_gets_picture_and_sound_at_the_speed_of_life(clip):
    address = f"rtmp://127.0.0.1:{free_port()}/live/key"
    got: list[tuple[list[float], float]] = []
    server = threading.Thread(target=lambda: got.append(seen(address, {"listen": "1", "timeout": "20"})))
    server.start()
    failures = 0
    while True:
        try:
            copy(clip, address)
            break
        except InputError:
            # the listener may not be there yet
            failures += 1
            assert failures < 40
            threading.Event().wait(0.1)
    server.join(20)
    ((times, sound_s),) = got
    assert times == pytest.approx([0.04 * index for index in range(125)], abs=0.002)
    assert sound_s == pytest.approx(5.0, abs=0.15)


def test_an_rtmp_server_that_is_not_there_is_one_sentence():
    with pytest.raises(InputError, match="cannot write rtmp"):
        open_sink(f"rtmp://127.0.0.1:{free_port()}/live/key", width_px=WIDTH, height_px=HEIGHT)


def test_frames_are_held_back_to_their_time_and_a_late_one_moves_the_rest():
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += max(0.0, seconds)

    pace = Pace(lambda: now[0], sleep)
    for time_s, busy_s in ((0.0, 0.0), (0.04, 0.01), (0.08, 0.1), (0.12, 0.0)):
        now[0] += busy_s
        pace.wait(time_s)
    assert slept == [0.0, 0.03, 0.0, 0.04]
