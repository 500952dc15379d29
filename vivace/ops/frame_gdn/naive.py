"""Definition of the frame-wise gated delta rule: one loop over frames, as the papers write it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.ops.frame_gdn.inputs import FrameGdnInputs

Numerator = Float[Tensor, "b heads dv dk"]
Denominator = Float[Tensor, "b heads dk"]


def forward_scan(
    inputs: FrameGdnInputs, numerator: Numerator, denominator: Denominator
) -> tuple[Float[Tensor, "b heads t s dv"], Float[Tensor, "b heads t s"], Numerator, Denominator]:
    """Read every frame with the state that includes the frame itself; returns reads and the last state.

    Source: SANA-WM (arXiv:2605.15178), Eq. 3; the denominator state is SANA-Streaming's z (Algorithm 1).
    Notation: their S is `numerator`, gamma is `decay`.
    """
    reads, norms = [], []
    for q, k, q_rot, k_rot, v, beta, decay in _frames(inputs):
        numerator = decay[..., None, None] * numerator
        residual = v - k_rot @ numerator.mT
        numerator = numerator + (residual * beta[..., None]).mT @ k_rot
        denominator = decay[..., None] * denominator
        gap = 1 - (k @ denominator[..., None]).squeeze(-1)
        denominator = denominator + ((gap * beta)[..., None, :] @ k).squeeze(-2)
        reads.append(q_rot @ numerator.mT)
        norms.append((q @ denominator[..., None]).squeeze(-1))
    return torch.stack(reads, dim=2), torch.stack(norms, dim=2), numerator, denominator


def future_scan(
    inputs: FrameGdnInputs,
) -> tuple[Float[Tensor, "b heads t s dv"], Float[Tensor, "b heads t s"]]:
    """Read every frame with a reversed scan over strictly later frames, from an empty state.

    Source: SANA-Streaming, Algorithm 1 (backward pass): keys, values and write strengths are shifted by one
    frame so that no frame is counted twice; a frame's state uses the decay of the frame after it.
    """

    def next_frame(x: Tensor, fill: float) -> Tensor:
        return torch.cat([x[:, :, 1:], torch.full_like(x[:, :, :1], fill)], dim=2)

    shifted = FrameGdnInputs(
        query=inputs.query,
        key=next_frame(inputs.key, 0),
        rotated_query=inputs.rotated_query,
        rotated_key=next_frame(inputs.rotated_key, 0),
        value=next_frame(inputs.value, 0),
        beta=next_frame(inputs.beta, 0),
        decay=next_frame(inputs.decay, 1),
    )
    flipped = FrameGdnInputs(*(tensor.flip(2) for tensor in shifted))
    reads, norms, _, _ = forward_scan(flipped, *empty_state(inputs))
    return reads.flip(2), norms.flip(2)


def frame_gdn(
    inputs: FrameGdnInputs,
    chunks: Sequence[int],
    numerator: Numerator | None = None,
    denominator: Denominator | None = None,
    *,
    eps: float = 1e-8,
) -> tuple[Float[Tensor, "b heads t s dv"], Numerator, Denominator]:
    """Causal over chunks, bidirectional inside each chunk; returns tokens and the state after the last frame.

    Args:
        inputs: Features of sum(chunks) latent frames.
        chunks: Chunk sizes in latent frames; one entry means that all frames see each other.
        numerator: State after the previous chunk; None (with `denominator`) is the empty stream.
        denominator: See `numerator`.
        eps: Added to the summed denominators.

    Source: SANA-WM, Eq. 3 and 5 and "Bidirectional and Chunk-Causal GDN Variants"; SANA-Streaming,
    Algorithm 1.
    Deviation: eps is the official code's 1e-8 (the paper prints 1e-6).
    """
    inputs = inputs.float()
    if numerator is None or denominator is None:
        numerator, denominator = empty_state(inputs)
    outputs, start = [], 0
    for size in chunks:
        chunk = inputs.frames(start, start + size)
        read, norm, numerator, denominator = forward_scan(chunk, numerator, denominator)
        future_read, future_norm = future_scan(chunk)
        outputs.append((read + future_read) / (norm + future_norm + eps)[..., None])
        start += size
    return torch.cat(outputs, dim=2), numerator, denominator


def empty_state(inputs: FrameGdnInputs) -> tuple[Numerator, Denominator]:
    """The zero state of a stream that has seen nothing."""
    b, heads, _, _, dk = inputs.rotated_key.shape
    dv = inputs.value.shape[-1]
    return inputs.value.new_zeros(b, heads, dv, dk), inputs.value.new_zeros(b, heads, dk)


def _frames(inputs: FrameGdnInputs) -> list[tuple[Tensor, ...]]:
    return [tuple(tensor[:, :, t] for tensor in inputs) for t in range(inputs.decay.shape[2])]
