import re

import pytest

from vivace.core.errors import InputError
from vivace.data.output_format import CONTAINERS, VIDEO_CODECS, parse_output, required_multiple


@pytest.mark.parametrize(
    ("name", "codec", "encoder"),
    [
        ("a.mp4", None, "libx264"),
        ("A.MP4", "hevc", "libx265"),
        ("a.mp4", "h265", "libx265"),
        ("a.mov", "prores", "prores_ks"),
        ("a.m4v", None, "libx264"),
        ("a.mkv", "ffv1", "ffv1"),
        ("a.webm", None, "libvpx-vp9"),
        ("a.avi", None, "mpeg4"),
        ("a.gif", None, "gif"),
        ("live/a.m3u8", None, "libx264"),
        ("rtmp://host/app/key", None, "libx264"),
    ],
)
def test_the_ending_chooses_container_and_codec(name, codec, encoder):
    form = parse_output(name, codec)
    assert form.codec is not None
    assert form.codec.encoder == encoder
    assert not form.is_images


@pytest.mark.parametrize("name", ["frames/", "shot_%05d.png", "shot_%d.jpg"])
def test_images_are_recognised(name):
    assert parse_output(name).is_images
    assert required_multiple(name) == 1


def test_sizes_must_be_even_only_where_color_is_halved():
    assert required_multiple("a.mp4") == 2
    assert required_multiple("a.gif") == 1
    assert required_multiple("a.mkv", "ffv1") == 1


def test_every_container_names_known_codecs():
    for container in CONTAINERS.values():
        assert set(container.codecs) <= set(VIDEO_CODECS)


@pytest.mark.parametrize(
    ("name", "codec", "sentence"),
    [
        ("a.xyz", None, "unknown ending .xyz, expected one of .mp4, .m4v, .mov"),
        ("result", None, "unknown ending none"),
        ("a.mp4", "wmv9", "unknown codec 'wmv9'; expected one of h264, hevc"),
        ("a.webm", "h264", ".webm cannot hold h264; expected one of vp9"),
        ("a.png", None, "use a_%05d.png or a/"),
        ("a_%05d.png", "h264", "leave it out"),
    ],
)
def test_unknown_endings_and_codecs_are_answered_with_the_known_ones(name, codec, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        parse_output(name, codec)
