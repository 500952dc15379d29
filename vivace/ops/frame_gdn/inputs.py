"""The argument bundle that every form of the frame-wise gated delta rule takes."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class FrameGdnInputs(NamedTuple):
    """Per-head features of consecutive latent frames.

    `query` and `key` are non-negative (after ReLU) and un-rotated; the rotated pair carries RoPE. Keys are
    scaled by 1/sqrt(dk s), so that every transition is non-expansive. `beta` is the write strength in [0, 1],
    `decay` the per-frame forgetting factor in (0, 1], linear and not logarithmic.
    """

    query: Float[Tensor, "b heads t s dk"]
    key: Float[Tensor, "b heads t s dk"]
    rotated_query: Float[Tensor, "b heads t s dk"]
    rotated_key: Float[Tensor, "b heads t s dk"]
    value: Float[Tensor, "b heads t s dv"]
    beta: Float[Tensor, "b heads t s"]
    decay: Float[Tensor, "b heads t"]

    def frames(self, start: int, stop: int) -> "FrameGdnInputs":
        """The inputs of latent frames `start` to `stop`."""
        return FrameGdnInputs(*(tensor[:, :, start:stop] for tensor in self))

    def float(self) -> "FrameGdnInputs":
        """All tensors in fp32; in fp64 where all of them are."""
        dtype = torch.float64 if all(tensor.dtype == torch.float64 for tensor in self) else torch.float32
        return FrameGdnInputs(*(tensor.to(dtype) for tensor in self))
