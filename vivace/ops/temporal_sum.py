"""Sum of the three products of a temporal convolution whose chunks end with zeros."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import torch
from jaxtyping import Float, Int64
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
        later = later.index_fill(1, _last_frames(tuple(chunks), later.device), 0)
    return y + center + earlier + F.pad(later, (0, 0, 0, 0, 0, 1))


@lru_cache(maxsize=32)
def _last_frames(chunks: tuple[int, ...], device: torch.device) -> Int64[Tensor, "borders"]:
    """The last frame of every chunk but the last; kept, as a recorded forward may not copy from the host."""
    with torch.inference_mode(False):
        return torch.tensor([end - 1 for end in accumulate(chunks)][:-1]).to(device)
