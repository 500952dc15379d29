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
    # tiles have powers of two as sizes, and the compiler fuses the definition by itself
    repeats = max(total.shape[1] // update.shape[1], 1)
    is_tiled = not any(size & (size - 1) for size in (*stride, repeats))
    if torch.compiler.is_compiling() or not is_tiled or not serves(update, bias, total):
        return naive
    from vivace.ops.resample import triton_fused

    return triton_fused
