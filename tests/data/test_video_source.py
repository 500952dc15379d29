import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from made_clips import Film, Sound, gray_of, index_of, make
from vivace.core.errors import InputError
from vivace.data.media_source import MediaSource
from vivace.data.source_spec import SourceSpec
from vivace.data.video_source import open_source, probe

MS = Fraction(1, 1000)
UNEVEN_MS = (0, 40, 80, 200, 233, 1000, 1033, 1500)
REORDERED = {"bf": "3", "b_strategy": "0", "g": "12", "preset": "ultrafast", "crf": "10"}


def times_ms(frames) -> list[float]:
    return [float(frame.time_s * 1000) for frame in frames]


def corners(size: int = 48, wide: int = 64) -> np.ndarray:
    """Red, green / blue, white."""
    pixels = np.zeros((size, wide, 3), np.uint8)
    pixels[: size // 2, : wide // 2] = (255, 0, 0)
    pixels[: size // 2, wide // 2 :] = (0, 255, 0)
    pixels[size // 2 :, : wide // 2] = (0, 0, 255)
    pixels[size // 2 :, wide // 2 :] = 255
    return pixels


def corner_names(pixels: np.ndarray) -> str:
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    height, width = pixels.shape[:2]
    spots = [(y, x) for y in (height // 6, -height // 6) for x in (width // 6, -width // 6)]
    return "".join(names[tuple(int(v > 128) for v in pixels[y, x])] for y, x in spots)


@pytest.mark.parametrize("options", [{"bf": "0", "preset": "ultrafast"}, REORDERED])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_uneven_times_and_the_last_duration_are_exact(tmp_path, ending, options):
    path = make(tmp_path / f"clip.{ending}", Film(times_ms=UNEVEN_MS, last_ms=777, options=options))
    with open_source(path) as source:
        frames = list(source)
        assert source.info.is_variable_rate or ending == "mkv"
    assert times_ms(frames) == list(UNEVEN_MS)
    assert [frame.duration_s for frame in frames[:-1]] == [MS * step for step in np.diff(UNEVEN_MS).tolist()]
    # An MP4 with reordered pictures does not hold the last duration.
    if ending == "mkv" or options is not REORDERED:
        assert frames[-1].end_s == source.end_s == 2277 * MS
    assert [index_of(frame.pixels) for frame in frames] == list(range(8))
    assert not source.was_truncated


def test_what_a_file_says_about_itself_is_reported(tmp_path):
    film = Film(
        width=65,
        height=49,
        pixel_format="yuv444p",
        sounds=(Sound(language="deu"), Sound(codec="libmp3lame", layout="mono")),
        tags={"title": "A walk"},
    )
    path = make(tmp_path / "clip.mp4", film)
    info = probe(path)
    assert (info.width_px, info.height_px, info.fps) == (65, 49, 25)
    assert (info.num_frames, info.duration_s, info.is_variable_rate) == (25, 1, False)
    assert (info.codec, info.pixel_format, info.rotation_deg) == ("h264", "yuv444p", 0)
    assert "mp4" in info.container
    assert [(a.codec, a.num_channels, a.sample_rate_hz, a.language) for a in info.audio] == [
        ("aac", 2, 48_000, "deu"),
        ("mp3", 1, 48_000, None),
    ]
    with open_source(path) as source:
        assert source.metadata["title"] == "A walk"
        assert source.path == path


def test_tags_that_are_not_utf8_do_no_harm(tmp_path):
    path = make(tmp_path / "clip.mkv", Film(tags={"title": "Caf\u00e9"}))
    path.write_bytes(path.read_bytes().replace(b"Caf\xc3\xa9", b"Caf\xe9\xe9"))
    with open_source(path) as source:
        assert source.metadata["title"].startswith("Caf")
        assert len(list(source)) == 25


@pytest.mark.parametrize(
    ("rotation", "seen", "rotation_deg"),
    [
        ((0, False, False), "rgbw", 0),
        ((90, False, False), "gwrb", 270),
        ((180, False, False), "wbgr", 180),
        ((270, False, False), "brwg", 90),
        ((0, True, False), "grwb", None),
        ((0, False, True), "bwrg", None),
    ],
)
def test_pictures_are_upright(tmp_path, rotation, seen, rotation_deg):
    film = Film(times_ms=(0, 40), pixels=[corners()] * 2, rotation=rotation)
    with open_source(make(tmp_path / "clip.mp4", film)) as source:
        pixels = next(iter(source)).pixels
        assert corner_names(pixels) == seen
        assert pixels.shape[:2] == ((64, 48) if rotation[0] % 180 else (48, 64))
        assert (source.info.height_px, source.info.width_px) == pixels.shape[:2]
        assert rotation_deg is None or source.info.rotation_deg == rotation_deg
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous


def test_pictures_are_freed_without_the_garbage_collector(tmp_path):
    path = make(tmp_path / "clip.mp4", Film(times_ms=range(0, 4000, 40)))
    gc.collect()
    gc.disable()
    try:
        with open_source(path) as source:
            assert len(list(source)) == 100
            kept = [each for each in gc.get_objects() if type(each) is av.VideoFrame]
    finally:
        gc.enable()
    assert len(kept) < 5


def test_pixels_that_are_not_square_become_square(tmp_path):
    path = make(tmp_path / "clip.mp4", Film(pixel_aspect=Fraction(4, 3), rotation=(90, False, False)))
    assert (probe(path).width_px, probe(path).height_px) == (48, 85)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "tolerance"),
    [
        ("ten_bit.mp4", "libx264", "yuv420p10le", 3),
        ("full_chroma.mp4", "libx264", "yuv444p", 3),
        ("rgb.mkv", "libx264rgb", "rgb24", 2),
        ("lossless.mkv", "ffv1", "bgr0", 0),
        ("gray.mkv", "ffv1", "gray", 1),
        ("deep_gray.mkv", "ffv1", "gray16le", 1),
        ("old.avi", "mjpeg", "yuvj420p", 4),
    ],
)
def test_every_pixel_format_becomes_the_same_rgb(tmp_path, name, codec, pixel_format, tolerance):
    options = {"crf": "1", "preset": "ultrafast"} if "x264" in codec else {}
    film = Film(times_ms=(0, 40, 80), codec=codec, pixel_format=pixel_format, options=options)
    with open_source(make(tmp_path / name, film)) as source:
        for index, frame in enumerate(source):
            assert np.abs(frame.pixels.astype(int) - gray_of(index)).max() <= tolerance


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("alpha.webm", "libvpx-vp9", "yuva420p"),
        ("alpha.mov", "prores_ks", "yuva444p10le"),
        ("png.mov", "png", "rgba"),
    ],
)
def test_transparent_pictures_lie_over_black(tmp_path, name, codec, pixel_format):
    pixels = np.full((48, 64, 4), (240, 240, 240, 255), np.uint8)
    pixels[:, 32:, 3] = 128
    film = Film(times_ms=(0, 40), codec=codec, pixel_format=pixel_format, options={}, pixels=[pixels] * 2)
    with open_source(make(tmp_path / name, film)) as source:
        seen = next(iter(source)).pixels
    assert np.abs(seen[24, 8].astype(int) - 240).max() <= 4
    assert np.abs(seen[24, 56].astype(int) - 120).max() <= 4


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory) -> Path:
    """Six seconds at 25 fps with reordered pictures and a key frame every 12."""
    film = Film(times_ms=tuple(range(0, 6000, 40)), options=REORDERED, sounds=(Sound(duration_s=6.0),))
    return make(tmp_path_factory.mktemp("long") / "long.mp4", film)


@pytest.mark.parametrize("start_s", [0.0, 0.5, 1.0, 2.64, 3.999, 4.0, 5.96])
def test_a_start_gives_exactly_the_frames_from_there(long_clip, start_s):
    first = -(-round(start_s * 1000) // 40)
    with open_source(long_clip, start_s=start_s) as source:
        frames = list(source)
    assert [index_of(frame.pixels) for frame in frames] == [i % 30 for i in range(first, 150)]
    assert times_ms(frames) == [40.0 * i for i in range(150 - first)]


def test_a_duration_ends_the_range_to_the_millisecond(long_clip):
    with open_source(long_clip, start_s=2, duration_s=0.5, has_audio=True) as source:
        frames = list(source)
        sound = source.take_audio()
    assert [index_of(frame.pixels) for frame in frames] == [i % 30 for i in range(50, 63)]
    assert frames[-1].end_s == Fraction(1, 2)
    assert 0 <= sound[0].time_s < Fraction(1, 40)
    assert Fraction(47, 100) < sound[-1].time_s < Fraction(1, 2)
    assert not source.was_truncated


def test_a_start_inside_a_pause_shows_the_picture_that_stood_still(tmp_path):
    path = make(tmp_path / "clip.mkv", Film(times_ms=(0, 40, 5000, 5040), last_ms=1000))
    with open_source(path, start_s=3, duration_s=10) as source:
        frames = list(source)
    assert [index_of(frame.pixels) for frame in frames] == [1, 2, 3]
    assert times_ms(frames) == [0, 2000, 2040]
    with open_source(path, start_s=5.5) as source:
        assert [(index_of(f.pixels), f.duration_s) for f in source] == [(3, 540 * MS)]


def test_sound_that_starts_first_keeps_its_lead(tmp_path):
    film = Film(times_ms=tuple(range(500, 1000, 40)), sounds=(Sound(),))
    with open_source(make(tmp_path / "clip.mkv", film), has_audio=True) as source:
        assert next(iter(source)).time_s == Fraction(1, 2)
        assert abs(source.take_audio()[0].time_s) < Fraction(1, 40)


def test_pictures_without_times_follow_the_frame_rate(tmp_path):
    path = make(tmp_path / "raw.h264", Film(options=REORDERED), container_format="h264")
    with open_source(path) as source:
        frames = list(source)
    assert times_ms(frames) == [40.0 * i for i in range(25)]
    with open_source(path, start_s=0.6) as source:
        assert [index_of(frame.pixels) for frame in source] == list(range(15, 25))


def test_reading_threads_do_not_change_pictures(long_clip):
    with open_source(long_clip, num_threads=1) as one, open_source(long_clip, num_threads=3) as three:
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, three, strict=True))


