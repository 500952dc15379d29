import os
import signal
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from made_clips import Film, Sound, gray_of, index_of, make, sound_packets, tone_start_s
from vivace.core.errors import InputError
from vivace.data.frame_timing import TimedFrame, resample_fps
from vivace.data.sink_options import SinkOptions
from vivace.data.video_sink import open_sink
from vivace.data.video_source import open_source, probe

MS = Fraction(1, 1000)
UNEVEN_MS = (0, 40, 80, 200, 233, 1000, 1033, 1500)


def gray_frames(times_ms=tuple(range(0, 400, 40)), last_ms=40, width=64, height=48) -> list[TimedFrame]:
    ends = [*times_ms[1:], times_ms[-1] + last_ms]
    return [
        TimedFrame(
            pixels=np.full((height, width, 3), gray_of(index), np.uint8),
            time_s=start * MS,
            duration_s=(end - start) * MS,
        )
        for index, (start, end) in enumerate(zip(times_ms, ends, strict=True))
    ]


def write(path: Path | str, frames: list[TimedFrame], **wanted) -> Path | None:
    height, width = frames[0].pixels.shape[:2]
    sink = open_sink(path, width_px=width, height_px=height, time_base=MS, fps=Fraction(25), **wanted)
    for frame in frames:
        sink.write(frame)
    return sink.close()


def carry_over(clip: Path, path: Path, codec: str | None = None, **wanted) -> tuple[str, ...]:
    """Read a clip and write it again, with its sound; returns what happened to the sound."""
    with open_source(clip, has_audio=True, **wanted) as source:
        size = {"width_px": source.info.width_px, "height_px": source.info.height_px}
        with open_sink(path, source=source, options=SinkOptions(codec=codec), **size) as sink:
            for frame in source:
                sink.write(frame)
        return sink.audio_actions


def write_and_fail(path: Path) -> None:
    with open_sink(path, width_px=64, height_px=48) as sink:
        sink.write(gray_frames()[0])
        assert any(name.endswith(".part") for name in leftovers(path.parent))
        raise ZeroDivisionError


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", None),
        ("a.mp4", "hevc"),
        ("a.mp4", "vp9"),
        ("a.mp4", "mpeg4"),
        ("a.m4v", None),
        ("a.mov", None),
        ("a.mov", "prores"),
        ("a.mov", "mjpeg"),
        ("a.mkv", None),
        ("a.mkv", "ffv1"),
        ("a.webm", None),
    ],
)
def test_uneven_times_and_the_last_duration_survive(tmp_path, name, codec):
    frames = gray_frames(UNEVEN_MS, last_ms=777)
    assert write(tmp_path / name, frames, options=SinkOptions(codec=codec)) == tmp_path / name
    with open_source(tmp_path / name) as source:
        again = list(source)
    assert [frame.time_s for frame in again] == [frame.time_s for frame in frames]
    assert again[-1].end_s == frames[-1].end_s
    assert [index_of(frame.pixels) for frame in again] == list(range(8))
    assert not source.was_truncated
    assert leftovers(tmp_path) == [name]


@pytest.mark.parametrize(("name", "codec"), [("a.avi", None), ("a.avi", "mjpeg"), ("a.gif", None)])
def test_steady_times_survive_in_old_containers(tmp_path, name, codec):
    frames = gray_frames()
    write(tmp_path / name, frames, options=SinkOptions(codec=codec))
    with open_source(tmp_path / name) as source:
        again = list(source)
    assert [frame.time_s for frame in again] == [frame.time_s for frame in frames]
    assert again[-1].end_s == frames[-1].end_s
    assert [index_of(frame.pixels) for frame in again] == list(range(10))


COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 90, 40)]


