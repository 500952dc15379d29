# pyright: reportCallIssue=false, reportArgumentType=false, reportMissingImports=false
"""Fused forward of a gated-delta layer: key norms, frame summaries, scan over frames, output.

Four launches for any number of frames: (1) the inverse norm of every key and the root of every write
strength, under which each outer product of the rule is a plain product of two vectors; (2) per frame and head
the matrices I - P, A and their denominators, from keys that are normed and rotated on the way to the tensor
cores; (3) the fp32 scan, forward from the stream's state and backward inside each chunk, as independent
programs; (4) one read of both directions, divided, gated and written in the layout of the next linear layer.

Source: SANA-Streaming, Algorithm 1 (phases A, B and C).
Deviation: queries are not normed. Their inverse norm stands above and below the fraction, so that it is gone
but for the 1e-8 below, which it multiplies.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from vivace.ops.frame_gdn.projections import NORM_EPS, GdnProjections
from vivace.ops.triton_silu import silu

EPS = 1e-8


class Tiles(NamedTuple):
    """Launch choices of the summaries, the scan and the output; `is_fast` is SiLU by the hardware's tanh."""

    summary_tokens: int = 128
    summary_warps: int = 8
    summary_stages: int = 1
    state_rows: int = 32
    scan_warps: int = 4
    scan_stages: int = 2
    output_tokens: int = 64
    output_tiles: int = 4
    output_stages: int = 1
    output_warps: int = 4
    is_fast: bool = True


DEFAULT_TILES = Tiles()
# fp32 products without tensor cores keep whole tiles in registers
FP32_TILES = Tiles(summary_tokens=16, summary_warps=8, output_tokens=32, is_fast=False)


