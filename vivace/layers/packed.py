"""Layers whose weights lie as the kernels of a CPU read them, so that no call lays them out."""

from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

# A stream has two sizes of chunks, and seldom does one process serve more than two sizes of pictures.
MAX_PACKED_SHAPES = 4


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


class PackedConv(nn.Module):
    """A convolution over frames and positions with packed weights; serves only, in the weights' dtype.

    It moves in steps of one, keeps the picture's size and does not pad in time. What a residual block does
    with the result happens before the result is rounded and leaves the registers.

    Source: oneDNN's blocked weights and post-operations, as torch's own compiler uses them.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Float[Tensor, "out c kt kh kw"], bias: Float[Tensor, "out"]) -> None:
        """Take a weight with odd `kh` and `kw`."""
        super().__init__()
        dense = weight.detach().contiguous(memory_format=torch.channels_last_3d)
        self.register_buffer("weight", dense, persistent=False)
        self.register_buffer("bias", bias.detach().clone(), persistent=False)
        # padding, steps, dilation, groups
        self._geometry = [0, weight.shape[3] // 2, weight.shape[4] // 2], [1] * 3, [1] * 3, 1
        self._packed: dict[tuple[int, ...], Tensor] = {}

    def forward(
        self, x: Float[Tensor, "b c frames h w"], *, has_silu: bool = False
    ) -> Float[Tensor, "b out t h w"]:
        """The convolved frames, t = frames - kt + 1; `has_silu` puts SiLU behind."""
        attribute = "swish" if has_silu else "none"
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._packed_for(x), self.bias, *self._geometry, attribute, [], ""
        )

    def add_to_(
        self, sum_: Float[Tensor, "b out t h w"], x: Float[Tensor, "b c frames h w"]
    ) -> Float[Tensor, "b out t h w"]:
        """`sum_` + the convolved frames, rounded once; `sum_` is used up: its memory may hold the result."""
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            sum_, x, self._packed_for(x), self.bias, *self._geometry, "add", None, None, [], None
        )

    def _packed_for(self, x: Tensor) -> Tensor:
        # Which layout the kernel reads depends on the size of the pictures, and to go from a wrong one to the
        # right one is slow, on CPUs with 256-bit registers slower than the convolution.
        shape = tuple(x.shape)
        packed = self._packed.get(shape)
        if packed is None:
            packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *self._geometry, shape)
            # replaced, never changed: another thread may be looking
            self._packed = dict([*self._packed.items(), (shape, packed)][-MAX_PACKED_SHAPES:])
        return packed


_OPERATORS = {
    PackedLinear: ("_reorder_linear_weight", "_linear_pointwise"),
    PackedConv: ("_reorder_convolution_weight", "_convolution_pointwise", "_convolution_pointwise_"),
}


def can_pack(layer: type[PackedLinear | PackedConv], dtype: torch.dtype) -> bool:
    """Whether this build of torch and this CPU have kernels for such layers of that type."""
    has_kernels = torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in _OPERATORS[layer]
    )
    if dtype == torch.bfloat16:
        return has_kernels and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return has_kernels and dtype == torch.float32
