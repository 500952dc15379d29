"""Recurrent matrix states of linear attention layers; always fp32 (a bf16 running mean stops moving)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class GdnState:
    """State of the frame-wise gated delta rule: o = numerator q / (denominator . q).

    Notation: `numerator` is S_kv (values by rotated keys), `denominator` is S_z (un-rotated keys).
    """

    numerator: Float[Tensor, "b heads dv dk"]
    denominator: Float[Tensor, "b heads dk"]


@dataclass(frozen=True, slots=True)
class LinearState:
    """State of linear attention: o = numerator q / (denominator . q); sums that never decay.

    `numerator` is the sum of values by rotated keys, `denominator` the sum of un-rotated keys.
    """

    numerator: Float[Tensor, "b heads dv dk"]
    denominator: Float[Tensor, "b heads dk"]