@pytest.mark.parametrize(
    ("name", "codec", "quality", "size", "tolerance"),
    [
        ("a.mp4", None, 10, (64, 48), 4),
        ("a.mp4", None, None, (1280, 720), 4),
        ("a.mp4", "hevc", 10, (64, 48), 4),
        ("a.mov", "prores", None, (64, 48), 4),
        ("a.mkv", "ffv1", None, (65, 49), 0),
        ("a.webm", None, 10, (64, 48), 4),
        ("a.avi", None, 1, (64, 48), 6),
        ("a.avi", "mjpeg", 1, (64, 48), 6),
        ("a.gif", None, None, (65, 49), 4),
    ],
)
def test_colors_survive(tmp_path, name, codec, quality, size, tolerance):
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    bands = np.array_split(np.arange(width), len(COLORS))
    for band, color in zip(bands, COLORS, strict=True):
        pixels[:, band] = color
    frames = [TimedFrame(pixels=pixels, time_s=i * 40 * MS, duration_s=40 * MS) for i in range(3)]
    write(tmp_path / name, frames, options=SinkOptions(codec=codec, quality=quality))
    with open_source(tmp_path / name) as source:
        seen = list(source)[-1].pixels
    assert seen.shape == pixels.shape
    for band, color in zip(bands, COLORS, strict=True):
        middle = seen[height // 4 : height // 2, band[len(band) // 2]].astype(int)
        assert np.abs(middle - color).max() <= tolerance, (color, middle[0])


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", None), ("a.mkv", None), ("a.webm", None)])
def test_files_say_that_their_colors_are_bt709(tmp_path, name, codec):
    write(tmp_path / name, gray_frames())
    with av.open(str(tmp_path / name)) as file:
        picture = next(file.decode(video=0))
        assert (picture.colorspace, picture.color_range) == (1, 1)
        assert file.streams.video[0].codec_context.color_primaries == 1


def test_odd_sizes_are_padded_and_reported(tmp_path):
    frames = gray_frames(width=65, height=49)
    sink = open_sink(tmp_path / "a.mp4", width_px=65, height_px=49)
    assert sink.padding_px == (1, 1)
    with sink:
        for frame in frames:
            sink.write(frame)
    with open_source(tmp_path / "a.mp4") as source:
        pixels = next(iter(source)).pixels
    assert pixels.shape == (50, 66, 3)
    assert np.abs(pixels.astype(int) - gray_of(0)).max() <= 2


def test_a_frame_of_another_size_is_refused(tmp_path):
    with (
        pytest.raises(InputError, match=r"expected \(48, 64, 3\)"),
        open_sink(tmp_path / "a.mp4", width_px=64, height_px=48) as sink,
    ):
        sink.write(gray_frames(width=32)[0])
    assert leftovers(tmp_path) == []


def test_quality_and_preset_reach_the_encoder(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frames = [TimedFrame(pixels=noise, time_s=i * 40 * MS, duration_s=40 * MS) for i in range(3)]
    for quality in (5, 45):
        write(tmp_path / f"{quality}.mp4", frames, options=SinkOptions(quality=quality))
    assert (tmp_path / "5.mp4").stat().st_size > 3 * (tmp_path / "45.mp4").stat().st_size


TWO_TRACKS = Film(
    times_ms=tuple(range(0, 2000, 40)),
    sounds=(Sound(tone_from_s=1.0, language="deu"), Sound(tone_from_s=0.5, layout="mono", language="fra")),
    tags={"title": "A walk", "artist": "Nobody"},
)


@pytest.fixture(scope="module")
def two_tracks(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("clips") / "two.mp4", TWO_TRACKS)


@pytest.mark.parametrize(
    ("name", "action", "tolerance_s"),
    [
        ("a.mp4", "copied", 0.001),
        ("a.mov", "copied", 0.001),
        ("a.mkv", "copied", 0.002),
        ("a.webm", "encoded as opus", 0.01),
        ("a.avi", "encoded as mp3", 0.03),
    ],
)
def test_all_sound_tracks_survive_in_sync_with_their_languages(
    two_tracks, tmp_path, name, action, tolerance_s
):
    assert carry_over(two_tracks, tmp_path / name) == (action, action)
    for track in (0, 1):
        start_s = tone_start_s(tmp_path / name, track)
        assert abs(start_s - tone_start_s(two_tracks, track)) < tolerance_s
        assert abs(start_s - (1.0, 0.5)[track]) < 0.03
    info = probe(tmp_path / name)
    assert [audio.num_channels for audio in info.audio] == [2, 1]
    if not name.endswith("avi"):
        german = "ger" if name.endswith("mov") else "deu"
        assert [audio.language for audio in info.audio] == [german, "fra"]
        assert info.duration_s == 2
        with open_source(tmp_path / name) as source:
            assert source.metadata.get("title", source.metadata.get("TITLE")) == "A walk"


def test_copied_sound_is_not_touched(two_tracks, tmp_path):
    carry_over(two_tracks, tmp_path / "a.mp4")
    for track in (0, 1):
        assert sound_packets(tmp_path / "a.mp4", track) == sound_packets(two_tracks, track)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_sound_stays_in_sync_when_a_range_is_cut_out(two_tracks, tmp_path, name):
    carry_over(two_tracks, tmp_path / name, start_s=0.6, duration_s=1.0)
    assert abs(tone_start_s(tmp_path / name) - 0.4) < 0.03
    with open_source(tmp_path / name, has_audio=True) as source:
        assert [index_of(f.pixels) for f in source] == list(range(15, 40 - 10)) + list(range(10))
        sound = source.take_audio()
    assert source.end_s == 1
    assert all(-0.03 < packet.time_s < 1 for packet in sound)


def test_sound_that_leads_or_lags_keeps_its_offset(tmp_path):
    leading = Film(times_ms=tuple(range(480, 2000, 40)), sounds=(Sound(tone_from_s=1.0),))
    lagging = Film(times_ms=TWO_TRACKS.times_ms, sounds=(Sound(tone_from_s=0.3, start_s=0.7),))
    for number, film in enumerate((leading, lagging)):
        clip = make(tmp_path / f"clip{number}.mkv", film)
        for ending in ("mp4", "mkv"):
            path = tmp_path / f"again{number}.{ending}"
            carry_over(clip, path)
            with open_source(path) as source:
                assert next(iter(source)).time_s == (480 * MS if number == 0 else 0)
            assert abs(tone_start_s(path) - 1.0) < 0.03


def test_a_codec_that_mp4_cannot_hold_is_encoded_as_aac(tmp_path):
    clip = make(tmp_path / "clip.mkv", Film(sounds=(Sound(codec="pcm_s16le", tone_from_s=0.5),)))
    assert carry_over(clip, tmp_path / "a.mp4") == ("encoded as aac",)
    assert abs(tone_start_s(tmp_path / "a.mp4") - 0.5) < 0.005
    assert carry_over(clip, tmp_path / "a.mkv") == ("copied",)
    assert carry_over(clip, tmp_path / "a.gif") == ("left out",)
    assert carry_over(clip, tmp_path / "a_%d.png") == ("left out",)


def test_sound_and_pictures_of_a_broadcast_go_into_every_container(tmp_path):
    sound = Sound(tone_from_s=0.5)
    clip = make(tmp_path / "clip.ts", Film(sounds=(sound,)))
    for ending in ("mp4", "mov", "mkv", "webm"):
        carry_over(clip, tmp_path / f"a.{ending}")
        assert abs(tone_start_s(tmp_path / f"a.{ending}") - 0.5) < 0.03
        assert len(sound_packets(tmp_path / f"a.{ending}")) >= 92


def test_a_recording_whose_clock_and_channels_start_over_is_joined(tmp_path):
    late = Film(times_ms=tuple(range(5000, 6000, 40)), sounds=(Sound(layout="mono", start_s=5),))
    clip = make(tmp_path / "first.ts", late)
    clip.write_bytes(clip.read_bytes() + make(tmp_path / "second.ts", Film(sounds=(Sound(),))).read_bytes())
    carry_over(clip, tmp_path / "a.mkv")
    carry_over(clip, tmp_path / "a.webm")
    for name in ("a.mkv", "a.webm"):
        with open_source(tmp_path / name) as source:
            times = [frame.time_s for frame in source]
        assert times == [40 * MS * i for i in range(50)]


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("a.mp4", "encoded as aac"),
        ("a.mov", "encoded as aac"),
        ("a.mkv", "copied"),
        ("a.avi", "encoded as mp3"),
    ],
)
def test_a_track_that_starts_late_neither_holds_up_the_file_nor_loses_its_place(tmp_path, name, action):
    late = Sound(duration_s=1.0, start_s=4.0, tone_from_s=0.5)
    clip = make(tmp_path / "clip.mkv", Film(times_ms=tuple(range(0, 5000, 40)), sounds=(late,)))
    path = tmp_path / name
    with open_source(clip, has_audio=True) as source:
        assert source.audio_starts_s == (None,)
        with open_sink(path, width_px=64, height_px=48, source=source) as sink:
            assert sink.audio_actions == (action,)
            for frame in source:
                sink.write(frame)
                if frame.time_s == Fraction(39, 10) and action != "copied":
                    assert path.with_name(f"{name}.part").stat().st_size > 2000
    assert abs(tone_start_s(path) - 4.5) < 0.03
    assert probe(path).duration_s == 5


