import pytest

from made_clips import Film, make
from vivace.data.file_end import num_missing_bytes

KINDS = {
    "faststart.mp4": {"movflags": "faststart"},
    "fragmented.mp4": {"movflags": "frag_keyframe+empty_moov+delay_moov"},
    "plain.mov": {},
    "plain.mkv": {},
    "plain.avi": {},
}


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_file_lacks_nothing_and_a_cut_one_lacks_what_was_cut(tmp_path, name):
    path = make(tmp_path / name, Film(container=KINDS[name]))
    assert num_missing_bytes(path) == 0
    whole = path.read_bytes()
    path.write_bytes(whole[:-700])
    # The cut may swallow a whole small box at the end, which then nobody misses.
    assert 600 < num_missing_bytes(path) <= 701


def test_bytes_behind_the_last_box_are_harmless(tmp_path):
    path = make(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes() + bytes(20))
    assert num_missing_bytes(path) == 0


@pytest.mark.parametrize(
    "content", [b"", b"RI", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\x01", b"hello world, no video"]
)
def test_files_that_do_not_say_their_length_lack_nothing(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert num_missing_bytes(path) == 0
