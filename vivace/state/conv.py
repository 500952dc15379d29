"""The last frames a causal convolution has seen."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ConvTail:
    """Left context of a convolution over time, oldest frame first."""

    frames: Float[Tensor, "b c t h w"]