def test_a_track_that_ends_before_the_range_is_no_empty_track(tmp_path):
    clip = make(tmp_path / "clip.mp4", Film(sounds=(Sound(duration_s=0.3), Sound(duration_s=1.0))))
    assert carry_over(clip, tmp_path / "a.mp4", start_s=0.6) == ("copied",)


def test_a_gap_in_encoded_sound_stays_a_gap(tmp_path):
    clip = make(tmp_path / "clip.mkv", Film(sounds=(Sound(tone_from_s=0.7),)))
    with open_source(clip, has_audio=True) as source:
        take = source.take_audio
        source.take_audio = lambda: [packet for packet in take() if not 0.2 < packet.time_s < 0.5]
        sink = open_sink(tmp_path / "a.webm", width_px=64, height_px=48, source=source)
        for frame in source:
            sink.write(frame)
        sink.close()
    assert abs(tone_start_s(tmp_path / "a.webm") - 0.7) < 0.03


def test_sound_longer_than_the_pictures_is_kept_to_its_end(tmp_path):
    clip = make(tmp_path / "clip.mp4", Film(sounds=(Sound(duration_s=3.0),)))
    carry_over(clip, tmp_path / "a.mp4")
    assert sound_packets(tmp_path / "a.mp4") == sound_packets(clip)
    assert probe(tmp_path / "a.mp4").duration_s == 1


