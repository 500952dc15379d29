"""Residual sums, norms and modulation of token rows: plain definitions, fused kernels where they serve."""

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional as F

from vivace.ops.fp8_linear import Fp8Rows, quantize_tokens
from vivace.ops.kernel_choice import serves, serves_on_cpu
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

        return residual_norm(x, None, None, shift, scale, eps).normed
    if shift.numel() == x.shape[-1] and serves_on_cpu(x, shift, scale):
        # one noise level for all frames: a plain layer norm, which is one kernel
        return F.layer_norm(x, x.shape[-1:], (1 + scale).flatten(), shift.flatten(), eps)
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale)


def gated_sum(x: FrameTokens, gate: FrameVectors, added: FrameTokens) -> FrameTokens:
    """x + gate * added."""
    if serves(x, gate, added):
        from vivace.ops.triton_rows import residual_norm

        return residual_norm(x, added, gate, None, None, LAYER_NORM_EPS).summed
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

        return residual_norm(x, added, None, shift, scale, eps)[:2]
    summed = x + added
    return summed, modulated_norm(summed, shift, scale, eps)


def modulated_norm_and_rows(
    x: FrameTokens, shift: FrameVectors, scale: FrameVectors, eps: float = LAYER_NORM_EPS
) -> tuple[FrameTokens, Fp8Rows]:
    """`modulated_norm`, and its rows rounded to 8 bits."""
    if serves(x, shift, scale):
        from vivace.ops.triton_rows import residual_norm

        made = residual_norm(x, None, None, shift, scale, eps, rounds=True)
        return made.normed, _rows(made.rounded)
    return _with_rows(modulated_norm(x, shift, scale, eps))


def gated_sum_and_rows(x: FrameTokens, gate: FrameVectors, added: FrameTokens) -> tuple[FrameTokens, Fp8Rows]:
    """`gated_sum`, and its rows rounded to 8 bits."""
    if serves(x, gate, added):
        from vivace.ops.triton_rows import residual_norm

        made = residual_norm(x, added, gate, None, None, LAYER_NORM_EPS, rounds=True)
        return made.summed, _rows(made.rounded)
    return _with_rows(gated_sum(x, gate, added))


def gated_sum_and_modulated_norm(
    x: FrameTokens,
    gate: FrameVectors,
    added: FrameTokens,
    shift: FrameVectors,
    scale: FrameVectors,
    eps: float = LAYER_NORM_EPS,
) -> tuple[FrameTokens, FrameTokens]:
    """x + gate * added, and its modulated norm."""
    if serves(x, gate, added, shift, scale):
        from vivace.ops.triton_rows import residual_norm

        return residual_norm(x, added, gate, shift, scale, eps)[:2]
    summed = gated_sum(x, gate, added)
    return summed, modulated_norm(summed, shift, scale, eps)


def gated_sum_modulated_norm_and_rows(
    x: FrameTokens,
    gate: FrameVectors,
    added: FrameTokens,
    shift: FrameVectors,
    scale: FrameVectors,
    eps: float = LAYER_NORM_EPS,
) -> tuple[FrameTokens, FrameTokens, Fp8Rows]:
    """`gated_sum_and_modulated_norm`, and the norm's rows rounded to 8 bits."""
    if serves(x, gate, added, shift, scale):
        from vivace.ops.triton_rows import residual_norm

        made = residual_norm(x, added, gate, shift, scale, eps, rounds=True)
        return made.summed, made.normed, _rows(made.rounded)
    summed, normed = gated_sum_and_modulated_norm(x, gate, added, shift, scale, eps)
    return summed, *_with_rows(normed)


def sum_modulated_norm_and_rows(
    x: FrameTokens,
    added: FrameTokens,
    shift: FrameVectors,
    scale: FrameVectors,
    eps: float = LAYER_NORM_EPS,
) -> tuple[FrameTokens, FrameTokens, Fp8Rows]:
    """`sum_and_modulated_norm`, and the norm's rows rounded to 8 bits."""
    if serves(x, added, shift, scale):
        from vivace.ops.triton_rows import residual_norm

        made = residual_norm(x, added, None, shift, scale, eps, rounds=True)
        return made.summed, made.normed, _rows(made.rounded)
    summed, normed = sum_and_modulated_norm(x, added, shift, scale, eps)
    return summed, *_with_rows(normed)


def _with_rows(x: FrameTokens) -> tuple[FrameTokens, Fp8Rows]:
    return x, quantize_tokens(x)


def _rows(made: tuple[Tensor, Tensor] | None) -> Fp8Rows:
    assert made is not None
    return Fp8Rows(*made)


def rms_norm(
    x: Float[Tensor, "... dim"], weight: Float[Tensor, "dim"], eps: float
) -> Float[Tensor, "... dim"]:
    """Root-mean-square norm in fp32 with a learned scale, in the dtype of `x`."""
    if x.ndim > 1 and serves(x, weight):
        from vivace.ops.triton_rows import rms_rotate

        rows = x.reshape(1, -1, x.shape[-1])
        return rms_rotate(rows, weight, None, x.shape[-1], eps).view(x.shape)
    if serves_on_cpu(x, weight):
        # torch has no kernel of its own for it: this is half of the operations that it would take
        wide = x.float()
        return (wide * inverse_rms(wide, eps)).mul_(weight).to(x.dtype)
    return F.rms_norm(x.float(), weight.shape, weight.float(), eps).to(x.dtype)


def inverse_rms(x: Float[Tensor, "... dim"], eps: float) -> Float[Tensor, "... 1"]:
    """1 / sqrt(mean of the squares of a row + eps), without autograd."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()


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
