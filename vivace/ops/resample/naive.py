"""Definition of both: rearranged neighbours plus a shortcut of the same size."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

Total = Float[Tensor, "b c t h w"]
Update = Float[Tensor, "b c2 t h w"]
Bias = Float[Tensor, "c2"]
Resampled = Float[Tensor, "b c3 t3 h3 w3"]
# neighbours in frames, rows and columns
Stride = tuple[int, int, int]


def shrunk(update: Update, bias: Bias, total: Total, stride: Stride) -> Resampled:
    """Neighbours of update + bias stacked in channels, plus those of `total` as means of groups of channels.

    Source: official LTX-2 VAE (LTX2VideoDownsampler3d).
    """
    stacked = _stack(update + bias[:, None, None, None], stride)
    means = _stack(total, stride).unflatten(-1, (stacked.shape[-1], -1)).mean(dim=-1)
    return (stacked + means).movedim(-1, 1)


def grown(update: Update, bias: Bias, total: Total, stride: Stride, *, num_dropped: int) -> Resampled:
    """Channels of update + bias laid out as neighbours, plus the same of `total`, its channels repeated.

    The first `num_dropped` frames of the result are left out.

    Source: official LTX-2 VAE (LTX2VideoUpsampler3d with residual).
    """
    frames, rows, columns = stride
    sizes = {"i": frames, "j": rows, "k": columns}
    # the input has fewer channels once laid out, so it is added to several groups of them
    residual = rearrange(total, "b (c i j k) t h w -> b t i h j w k 1 c", **sizes)
    laid_out = rearrange(update, "b (n c i j k) t h w -> b t i h j w k n c", c=residual.shape[-1], **sizes)
    added = rearrange(bias, "(n c i j k) -> i 1 j 1 k n c", c=residual.shape[-1], **sizes)
    out = torch.empty(laid_out.shape, dtype=update.dtype, device=update.device)
    out = out.copy_(laid_out).add_(residual).add_(added)
    return rearrange(out, "b t i h j w k n c -> b (n c) (t i) (h j) (w k)")[:, :, num_dropped:]


def _stack(x: Float[Tensor, "b c t h w"], stride: Stride) -> Float[Tensor, "b t2 h2 w2 c2"]:
    frames, rows, columns = stride
    return rearrange(x, "b c (t i) (h j) (w k) -> b t h w (c i j k)", i=frames, j=rows, k=columns)