NOISE = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
NOISY = Film(times_ms=tuple(range(0, 2400, 40)), pixels=list(NOISE), container={"movflags": "faststart"})


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts"])
def test_a_cut_file_gives_what_can_be_decoded_and_says_so(tmp_path, ending):
    film = NOISY if ending == "mp4" else Film(times_ms=NOISY.times_ms, pixels=NOISY.pixels)
    path = make(tmp_path / f"clip.{ending}", film)
    with open_source(path) as source:
        assert len(list(source)) == 60
        assert not source.was_truncated
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with open_source(path) as source:
        assert not source.was_truncated
        frames = list(source)
    assert 30 <= len(frames) <= 40
    assert source.was_truncated
    assert source.truncation_reason


def test_a_range_before_the_cut_is_whole(tmp_path):
    path = make(tmp_path / "clip.mp4", NOISY)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with open_source(path, duration_s=0.5) as source:
        assert len(list(source)) == 13
    assert not source.was_truncated


def test_damage_in_the_middle_is_skipped_and_reported(tmp_path):
    path = make(tmp_path / "clip.mkv", Film(times_ms=NOISY.times_ms, pixels=NOISY.pixels))
    content = bytearray(path.read_bytes())
    for position in range(len(content) // 2, len(content) // 2 + 8000, 1000):
        content[position : position + 200] = bytes(200)
    path.write_bytes(content)
    with open_source(path) as source:
        assert len(list(source)) >= 25
    assert "damaged" in (source.truncation_reason or "")


def test_a_file_cut_before_its_index_cannot_be_opened(tmp_path):
    path = make(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="header is cut off"):
        open_source(path)


def test_inputs_that_are_no_video_are_refused_in_one_sentence(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no film here\n" * 100)
    code = tmp_path / "program.bin"
    code.write_bytes(bytes(range(256)) * 40)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for path in (text, code, empty):
        with pytest.raises(InputError, match=f"{path.name} (is not a video|holds text)"):
            open_source(path)


def test_a_song_is_not_a_video_even_with_a_cover(tmp_path):
    song = tmp_path / "song.mka"
    with av.open(str(song), "w", format="matroska") as output:
        track = output.add_stream("aac", rate=48_000)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 4800), np.float32), format="fltp", layout="stereo")
        silence.sample_rate = 48_000
        output.mux([*track.encode(silence), *track.encode(None)])
    with pytest.raises(InputError, match="sound but no pictures"):
        open_source(song)


