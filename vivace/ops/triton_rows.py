# pyright: reportCallIssue=false, reportArgumentType=false, reportMissingImports=false
"""Fused kernels over token rows: residual, norm and modulation; RMS norm, rotation; quantisation."""

from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

FP8_MAX = 448.0


@triton.jit
@no_type_check
def _quantized(x, LIMIT: tl.constexpr):
    """A row as 8-bit floats and the factor that brings it back."""
    scale = tl.maximum(tl.max(tl.abs(x), axis=0), 1e-12) / LIMIT
    return tl.minimum(tl.maximum(x / scale, -LIMIT), LIMIT), scale


@triton.jit
@no_type_check
def _norm_kernel(
    x,
    added,
    gate,
    shift,
    scale,
    summed,
    normed,
    rounded,
    row_scales,
    rows_per_modulation,
    modulation_stride,
    eps,
    HAS_ADDED: tl.constexpr,
    HAS_GATE: tl.constexpr,
    HAS_NORM: tl.constexpr,
    HAS_ROUNDED: tl.constexpr,
    LIMIT: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    modulation = (row // rows_per_modulation) * modulation_stride
    d = tl.arange(0, BLOCK)
    mask = d < DIM
    value = tl.load(x + row * DIM + d, mask=mask, other=0.0).to(tl.float32)
    if HAS_ADDED:
        more = tl.load(added + row * DIM + d, mask=mask, other=0.0).to(tl.float32)
        if HAS_GATE:
            more *= tl.load(gate + modulation + d, mask=mask, other=0.0).to(tl.float32)
        stored = (value + more).to(summed.dtype.element_ty)
        tl.store(summed + row * DIM + d, stored, mask=mask)
        value = stored.to(tl.float32)
    if HAS_NORM:
        centered = tl.where(mask, value - tl.sum(value, axis=0) / DIM, 0.0)
        value = centered * tl.rsqrt(tl.sum(centered * centered, axis=0) / DIM + eps)
        value *= 1.0 + tl.load(scale + modulation + d, mask=mask, other=0.0).to(tl.float32)
        value += tl.load(shift + modulation + d, mask=mask, other=0.0).to(tl.float32)
        stored = value.to(normed.dtype.element_ty)
        tl.store(normed + row * DIM + d, stored, mask=mask)
        value = tl.where(mask, stored.to(tl.float32), 0.0)
    if HAS_ROUNDED:
        value, factor = _quantized(value, LIMIT)
        tl.store(row_scales + row, factor)
        tl.store(rounded + row * DIM + d, value.to(rounded.dtype.element_ty), mask=mask)


@triton.jit
@no_type_check
def _rms_rotate_kernel(
    x,
    weight,
    table,
    out,
    rows,
    row_stride,
    out_stride,
    rows_per_batch,
    out_batch_stride,
    table_rows,
    eps,
    HAS_NORM: tl.constexpr,
    HAS_TABLE: tl.constexpr,
    WIDTH: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    mask = d < DIM
    value = tl.load(x + row * row_stride + d, mask=mask, other=0.0).to(tl.float32)
    if HAS_NORM:
        value *= tl.rsqrt(tl.sum(value * value, axis=0) / DIM + eps)
        value *= tl.load(weight + d, mask=mask, other=0.0).to(tl.float32)
        # the plain form rounds here too
        value = value.to(x.dtype.element_ty).to(tl.float32)
    if HAS_TABLE:
        pairs = tl.load(table + (row % table_rows) * WIDTH + d % WIDTH, mask=mask, other=0.0)
        cos, sin = tl.split(tl.reshape(pairs, (BLOCK // 2, 2)))
        even, odd = tl.split(tl.reshape(value, (BLOCK // 2, 2)))
        value = tl.reshape(tl.join(even * cos - odd * sin, even * sin + odd * cos), (BLOCK,))
    place = (row // rows_per_batch) * out_batch_stride + (row % rows_per_batch) * out_stride
    tl.store(out + place + d, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
@no_type_check
def _join_kernel(
    past_key,
    past_value,
    key,
    value,
    table,
    keys,
    values,
    heads,
    kept,
    rows,
    past_key_batch,
    past_key_head,
    past_key_row,
    past_value_batch,
    past_value_head,
    past_value_row,
    key_batch,
    key_head,
    key_row,
    value_batch,
    value_head,
    value_row,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    batch, head = tl.program_id(0).to(tl.int64) // heads, tl.program_id(0).to(tl.int64) % heads
    r = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    is_past = (r < kept)[:, None] & (d < WIDTH)[None, :]
    is_current = ((r >= kept) & (r < rows))[:, None] & (d < WIDTH)[None, :]
    wide = r.to(tl.int64)[:, None]
    new = wide - kept
    place = batch * past_key_batch + head * past_key_head + wide * past_key_row + d[None, :]
    x = tl.load(past_key + place, mask=is_past, other=0.0).to(tl.float32)
    pairs = tl.load(table + r[:, None] * WIDTH + d[None, :], mask=is_past, other=0.0)
    cos, sin = tl.split(tl.reshape(pairs, (ROWS, BLOCK // 2, 2)))
    even, odd = tl.split(tl.reshape(x, (ROWS, BLOCK // 2, 2)))
    x = tl.reshape(tl.join(even * cos - odd * sin, even * sin + odd * cos), (ROWS, BLOCK))
    place = batch * key_batch + head * key_head + new * key_row + d[None, :]
    x += tl.load(key + place, mask=is_current, other=0.0).to(tl.float32)
    place = batch * past_value_batch + head * past_value_head + wide * past_value_row + d[None, :]
    v = tl.load(past_value + place, mask=is_past, other=0.0)
    place = batch * value_batch + head * value_head + new * value_row + d[None, :]
    v = tl.where(is_past, v, tl.load(value + place, mask=is_current, other=0.0))
    place = ((batch * rows + wide) * heads + head) * WIDTH + d[None, :]
    tl.store(keys + place, x.to(keys.dtype.element_ty), mask=is_past | is_current)
    tl.store(values + place, v, mask=is_past | is_current)


@triton.jit
@no_type_check
def _quantize_kernel(x, out, scales, row_stride, LIMIT: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    value = tl.load(x + row * row_stride + d, mask=d < DIM, other=0.0).to(tl.float32)
    quantized, scale = _quantized(value, LIMIT)
    tl.store(scales + row, scale)
    tl.store(out + row * DIM + d, quantized.to(out.dtype.element_ty), mask=d < DIM)


@triton.jit
@no_type_check
def _temporal_sum_kernel(
    y, center, earlier, later, out, rows_per_clip, later_per_clip, DIM: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    mask = d < DIM
    total = tl.load(y + row * DIM + d, mask=mask, other=0.0).to(tl.float32)
    total += tl.load(center + row * DIM + d, mask=mask, other=0.0).to(tl.float32)
    total += tl.load(earlier + row * DIM + d, mask=mask, other=0.0).to(tl.float32)
    clip, place = row // rows_per_clip, row % rows_per_clip
    has_later = mask & (place < later_per_clip)
    total += tl.load(later + (clip * later_per_clip + place) * DIM + d, mask=has_later, other=0.0).to(
        tl.float32
    )
    tl.store(out + row * DIM + d, total.to(out.dtype.element_ty), mask=mask)


def temporal_sum(y: Tensor, center: Tensor, earlier: Tensor, later: Tensor) -> Tensor:
    """See `vivace.ops.temporal_sum`; one chunk."""
    batch, frames, tokens, dim = y.shape
    y, center, earlier, later = (x.contiguous() for x in (y, center, earlier, later))
    out = torch.empty_like(y)
    _temporal_sum_kernel[(batch * frames * tokens,)](
        y, center, earlier, later, out, frames * tokens, later.shape[1] * tokens,
        DIM=dim, BLOCK=triton.next_power_of_2(dim), num_warps=_warps(dim),
    )  # fmt: skip
    return out


class ResidualNorm(NamedTuple):
    """A sum, its norm, and the latter of the two that was asked for as e4m3 rows with one factor each."""

    summed: Tensor
    normed: Tensor
    rounded: tuple[Tensor, Tensor] | None


def residual_norm(
    x: Tensor,
    added: Tensor | None,
    gate: Tensor | None,
    shift: Tensor | None,
    scale: Tensor | None,
    eps: float,
    *,
    rounds: bool = False,
) -> ResidualNorm:
    """x + gate * added, and its layer norm with scale and shift where both are given."""
    x = x.contiguous()
    dim = x.shape[-1]
    num_rows = x.numel() // dim
    summed = x if added is None else torch.empty_like(x)
    normed = torch.empty_like(x) if shift is not None else x
    rounded = None
    if rounds:
        rounded = (
            torch.empty(x.shape, device=x.device, dtype=torch.float8_e4m3fn),
            torch.empty(*x.shape[:-1], 1, device=x.device),
        )
    given = [vector for vector in (gate, shift, scale) if vector is not None]
    vectors = [vector if vector.is_contiguous() else vector.contiguous() for vector in given]
    rows_per_modulation = num_rows // (vectors[0].numel() // dim) if vectors else num_rows
    gate_vector = vectors.pop(0) if gate is not None else x
    shift_vector, scale_vector = vectors if vectors else (x, x)
    _norm_kernel[(num_rows,)](
        x, x if added is None else added.contiguous(), gate_vector, shift_vector, scale_vector, summed,
        normed, *(rounded or (x, x)), rows_per_modulation, dim, eps, HAS_ADDED=added is not None,
        HAS_GATE=gate is not None, HAS_NORM=shift is not None, HAS_ROUNDED=rounds, LIMIT=FP8_MAX, DIM=dim,
        BLOCK=triton.next_power_of_2(dim), num_warps=_warps(dim),
    )  # fmt: skip
    return ResidualNorm(summed, normed, rounded)


def rms_rotate(
    x: Tensor, weight: Tensor | None, table: Tensor | None, width: int, eps: float, out: Tensor | None = None
) -> Tensor:
    """RMS norm of rows (b n dim) if there is a weight, rotation of heads of `width` if there is a table.

    `table` is complex (n, width / 2). `out` may be a slice along n of a larger buffer.
    """
    batch, rows, dim = x.shape
    if x.stride(2) != 1 or (batch > 1 and x.stride(0) != x.stride(1) * rows):
        x = x.contiguous()
    if out is None:
        out = torch.empty(batch, rows, dim, device=x.device, dtype=x.dtype)
    turns = x if table is None else torch.view_as_real(table.contiguous())
    _rms_rotate_kernel[(batch * rows,)](
        x, x if weight is None else weight, turns, out, rows, x.stride(1), out.stride(1), rows, out.stride(0),
        rows, eps, HAS_NORM=weight is not None, HAS_TABLE=table is not None, WIDTH=width, DIM=dim,
        BLOCK=triton.next_power_of_2(dim), num_warps=_warps(dim),
    )  # fmt: skip
    return out


def joined_heads(
    past: tuple[Tensor, Tensor], table: Tensor, current: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """See `vivace.ops.rotary.joined_rotated`; stored token by token, all heads side by side."""
    batch, heads, frames, tokens, width = past[0].shape
    given = [x.flatten(2, 3) for x in (*past, *current)]
    given = [x if x.stride(3) == 1 else x.contiguous() for x in given]
    kept, rows = frames * tokens, (frames + current[0].shape[2]) * tokens
    keys, values = (torch.empty(batch, rows, heads, width, device=x.device, dtype=x.dtype) for x in current)
    block_rows = 32
    _join_kernel[(batch * heads, triton.cdiv(rows, block_rows))](
        *given, torch.view_as_real(table.contiguous()), keys, values, heads, kept, rows,
        *(stride for x in given for stride in x.stride()[:3]),
        WIDTH=width, BLOCK=triton.next_power_of_2(width), ROWS=block_rows, num_warps=4,
    )  # fmt: skip
    return _by_head(keys, tokens), _by_head(values, tokens)


def _by_head(x: Tensor, tokens: int) -> Tensor:
    return x.unflatten(1, (-1, tokens)).permute(0, 3, 1, 2, 4)


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (n dim) as e4m3 and one fp32 factor a row."""
    if x.stride(1) != 1:
        x = x.contiguous()
    num_rows, dim = x.shape
    out = torch.empty(num_rows, dim, device=x.device, dtype=torch.float8_e4m3fn)
    scales = torch.empty(num_rows, 1, device=x.device)
    _quantize_kernel[(num_rows,)](
        x, out, scales, x.stride(0), FP8_MAX, dim, triton.next_power_of_2(dim), num_warps=_warps(dim)
    )
    return out, scales


def _warps(dim: int) -> int:
    return 4 if dim <= 1024 else 8
