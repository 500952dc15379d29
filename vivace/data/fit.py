"""Which picture size a model works at, and resizing raw frames to it; reads no files and knows no model."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from vivace.core.errors import InputError

# How much a wrong area counts beside a wrong aspect, which costs cropped pixels.
AREA_WEIGHT = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """What a change of aspect cuts off, in pixels of the source."""

    left_px: int
    top_px: int
    right_px: int
    bottom_px: int

    @property
    def is_empty(self) -> bool:
        """Whether the whole picture is kept."""
        return not (self.left_px or self.top_px or self.right_px or self.bottom_px)


def fit_size(width: int, height: int, area_px: int, multiple: int) -> tuple[int, int]:
    """Width and height, divisible by `multiple`, that keep the aspect of a source at about `area_px` pixels.

    Never more than `area_px`, which is what a model's speed is promised for. The small change of aspect that
    is left over falls to `resize_and_crop`.

    Raises:
        InputError: If a size is not positive.
    """
    if min(width, height, area_px, multiple) < 1:
        raise InputError(f"got a picture of {width}x{height} pixels, expected at least 1x1")
    return min(_candidates(width / height, area_px, multiple))[1]


def divisible_size(width: int, height: int, multiple: int) -> tuple[int, int]:
    """The nearest width and height that `multiple` divides, each at least `multiple`.

    Raises:
        InputError: If a size is not positive.
    """
    if min(width, height, multiple) < 1:
        raise InputError(f"got a size of {width}x{height} pixels, expected at least 1x1")
    columns, rows = (max(1, math.floor(side / multiple + 0.5)) for side in (width, height))
    return columns * multiple, rows * multiple


def centre_crop(width: int, height: int, to_width: int, to_height: int) -> Crop:
    """What must be cut off a source, evenly from both sides, to give it the aspect of the target."""
    kept_width = min(width, max(1, round(height * to_width / to_height)))
    kept_height = min(height, max(1, round(width * to_height / to_width)))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return Crop(
        left_px=left,
        top_px=top,
        right_px=width - kept_width - left,
        bottom_px=height - kept_height - top,
    )


def resize_and_crop(
    frames: UInt8[Tensor, "r h w c"], height: int, width: int
) -> UInt8[Tensor, "r height width c"]:
    """Frames that cover the target size: cropped around the centre to its aspect, then resized.

    Bicubic with antialiasing, within two grey levels of the same in floating point. Frames that fit already
    are returned as they are.
    """
    if frames.shape[1:3] == (height, width) or not frames.shape[0]:
        return frames if frames.shape[0] else frames.new_empty(0, height, width, frames.shape[3])
    crop = centre_crop(frames.shape[2], frames.shape[1], width, height)
    kept = frames[
        :, crop.top_px : frames.shape[1] - crop.bottom_px, crop.left_px : frames.shape[2] - crop.right_px
    ]
    # Channels last in bytes: the form that torch resizes an order of magnitude faster than floating point.
    pictures = rearrange(kept.contiguous(), "r h w c -> r c h w")
    resized = F.interpolate(pictures, size=(height, width), mode="bicubic", antialias=True)
    return rearrange(resized, "r c h w -> r h w c").contiguous()


def _candidates(aspect: float, area_px: int, multiple: int) -> Iterator[tuple[float, tuple[int, int]]]:
    """Sizes with their costs; one cell at least, however small the area."""
    num_cells = max(1, area_px // multiple**2)
    for rows in range(1, num_cells + 1):
        ideal = rows * aspect
        for columns in {math.floor(ideal), math.ceil(ideal)}:
            columns = min(max(1, columns), num_cells // rows)
            width, height = columns * multiple, rows * multiple
            cost = abs(math.log(columns / rows / aspect))
            yield cost + AREA_WEIGHT * abs(math.log(width * height / area_px)), (width, height)
