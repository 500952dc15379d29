"""Frame-wise gated delta rule: `naive` is the definition, `chunked` the matmul form that runs everywhere.

On a GPU `triton_forward` fuses a whole layer around it where no gradient is wanted, and `triton_training` has
kernels with a gradient. On a CPU `single_frame` does so for chunks of one frame.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.ops.frame_gdn import chunked, single_frame
from vivace.ops.frame_gdn.inputs import FrameGdnInputs
from vivace.ops.frame_gdn.projections import GdnProjections
from vivace.ops.kernel_choice import serves, serves_on_cpu, trains

__all__ = ["FrameGdnInputs", "GdnProjections", "frame_gdn", "gated_frame_gdn"]

# the widest head whose states fit the tiles of the kernels
MAX_FUSED_WIDTH = 128


def frame_gdn(
    inputs: FrameGdnInputs,
    chunks: Sequence[int],
    numerator: Float[Tensor, "b heads dv dk"] | None = None,
    denominator: Float[Tensor, "b heads dk"] | None = None,
) -> tuple[Float[Tensor, "b heads t s dv"], Float[Tensor, "b heads dv dk"], Float[Tensor, "b heads dk"]]:
    """Causal over chunks, bidirectional inside each; the best form for the device. See `naive.frame_gdn`."""
    # the state must stay fp32: autocast would multiply it in bf16
    with torch.autocast(inputs.value.device.type, enabled=False):
        widest = max(inputs.key.shape[-1], inputs.value.shape[-1])
        if widest <= MAX_FUSED_WIDTH and trains(*inputs, numerator, denominator):
            from vivace.ops.frame_gdn import triton_training

            return triton_training.frame_gdn(inputs, chunks, numerator, denominator)
        return chunked.frame_gdn(inputs, chunks, numerator, denominator)


def gated_frame_gdn(
    projections: GdnProjections,
    chunks: Sequence[int],
    numerator: Float[Tensor, "b heads d d"] | None = None,
    denominator: Float[Tensor, "b heads d"] | None = None,
) -> tuple[Float[Tensor, "b t s dim"], Float[Tensor, "b heads d d"], Float[Tensor, "b heads d"]]:
    """`frame_gdn` of projected tokens, from the norms of queries and keys to the output gate."""
    width = projections.value.shape[-1] // projections.write_logit.shape[-1]
    if width <= MAX_FUSED_WIDTH and serves(*projections, numerator, denominator):
        from vivace.ops.frame_gdn import triton_forward

        return triton_forward.forward(projections, chunks, numerator, denominator)
    if sum(chunks) == 1 and serves_on_cpu(*projections, numerator, denominator):
        return single_frame.forward(projections, numerator, denominator)
    # as in the kernel, norms and gates are fp32 under autocast too
    with torch.autocast(projections.value.device.type, enabled=False):
        mixed, numerator, denominator = frame_gdn(projections.inputs(), chunks, numerator, denominator)
        return projections.gated(mixed), numerator, denominator
