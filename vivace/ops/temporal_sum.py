"""Sum of the three products of a temporal convolution whose chunks end with zeros."""

from collections.abc import Sequence
from itertools import accumulate

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vivace.ops.kernel_choice import serves

FrameTokens = Float[Tensor, "b t s dim"]


def temporal_sum(
    y: FrameTokens,
    center: FrameTokens,
    earlier: FrameTokens,
    later: Float[Tensor, "b t_less_1 s dim"],
    chunks: Sequence[int],
) -> FrameTokens:
    """y + center + earlier + later, where `later` holds frames 1 onwards and no frame sees past its chunk."""
    if len(chunks) == 1 and serves(y, center, earlier, later):
        from vivace.ops import triton_rows

        return triton_rows.temporal_sum(y, center, earlier, later)
    if len(chunks) > 1:
        # written one by one: places as a tensor would have to come from main memory, which graphs forbid
        later = later.clone()
        for end in list(accumulate(chunks))[:-1]:
            later[:, end - 1] = 0
    return y + center + earlier + F.pad(later, (0, 0, 0, 0, 0, 1))
