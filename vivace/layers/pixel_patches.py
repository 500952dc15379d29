"""Squares of pixels stacked in channels and back, by copies that move whole rows of a square at a time."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def stack_patches(video: Float[Tensor, "b c r h w"], size: int) -> Float[Tensor, "b stacked r h2 w2"]:
    """`size` x `size` pixels stacked in channels, ordered row, column, colour; no gradient goes through.

    The result lies channels last. `size * c` must be even, and `size` a divisor of height and width.
    """
    channels = video.shape[1]
    x = _in_words(rearrange(video, "b c r h w -> b r h (w c)"), size * channels)
    x = rearrange(x, "b r (h i) (w word) -> b r h w i word", i=size, w=video.shape[4] // size)
    return rearrange(x.contiguous().view(video.dtype), "b r h w i jc -> b (i jc) r h w")


def unstack_patches(x: Float[Tensor, "b stacked r h w"], size: int) -> Float[Tensor, "b c r h2 w2"]:
    """The inverse of `stack_patches`; the result lies channels last."""
    row = x.shape[1] // size
    y = _in_words(rearrange(x, "b c r h w -> b r h w c"), row)
    y = rearrange(y, "b r h w (i word) -> b r h i w word", i=size).contiguous().view(x.dtype)
    return rearrange(y, "b r h i w (j c) -> b c r (h i) (w j)", j=size)


def _in_words(x: Tensor, run: int) -> Tensor:
    """The same bytes as the widest integers that make up runs of `run` numbers of the last dimension.

    A copy takes its time by the number, not by the byte.
    """
    x = x.contiguous()
    if x.storage_offset() % run:
        # words cannot begin anywhere in memory
        x = x.clone()
    return x.view(torch.int64 if run * x.itemsize % 8 == 0 else torch.int32)
