from fractions import Fraction

import av
import numpy as np
import pytest

from vivace.data.frame_pixels import (
    FULL_RANGE,
    LIMITED_RANGE,
    MATRIX_BT601,
    MATRIX_BT709,
    FromRgb,
    ToRgb,
    assumed_matrix,
    over_black,
    upright,
)

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 90, 40)]
# Luma weights of red and blue, from the two recommendations.
WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
COLORSPACE = {"bt601": 6, "bt709": 1}


def encoded(color: tuple[int, int, int], matrix: str, is_full: bool, num_bits: int = 8) -> list[int]:
    """Y, Cb, Cr as the recommendations define them, independent of FFmpeg."""
    red, green, blue = (value / 255 for value in color)
    weight_red, weight_blue = WEIGHTS[matrix]
    luma = weight_red * red + (1 - weight_red - weight_blue) * green + weight_blue * blue
    cb, cr = (blue - luma) / (2 - 2 * weight_blue), (red - luma) / (2 - 2 * weight_red)
    unit = 2 ** (num_bits - 8)
    if is_full:
        top = 2**num_bits - 1
        values = [round(luma * top), round(cb * top + 128 * unit), round(cr * top + 128 * unit)]
        return [min(value, top) for value in values]
    return [
        round((16 + 219 * luma) * unit),
        round((128 + 224 * cb) * unit),
        round((128 + 224 * cr) * unit),
    ]


def flat_picture(values: list[int], pixel_format: str, width: int = 32, height: int = 16) -> av.VideoFrame:
    picture = av.VideoFrame(width, height, pixel_format)
    kind = np.dtype("<u2") if pixel_format.endswith("le") else np.dtype("u1")
    for plane, value in zip(picture.planes, values, strict=True):
        plane.update(np.full(plane.buffer_size // kind.itemsize, value, kind).tobytes())
    return picture


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("is_full", [False, True])
def test_known_colors_are_read_with_their_matrix_and_range(pixel_format, matrix, is_full):
    for color in COLORS:
        values = encoded(color, matrix, is_full, 10 if "10" in pixel_format else 8)
        picture = flat_picture(values, pixel_format)
        picture.colorspace = COLORSPACE[matrix]
        picture.color_range = FULL_RANGE if is_full else LIMITED_RANGE
        seen = ToRgb()(picture)
        assert seen.shape == (16, 32, 3)
        assert np.abs(seen.reshape(-1, 3).astype(int) - color).max() <= 3, (color, seen[0, 0])


def test_yuvj_is_full_range_even_without_a_tag():
    picture = flat_picture(encoded((200, 90, 40), "bt601", is_full=True), "yuvj420p")
    assert np.abs(ToRgb()(picture)[8, 8].astype(int) - (200, 90, 40)).max() <= 3


def test_gray_is_read_as_it_is():
    picture = flat_picture([77], "gray")
    assert (ToRgb()(picture) == 77).all()


def test_an_untagged_picture_uses_the_matrix_of_its_size():
    assert assumed_matrix(640, 480) == MATRIX_BT601
    assert assumed_matrix(1280, 720) == MATRIX_BT709
    for matrix, width, height in (("bt601", 640, 480), ("bt709", 1280, 720)):
        picture = flat_picture(encoded((255, 0, 0), matrix, is_full=False), "yuv444p", width, height)
        assert np.abs(ToRgb()(picture)[5, 5].astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("matrix", [MATRIX_BT601, MATRIX_BT709])
@pytest.mark.parametrize("color_range", [LIMITED_RANGE, FULL_RANGE])
def test_writing_and_reading_return_the_colors(matrix, color_range):
    for color in COLORS:
        picture = FromRgb("yuv420p", matrix, color_range)(np.full((16, 32, 3), color, np.uint8))
        picture.colorspace = 1 if matrix == MATRIX_BT709 else 6
        picture.color_range = color_range
        assert np.abs(ToRgb()(picture)[8, 8].astype(int) - color).max() <= 3


def test_written_values_are_those_of_the_recommendation():
    picture = FromRgb("yuv444p", MATRIX_BT709, LIMITED_RANGE)(np.full((16, 32, 3), (255, 0, 0), np.uint8))
    written = [np.frombuffer(bytes(plane), np.uint8)[0] for plane in picture.planes]
    assert np.abs(np.array(written, int) - encoded((255, 0, 0), "bt709", is_full=False)).max() <= 1


def test_alpha_is_composited_over_black():
    pixels = np.array([[[200, 100, 50, 128], [200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8)
    assert over_black(pixels).tolist() == [[[100, 50, 25], [200, 100, 50], [0, 0, 0]]]
    picture = av.VideoFrame.from_ndarray(np.tile(pixels[:, :1], (16, 32, 1)), format="rgba")
    assert np.abs(ToRgb()(picture)[3, 3].astype(int) - (100, 50, 25)).max() <= 1


# A picture with a distinct number in each corner, and where each corner goes.
@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), [[1, 2], [3, 4]]),
        ((0, 1, -1, 0), [[3, 1], [4, 2]]),
        ((-1, 0, 0, -1), [[4, 3], [2, 1]]),
        ((0, -1, 1, 0), [[2, 4], [1, 3]]),
        ((-1, 0, 0, 1), [[2, 1], [4, 3]]),
        ((1, 0, 0, -1), [[3, 4], [1, 2]]),
        ((0, 1, 1, 0), [[1, 3], [2, 4]]),
        ((0, -1, -1, 0), [[4, 2], [3, 1]]),
    ],
)
def test_every_display_matrix_puts_the_corners_in_place(matrix, expected):
    corners = np.zeros((4, 6, 1), np.uint8)
    corners[0, 0], corners[0, -1], corners[-1, 0], corners[-1, -1] = 1, 2, 3, 4
    turned = upright(corners, tuple(65_536 * entry for entry in matrix))
    assert turned[[0, 0, -1, -1], [0, -1, 0, -1], 0].reshape(2, 2).tolist() == expected
    assert turned.shape[:2] == ((6, 4) if matrix[0] == 0 else (4, 6))


@pytest.mark.parametrize(
    ("aspect", "size"), [(Fraction(4, 3), (85, 48)), (Fraction(2, 3), (64, 72)), (None, (64, 48))]
)
def test_pixels_that_are_not_square_are_stretched(aspect, size):
    picture = flat_picture([90, 128, 128], "yuv420p", 64, 48)
    assert ToRgb(aspect)(picture).shape == (size[1], size[0], 3)


def test_a_later_picture_of_another_size_is_scaled_to_the_first():
    to_rgb = ToRgb()
    to_rgb(flat_picture([90, 128, 128], "yuv420p", 64, 48))
    assert to_rgb(flat_picture([90, 128, 128], "yuv420p", 32, 32)).shape == (48, 64, 3)


def test_an_odd_size_is_kept():
    assert ToRgb()(flat_picture([90, 128, 128], "yuv420p", 33, 17)).shape == (17, 33, 3)


def test_arrays_belong_to_the_caller():
    picture = av.VideoFrame.from_ndarray(np.full((16, 32, 3), 7, np.uint8), format="rgb24")
    pixels = ToRgb()(picture)
    pixels[:] = 9
    assert (picture.to_ndarray() == 7).all()