def test_a_video_without_one_frame_is_refused(tmp_path):
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.start_encoding()
    with pytest.raises(InputError, match="no picture that can be decoded"):
        open_source(path)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"start_s": -1}, "start of -1 s"),
        ({"start_s": float("nan")}, "start of nan s"),
        ({"duration_s": 0}, "duration of 0 s"),
        ({"duration_s": -2.5}, "duration of -2.5 s"),
        ({"start_s": 60}, "only 6.00 s long"),
    ],
)
def test_impossible_ranges_are_refused(long_clip, wanted, sentence):
    with pytest.raises(InputError, match=sentence):
        open_source(long_clip, **wanted)


def test_a_missing_camera_is_named():
    with pytest.raises(InputError, match=r"cannot open camera:99 .*check that it is connected"):
        open_source("camera:99")


def test_a_camera_that_disappears_ends_the_stream_with_a_reason():
    pattern = "testsrc=size=64x48:rate=10:duration=0.5"
    spec = SourceSpec(kind="camera", name="camera:0", target=pattern, ffmpeg_format="lavfi")
    source = MediaSource(
        spec, start_s=Fraction(0), duration_s=None, timeout_s=5, has_audio=False, num_threads=0
    )
    with source:
        assert len(list(source)) == 5
    assert source.truncation_reason == "camera:0 stopped sending"
    assert source.info.duration_s is None


