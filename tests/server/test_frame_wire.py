import re
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.server.app import WEB
from vivace.server.frame_wire import HEADER, JPEG, RAW_RGB, WireFrame, encode_jpeg, pack_frame, parse_frame
from vivace.server.protocol import ProtocolError

MAX_PIXELS = 10_000


def picture(width: int = 20, height: int = 10) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def wire(**changes) -> WireFrame:
    facts = {"pixels": picture(), "index": 7, "captured_us": 123_456_789_012, "prompt_id": 3, "server_us": 5}
    return WireFrame(**{**facts, **changes})


def refusal(data: bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        parse_frame(data, max_pixels=MAX_PIXELS)
    return caught.value


def head(kind: int = JPEG, width: int = 20, height: int = 10, version: int = 1) -> bytes:
    return HEADER.pack(version, kind, width, height, 0, 0, 0, 0, 0)


def test_raw_pixels_come_back_exactly_with_all_that_is_known_about_them():
    frame = parse_frame(pack_frame(wire(), RAW_RGB), max_pixels=MAX_PIXELS)
    np.testing.assert_array_equal(frame.pixels, picture())
    assert (frame.index, frame.captured_us, frame.prompt_id, frame.server_us) == (7, 123_456_789_012, 3, 5)


def test_jpeg_comes_back_nearly_the_same():
    smooth = np.linspace(0, 255, 20 * 10 * 3).reshape(10, 20, 3).astype(np.uint8)
    frame = parse_frame(pack_frame(wire(pixels=smooth)), max_pixels=MAX_PIXELS)
    assert np.abs(frame.pixels.astype(int) - smooth).max() < 25


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "bad_frame"),
        (head()[:-1], "bad_frame"),
        (head(), "bad_frame"),
        (head(version=2), "unknown_version"),
        (head(kind=9) + b"x", "bad_frame"),
        (head(width=0) + b"x", "too_large"),
        (head(width=60_000, height=60_000) + b"x", "too_large"),
        (head(kind=RAW_RGB) + b"x" * 599, "bad_frame"),
        (head() + encode_jpeg(picture(21, 10)), "bad_frame"),
        (head() + encode_jpeg(picture())[:-300], "bad_frame"),
        (head() + b"\x89PNG\r\n\x1a\n" + b"x" * 50, "bad_frame"),
    ],
)
def test_what_is_no_frame_is_refused(data, code):
    assert refusal(data).answer.code == code


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_a_frame_or_one_sentence(data, has_head):
    with suppress(ProtocolError):
        assert parse_frame(head() + data if has_head else data, max_pixels=MAX_PIXELS).pixels.size


@given(st.data())
def test_a_damaged_jpeg_gives_a_frame_or_one_sentence(data):
    good = bytearray(pack_frame(wire()))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(HEADER.size, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        frame = parse_frame(bytes(good), max_pixels=MAX_PIXELS)
    except ProtocolError:
        return
    assert frame.pixels.shape == (10, 20, 3)


def test_the_page_knows_the_same_header():
    script = (WEB / "link.js").read_text()
    assert int(re.search(r"HEADER_BYTES = (\d+)", script)[1]) == HEADER.size
