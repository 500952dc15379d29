"""Sizes keep the aspect within the area a model is made for, and resizing agrees with floating point."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from vivace.core.errors import InputError
from vivace.data.fit import centre_crop, divisible_size, fit_size, resize_and_crop

AREA = 320 * 192


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ((320, 192), (320, 192)),
        ((1280, 720), (320, 176)),
        ((720, 1280), (176, 320)),
        ((512, 512), (240, 240)),
        ((640, 480), (272, 208)),
        ((1, 1), (240, 240)),
    ],
)
def test_common_sources_get_a_size_of_about_the_native_area(source, expected):
    assert fit_size(*source, AREA, 16) == expected


@given(st.integers(1, 8000), st.integers(1, 8000), st.sampled_from([8, 16]))
def test_a_fitted_size_is_divisible_within_the_area_and_near_in_aspect(width, height, multiple):
    fitted = fit_size(width, height, AREA, multiple)
    assert fitted[0] % multiple == 0
    assert fitted[1] % multiple == 0
    assert fitted[0] * fitted[1] <= AREA
    if 1 / 3 <= width / height <= 3:
        assert fitted[0] * fitted[1] >= 0.75 * AREA
        assert abs(np.log(fitted[0] / fitted[1] / (width / height))) < 0.12


def test_an_area_below_one_cell_still_gives_one_cell():
    assert fit_size(1920, 1080, 10, 16) == (16, 16)


def test_a_wanted_size_goes_to_the_nearest_multiple():
    assert divisible_size(500, 300, 16) == (496, 304)
    assert divisible_size(3, 320, 16) == (16, 320)
    with pytest.raises(InputError, match="0x5"):
        divisible_size(0, 5, 16)
    with pytest.raises(InputError, match="0x1"):
        fit_size(0, 1, AREA, 16)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 20), st.integers(1, 20))
def test_a_crop_is_centred_and_touches_one_axis_only(width, height, columns, rows):
    crop = centre_crop(width, height, columns * 16, rows * 16)
    assert abs(crop.left_px - crop.right_px) <= 1
    assert abs(crop.top_px - crop.bottom_px) <= 1
    assert not (crop.left_px + crop.right_px and crop.top_px + crop.bottom_px)
    assert crop.is_empty == (crop.left_px + crop.right_px + crop.top_px + crop.bottom_px == 0)
    assert crop.left_px + crop.right_px < width
    assert crop.top_px + crop.bottom_px < height


@pytest.mark.parametrize("size", [(40, 61), (97, 33), (120, 80)])
def test_resizing_in_bytes_agrees_with_floating_point(size):
    height, width = size
    noise = torch.rand(2, 3, 12, 16)
    frames = (F.interpolate(noise, size=(90, 121), mode="bicubic").clamp(0, 1) * 255).byte()
    frames = frames.permute(0, 2, 3, 1)
    resized = resize_and_crop(frames, height, width)
    assert resized.shape == (2, height, width, 3)
    assert resized.dtype == torch.uint8
    assert resized.is_contiguous()
    crop = centre_crop(121, 90, width, height)
    kept = frames[:, crop.top_px : 90 - crop.bottom_px, crop.left_px : 121 - crop.right_px]
    exact = F.interpolate(kept.permute(0, 3, 1, 2).float(), size=size, mode="bicubic", antialias=True)
    exact = exact.round().clamp(0, 255).permute(0, 2, 3, 1)
    assert (resized.float() - exact).abs().max() <= 2


def test_each_frame_is_resized_by_itself_and_a_fitting_one_is_not_touched():
    frames = torch.randint(0, 256, (3, 50, 70, 3), dtype=torch.uint8)
    whole = resize_and_crop(frames, 32, 48)
    assert torch.equal(whole[1:2], resize_and_crop(frames[1:2], 32, 48))
    assert resize_and_crop(frames, 50, 70) is frames
    assert resize_and_crop(frames[:0], 32, 48).shape == (0, 32, 48, 3)
