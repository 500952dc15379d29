import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.server.frame_wire import decode_jpeg, encode_jpeg
from vivace.server.marks import NUM_NUMBERS, mark, read_mark


@given(st.integers(0, 10**6))
def test_a_number_is_read_again_after_a_codec(number):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    marked = mark(pixels, number)
    assert read_mark(marked) == number % NUM_NUMBERS
    assert read_mark(decode_jpeg(encode_jpeg(marked, 60), 64, 48).mean(axis=2)) == number % NUM_NUMBERS
    assert np.array_equal(marked[20:], pixels[20:])


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_without_a_mark_has_no_number(grey):
    assert read_mark(np.full((48, 64), grey, np.uint8)) is None


def test_a_damaged_mark_is_told():
    damaged = mark(np.zeros((48, 64, 3), np.uint8), 1234)
    damaged[0:6, 0:8] = 235 - damaged[0:6, 0:8] + 16
    assert read_mark(damaged) is None
