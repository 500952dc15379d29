import pytest
import torch
from torch.nn import functional as F

from vivace.ops.depthwise_glu import silu_depthwise_glu


@pytest.mark.parametrize("frames", [1, 2])
def test_it_is_a_convolution_of_pictures_between_two_gates(frames):
    hidden = torch.randn(2, frames, 6, 8, dtype=torch.float64)
    weight, bias = torch.randn(8, 1, 3, 3, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    pictures = F.silu(hidden).view(2 * frames, 2, 3, 8).permute(0, 3, 1, 2).contiguous()
    mixed = F.conv2d(pictures, weight, bias, padding=1, groups=8)
    mixed = mixed.permute(0, 2, 3, 1).reshape(2, frames, 6, 8)
    expected = mixed[..., :4] * F.silu(mixed[..., 4:])
    torch.testing.assert_close(silu_depthwise_glu(hidden, weight, bias, (2, 3)), expected)


@pytest.mark.parametrize("frames", [1, 2])
def test_the_convolution_gets_pictures_that_need_no_copy(frames, monkeypatch):
    given = []

    def conv2d(image, *args, **options):
        given.append(image)
        return convolution(image, *args, **options)

    convolution = F.conv2d
    monkeypatch.setattr(F, "conv2d", conv2d)
    silu_depthwise_glu(torch.randn(1, frames, 6, 8), torch.randn(8, 1, 3, 3), torch.randn(8), (2, 3))
    # all four strides count: with another one for a single picture torch takes it for channels-first
    assert given[0].stride() == (48, 1, 24, 8)
