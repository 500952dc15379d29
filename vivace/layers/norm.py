"""Normalisations computed in fp32."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


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
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


def layer_norm(x: Float[Tensor, "... dim"], eps: float = 1e-6) -> Float[Tensor, "... dim"]:
    """Layer norm over the last axis without learned parameters."""
    return F.layer_norm(x, x.shape[-1:], eps=eps)
