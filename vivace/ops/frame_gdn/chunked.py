"""Matmul form of the frame-wise gated delta rule: frame summaries in parallel, then a small scan."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.ops.frame_gdn.inputs import FrameGdnInputs
from vivace.ops.frame_gdn.naive import Denominator, Numerator, empty_state


def frame_gdn(
    inputs: FrameGdnInputs,
    chunks: Sequence[int],
    numerator: Numerator | None = None,
    denominator: Denominator | None = None,
    *,
    eps: float = 1e-8,
) -> tuple[Float[Tensor, "b heads t s dv"], Numerator, Denominator]:
    """Same contract as `naive.frame_gdn`, with autograd; the summaries of all frames are computed at once.

    Source: SANA-WM, Eq. 3 (S_t = S_{t-1} M_t + U_t); SANA-Streaming, Algorithm 1 (phases A, B and C).
    """
    inputs = inputs.float()
    if numerator is None or denominator is None:
        numerator, denominator = empty_state(inputs)
    if sum(chunks) == 1:
        return _single_frame(inputs, numerator, denominator, eps)
    summaries = Summaries(*_numerator_summary(inputs), *_denominator_summary(inputs))
    states, norm_states, numerator, denominator = scan(summaries, chunks, numerator, denominator)
    read = inputs.rotated_query @ states.mT
    norm = inputs.query @ norm_states[..., None]
    return read / (norm + eps), numerator, denominator


class Summaries(NamedTuple):
    """What every frame does to the states: state -> state @ transition + update."""

    transition: Float[Tensor, "b heads t dk dk"]
    update: Float[Tensor, "b heads t dv dk"]
    norm_transition: Float[Tensor, "b heads t dk dk"]
    norm_update: Float[Tensor, "b heads t dk"]


def scan(
    summaries: Summaries, chunks: Sequence[int], numerator: Numerator, denominator: Denominator
) -> tuple[Float[Tensor, "b heads t dv dk"], Float[Tensor, "b heads t dk"], Numerator, Denominator]:
    """The states that every frame reads, its chunk's later frames included, and the last of the stream."""
    # taken apart at once: the gradient of one frame taken out of all would be as large as all of them
    transition, update, norm_transition, norm_update = (each.unbind(2) for each in summaries)
    states: list[Tensor] = []
    norm_states: list[Tensor] = []
    start = 0
    for size in chunks:
        past, past_norm = [], []
        for t in range(start, start + size):
            numerator = numerator @ transition[t] + update[t]
            moved = (denominator[..., None, :] @ norm_transition[t]).squeeze(-2)
            denominator = moved + norm_update[t]
            past.append(numerator)
            past_norm.append(denominator)
        future, future_norm = torch.zeros_like(numerator), torch.zeros_like(denominator)
        for t in reversed(range(start, start + size - 1)):
            future = future @ transition[t + 1] + update[t + 1]
            future_norm = (future_norm[..., None, :] @ norm_transition[t + 1]).squeeze(-2)
            future_norm = future_norm + norm_update[t + 1]
            past[t - start] = past[t - start] + future
            past_norm[t - start] = past_norm[t - start] + future_norm
        states += past
        norm_states += past_norm
        start += size
    return torch.stack(states, dim=2), torch.stack(norm_states, dim=2), numerator, denominator


def _numerator_summary(inputs: FrameGdnInputs) -> tuple[Tensor, Tensor]:
    key, decay = inputs.rotated_key, inputs.decay[..., None, None]
    written_key = key * inputs.beta[..., None]
    identity = torch.eye(key.shape[-1], dtype=key.dtype, device=key.device)
    return decay * (identity - written_key.mT @ key), inputs.value.mT @ written_key


def _denominator_summary(inputs: FrameGdnInputs) -> tuple[Tensor, Tensor]:
    key, decay = inputs.key, inputs.decay[..., None, None]
    written_key = key * inputs.beta[..., None]
    identity = torch.eye(key.shape[-1], dtype=key.dtype, device=key.device)
    return decay * (identity - written_key.mT @ key), written_key.sum(dim=-2)


def _single_frame(
    inputs: FrameGdnInputs, numerator: Tensor, denominator: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    # one frame has no future and needs no transition matrix: the delta rule directly is fewer operations
    query, key, rotated_query, rotated_key, value, beta, decay = (tensor[:, :, 0] for tensor in inputs)
    numerator = decay[..., None, None] * numerator
    residual = (value - rotated_key @ numerator.mT) * beta[..., None]
    numerator = numerator + residual.mT @ rotated_key
    denominator = decay[..., None] * denominator
    gap = (1 - (key @ denominator[..., None])) * beta[..., None]
    denominator = denominator + (gap.mT @ key).squeeze(-2)
    read = (rotated_query @ numerator.mT) / (query @ denominator[..., None] + eps)
    return read[:, :, None], numerator, denominator
