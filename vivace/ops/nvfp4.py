"""Numerics of NVFP4 (e2m1 values, an e4m3 scale for 16 of them, one fp32 scale a tensor), emulated."""

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 16
FP4_MAX = 6.0
FP8_MAX = 448.0
# the magnitudes of e2m1, and where rounding to nearest (ties to even) goes from one to the next
MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def nvfp4_rounded(x: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
    """`x` as NVFP4 holds it, in fp32. The last axis is cut into blocks of 16, the last one may be shorter.

    Source: NVIDIA, "Pretraining Large Language Models with NVFP4" (arXiv:2509.25149), appendix on the format.
    """
    n, dim = x.shape
    padded = torch.nn.functional.pad(x.float(), (0, -dim % BLOCK)).view(n, -1, BLOCK)
    # of the whole tensor: block scales then use the range of e4m3
    tensor_scale = (padded.abs().amax() / (FP4_MAX * FP8_MAX)).clamp_min(torch.finfo(torch.float32).tiny)
    block_scale = padded.abs().amax(dim=-1, keepdim=True) / FP4_MAX / tensor_scale
    block_scale = block_scale.clamp_max(FP8_MAX).to(torch.float8_e4m3fn).float() * tensor_scale
    scaled = torch.where(block_scale > 0, padded / block_scale, 0.0)
    return (_to_e2m1(scaled) * block_scale).view(n, -1)[:, :dim]


def _to_e2m1(x: Tensor) -> Tensor:
    magnitude = x.abs().clamp_max(FP4_MAX)
    # spacing of the values: 1/2 below 2, 1 below 4, 2 above; torch.round takes ties to even steps
    step = torch.where(magnitude < 2, 0.5, torch.where(magnitude < 4, 1.0, 2.0))
    return torch.round(magnitude / step) * step * x.sign()