@contextmanager
def served(content: bytes, promised: int | None = None, stalls: bool = False) -> Iterator[str]:
    """A web server with one file; it may promise more than it sends, or stop sending."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(promised or len(content)))
            self.end_headers()
            self.wfile.write(content)
            if stalls:
                released.wait(10)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/clip.mp4"
        finally:
            released.set()
            server.shutdown()
            thread.join()


def test_a_film_is_read_from_the_network(tmp_path):
    path = make(tmp_path / "clip.mp4", Film(container={"movflags": "faststart"}, sounds=(Sound(),)))
    with served(path.read_bytes()) as address, open_source(address, has_audio=True) as source:
        assert len(list(source)) == 25
        assert source.path is None
        assert len(source.take_audio()) > 40
    assert not source.was_truncated


def test_a_connection_that_breaks_ends_the_stream_with_a_reason(tmp_path):
    whole = make(tmp_path / "clip.mp4", NOISY).read_bytes()
    with (
        served(whole[: len(whole) * 6 // 10], promised=len(whole)) as address,
        open_source(address) as source,
    ):
        assert 25 <= len(list(source)) <= 40
    assert source.was_truncated


def test_silence_on_the_network_ends_after_the_timeout(tmp_path):
    whole = make(tmp_path / "clip.mp4", NOISY).read_bytes()
    with (
        served(whole[: len(whole) * 6 // 10], promised=len(whole), stalls=True) as address,
        open_source(address, timeout_s=0.5) as source,
    ):
        assert len(list(source)) >= 25
    assert "sent nothing for 0.5 s" in (source.truncation_reason or "")


def test_an_address_that_does_not_answer_is_refused_after_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}/a.mp4"
        with pytest.raises(InputError, match=r"did not answer within 0\.4 s"):
            open_source(address, timeout_s=0.4)
    with pytest.raises(InputError, match="check the address"):
        open_source(address, timeout_s=0.4)


def test_a_folder_of_images_is_a_film(tmp_path):
    for index in range(12):
        Image.new("RGB", (33, 17), (gray_of(index),) * 3).save(tmp_path / f"shot{index}.png")
    with open_source(tmp_path, image_fps=10, start_s=0.2, duration_s=0.9) as source:
        frames = list(source)
    assert [index_of(frame.pixels) for frame in frames] == list(range(2, 11))
    assert times_ms(frames) == [100.0 * i for i in range(9)]
    assert frames[0].pixels.shape == (17, 33, 3)
    info = probe(tmp_path)
    assert (info.fps, info.num_frames, info.duration_s) == (24, 12, Fraction(1, 2))
    with pytest.raises(InputError, match="behind the end"):
        open_source(tmp_path, start_s=2)
    with pytest.raises(InputError, match="more than 0"):
        open_source(tmp_path, image_fps=0)


def test_images_of_every_kind_become_upright_rgb(tmp_path):
    upright = Image.fromarray(corners())
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "1.jpg", exif=exif, quality=95)
    upright.convert("P").save(tmp_path / "2.png")
    upright.convert("CMYK").save(tmp_path / "3.tif")
    upright.resize((128, 96)).save(tmp_path / "4.bmp")
    clear = upright.convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "5.webp", lossless=True)
    Image.fromarray(np.full((48, 64), 128 * 257, np.uint16)).save(tmp_path / "6.png")
    with open_source(tmp_path) as source:
        frames = [frame.pixels for frame in source]
    assert all(pixels.shape == (48, 64, 3) for pixels in frames)
    assert [corner_names(pixels) for pixels in frames[:4]] == ["rgbw"] * 4
    assert (frames[4] == 0).all()
    assert (frames[5] == 128).all()


def test_a_damaged_image_leaves_the_one_before_standing(tmp_path):
    for index in range(4):
        Image.new("RGB", (16, 16), (gray_of(index),) * 3).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    with open_source(tmp_path) as source:
        assert [index_of(frame.pixels) for frame in source] == [0, 1, 1, 3]
    assert source.truncation_reason == "1 of 4 images could not be read"
    for path in tmp_path.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="no image that can be decoded"):
        open_source(tmp_path)


def test_an_animated_image_keeps_its_times(tmp_path):
    pictures = [Image.new("RGB", (32, 32), (gray_of(i),) * 3) for i in range(4)]
    path = tmp_path / "loop.webp"
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=[100, 200, 50, 70], lossless=True
    )
    with open_source(path) as source:
        frames = list(source)
    assert times_ms(frames) == [0, 100, 300, 350]
    assert frames[-1].end_s == 420 * MS
    assert [index_of(frame.pixels) for frame in frames] == [0, 1, 2, 3]


def test_a_gif_keeps_its_times(tmp_path):
    film = Film(times_ms=(0, 50, 300), last_ms=100, codec="gif", pixel_format="rgb8", options={})
    with open_source(make(tmp_path / "loop.gif", film)) as source:
        assert times_ms(source) == [0, 50, 300]
