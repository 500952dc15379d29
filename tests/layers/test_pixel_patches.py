import pytest
import torch
from einops import rearrange

from vivace.layers.pixel_patches import stack_patches, unstack_patches


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("channels_last", [False, True])
def test_squares_are_stacked_by_row_column_and_colour_and_back(dtype, size, channels_last):
    video = torch.randn(2, 3, 3, 8, 12).to(dtype)
    if channels_last:
        video = video.contiguous(memory_format=torch.channels_last_3d)
    before = video.clone()
    stacked = stack_patches(video, size)
    expected = rearrange(video, "b c r (h i) (w j) -> b (i j c) r h w", i=size, j=size)
    assert torch.equal(stacked, expected)
    assert stacked.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(unstack_patches(stacked, size), video)
    assert torch.equal(unstack_patches(expected.contiguous(), size), video)
    assert torch.equal(video, before)


def test_pixels_may_begin_anywhere_in_memory():
    video = torch.randn(1, 3, 1, 8, 8).bfloat16()
    flat = torch.empty(1 + video.numel(), dtype=torch.bfloat16)
    shifted = flat[1:].view(1, 1, 8, 8, 3).permute(0, 4, 1, 2, 3)
    shifted.copy_(video)
    assert torch.equal(stack_patches(shifted, 4), stack_patches(video, 4))