def test_a_silent_clip_gives_a_silent_file(tmp_path):
    assert carry_over(make(tmp_path / "clip.mp4"), tmp_path / "a.mp4") == ()
    assert probe(tmp_path / "a.mp4").audio == ()


def test_a_change_of_rate_keeps_duration_and_sync(two_tracks, tmp_path):
    with open_source(two_tracks, has_audio=True) as source:
        size = {"width_px": source.info.width_px, "height_px": source.info.height_px}
        clock = {"fps": Fraction(30), "time_base": Fraction(1, 30)}
        with open_sink(tmp_path / "a.mp4", source=source, **size, **clock) as sink:
            for frame in resample_fps(source, 30):
                sink.write(frame)
    info = probe(tmp_path / "a.mp4")
    assert (info.fps, info.num_frames, info.duration_s) == (30, 60, 2)
    assert sound_packets(tmp_path / "a.mp4") == sound_packets(two_tracks)


def test_an_image_folder_appears_at_the_end_and_replaces_an_older_one(tmp_path):
    target = tmp_path / "frames"
    for num_frames in (10, 4):
        assert write(f"{target}/", gray_frames()[:num_frames]) == target
        assert len(leftovers(target)) == num_frames
        (target / "notes.txt").unlink(missing_ok=True)
    (target / "notes.txt").touch()
    write(f"{target}/", gray_frames()[:2])
    assert leftovers(target) == ["frame_00001.png", "frame_00002.png", "notes.txt"]
    assert leftovers(tmp_path) == ["frames"]
    with open_source(target, image_fps=25) as source:
        assert [index_of(frame.pixels) for frame in source] == [0, 1]


