"""Definition of the convolution input: sum, RMS norm over channels, SiLU, frames around, borders."""

from torch import Tensor
from torch.nn import functional as F

from vivace.ops.conv_input.inputs import ConvInput, Frames, Padding, Past

EPS = 1e-8


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
    """Form base + update + bias, normalise and activate it, and lay it out as a convolution reads it.

    Args:
        update: What the last convolution gave.
        tail: The last `padding.before` frames of the call before, activated; None repeats the first frame.
        padding: What stands around the frames.
        base: The stream that `update` is added to; None is zero.
        bias: One value a channel, of the convolution that gave `update`; None is zero.
        activate: Whether to apply x / sqrt(mean over channels of x^2 + 1e-8) and SiLU.
        keep_total: Whether the caller wants the sum.

    Source: official LTX-2 VAE (PerChannelRMSNorm, eps 1e-8; causal padding by the first frame).
    """
    total = update if bias is None else update + bias[:, None, None, None]
    if base is not None:
        total = base + total
    frames = _activated(total) if activate else total
    num_frames, height, width = frames.shape[2:]
    border = 1 if padding.reflect else 0
    rows, columns = slice(border, height + border), slice(border, width + border)
    stop = padding.before + num_frames

    # one buffer with channels last, written once, instead of a chain of concatenations
    size = (stop + padding.after, height + 2 * border, width + 2 * border)
    padded = frames.new_empty(frames.shape[0], *size, frames.shape[1]).movedim(-1, 1)
    padded[:, :, padding.before : stop, rows, columns] = frames
    padded[:, :, : padding.before, rows, columns] = frames[:, :, :1] if tail is None else tail
    padded[:, :, stop:, rows, columns] = frames[:, :, -1:]
    if padding.reflect:
        padded[..., 0, :] = padded[..., 2, :]
        padded[..., -1, :] = padded[..., -3, :]
        padded[..., 0] = padded[..., 2]
        padded[..., -1] = padded[..., -3]
    # a copy, so that a kept state does not keep the buffer
    kept = padded[:, :, num_frames:stop, rows, columns].clone()
    return ConvInput(padded, total if keep_total else None, kept)


def _activated(x: Tensor) -> Tensor:
    normed = F.rms_norm(x.movedim(1, -1), x.shape[1:2], None, EPS)
    return F.silu(normed).movedim(-1, 1)
