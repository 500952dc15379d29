# pyright: reportCallIssue=false, reportArgumentType=false, reportMissingImports=false
"""The frame-wise gated delta rule with a gradient: kernels where there are tokens, matmuls elsewhere.

Two functions touch tokens, each with a backward of its own: what a frame adds up to (`FrameSums`) and how its
tokens read a state (`StateReads`). Between them stands the scan over frames, whose matrices are so few that
autograd takes it as it is. What is kept for the backward is the tokens themselves, never a matrix for each.

Source: SANA-Streaming, Algorithm 1 (phases A, B and C); the gradients are ours.
"""

from collections.abc import Sequence
from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vivace.ops.frame_gdn.chunked import Summaries, scan
from vivace.ops.frame_gdn.inputs import FrameGdnInputs
from vivace.ops.frame_gdn.naive import Denominator, Numerator, empty_state


@triton.jit
@no_type_check
def _tile(x, rows, d, TOKENS: tl.constexpr, WIDTH: tl.constexpr):
    mask = (rows < TOKENS)[:, None] & (d < WIDTH)[None, :]
    return tl.load(x + rows[:, None] * WIDTH + d[None, :], mask=mask, other=0.0)


@triton.jit
@no_type_check
def _matrix(x, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    mask = (rows < ROWS)[:, None] & (columns < COLUMNS)[None, :]
    return tl.load(x + rows[:, None] * COLUMNS + columns[None, :], mask=mask, other=0.0)


@triton.jit
@no_type_check
def _put(x, value, rows, columns, ROWS, COLUMNS: tl.constexpr):
    mask = (rows < ROWS)[:, None] & (columns < COLUMNS)[None, :]
    tl.store(x + rows[:, None] * COLUMNS + columns[None, :], value.to(x.dtype.element_ty), mask=mask)


@triton.jit
@no_type_check
def _sum_kernel(
    rotated_key,
    key,
    value,
    beta,
    transition,
    update,
    norm_transition,
    norm_update,
    TOKENS: tl.constexpr,
    DK: tl.constexpr,
    DV: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Per frame and head: sums of outer products of keys (0), values with keys (1), un-rotated keys (2)."""
    place = tl.program_id(0).to(tl.int64)
    kind = tl.program_id(1)
    d = tl.arange(0, BLOCK_D)
    beta += place * TOKENS
    right = (key if kind == 2 else rotated_key) + place * TOKENS * DK
    product = tl.zeros((BLOCK_D, BLOCK_D), dtype=tl.float32)
    total = tl.zeros((BLOCK_D,), dtype=tl.float32)
    for start in range(0, TOKENS, BLOCK_S):
        rows = start + tl.arange(0, BLOCK_S)
        strength = tl.load(beta + rows, mask=rows < TOKENS, other=0.0).to(tl.float32)
        k = _tile(right, rows, d, TOKENS, DK)
        written = k.to(tl.float32) * strength[:, None]
        total += tl.sum(written, axis=0)
        left = k
        if kind == 1:
            left = _tile(value + place * TOKENS * DV, rows, d, TOKENS, DV)
        product = tl.dot(tl.trans(left), written.to(k.dtype), product, input_precision=PRECISION)
    if kind == 0:
        _put(transition + place * DK * DK, product, d, d, DK, DK)
    elif kind == 1:
        _put(update + place * DV * DK, product, d, d, DV, DK)
    else:
        _put(norm_transition + place * DK * DK, product, d, d, DK, DK)
        tl.store(norm_update + place * DK + d, total, mask=d < DK)


@triton.jit
@no_type_check
def _sum_gradient_kernel(
    rotated_key,
    key,
    value,
    beta,
    transition,
    update,
    norm_transition,
    norm_update,
    rotated_key_out,
    key_out,
    value_out,
    beta_out,
    TOKENS: tl.constexpr,
    DK: tl.constexpr,
    DV: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradients of a tile of tokens; those of both transitions come summed with their transpose."""
    place = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * BLOCK_S + tl.arange(0, BLOCK_S)
    d = tl.arange(0, BLOCK_D)
    strength = tl.load(beta + place * TOKENS + rows, mask=rows < TOKENS, other=0.0).to(tl.float32)
    k = _tile(rotated_key + place * TOKENS * DK, rows, d, TOKENS, DK)
    narrow = k.dtype
    v = _tile(value + place * TOKENS * DV, rows, d, TOKENS, DV)
    m = _matrix(transition + place * DK * DK, d, d, DK, DK).to(narrow)
    moved = tl.dot(k, m, input_precision=PRECISION)
    beta_gradient = 0.5 * tl.sum(moved * k.to(tl.float32), axis=1)
    m = _matrix(update + place * DV * DK, d, d, DV, DK).to(narrow)
    read = tl.dot(v, m, input_precision=PRECISION)
    beta_gradient += tl.sum(read * k.to(tl.float32), axis=1)
    _put(rotated_key_out + place * TOKENS * DK, (moved + read) * strength[:, None], rows, d, TOKENS, DK)
    given = tl.dot(k, tl.trans(m), input_precision=PRECISION)
    _put(value_out + place * TOKENS * DV, given * strength[:, None], rows, d, TOKENS, DV)
    k = _tile(key + place * TOKENS * DK, rows, d, TOKENS, DK)
    m = _matrix(norm_transition + place * DK * DK, d, d, DK, DK).to(narrow)
    moved = tl.dot(k, m, input_precision=PRECISION)
    u = tl.load(norm_update + place * DK + d, mask=d < DK, other=0.0)
    beta_gradient += tl.sum((0.5 * moved + u[None, :]) * k.to(tl.float32), axis=1)
    _put(key_out + place * TOKENS * DK, (moved + u[None, :]) * strength[:, None], rows, d, TOKENS, DK)
    tl.store(
        beta_out + place * TOKENS + rows, beta_gradient.to(beta_out.dtype.element_ty), mask=rows < TOKENS
    )


@triton.jit
@no_type_check
def _read_kernel(
    rotated_query,
    query,
    state,
    norm,
    out,
    inverse_out,
    eps,
    TOKENS: tl.constexpr,
    DK: tl.constexpr,
    DV: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * BLOCK_S + tl.arange(0, BLOCK_S)
    d = tl.arange(0, BLOCK_D)
    q = _tile(query + place * TOKENS * DK, rows, d, TOKENS, DK).to(tl.float32)
    z = tl.load(norm + place * DK + d, mask=d < DK, other=0.0)
    inverse = 1.0 / (tl.sum(q * z[None, :], axis=1) + eps)
    q = _tile(rotated_query + place * TOKENS * DK, rows, d, TOKENS, DK)
    m = _matrix(state + place * DV * DK, d, d, DV, DK).to(q.dtype)
    read = tl.dot(q, tl.trans(m), input_precision=PRECISION) * inverse[:, None]
    _put(out + place * TOKENS * DV, read, rows, d, TOKENS, DV)
    tl.store(inverse_out + place * TOKENS + rows, inverse, mask=rows < TOKENS)


@triton.jit
@no_type_check
def _read_gradient_kernel(
    gradient,
    out,
    inverse,
    rotated_query,
    query,
    state,
    norm,
    rotated_query_out,
    query_out,
    state_out,
    norm_out,
    TOKENS: tl.constexpr,
    DK: tl.constexpr,
    DV: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """All tokens of a frame and head: their own gradients, and the sums that the state's is made of."""
    place = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    z = tl.load(norm + place * DK + d, mask=d < DK, other=0.0)
    m = _matrix(state + place * DV * DK, d, d, DV, DK).to(rotated_query.dtype.element_ty)
    product = tl.zeros((BLOCK_D, BLOCK_D), dtype=tl.float32)
    total = tl.zeros((BLOCK_D,), dtype=tl.float32)
    for start in range(0, TOKENS, BLOCK_S):
        rows = start + tl.arange(0, BLOCK_S)
        scale = tl.load(inverse + place * TOKENS + rows, mask=rows < TOKENS, other=0.0)
        g = _tile(gradient + place * TOKENS * DV, rows, d, TOKENS, DV).to(tl.float32) * scale[:, None]
        read = _tile(out + place * TOKENS * DV, rows, d, TOKENS, DV).to(tl.float32)
        divisor_gradient = -tl.sum(g * read, axis=1)
        q = _tile(query + place * TOKENS * DK, rows, d, TOKENS, DK).to(tl.float32)
        total += tl.sum(q * divisor_gradient[:, None], axis=0)
        _put(query_out + place * TOKENS * DK, divisor_gradient[:, None] * z[None, :], rows, d, TOKENS, DK)
        q = _tile(rotated_query + place * TOKENS * DK, rows, d, TOKENS, DK)
        g = g.to(q.dtype)
        moved = tl.dot(g, m, input_precision=PRECISION)
        _put(rotated_query_out + place * TOKENS * DK, moved, rows, d, TOKENS, DK)
        product = tl.dot(tl.trans(g), q, product, input_precision=PRECISION)
    _put(state_out + place * DV * DK, product, d, d, DV, DK)
    tl.store(norm_out + place * DK + d, total, mask=d < DK)


class _Sizes(NamedTuple):
    """What all kernels of one call share."""

    frames: int
    tiles: int
    constants: dict[str, int | str]


def _sizes(key: Tensor, value: Tensor) -> _Sizes:
    tokens, dk, dv = key.shape[-2], key.shape[-1], value.shape[-1]
    is_half = key.dtype != torch.float32
    is_exact = torch.get_float32_matmul_precision() == "highest"
    block_tokens = 64 if is_half else 32
    constants: dict[str, int | str] = {
        "TOKENS": tokens,
        "DK": dk,
        "DV": dv,
        "BLOCK_S": block_tokens,
        "BLOCK_D": max(16, int(triton.next_power_of_2(max(dk, dv)))),
        "PRECISION": "ieee" if not is_half and is_exact else "tf32",
        "num_warps": 8,
    }
    return _Sizes(key.numel() // (tokens * dk), -(-tokens // block_tokens), constants)


class FrameSums(torch.autograd.Function):
    """Sums of a frame's keys and values; contiguous (b heads t s d), `beta` (b heads t s)."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: FunctionCtx, rotated_key: Tensor, key: Tensor, value: Tensor, beta: Tensor
    ) -> tuple[Tensor, ...]:
        """Sums of beta k k^T rotated, beta v k^T rotated, beta k k^T and beta k, in fp32."""
        ctx.save_for_backward(rotated_key, key, value, beta)
        sizes = _sizes(rotated_key, value)
        front, dk, dv = key.shape[:3], key.shape[-1], value.shape[-1]
        made = tuple(
            torch.empty(*front, *shape, device=key.device) for shape in ((dk, dk), (dv, dk), (dk, dk), (dk,))
        )
        _sum_kernel[(sizes.frames, 3)](rotated_key, key, value, beta, *made, **sizes.constants)
        return made

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: FunctionCtx, transition: Tensor, update: Tensor, norm_transition: Tensor, norm_update: Tensor
    ) -> tuple[Tensor, ...]:
        """Gradients of the tokens."""
        saved = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        sizes = _sizes(saved[0], saved[2])
        made = tuple(torch.empty_like(x) for x in saved)
        _sum_gradient_kernel[(sizes.frames, sizes.tiles)](
            *saved,
            transition + transition.mT,
            update.contiguous(),
            norm_transition + norm_transition.mT,
            norm_update.contiguous(),
            *made,
            **sizes.constants,
        )
        return made


class StateReads(torch.autograd.Function):
    """(rotated query state^T) / (query norm + eps) for the tokens of every frame."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: FunctionCtx, rotated_query: Tensor, query: Tensor, state: Tensor, norm: Tensor, eps: float
    ) -> Tensor:
        """The tokens (b heads t s dv) in fp32."""
        sizes = _sizes(query, state.mT)
        out = torch.empty(*query.shape[:-1], state.shape[-2], device=query.device)
        inverse = torch.empty(query.shape[:-1], device=query.device)
        _read_kernel[(sizes.frames, sizes.tiles)](
            rotated_query, query, state, norm, out, inverse, eps, **sizes.constants
        )
        ctx.save_for_backward(out, inverse, rotated_query, query, state, norm)
        return out

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Gradients of queries, states and norms."""
        saved = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        sizes = _sizes(saved[3], saved[4].mT)
        made = tuple(torch.empty_like(x) for x in saved[2:])
        _read_gradient_kernel[(sizes.frames,)](gradient.contiguous(), *saved, *made, **sizes.constants)
        return *made, None


def frame_gdn(
    inputs: FrameGdnInputs,
    chunks: Sequence[int],
    numerator: Numerator | None = None,
    denominator: Denominator | None = None,
    *,
    eps: float = 1e-8,
) -> tuple[Float[Tensor, "b heads t s dv"], Numerator, Denominator]:
    """Same contract as `naive.frame_gdn`; products are of the dtype of values, sums in fp32.

    Norms leave keys and queries in fp32; where values are bf16, the kernels that serve round them as well.
    """
    narrow = inputs.value.dtype
    query, key, rotated_query, rotated_key, value = (x.to(narrow).contiguous() for x in inputs[:5])
    beta, decay = inputs.beta.float().contiguous(), inputs.decay.float()
    if numerator is None or denominator is None:
        numerator, denominator = empty_state(inputs.float())
    transition, update, norm_transition, norm_update = FrameSums.apply(rotated_key, key, value, beta)
    kept = decay[..., None, None]
    identity = torch.eye(key.shape[-1], device=key.device)
    summaries = Summaries(
        kept * (identity - transition), update, kept * (identity - norm_transition), norm_update
    )
    states, norms, numerator, denominator = scan(summaries, chunks, numerator, denominator)
    out = StateReads.apply(rotated_query, query, states.contiguous(), norms.contiguous(), eps)
    return out, numerator, denominator
