"""Converts FFmpeg pictures to upright RGB arrays and back: colour, alpha, rotation, pixel shape; no files."""

from collections.abc import Mapping
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideData, Type
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

# Numbers of FFmpeg: AVColorRange, and AVColorSpace -> matrix of its scaler.
LIMITED_RANGE, FULL_RANGE = 1, 2
MATRIX_BT709, MATRIX_BT601, MATRIX_BT2020 = 1, 5, 9
MATRIX_OF_COLORSPACE = {
    1: MATRIX_BT709,
    4: 4,
    5: MATRIX_BT601,
    6: MATRIX_BT601,
    7: 7,
    9: MATRIX_BT2020,
    10: MATRIX_BT2020,
}

BILINEAR, BICUBIC = 2, 4


def assumed_matrix(width_px: int, height_px: int) -> int:
    """The colour matrix of a stream that names none: BT.601 up to the size of PAL, else BT.709.

    This is the convention of video players; FFmpeg alone would always take BT.601.
    """
    return MATRIX_BT709 if width_px > 1024 or height_px > 576 else MATRIX_BT601


class ToRgb:
    """Turns the decoded pictures of one stream into upright RGB arrays of one size, `h w c` in 0..255.

    The size is that of the first picture as displayed; later pictures of another size are scaled to it.
    Alpha is composited over black. Pixels that are not square are stretched along the longer side. A stream
    may turn its pictures anew in the middle; a mirror image that begins there is not noticed.
    """

    def __init__(self, pixel_aspect: Fraction | None = None) -> None:
        self._pixel_aspect = Fraction(pixel_aspect or 1)
        self._coded_size_px: tuple[int, int] | None = None
        self._rotation_deg: int | None = None
        self._display_matrix: tuple[int, int, int, int] | None = None
        self._reformatter = VideoReformatter()

    def __call__(self, picture: av.VideoFrame) -> UInt8[np.ndarray, "h w c"]:
        """Convert one picture; the array is the caller's to keep."""
        if self._coded_size_px is None:
            self._coded_size_px = _square_pixels(picture.width, picture.height, self._pixel_aspect)
        pixels = self._rgb(picture, *self._coded_size_px)
        if picture.rotation != self._rotation_deg:
            self._rotation_deg, self._display_matrix = picture.rotation, display_matrix(picture)
        pixels = upright(pixels, self._display_matrix)
        return pixels if pixels.flags.writeable and pixels.flags.c_contiguous else pixels.copy()

    def _rgb(self, picture: av.VideoFrame, width_px: int, height_px: int) -> UInt8[np.ndarray, "h w c"]:
        name = picture.format.name
        has_alpha = name.startswith("pal") or any(part.is_alpha for part in picture.format.components)
        is_scaled = (picture.width, picture.height) != (width_px, height_px)
        is_rgb = picture.format.is_rgb or name.startswith("pal")
        converted = self._reformatter.reformat(
            picture,
            width=width_px,
            height=height_px,
            format="rgba" if has_alpha else "rgb24",
            src_colorspace=None if is_rgb else _matrix(picture),
            src_color_range=None if is_rgb else _range(picture),
            dst_color_range=None if is_rgb else FULL_RANGE,
            interpolation=BICUBIC if is_scaled else BILINEAR,
        )
        if has_alpha:
            return over_black(converted.to_ndarray())
        # A picture that was RGB already is still the decoder's own, which may predict later ones from it.
        return converted.to_ndarray().copy() if converted is picture else converted.to_ndarray()


class FromRgb:
    """Turns RGB arrays into pictures of one pixel format, matrix and range for an encoder."""

    def __init__(self, pixel_format: str, matrix: int, color_range: int) -> None:
        self._pixel_format = pixel_format
        self._matrix = matrix
        self._range = color_range
        self._reformatter = VideoReformatter()

    def __call__(self, pixels: UInt8[np.ndarray, "h w c"]) -> av.VideoFrame:
        """Convert one array."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        if self._pixel_format in ("rgb24", "bgr0"):
            return self._reformatter.reformat(picture, format=self._pixel_format)
        return self._reformatter.reformat(
            picture,
            format=self._pixel_format,
            dst_colorspace=self._matrix,
            src_color_range=FULL_RANGE,
            dst_color_range=self._range,
            interpolation=BILINEAR,
        )


def over_black(pixels: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 3"]:
    """Straight-alpha RGBA composited over black."""
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 127) // 255).astype(np.uint8)


def display_matrix(picture: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """How the file asks a picture to be turned: (x to x, x to y, y to x, y to y), or None if as it is.

    Not for every picture: PyAV ties a picture whose side data was read into a reference cycle. Its buffer is
    then freed by the next garbage collection only, and until then the decoder's pool grows.
    """
    # PyAV's type hints know only one of the kinds of side data.
    matrix = cast(Mapping[Type, SideData], picture.side_data).get(Type.DISPLAYMATRIX)
    if matrix is None:
        return None
    entries = np.frombuffer(bytes(matrix), dtype=np.int32)
    return int(entries[0]), int(entries[1]), int(entries[3]), int(entries[4])


def upright(
    pixels: UInt8[np.ndarray, "h w c"], matrix: tuple[int, int, int, int] | None
) -> UInt8[np.ndarray, "h2 w2 c"]:
    """A view of `pixels` turned by a display matrix; angles between quarter turns go to the nearest one."""
    if matrix is None:
        return pixels
    x_to_x, x_to_y, y_to_x, y_to_y = matrix
    if abs(x_to_x) + abs(y_to_y) < abs(x_to_y) + abs(y_to_x):
        turned, is_left_right_flipped, is_upside_down = pixels.swapaxes(0, 1), y_to_x < 0, x_to_y < 0
    else:
        turned, is_left_right_flipped, is_upside_down = pixels, x_to_x < 0, y_to_y < 0
    return turned[:: -1 if is_upside_down else 1, :: -1 if is_left_right_flipped else 1]


def _square_pixels(width_px: int, height_px: int, pixel_aspect: Fraction) -> tuple[int, int]:
    if pixel_aspect >= 1:
        return max(1, round(width_px * pixel_aspect)), height_px
    return width_px, max(1, round(height_px / pixel_aspect))


def _matrix(picture: av.VideoFrame) -> int:
    named = MATRIX_OF_COLORSPACE.get(int(picture.colorspace))
    return named or assumed_matrix(picture.width, picture.height)


def _range(picture: av.VideoFrame) -> int:
    name = picture.format.name
    # FFmpeg keeps gray and the old "yuvj" formats in full range, whatever else the stream says.
    if name.startswith(("yuvj", "gray", "ya")):
        return FULL_RANGE
    return FULL_RANGE if int(picture.color_range) == FULL_RANGE else LIMITED_RANGE
