"""The argument and result types that every form of the convolution input takes."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

Frames = Float[Tensor, "b c t h w"]
Past = Float[Tensor, "b c past h w"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Padding:
    """What stands around the frames of a convolution.

    Attributes:
        before: Frames in front; they come from the tail of a stream or repeat the first frame.
        after: Frames behind, which repeat the last one; a causal convolution has none.
        reflect: Whether one position to every side of a frame mirrors the frame; otherwise nothing is put
            there, and the convolution pads with zeros.
    """

    before: int
    after: int = 0
    reflect: bool = False


class ConvInput(NamedTuple):
    """What a convolution reads and what its caller keeps.

    Attributes:
        padded: Normalised, activated and padded frames, channels last in memory.
        total: base + update + bias before the norm, to which later layers add; None if it was not asked for.
        tail: The last `Padding.before` frames, activated: left context of the next call.
    """

    padded: Float[Tensor, "b c t2 h2 w2"]
    total: Float[Tensor, "b c t h w"] | None
    tail: Float[Tensor, "b c t3 h w"]
