"""Gated convolutional feed-forward with a temporal convolution that looks back one frame across chunks."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vivace.layers.last_result import LastResult
from vivace.layers.packed import PackedLinear
from vivace.layers.quantized import Format, QuantizedLinear, applied
from vivace.ops.depthwise_glu import silu_depthwise_glu
from vivace.ops.fp8_linear import Fp8Rows
from vivace.ops.kernel_choice import serves
from vivace.ops.temporal_sum import temporal_sum
from vivace.state.conv import ConvTail

FrameTokens = Float[Tensor, "b t s dim"]


class _PackedEnd(NamedTuple):
    """Packed weights of the second half: contraction, taps, and contraction with the centre tap added."""

    contract: PackedLinear
    center: PackedLinear
    earlier: PackedLinear
    contract_and_center: PackedLinear


class GluConvFeedForward(nn.Module):
    """1x1 expansion, 3x3 depthwise convolution, gated linear unit, 1x1 contraction and temporal convolution.

    The temporal kernel covers one frame to each side; across chunks the left frame is cached and the right
    one is zero, so that a chunk never waits for the next.

    Source: SANA-Video (GLUMBConvTemp), SANA-Streaming (cached form).
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, 2 * hidden_dim)
        self.depthwise = nn.Conv2d(2 * hidden_dim, 2 * hidden_dim, 3, padding=1, groups=2 * hidden_dim)
        self.contract = nn.Linear(hidden_dim, dim, bias=False)
        self.temporal = nn.Parameter(torch.zeros(3, dim, dim))
        self.taps: nn.ModuleList | None = None
        self._packed: _PackedEnd | None = None
        self._earlier = LastResult()

    def forward(
        self,
        x: FrameTokens,
        state: ConvTail | None,
        chunks: Sequence[int],
        size: tuple[int, int],
        *,
        write: bool = True,
        rows: Fp8Rows | None = None,
    ) -> tuple[FrameTokens, ConvTail]:
        """Transform sum(chunks) latent frames of `size` rows and columns; returns the last as context.

        With `write` False the context may be the given one, which spares the work for it. `rows` are the
        tokens in 8 bits, for a layer whose products take them.
        """
        expanded = applied(self.expand, x, rows)
        glued = silu_depthwise_glu(expanded, self.depthwise.weight, self.depthwise.bias, size)
        if state is None:
            left = glued.new_zeros(*glued.shape[:1], 1, glued.shape[2], x.shape[-1])
        else:
            if self._packed is not None and glued.shape[1] == 1:
                # all denoising steps of a chunk look back to the same frame
                earlier = self._earlier.of(self._product_with_earlier, state.frames)
                if not write:
                    return self._packed.contract_and_center.plus(glued, earlier), state
                y = self._packed.contract(glued)
                return y + self._packed.center.plus(y, earlier), _tail(y, size)
            left = _tokens(state).to(glued.dtype)
        y = self._contract_behind(left, glued)
        out = self._temporal(y, chunks)
        return out, _tail(y[:, -1:], size)

    def pack(self, num_rows: int) -> None:
        """Pack the weights of contraction and temporal convolution, for chunks of one frame with a memory."""
        contract, (earlier, center, _) = self.contract.weight.detach(), self.temporal.detach().mT
        both = contract.float() + center.float() @ contract.float()
        self._packed = _PackedEnd(
            *(
                PackedLinear(weight, None, num_rows)
                for weight in (contract, center, earlier, both.to(contract.dtype))
            )
        )

    def _product_with_earlier(self, frames: Float[Tensor, "b c 1 h w"]) -> Float[Tensor, "b 1 s dim"]:
        assert self._packed is not None
        return self._packed.earlier(_tokens(ConvTail(frames)).to(self.temporal.dtype))

    def quantize_temporal(self, to: Format) -> None:
        """Round the three products of the temporal convolution; its parameter is gone afterwards."""
        weights = self.temporal.detach().mT
        self.taps = nn.ModuleList(QuantizedLinear(weight.contiguous(), None, to) for weight in weights)
        self.register_parameter("temporal", None)

    def _contract_behind(
        self, left: Float[Tensor, "b 1 s dim"], glued: Float[Tensor, "b t s width"]
    ) -> Float[Tensor, "b left_and_t s dim"]:
        """The contracted frames with `left` before them."""
        contract = self.contract
        is_plain = isinstance(contract, nn.Linear) and glued.dtype == contract.weight.dtype
        if not is_plain or glued.shape[0] > 1 or not serves(glued, contract.weight):
            return torch.cat([left, self.contract(glued)], dim=1)
        joined = glued.new_empty(1, glued.shape[1] + 1, *left.shape[2:])
        joined[:, :1].copy_(left)
        torch.mm(glued.flatten(0, 2), contract.weight.mT, out=joined[0, 1:].flatten(0, 1))
        return joined

    def _temporal(
        self, y: Float[Tensor, "b left_and_t s dim"], chunks: Sequence[int]
    ) -> Float[Tensor, "b t s dim"]:
        """The temporal convolution of all frames but the first, which they only look back to."""
        last = y.shape[1]
        product = self._products(y)
        earlier, center = product(0, slice(0, last - 1)), product(1, slice(1, last))
        if max(chunks) == 1:
            return y[:, 1:] + center + earlier
        return temporal_sum(y[:, 1:], center, earlier, product(2, slice(2, last)), chunks)

    def _products(self, y: FrameTokens) -> Callable[[int, slice], Tensor]:
        """Products of some of the frames with the weight of one tap."""
        if self.taps is None:
            temporal = self.temporal.to(y.dtype)
            # two axes, or a slice in time of one stream would be multiplied frame by frame
            return lambda tap, frames: (y[:, frames].reshape(-1, y.shape[-1]) @ temporal[tap]).view(
                y[:, frames].shape
            )
        taps = [tap for tap in self.taps if isinstance(tap, QuantizedLinear)]
        rounded = taps[0].rounded(y)
        if isinstance(rounded, Tensor):
            return lambda tap, frames: taps[tap].product(rounded[:, frames], y.dtype)
        values, scales = rounded
        return lambda tap, frames: taps[tap].product(Fp8Rows(values[:, frames], scales[:, frames]), y.dtype)


def _tail(y: Float[Tensor, "b 1 s dim"], size: tuple[int, int]) -> ConvTail:
    return ConvTail(rearrange(y, "b t (h w) c -> b c t h w", h=size[0], w=size[1]))


def _tokens(tail: ConvTail) -> Float[Tensor, "b t s dim"]:
    return rearrange(tail.frames, "b c t h w -> b t (h w) c")
