"""Gradient of a fused gated-delta layer: the backward runs the plain form again and differentiates that."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vivace.ops.frame_gdn import chunked
from vivace.ops.frame_gdn.projections import GdnProjections

Mixed = tuple[Tensor, Tensor, Tensor]
Fused = Callable[[GdnProjections, Sequence[int], Tensor | None, Tensor | None], Mixed]


def plain(
    given: GdnProjections, chunks: Sequence[int], numerator: Tensor | None, denominator: Tensor | None
) -> Mixed:
    """The layer's result by the matmul form."""
    # the state must stay fp32: autocast would multiply it in bf16
    with torch.autocast(given.value.device.type, enabled=False):
        mixed, numerator, denominator = chunked.frame_gdn(given.inputs(), chunks, numerator, denominator)
        return given.gated(mixed), numerator, denominator


def with_gradient(
    fused: Fused,
    given: GdnProjections,
    chunks: Sequence[int],
    numerator: Tensor | None,
    denominator: Tensor | None,
) -> Mixed:
    """The result of `fused`, differentiable; between forward and backward only the arguments are kept."""
    return _Recomputed.apply(fused, tuple(chunks), numerator, denominator, *given)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        fused: Fused,
        chunks: tuple[int, ...],
        numerator: Tensor | None,
        denominator: Tensor | None,
        *given: Tensor,
    ) -> Mixed:
        ctx.chunks = chunks
        ctx.save_for_backward(numerator, denominator, *given)
        return fused(GdnProjections(*given), chunks, numerator, denominator)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[2:]
        with torch.enable_grad():
            again: list[Any] = [
                None if x is None else x.detach().requires_grad_(is_wanted)
                for x, is_wanted in zip(ctx.saved_tensors, wanted)
            ]
            outputs = plain(GdnProjections(*again[2:]), ctx.chunks, again[0], again[1])
            sources = [x for x in again if x is not None and x.requires_grad]
            found = iter(torch.autograd.grad(outputs, sources, gradients, allow_unused=True))
        gradient = [next(found) if x is not None and x.requires_grad else None for x in again]
        return None, None, *gradient
