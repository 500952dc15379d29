"""The middle of the gated convolutional feed-forward, between its two linear layers."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vivace.ops.kernel_choice import serves


def silu_depthwise_glu(
    hidden: Float[Tensor, "b t s twice"],
    weight: Float[Tensor, "twice 1 3 3"],
    bias: Float[Tensor, "twice"] | None,
    size: tuple[int, int],
) -> Float[Tensor, "b t s width"]:
    """SiLU, a 3x3 depthwise convolution on every frame, then value * SiLU(gate) of its two halves."""
    rows, columns = size
    if bias is not None and serves(hidden, weight, bias):
        from vivace.ops import triton_depthwise

        frames = hidden.flatten(0, 1)
        glued = triton_depthwise.silu_depthwise_glu(frames, weight, bias, rows, columns)
        return glued.unflatten(0, hidden.shape[:2])
    # a channels-last view of the tokens: the convolution reads them without a copy. In two steps: one
    # would give a single frame a stride that torch takes for channels-first, and copies there and back
    image = rearrange(F.silu(hidden), "b t (h w) c -> (b t) h w c", h=rows, w=columns)
    image = rearrange(image, "n h w c -> n c h w")
    mixed = F.conv2d(image, weight, bias, padding=1, groups=weight.shape[0])
    value, gate = rearrange(mixed, "(b t) c h w -> b t (h w) c", b=hidden.shape[0]).chunk(2, dim=-1)
    return value * F.silu(gate)
