"""Random arguments of a gated-delta layer."""

from collections.abc import Callable

import torch
from torch import Tensor

from vivace.ops.frame_gdn import GdnProjections


def projections(
    b: int, heads: int, frames: int, tokens: int, width: int, normal: Callable[..., Tensor]
) -> GdnProjections:
    dim = heads * width
    query, key, value = normal(b, frames, tokens, 3 * dim).chunk(3, dim=-1)
    angles = normal(frames, tokens, width // 2).float()
    return GdnProjections(
        query=query,
        key=key,
        value=value,
        query_scale=1 + 0.1 * normal(dim),
        key_scale=1 + 0.1 * normal(dim),
        table=torch.polar(torch.ones_like(angles), angles),
        write_logit=normal(b, frames, tokens, heads) + 1,
        decay_logit=normal(b, frames, tokens, heads),
        log_rate=0.3 * normal(heads),
        rate_bias=normal(heads),
        output_logit=normal(b, frames, tokens, dim),
    )


def in_fp64(given: GdnProjections) -> GdnProjections:
    return GdnProjections(*(x.to(torch.complex128 if x.is_complex() else torch.float64) for x in given))
