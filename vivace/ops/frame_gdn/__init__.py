"""Frame-wise gated delta rule: `naive` is the definition, `chunked` the matmul form that runs everywhere."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.ops.frame_gdn import chunked
from vivace.ops.frame_gdn.inputs import FrameGdnInputs

__all__ = ["FrameGdnInputs", "frame_gdn"]


def frame_gdn(
    inputs: FrameGdnInputs,
    chunks: Sequence[int],
    numerator: Float[Tensor, "b heads dv dk"] | None = None,
    denominator: Float[Tensor, "b heads dk"] | None = None,
) -> tuple[Float[Tensor, "b heads t s dv"], Float[Tensor, "b heads dv dk"], Float[Tensor, "b heads dk"]]:
    """Causal over chunks, bidirectional inside each; the best form for the device. See `naive.frame_gdn`."""
    # the state must stay fp32: autocast would multiply it in bf16
    with torch.autocast(inputs.value.device.type, enabled=False):
        return chunked.frame_gdn(inputs, chunks, numerator, denominator)
