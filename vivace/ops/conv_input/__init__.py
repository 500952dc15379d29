"""What a convolution over a stream reads, in one pass: `naive` is the definition, `triton_fused` a kernel."""

import torch
from torch import Tensor

from vivace.ops.conv_input import naive
from vivace.ops.conv_input.inputs import ConvInput, Frames, Padding, Past
from vivace.ops.kernel_choice import serves

__all__ = ["ConvInput", "Frames", "Padding", "Past", "conv_input"]


def conv_input(
    update: Frames,
    tail: Past | None,
    padding: Padding,
    *,
    base: Frames | None = None,
    bias: Tensor | None = None,
    activate: bool,
    keep_total: bool = True,
) -> ConvInput:
    """The best form for the device. See `naive.conv_input`; the fused form has no backward pass."""
    form = naive.conv_input
    # the compiler fuses the definition by itself
    if not torch.compiler.is_compiling() and serves(update, tail, base, bias):
        from vivace.ops.conv_input import triton_fused

        form = triton_fused.conv_input
    return form(update, tail, padding, base=base, bias=bias, activate=activate, keep_total=keep_total)