@triton.jit
@no_type_check
def _weight_kernel(
    key,
    write_logit,
    weights,
    row_stride,
    write_stride,
    eps,
    HEADS: tl.constexpr,
    BLOCK_H: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Per head and token: the root of the write strength, and the same times the key's inverse norm."""
    row = tl.program_id(0).to(tl.int64)
    rows = tl.num_programs(0)
    d = tl.arange(0, BLOCK)
    h = tl.arange(0, BLOCK_H)
    k = tl.load(key + row * row_stride + d, mask=d < DIM, other=0.0).to(tl.float32)
    logit = tl.load(write_logit + row * write_stride + h, mask=h < HEADS, other=0.0).to(tl.float32)
    root = tl.sqrt(tl.sigmoid(logit))
    inverse = tl.rsqrt(tl.sum(k * k, axis=0) / DIM + eps)
    weights += row
    tl.store(weights + h * rows, root, mask=h < HEADS)
    tl.store(weights + (HEADS + h) * rows, root * inverse, mask=h < HEADS)


@triton.jit
@no_type_check
def _rotated(x, table, rows, d, mask, D: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr):
    # cosine and sine stand side by side, as the pairs that they turn do
    pairs = tl.load(table + rows[:, None] * D + d[None, :], mask=mask, other=0.0)
    cos, sin = tl.split(tl.reshape(pairs, (BLOCK_S, BLOCK_D // 2, 2)))
    even, odd = tl.split(tl.reshape(x, (BLOCK_S, BLOCK_D // 2, 2)))
    return tl.reshape(tl.join(even * cos - odd * sin, even * sin + odd * cos), (BLOCK_S, BLOCK_D))


@triton.jit
@no_type_check
def _store_transition(target, product, square, plane, SPLIT: tl.constexpr):
    """A matrix, or two bf16 numbers for each of its own: they hold 16 bits of it and suit tensor cores."""
    if SPLIT:
        high = product.to(target.dtype.element_ty)
        tl.store(target + square, high)
        tl.store(target + plane + square, (product - high.to(tl.float32)).to(target.dtype.element_ty))
    else:
        tl.store(target + square, product)


@triton.jit
@no_type_check
def _summary_kernel(
    key,
    value,
    weights,
    key_scale,
    table,
    decay_logit,
    log_rate,
    rate_bias,
    transitions,
    update,
    norm_update,
    decay,
    num_frames,
    num_rows,
    row_stride,
    decay_stride,
    factor,
    HEADS: tl.constexpr,
    TOKENS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A frame's sums of outer products: transition and update, or the same for the denominator."""
    summary = tl.program_id(0).to(tl.int64)
    frame, head = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS
    first = frame.to(tl.int64) * TOKENS
    d = tl.arange(0, BLOCK_D)
    area = BLOCK_D * BLOCK_D
    square = d[:, None] * BLOCK_D + d[None, :]
    plane = tl.num_programs(0).to(tl.int64) * area
    scale = tl.load(key_scale + head * D + d, mask=d < D, other=0.0).to(tl.float32)
    key += first * row_stride + head * D
    weights += head * num_rows + first
    if tl.program_id(1) == 0:
        value += first * row_stride + head * D
        table += (frame % num_frames).to(tl.int64) * TOKENS * D
        moved = tl.zeros((BLOCK_D, BLOCK_D), dtype=tl.float32)
        added = tl.zeros((BLOCK_D, BLOCK_D), dtype=tl.float32)
        for start in tl.range(0, TOKENS, BLOCK_S, num_stages=STAGES):
            rows = start + tl.arange(0, BLOCK_S)
            mask = (rows < TOKENS)[:, None] & (d < D)[None, :]
            root = tl.load(weights + rows, mask=rows < TOKENS, other=0.0)
            weight = tl.load(weights + HEADS * num_rows + rows, mask=rows < TOKENS, other=0.0)
            place = rows[:, None] * row_stride + d[None, :]
            k = tl.load(key + place, mask=mask, other=0.0).to(tl.float32)
            k = tl.maximum(k * scale[None, :], 0.0) * weight[:, None]
            k = _rotated(k, table, rows, d, mask, D, BLOCK_S, BLOCK_D).to(value.dtype.element_ty)
            v = tl.load(value + place, mask=mask, other=0.0).to(tl.float32) * root[:, None]
            v = v.to(value.dtype.element_ty)
            moved = tl.dot(tl.trans(k), k, moved, input_precision=PRECISION)
            added = tl.dot(tl.trans(v), k, added, input_precision=PRECISION)
        _store_transition(transitions + summary * area, moved * (factor * factor), square, plane, SPLIT)
        tl.store(update + summary * area + square, added * factor)
    else:
        moved = tl.zeros((BLOCK_D, BLOCK_D), dtype=tl.float32)
        written = tl.zeros((BLOCK_D,), dtype=tl.float32)
        logits = tl.zeros((BLOCK_S,), dtype=tl.float32)
        decay_logit += first * decay_stride + head
        for start in tl.range(0, TOKENS, BLOCK_S, num_stages=STAGES):
            rows = start + tl.arange(0, BLOCK_S)
            mask = (rows < TOKENS)[:, None] & (d < D)[None, :]
            root = tl.load(weights + rows, mask=rows < TOKENS, other=0.0)
            weight = tl.load(weights + HEADS * num_rows + rows, mask=rows < TOKENS, other=0.0)
            k = tl.load(key + rows[:, None] * row_stride + d[None, :], mask=mask, other=0.0).to(tl.float32)
            k = tl.maximum(k * scale[None, :], 0.0) * weight[:, None]
            written += tl.sum(k * root[:, None], axis=0)
            k = k.to(value.dtype.element_ty)
            moved = tl.dot(tl.trans(k), k, moved, input_precision=PRECISION)
            logit = tl.load(decay_logit + rows * decay_stride, mask=rows < TOKENS, other=0.0)
            logits += logit.to(tl.float32)
        parts = 2 if SPLIT else 1
        transitions += parts * plane + summary * area
        _store_transition(transitions, moved * (factor * factor), square, plane, SPLIT)
        tl.store(norm_update + summary * BLOCK_D + d, written * factor)
        rate = tl.sum(logits, axis=0) / TOKENS + tl.load(rate_bias + head).to(tl.float32)
        # softplus without overflow
        rate = tl.maximum(rate, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(rate)))
        tl.store(decay + summary, tl.exp(-tl.exp(tl.load(log_rate + head).to(tl.float32)) * rate))


@triton.jit
@no_type_check
def _scan_kernel(
    transitions,
    update,
    norm_update,
    decay,
    is_chunk_end,
    numerator,
    denominator,
    past,
    past_norm,
    last_numerator,
    last_denominator,
    num_frames,
    HAS_STATE: tl.constexpr,
    SPLIT: tl.constexpr,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ROWS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """One tile of state rows, or the denominator as a tile of one row, through all frames in one direction.

    `past` holds two planes: the state of the frame and all before it, and that of the later frames of its
    chunk.
    """
    batch, head = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS
    is_norm = tl.program_id(1) * ROWS >= BLOCK_D
    is_backward = tl.program_id(2)
    r = tl.where(is_norm, 0, tl.program_id(1) * ROWS) + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK_D)
    square = d[:, None] * BLOCK_D + d[None, :]
    area = BLOCK_D * BLOCK_D
    first = (batch * num_frames).to(tl.int64)
    planes = tl.num_programs(0).to(tl.int64) * num_frames
    rows, columns = r[:, None] * BLOCK_D + d[None, :], (r * 0)[:, None] + d[None, :]
    # masks choose between matrix and vector, so that both run the same code
    of_matrix = (r >= 0)[:, None] & (d >= 0)[None, :] & (is_norm == 0)
    of_vector = (r == 0)[:, None] & (d >= 0)[None, :] & is_norm
    inside = of_matrix & (r < D)[:, None] & (d < D)[None, :]
    vector_inside = of_vector & (d < D)[None, :]
    outer = tl.program_id(0).to(tl.int64) * D * D + r[:, None] * D + d[None, :]
    corner = tl.program_id(0).to(tl.int64) * D + columns
    state = tl.zeros((ROWS, BLOCK_D), dtype=tl.float32)
    if HAS_STATE:
        state += tl.load(numerator + outer, mask=inside & (is_backward == 0), other=0.0)
        state += tl.load(denominator + corner, mask=vector_inside & (is_backward == 0), other=0.0)
    parts = 2 if SPLIT else 1
    transitions += tl.where(is_norm, parts * planes * area, 0)
    for step in tl.range(0, num_frames, num_stages=STAGES):
        # backward, a frame takes in the one after it, and nothing where its chunk ends
        frame = step + is_backward * (num_frames - 1 - 2 * step)
        source = tl.minimum(frame + is_backward, num_frames - 1)
        keep = 1.0 - is_backward * tl.load(is_chunk_end + frame)
        index = (first + source) * HEADS + head
        u = tl.load(update + index * area + rows, mask=of_matrix, other=0.0)
        u += tl.load(norm_update + index * BLOCK_D + columns, mask=of_vector, other=0.0)
        gamma = tl.load(decay + index)
        m = tl.load(transitions + index * area + square)
        if SPLIT:
            high = state.to(transitions.dtype.element_ty)
            low = (state - high.to(tl.float32)).to(transitions.dtype.element_ty)
            moved = tl.dot(low, m, tl.dot(high, m))
            m = tl.load(transitions + (planes + index) * area + square)
            moved = tl.dot(high, m, moved)
        else:
            moved = tl.dot(state, m, input_precision="ieee")
        state = keep * (gamma * (state - moved) + u)
        place = is_backward * planes + (first + frame) * HEADS + head
        tl.store(past + place * area + rows, state.to(past.dtype.element_ty), mask=of_matrix)
        tl.store(past_norm + place * BLOCK_D + columns, state, mask=of_vector)
    tl.store(last_numerator + outer, state, mask=inside & (is_backward == 0))
    tl.store(last_denominator + corner, state, mask=vector_inside & (is_backward == 0))


@triton.jit
@no_type_check
def _output_kernel(
    query,
    query_scale,
    table,
    gate,
    past,
    past_norm,
    out,
    row_stride,
    gate_stride,
    num_frames,
    tiles_per_program,
    eps,
    HEADS: tl.constexpr,
    TOKENS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
    STAGES: tl.constexpr,
    FAST: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Some tiles of a frame's tokens, one after the other, read the head's state."""
    frame, head = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS
    first = frame.to(tl.int64) * TOKENS
    plane = tl.num_programs(0).to(tl.int64)
    place = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    query += first * row_stride + head * D
    gate += first * gate_stride + head * D
    out += first * (HEADS * D) + head * D
    table += (frame % num_frames).to(tl.int64) * TOKENS * D
    # a read is linear in the state, so one read of the sum serves both directions
    square = d[:, None] * BLOCK_D + d[None, :]
    area = BLOCK_D * BLOCK_D
    state = tl.load(past + place * area + square).to(tl.float32)
    state += tl.load(past + (plane + place) * area + square).to(tl.float32)
    state = tl.trans(state.to(past.dtype.element_ty))
    norm = tl.load(past_norm + place * BLOCK_D + d) + tl.load(past_norm + (plane + place) * BLOCK_D + d)
    scale = tl.load(query_scale + head * D + d, mask=d < D, other=0.0).to(tl.float32)
    start = tl.program_id(1) * tiles_per_program * BLOCK_S
    stop = tl.minimum(start + tiles_per_program * BLOCK_S, TOKENS)
    for tile in tl.range(start, stop, BLOCK_S, num_stages=STAGES):
        rows = tile + tl.arange(0, BLOCK_S)
        mask = (rows < TOKENS)[:, None] & (d < D)[None, :]
        q = tl.load(query + rows[:, None] * row_stride + d[None, :], mask=mask, other=0.0).to(tl.float32)
        q = tl.maximum(q * scale[None, :], 0.0)
        inverse = 1.0 / (tl.sum(q * norm[None, :], axis=1) + eps)
        q = _rotated(q, table, rows, d, mask, D, BLOCK_S, BLOCK_D).to(past.dtype.element_ty)
        read = tl.dot(q, state, input_precision=PRECISION)
        offset = rows[:, None] * gate_stride + d[None, :]
        opening = tl.load(gate + offset, mask=mask, other=0.0).to(tl.float32)
        read *= inverse[:, None] * silu(opening, FAST)
        offset = rows[:, None] * (HEADS * D) + d[None, :]
        tl.store(out + offset, read.to(out.dtype.element_ty), mask=mask)


@lru_cache(maxsize=64)
def _chunk_ends(chunks: tuple[int, ...], device: torch.device) -> Tensor:
    flags = [float(index + 1 == size) for size in chunks for index in range(size)]
    return torch.tensor(flags, device=device)


def forward(
    given: GdnProjections,
    chunks: Sequence[int],
    numerator: Tensor | None,
    denominator: Tensor | None,
    tiles: Tiles | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gated tokens (b t s dim), the last numerator and denominator."""
    given = _evened(given)
    b, frames, tokens, dim = given.query.shape
    heads = given.write_logit.shape[-1]
    width = dim // heads
    block = max(16, triton.next_power_of_2(width))
    device = given.query.device
    is_half = given.query.dtype in (torch.bfloat16, torch.float16)
    tiles = tiles or (DEFAULT_TILES if is_half else FP32_TILES)
    narrow = given.query.dtype if is_half else torch.float32
    precision = "tf32" if is_half else "ieee"
    stride = given.query.stride(2)
    table = torch.view_as_real(given.table)

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, device=device, dtype=dtype)

    num_rows = b * frames * tokens
    weights = empty(2, heads, num_rows)
    _weight_kernel[(num_rows,)](
        given.key, given.write_logit, weights, stride, given.write_logit.stride(2), NORM_EPS, HEADS=heads,
        BLOCK_H=triton.next_power_of_2(heads), DIM=dim, BLOCK=triton.next_power_of_2(dim), num_warps=4,
    )  # fmt: skip
    count = b * frames * heads
    transitions = empty(4 if is_half else 2, count, block, block, dtype=narrow)
    update, vectors, decay = empty(count, block, block), empty(count, block), empty(count)
    constants = {"HEADS": heads, "D": width, "BLOCK_D": block}
    _summary_kernel[(count, 2)](
        given.key, given.value, weights, given.key_scale, table, given.decay_logit, given.log_rate,
        given.rate_bias, transitions, update, vectors, decay, frames, num_rows, stride,
        given.decay_logit.stride(2), (width * tokens) ** -0.5,
        TOKENS=tokens, BLOCK_S=tiles.summary_tokens, STAGES=tiles.summary_stages, SPLIT=is_half,
        PRECISION=precision, num_warps=tiles.summary_warps, **constants,
    )  # fmt: skip
    past = empty(2, count, block, block, dtype=narrow)
    past_norm = empty(2, count, block)
    last, last_norm = empty(b, heads, width, width), empty(b, heads, width)
    has_state = numerator is not None and denominator is not None
    start = numerator.contiguous() if numerator is not None else last
    start_norm = denominator.contiguous() if denominator is not None else last_norm
    state_rows = min(tiles.state_rows, block)
    _scan_kernel[(b * heads, block // state_rows + 1, 2)](
        transitions, update, vectors, decay, _chunk_ends(tuple(chunks), device), start, start_norm,
        past, past_norm, last, last_norm, frames, HAS_STATE=has_state, SPLIT=is_half, ROWS=state_rows,
        STAGES=tiles.scan_stages, num_warps=tiles.scan_warps, **constants,
    )  # fmt: skip
    out = empty(b, frames, tokens, dim, dtype=given.value.dtype)
    num_tiles = triton.cdiv(tokens, tiles.output_tokens)
    _output_kernel[(count, triton.cdiv(num_tiles, tiles.output_tiles))](
        given.query, given.query_scale, table, given.output_logit, past, past_norm, out,
        stride, given.output_logit.stride(2), frames, tiles.output_tiles, EPS,
        TOKENS=tokens, BLOCK_S=tiles.output_tokens, STAGES=tiles.output_stages, FAST=tiles.is_fast,
        PRECISION=precision, num_warps=tiles.output_warps, **constants,
    )  # fmt: skip
    return out, last, last_norm


def _evened(given: GdnProjections) -> GdnProjections:
    """Token strides that the kernels can follow: one stride from token to token, the same for q, k and v."""

    def is_even(x: Tensor) -> bool:
        return x.stride(3) == 1 and x.stride(1) == x.stride(2) * x.shape[2] and _follows(x)

    def _follows(x: Tensor) -> bool:
        return x.shape[0] == 1 or x.stride(0) == x.stride(1) * x.shape[1]

    query, key, value = given.query, given.key, given.value
    strides = {x.stride(2) for x in (query, key, value)}
    if len(strides) > 1 or not all(is_even(x) for x in (query, key, value)):
        query, key, value = (x.contiguous() for x in (query, key, value))
    rest = {
        name: tensor if is_even(tensor) else tensor.contiguous()
        for name, tensor in (
            ("write_logit", given.write_logit),
            ("decay_logit", given.decay_logit),
            ("output_logit", given.output_logit),
        )
    }
    return given._replace(query=query, key=key, value=value, table=given.table.contiguous(), **rest)
