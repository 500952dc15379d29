"""Residual sums, norms and modulation of token rows: plain definitions, fused kernels where they serve."""

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional as F

from vivace.ops.kernel_choice import serves
from vivace.ops.rotary import rotate

FrameTokens = Float[Tensor, "b t s dim"]
FrameVectors = Float[Tensor, "b t_or_1 1 dim"]
LAYER_NORM_EPS = 1e-6


def modulated_norm(
    x: FrameTokens, shift: FrameVectors, scale: FrameVectors, eps: float = LAYER_NORM_EPS
) -> FrameTokens:
    """Layer norm without learned parameters, then shift + x * (1 + scale)."""
    if serves(x, shift, scale):
        from vivace.ops.triton_rows import residual_norm

        return residual_norm(x, None, None, shift, scale, eps)[1]
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale)


def gated_sum(x: FrameTokens, gate: FrameVectors, added: FrameTokens) -> FrameTokens:
    """x + gate * added."""
    if serves(x, gate, added):
        from vivace.ops.triton_rows import residual_norm

        return residual_norm(x, added, gate, None, None, LAYER_NORM_EPS)[0]
    return torch.addcmul(x, gate, added)


def sum_and_modulated_norm(
    x: FrameTokens,
    added: FrameTokens,
    shift: FrameVectors,
    scale: FrameVectors,
    eps: float = LAYER_NORM_EPS,
) -> tuple[FrameTokens, FrameTokens]:
    """x + added, and its modulated norm."""
    if serves(x, added, shift, scale):
        from vivace.ops.triton_rows import residual_norm

        return residual_norm(x, added, None, shift, scale, eps)
    summed = x + added
    return summed, modulated_norm(summed, shift, scale, eps)


def rms_norm(
    x: Float[Tensor, "... dim"], weight: Float[Tensor, "dim"], eps: float
) -> Float[Tensor, "... dim"]:
    """Root-mean-square norm in fp32 with a learned scale, in the dtype of `x`."""
    if x.ndim > 1 and serves(x, weight):
        from vivace.ops.triton_rows import rms_rotate

        rows = x.reshape(1, -1, x.shape[-1])
        return rms_rotate(rows, weight, None, x.shape[-1], eps).view(x.shape)
    return F.rms_norm(x.float(), weight.shape, weight.float(), eps).to(x.dtype)


def normed_rotated_heads(
    x: FrameTokens,
    weight: Float[Tensor, "dim"] | None,
    table: Complex[Tensor, "t s half"],
    eps: float,
) -> Float[Tensor, "b heads t s d"]:
    """RMS norm over all channels (none without a weight), split into heads, rotated."""
    width = 2 * table.shape[-1]
    if serves(x, weight):
        from vivace.ops.triton_rows import rms_rotate

        turned = rms_rotate(x.flatten(1, 2), weight, table.flatten(0, 1), width, eps)
        return rearrange(turned, "b (t s) (heads d) -> b heads t s d", t=x.shape[1], d=width)
    normed = x if weight is None else rms_norm(x, weight, eps)
    return rotate(rearrange(normed, "b t s (heads d) -> b heads t s d", d=width), table)