def test_numbered_images_are_written_and_nothing_is_left_after_an_abort(tmp_path):
    write(tmp_path / "shot_%03d.jpg", gray_frames()[:3])
    assert leftovers(tmp_path) == ["shot_001.jpg", "shot_002.jpg", "shot_003.jpg"]
    with pytest.raises(ZeroDivisionError):
        write_and_fail(tmp_path / "b_%d.png")
    assert len(leftovers(tmp_path)) == 3
    with pytest.raises(InputError, match="exist already"):
        write(tmp_path / "shot_%03d.jpg", gray_frames(), options=SinkOptions(is_overwritten=False))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_an_error_leaves_nothing_and_an_older_file_untouched(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"older")
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path)
    assert leftovers(tmp_path) == [name]
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize("finalise", [True, False])
def test_closing_without_frames_or_without_finalising_writes_nothing(tmp_path, finalise):
    sink = open_sink(tmp_path / "a.mp4", width_px=64, height_px=48)
    if not finalise:
        sink.write(gray_frames()[0])
    assert sink.close(finalise=finalise) is None
    assert leftovers(tmp_path) == []


def test_an_existing_file_is_replaced_only_at_the_end_and_only_if_allowed(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older")
    with pytest.raises(InputError, match="exists already"):
        open_sink(path, width_px=64, height_px=48, options=SinkOptions(is_overwritten=False))
    sink = open_sink(path, width_px=64, height_px=48)
    sink.write(gray_frames()[0])
    assert path.read_bytes() == b"older"
    assert sink.close() == path
    assert probe(path).num_frames == 1


def edit_until_ctrl_c(clip: Path, path: Path, num_frames: int) -> None:
    with (
        open_source(clip, has_audio=True) as source,
        open_sink(path, width_px=64, height_px=48, source=source) as sink,
    ):
        for frame in list(source)[:num_frames]:
            sink.write(frame)
        raise KeyboardInterrupt


def test_ctrl_c_finishes_what_was_written_with_sound_up_to_there(two_tracks, tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(KeyboardInterrupt):
        edit_until_ctrl_c(two_tracks, path, num_frames=20)
    with av.open(str(path)) as file:
        assert file.streams.video[0].frames == 20
        assert 0.75 < file.streams.audio[0].duration * file.streams.audio[0].time_base < 0.83
    assert leftovers(tmp_path) == ["a.mp4"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_after_kill_9_the_part_file_plays(two_tracks, tmp_path):
    script = textwrap.dedent(
        f"""
        import time
        from vivace.data.video_source import open_source
        from vivace.data.video_sink import open_sink
        with open_source({str(two_tracks)!r}, has_audio=True) as source:
            sink = open_sink({str(tmp_path / "a.mp4")!r}, width_px=64, height_px=48, source=source)
            for frame in source:
                sink.write(frame)
            print("written", flush=True)
            time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path.cwd()) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        os.kill(child.pid, signal.SIGKILL)
    assert leftovers(tmp_path) == ["a.mp4.part"]
    with open_source(tmp_path / "a.mp4.part", has_audio=True) as source:
        frames = list(source)
        assert len(source.take_audio()) > 20
    assert len(frames) >= 25
    assert [index_of(frame.pixels) for frame in frames] == [i % 30 for i in range(len(frames))]
    assert [frame.time_s for frame in frames] == [40 * MS * i for i in range(len(frames))]


NOISE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def write_noise(path: Path | str) -> None:
    with open_sink(path, width_px=320, height_px=240, time_base=MS, fps=Fraction(25)) as sink:
        for index in range(100):
            pixels = np.roll(NOISE, 7 * index, axis=1)
            sink.write(TimedFrame(pixels=pixels, time_s=index * 40 * MS, duration_s=40 * MS))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a_%d.png"])
def test_a_full_disk_is_one_sentence_and_nothing_under_the_final_name(tmp_path, name):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, limits[1]))
    try:
        with pytest.raises(InputError, match="the disk is full or a size limit was reached") as caught:
            write_noise(tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    if name == "a.mp4":
        assert leftovers(tmp_path) == ["a.mp4.part"]
        assert "plays from" in str(caught.value)
        with open_source(tmp_path / "a.mp4.part") as source:
            assert len(list(source)) >= 5
    else:
        assert leftovers(tmp_path) == []


def test_a_disk_that_fills_while_finishing_keeps_the_playable_part(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    sink = open_sink(tmp_path / "a.mp4", width_px=320, height_px=240, time_base=MS, fps=Fraction(25))
    for index in range(50):
        pixels = np.roll(NOISE, 7 * index, axis=1)
        sink.write(TimedFrame(pixels=pixels, time_s=index * 40 * MS, duration_s=40 * MS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match="the disk is full"):
            sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert leftovers(tmp_path) == ["a.mp4.part"]


def test_the_output_must_not_be_an_input_under_any_name(tmp_path):
    clip = make(tmp_path / "clip.mp4")
    before = clip.read_bytes()
    (tmp_path / "link.mp4").symlink_to(clip)
    (tmp_path / "hard.mp4").hardlink_to(clip)
    (tmp_path / "rest.mp4.part").write_bytes(before)
    for source_path, name in (
        (clip, "clip.mp4"),
        (clip, "link.mp4"),
        (clip, "hard.mp4"),
        (tmp_path / "link.mp4", "clip.mp4"),
        (tmp_path / "rest.mp4.part", "rest.mp4"),
    ):
        with open_source(source_path) as source, pytest.raises(InputError, match="is the input"):
            open_sink(tmp_path / name, width_px=64, height_px=48, source=source)
    assert clip.read_bytes() == before
    frames = tmp_path / "frames"
    write(f"{frames}/", gray_frames()[:2])
    with open_source(frames) as source, pytest.raises(InputError, match="is the input"):
        open_sink(f"{frames}/", width_px=64, height_px=48, source=source)
    image = frames / "frame_00002.png"
    with open_source(image) as source, pytest.raises(InputError, match="is the input"):
        open_sink(frames / "frame_%05d.png", width_px=64, height_px=48, source=source)


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_opened(tmp_path):
    size = {"width_px": 64, "height_px": 48}
    with pytest.raises(InputError, match="there is no folder"):
        open_sink(tmp_path / "no" / "a.mp4", **size)
    with pytest.raises(InputError, match="there is no folder"):
        open_sink(f"{tmp_path}/no/frames/", **size)
    (tmp_path / "dir.mp4").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        open_sink(tmp_path / "dir.mp4", **size)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="it is a file"):
        open_sink(f"{tmp_path}/file/", **size)
    with pytest.raises(InputError, match="at least 1x1"):
        open_sink(tmp_path / "a.mp4", width_px=0, height_px=48)
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(InputError, match="not writable"):
            open_sink(tmp_path / "a.mp4", **size)


def test_memory_does_not_grow_with_length(tmp_path):
    frame = gray_frames(width=320, height=240)[0]
    process = psutil.Process()
    seen = []
    with open_sink(tmp_path / "a.mp4", width_px=320, height_px=240, time_base=MS, fps=Fraction(25)) as sink:
        for index in range(1500):
            sink.write(TimedFrame(pixels=frame.pixels, time_s=index * 40 * MS, duration_s=40 * MS))
            if index in (500, 1499):
                seen.append(process.memory_info().rss)
    # One frame is 0.23 MB; 1000 kept frames would be 230 MB.
    assert seen[1] - seen[0] < 20e6
