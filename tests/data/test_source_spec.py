from pathlib import Path

import pytest

from vivace.core.errors import InputError
from vivace.data.source_spec import natural_key, parse_source


def test_images_of_a_folder_are_in_natural_order(tmp_path):
    for name in ("f10.png", "f2.png", "F1.JPG", "notes.txt", "f2.webp"):
        (tmp_path / name).touch()
    assert [path.name for path in parse_source(tmp_path).images] == ["F1.JPG", "f2.png", "f2.webp", "f10.png"]


def test_names_that_mix_numbers_and_words_can_be_compared():
    names = ["a1b", "1ab", "ab", "a", "2"]
    assert sorted(names, key=lambda name: natural_key(Path(name))) == ["1ab", "2", "a", "a1b", "ab"]


@pytest.mark.parametrize(
    ("spec", "platform", "ffmpeg_format", "target"),
    [
        ("camera:0", "linux", "v4l2", "/dev/video0"),
        ("/dev/video3", "linux", "v4l2", "/dev/video3"),
        ("camera:1", "darwin", "avfoundation", "1:none"),
        ("camera:FaceTime HD", "darwin", "avfoundation", "FaceTime HD:none"),
        ("camera:USB Camera", "win32", "dshow", "video=USB Camera"),
    ],
)
def test_cameras_are_opened_as_each_platform_needs(spec, platform, ffmpeg_format, target):
    found = parse_source(spec, platform)
    assert (found.kind, found.ffmpeg_format, found.target) == ("camera", ffmpeg_format, target)
    assert found.path is None


def test_addresses_are_recognised_and_rtsp_goes_over_tcp():
    assert parse_source("https://example.org/a.m3u8").kind == "url"
    assert parse_source("rtsp://camera.local/live").options == {"rtsp_transport": "tcp"}


def test_a_colon_in_a_file_name_is_no_protocol(tmp_path):
    path = tmp_path / "concat:clip.mp4"
    path.touch()
    assert parse_source(path).target == f"file:{path}"
    assert parse_source(f"file://{path}").path == path


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("nowhere/clip.mp4", "no file at nowhere/clip.mp4"),
        ("ftp://example.org/a.mp4", "got ftp://, expected one of http"),
        ("camera:", "empty camera name"),
    ],
)
def test_bad_inputs_are_named(spec, sentence):
    with pytest.raises(InputError, match=sentence):
        parse_source(spec)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no images"):
        parse_source(tmp_path)
