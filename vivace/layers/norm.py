"""Normalisations computed in fp32."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vivace.ops.row_norm import rms_norm


class RmsNorm(nn.Module):
    """Root-mean-square norm over the last axis with a learned scale.

    Source: Zhang and Sennrich 2019.
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
        """Normalise in fp32, return in the dtype of `x`."""
        return rms_norm(x, self.weight, self.eps)
