"""A gated-delta layer for one frame where no gradient is wanted, in few operations; for CPUs.

At a few hundred tokens an operation takes about as long as its launch, so their number decides.
"""

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional as F

from vivace.ops.frame_gdn.projections import NORM_EPS, GdnProjections
from vivace.ops.row_norm import inverse_rms

OUTPUT_EPS = 1e-8


def forward(
    projections: GdnProjections,
    numerator: Float[Tensor, "b heads d d"] | None,
    denominator: Float[Tensor, "b heads d"] | None,
) -> tuple[Float[Tensor, "b 1 s dim"], Float[Tensor, "b heads d d"], Float[Tensor, "b heads d"]]:
    """Same contract as `gated_frame_gdn` for a single frame, without autograd; computes in fp32.

    Source: SANA-WM, Eq. 3 and 5.
    Deviation: queries and keys are not rounded to the dtype of the tokens between norm and rotation.
    """
    heads = projections.write_logit.shape[-1]
    batch, _, tokens, dim = projections.value.shape
    width = dim // heads
    query, rotated_query = _features(
        projections.query, projections.query_scale, projections.table, heads, 1.0
    )
    key, rotated_key = _features(
        projections.key, projections.key_scale, projections.table, heads, (width * tokens) ** -0.5
    )
    value = _split(projections.value.float(), heads)
    beta = projections.write_logit.float().sigmoid_()
    if numerator is None or denominator is None:
        numerator = value.new_zeros(batch, heads, width, width)
        denominator = value.new_zeros(batch, heads, width)
    decay = projections.decay()[:, 0, :, None]
    numerator, denominator = decay[..., None] * numerator, decay * denominator

    residual = value - rotated_key @ numerator.mT
    residual *= rearrange(beta, "b 1 s heads -> b heads s 1")
    numerator = numerator + residual.mT @ rotated_key
    # sums of products: as matrix products with a single column these take four times as long
    gap = 1 - (key * denominator[:, None]).sum(dim=-1)
    gap *= beta[:, 0]
    denominator = denominator + (key * gap[..., None]).sum(dim=1)
    norm = (query * denominator[:, None]).sum(dim=-1, keepdim=True)

    mixed = rearrange(rotated_query @ numerator.mT, "b heads s d -> b s heads d") / norm.add_(OUTPUT_EPS)
    gated = mixed.flatten(2)[:, None] * F.silu(projections.output_logit)
    return gated.to(projections.value.dtype), numerator, denominator


def _features(
    x: Float[Tensor, "b 1 s dim"],
    weight: Float[Tensor, "dim"],
    table: Complex[Tensor, "1 s half"],
    heads: int,
    scale: float,
) -> tuple[Float[Tensor, "b s heads d"], Float[Tensor, "b heads s d"]]:
    """ReLU of the RMS norm, times `scale`; plain, and rotated with the heads in front."""
    x = x.float()
    # the factor of a row is positive, so it may follow the ReLU
    normed = torch.relu_(x * weight).mul_(inverse_rms(x, NORM_EPS).mul_(scale))
    plain = normed[:, 0].unflatten(-1, (heads, -1))
    pairs = torch.view_as_complex(plain.unflatten(-1, (-1, 2)))
    rotated = torch.view_as_real(pairs * table[0, :, None]).flatten(-2)
    return plain, rotated.transpose(1, 2)


def _split(x: Float[Tensor, "b 1 s dim"], heads: int) -> Float[Tensor, "b heads s d"]:
    return x[:, 0].unflatten(-1, (heads, -1)).transpose(1, 2)
