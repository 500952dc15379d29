"""Gated convolutional feed-forward with a temporal convolution that looks back one frame across chunks."""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.state.conv import ConvTail

FrameTokens = Float[Tensor, "b t s dim"]


class GluConvFeedForward(nn.Module):
    """1x1 expansion, 3x3 depthwise convolution, gated linear unit, 1x1 contraction and temporal convolution.

    The temporal kernel covers one frame to each side; across chunks the left frame is cached and the right
    one is zero, so that a chunk never waits for the next.

    Source: SANA-Video (GLUMBConvTemp), SANA-Streaming (cached form).
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, 2 * hidden_dim)
        self.depthwise = nn.Conv2d(2 * hidden_dim, 2 * hidden_dim, 3, padding=1, groups=2 * hidden_dim)
        self.contract = nn.Linear(hidden_dim, dim, bias=False)
        self.temporal = nn.Parameter(torch.zeros(3, dim, dim))

    def forward(
        self, x: FrameTokens, state: ConvTail | None, chunks: Sequence[int], size: tuple[int, int]
    ) -> tuple[FrameTokens, ConvTail]:
        """Transform sum(chunks) latent frames of `size` rows and columns; returns the last as context."""
        rows, columns = size
        hidden = F.silu(self.expand(x))
        # a channels-last view of the tokens: the convolution reads them without a copy
        image = rearrange(hidden, "b t (h w) c -> (b t) c h w", h=rows, w=columns)
        mixed = rearrange(self.depthwise(image), "(b t) c h w -> b t (h w) c", b=x.shape[0])
        value, gate = mixed.chunk(2, dim=-1)
        y = self.contract(value * F.silu(gate))
        out = self._temporal(y, state, chunks)
        return out, ConvTail(rearrange(y[:, -1:], "b t (h w) c -> b c t h w", h=rows, w=columns))

    def _temporal(self, y: FrameTokens, state: ConvTail | None, chunks: Sequence[int]) -> FrameTokens:
        before, center, after = self.temporal.to(y.dtype).unbind()
        if state is None:
            left = torch.zeros_like(y[:, :1])
        else:
            left = rearrange(state.frames, "b c t h w -> b t (h w) c").to(y.dtype)
        out = y + y @ center + torch.cat([left, y[:, :-1]], dim=1) @ before
        if max(chunks) > 1:
            ends = torch.tensor(chunks).cumsum(0) - 1
            right = F.pad(y[:, 1:], (0, 0, 0, 0, 0, 1)).index_fill(1, ends.to(y.device), 0)
            out = out + right @ after
        return out
