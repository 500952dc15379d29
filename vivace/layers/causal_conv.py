"""Convolutions that look back in time, as one convolution a call; the last inputs are kept as a value."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from vivace.core.errors import ConfigError, StateError
from vivace.layers.packed import PackedConv
from vivace.state.conv import ConvTail


class CausalConv(nn.Module):
    """A convolution over `temporal_kernel` frames (this one and those before it) and a square of positions.

    The frames of the temporal kernel are stacked in channels and time is folded into the batch, so that one
    channels_last 2-D convolution does the work, which is what CPUs do fast. Before the start of a stream the
    first frame is repeated: a stream begins as if its first picture had always stood still.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, temporal_kernel: int = 1, spatial_kernel: int = 3
    ) -> None:
        super().__init__()
        if temporal_kernel < 1 or spatial_kernel % 2 != 1:
            raise ConfigError(
                f"CausalConv: got kernel {temporal_kernel} in time and {spatial_kernel} in space, "
                "expected at least 1 and an odd number"
            )
        self.in_channels = in_channels
        self.tail_frames = temporal_kernel - 1
        self.conv = nn.Conv2d(
            in_channels * temporal_kernel, out_channels, spatial_kernel, padding=spatial_kernel // 2
        )
        # Keeps the variance, so that stacks without norms start at a sane loudness.
        weight = torch.randn_like(self.conv.weight) * self.conv.weight[0].numel() ** -0.5
        self.conv.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.conv.bias = nn.Parameter(torch.zeros(out_channels))
        self._packed: PackedConv | None = None

    def forward(
        self, x: Float[Tensor, "b c t h w"], tail: ConvTail | None, *, has_silu: bool = False
    ) -> tuple[Float[Tensor, "b c2 t h w"], ConvTail]:
        """The convolved frames and the tail that the next call needs; `tail` None starts a stream.

        `has_silu` puts SiLU behind the convolution.

        Raises:
            StateError: If `tail` belongs to a stream of another shape.
        """
        num_frames = x.shape[2]
        if self.tail_frames == 0:
            return self._convolve(x, has_silu), ConvTail(x[:, :, :0])
        padded = torch.cat([self._past(x, tail), x], dim=2)
        if self._packed is not None:
            # so that every later tail lies like this one, also where a state from a file did not
            padded = padded.contiguous(memory_format=torch.channels_last_3d)
        return self._convolve(padded, has_silu), ConvTail(padded[:, :, num_frames:].clone())

    def add_to_(
        self, sum_: Float[Tensor, "b c2 t h w"], x: Float[Tensor, "b c t h w"]
    ) -> Float[Tensor, "b c2 t h w"]:
        """`sum_` + the convolved frames, for a convolution that does not look back.

        `sum_` is used up: once packed, the layer lets its memory hold the result.
        """
        assert self.tail_frames == 0
        if self._packed is not None:
            return self._packed.add_to_(sum_, x)
        return sum_ + self._convolve(x, False)

    def pack(self, order: Sequence[int] | None = None) -> None:
        """Let packed weights serve on a CPU; the layer can be neither trained, saved nor moved afterwards.

        `order` rearranges the channels that it gives.
        """
        wanted = slice(None) if order is None else list(order)
        weight = rearrange(self.conv.weight, "o (t c) i j -> o c t i j", t=self.tail_frames + 1)
        assert self.conv.bias is not None
        self._packed = PackedConv(weight[wanted], self.conv.bias[wanted])
        del self.conv

    def _convolve(self, x: Float[Tensor, "b c frames h w"], has_silu: bool) -> Float[Tensor, "b c2 t h w"]:
        if self._packed is not None:
            return self._packed(x, has_silu=has_silu)
        if self.tail_frames > 0:
            num_frames = x.shape[2] - self.tail_frames
            # frame t of the stack holds frames t - tail_frames .. t, oldest first
            x = torch.cat([x[:, :, i : i + num_frames] for i in range(self.tail_frames + 1)], dim=1)
        y = self.conv(rearrange(x, "b c t h w -> (b t) c h w"))
        y = rearrange(y, "(b t) c h w -> b c t h w", b=x.shape[0])
        return F.silu(y) if has_silu else y

    def _past(self, x: Tensor, tail: ConvTail | None) -> Tensor:
        if tail is None:
            return repeat(x[:, :, 0], "b c h w -> b c t h w", t=self.tail_frames)
        expected = (x.shape[0], x.shape[1], self.tail_frames, *x.shape[3:])
        if tuple(tail.frames.shape) != expected:
            raise StateError(
                f"got a stream state of shape {tuple(tail.frames.shape)}, expected {expected}; "
                "a state serves only streams of the number and size that it was made with"
            )
        return tail.frames.to(x.dtype)
