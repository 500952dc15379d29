"""Linear layers whose weights lie as the matrix kernels of a CPU read them, so that no call lays them out."""

from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """A linear layer, or several side by side, with packed weights; serves only, in the weights' dtype.

    A model's weights do not stay in a core's cache from one call to the next, and laying them out again costs
    up to a quarter of a product of a few hundred rows.

    Source: oneDNN's blocked weights, as torch's own compiler packs them.
    """

    bias: Tensor | None

    def __init__(
        self, weight: Float[Tensor, "out dim"], bias: Float[Tensor, "out"] | None, num_rows: int
    ) -> None:
        """Pack for about `num_rows` rows of activations; other numbers give the same, perhaps slower."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.register_buffer("bias", None if bias is None else bias.detach().clone(), persistent=False)
        # no buffer: what is blocked can be neither saved nor moved
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), num_rows)

    @classmethod
    def of(cls, layers: Sequence[nn.Linear], num_rows: int) -> Self:
        """The layers' outputs side by side, zeros where one has no bias."""
        weight = torch.cat([layer.weight for layer in layers])
        if all(layer.bias is None for layer in layers):
            return cls(weight, None, num_rows)
        biases = [
            weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias for layer in layers
        ]
        return cls(weight, torch.cat(biases), num_rows)

    def forward(self, x: Float[Tensor, "*n dim"]) -> Float[Tensor, "*n out"]:
        """The product, all layers' outputs side by side."""
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")

    def plus(self, x: Float[Tensor, "*n dim"], added: Float[Tensor, "*n out"]) -> Float[Tensor, "*n out"]:
        """The product + added, rounded once."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, added, self._packed, self.bias, "add")


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of torch and this CPU have kernels for packed weights of that type."""
    has_kernels = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if dtype == torch.bfloat16:
        return has_kernels and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return has_kernels and dtype == torch.float32
