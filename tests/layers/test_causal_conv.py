from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vivace.core.errors import ConfigError, StateError
from vivace.layers.causal_conv import CausalConv
from vivace.state.conv import ConvTail


def make(temporal_kernel: int = 3, spatial_kernel: int = 3) -> tuple[CausalConv, torch.Tensor]:
    torch.manual_seed(0)
    conv = CausalConv(3, 5, temporal_kernel=temporal_kernel, spatial_kernel=spatial_kernel)
    return conv, torch.randn(2, 3, 7, 6, 4)


@given(cuts=st.lists(st.integers(1, 6), max_size=4), temporal_kernel=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_any_cut_of_a_stream_gives_the_whole_clip(cuts: list[int], temporal_kernel: int) -> None:
    conv, x = make(temporal_kernel)
    whole, _ = conv(x, None)
    borders = [0, *sorted(set(cuts)), x.shape[2]]
    tail, parts = None, []
    for start, stop in pairwise(borders):
        part, tail = conv(x[:, :, start:stop], tail)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, atol=1e-6, rtol=0)


def test_it_equals_a_three_dimensional_convolution_with_the_first_frame_repeated() -> None:
    conv, x = make(temporal_kernel=3)
    weight = conv.conv.weight.view(5, 3, 3, 3, 3).transpose(1, 2)
    past = x[:, :, :1].expand(-1, -1, 2, -1, -1)
    expected = torch.nn.functional.conv3d(torch.cat([past, x], 2), weight, conv.conv.bias, padding=(0, 1, 1))
    torch.testing.assert_close(conv(x, None)[0], expected, atol=1e-5, rtol=0)


def test_the_tail_holds_the_last_frames_and_shares_no_memory() -> None:
    conv, x = make(temporal_kernel=3)
    _, tail = conv(x, None)
    assert torch.equal(tail.frames, x[:, :, -2:])
    x.zero_()
    assert tail.frames.abs().sum() > 0


def test_a_tail_of_another_picture_size_is_refused() -> None:
    conv, x = make()
    with pytest.raises(StateError, match="expected"):
        conv(x, ConvTail(torch.zeros(2, 3, 2, 6, 5)))


def test_an_even_spatial_kernel_is_refused() -> None:
    with pytest.raises(ConfigError, match="odd"):
        CausalConv(3, 3, spatial_kernel=2)
