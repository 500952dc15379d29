"""Positions for channels and back, with bias and shortcut: `naive` defines, `triton_fused` has kernels."""

import torch
from torch import Tensor

from vivace.ops.kernel_choice import serves
from vivace.ops.resample import naive
from vivace.ops.resample.naive import Bias, Resampled, Stride, Total, Update

__all__ = ["Stride", "grown", "shrunk"]


def shrunk(update: Update, bias: Bias, total: Total, stride: Stride) -> Resampled:
    """The best form for the device; see `naive.shrunk`. The fused form has no backward pass."""
    return _form(update, bias, total, stride).shrunk(update, bias, total, stride)


def grown(update: Update, bias: Bias, total: Total, stride: Stride, *, num_dropped: int) -> Resampled:
    """The best form for the device; see `naive.grown`. The fused form has no backward pass."""
    return _form(update, bias, total, stride).grown(update, bias, total, stride, num_dropped=num_dropped)


def _form(update: Tensor, bias: Tensor, total: Tensor, stride: Stride):
    # the compiler fuses the definition by itself
    if torch.compiler.is_compiling() or not serves(update, bias, total) or any(s & (s - 1) for s in stride):
        return naive
    from vivace.ops.resample import triton_fused

    return triton_fused
