"""Linear attention over frames: causal over chunks, complete inside each, rotated in the numerator only."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class LinearInputs(NamedTuple):
    """Per-head features of consecutive latent frames; queries and keys are non-negative (after ReLU)."""

    query: Float[Tensor, "b heads t s dk"]
    key: Float[Tensor, "b heads t s dk"]
    rotated_query: Float[Tensor, "b heads t s dk"]
    rotated_key: Float[Tensor, "b heads t s dk"]
    value: Float[Tensor, "b heads t s dv"]


def linear_attention(
    inputs: LinearInputs,
    chunks: Sequence[int],
    numerator: Float[Tensor, "b heads dv dk"] | None = None,
    denominator: Float[Tensor, "b heads dk"] | None = None,
    *,
    eps: float = 1e-8,
) -> tuple[Float[Tensor, "b heads t s dv"], Float[Tensor, "b heads dv dk"], Float[Tensor, "b heads dk"]]:
    """o = S q_rot / (z . q + eps) with S = sum of v k_rot^T and z = sum of k over all chunks so far.

    Args:
        inputs: Features of sum(chunks) latent frames.
        chunks: Chunk sizes in latent frames.
        numerator: S after the previous chunk; None (with `denominator`) is the empty stream.
        denominator: z likewise.
        eps: Added to the denominator.

    Returns:
        Tokens and both sums after the last frame, in fp32.

    Source: SANA-Video (LiteLAReLURope); its long-video form keeps the same two sums between chunks.
    """
    with torch.autocast(inputs.value.device.type, enabled=False):
        query, key, rotated_query, rotated_key, value = (
            x if x.dtype == torch.float64 else x.float() for x in inputs
        )
        outputs: list[Tensor] = []
        first = 0
        for size in chunks:
            part = slice(first, first + size)
            written = torch.einsum("bntsv,bntsk->bnvk", value[:, :, part], rotated_key[:, :, part])
            summed = key[:, :, part].sum(dim=(2, 3))
            numerator = written if numerator is None else numerator + written
            denominator = summed if denominator is None else denominator + summed
            read = torch.einsum("bntsk,bnvk->bntsv", rotated_query[:, :, part], numerator)
            norm = torch.einsum("bntsk,bnk->bnts", query[:, :, part], denominator)
            outputs.append(read / (norm + eps)[..., None])
            first += size
    if numerator is None or denominator is None:
        raise ValueError("linear_attention: got no chunk, expected at least one")
    return torch.cat(outputs, dim=2), numerator, denominator
