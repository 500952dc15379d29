"""A linear layer whose products run in fewer bits; made from a trained one, for serving only."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.ops.fp8_linear import Fp8Rows, fp8_linear, quantize_rows, quantize_tokens
from vivace.ops.nvfp4 import nvfp4_rounded

Format = Literal["fp8", "nvfp4"]


class QuantizedLinear(nn.Module):
    """x weight^T + bias with both operands rounded: weights once, activations in every call.

    fp8: e4m3 with one scale a row of either operand. nvfp4: its numerics only, computed in the dtype of the
    activations, so it is slower than what it stands for.

    Source: SANA-Streaming, mixed-precision quantisation (its FP8 and NVFP4 linear layers).
    """

    def __init__(
        self, weight: Float[Tensor, "out dim"], bias: Float[Tensor, "out"] | None, to: Format
    ) -> None:
        super().__init__()
        self.format: Format = to
        self.out_features, self.in_features = weight.shape
        self.bias: Tensor | None
        self.values: Tensor
        self.scales: Tensor | None
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        if to == "fp8":
            values, scales = quantize_rows(weight.detach())
            # as whole numbers, which a later .to(dtype) of the model leaves alone
            self.register_buffer("values", values.view(torch.uint8))
            self.register_buffer("scales", scales.view(torch.int32))
        else:
            self.register_buffer("values", nvfp4_rounded(weight.detach()).to(weight.dtype))
            self.register_buffer("scales", None)

    def forward(self, x: Float[Tensor, "... dim"]) -> Float[Tensor, "... out"]:
        """The product in the dtype of `x`."""
        return self.product(self.rounded(x), x.dtype)

    def rounded(self, x: Float[Tensor, "... dim"]) -> Fp8Rows | Tensor:
        """Activations as the product takes them, with their leading axes."""
        if self.scales is None:
            rows = x.reshape(-1, x.shape[-1])
            return nvfp4_rounded(rows).to(x.dtype).view(x.shape)
        return quantize_tokens(x)

    def product(self, x: Fp8Rows | Tensor, dtype: torch.dtype) -> Float[Tensor, "... out"]:
        """The product with activations that this or a like layer has rounded."""
        if self.scales is None or not isinstance(x, Fp8Rows):
            assert isinstance(x, Tensor)
            return F.linear(x, self.values.to(dtype), None if self.bias is None else self.bias.to(dtype))
        weight = Fp8Rows(self.values.view(torch.float8_e4m3fn), self.scales.view(torch.float32))
        rows = Fp8Rows(x.values.reshape(-1, self.in_features), x.scales.reshape(-1, 1))
        return fp8_linear(rows, weight, self.bias, dtype).view(*x.values.shape[:-1], self.out_features)


def takes_rows(layer: nn.Module) -> bool:
    """Whether the layer rounds its activations to 8-bit rows, so that whoever makes them may do it first."""
    return isinstance(layer, QuantizedLinear) and layer.scales is not None


def applied(layer: nn.Module, x: Float[Tensor, "*n dim"], rows: Fp8Rows | None) -> Float[Tensor, "*n out"]:
    """The layer's product; with `rows`, which are `x` as 8-bit rows, for a layer that `takes_rows`."""
    if rows is None or not isinstance(layer, QuantizedLinear):
        return layer(x)
    return layer.product(rows, x.dtype)
