# pyright: reportCallIssue=false, reportArgumentType=false, reportMissingImports=false
"""Fused forward of a gated-delta layer: inverse norms, frame summaries, scan over frames, output.

Four launches for any number of frames: (1) per token inverse norms and, for tensor cores to read, rotated
keys, keys and values under the root of the write strength, with which every outer product of the rule is a
plain product of two of the three; (2) per frame and head the matrices I - P, A and their denominators; (3)
the fp32 scan, forward from the stream's state and backward inside each chunk, as independent programs; (4)
the read of both directions at once, divided, gated and written in the layout of the next linear layer.

Source: SANA-Streaming, Algorithm 1 (phases A, B and C).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from vivace.ops.frame_gdn.projections import NORM_EPS, GdnProjections

EPS = 1e-8


class Tiles(NamedTuple):
    """Launch choices of the summaries, the scan and the output."""

    summary_tokens: int = 64
    summary_warps: int = 4
    summary_stages: int = 3
    state_rows: int = 32
    scan_warps: int = 8
    scan_stages: int = 1
    scan_precision: str = "tf32x3"
    output_tokens: int = 64
    output_warps: int = 4


DEFAULT_TILES = Tiles()
# fp32 products without tensor cores keep whole tiles in registers
FP32_TILES = Tiles(summary_tokens=16, output_tokens=32, scan_precision="ieee")


@triton.jit
@no_type_check
def _feature_kernel(
    query,
    key,
    value,
    key_scale,
    table,
    write_logit,
    query_rms,
    key_rms,
    features,
    row_stride,
    write_stride,
    rows,
    table_rows,
    eps,
    WIDTH: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Per token: rotated keys, keys and values, each times the root of the write strength; inverse norms."""
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    mask = d < DIM
    q = tl.load(query + row * row_stride + d, mask=mask, other=0.0).to(tl.float32)
    k = tl.load(key + row * row_stride + d, mask=mask, other=0.0).to(tl.float32)
    v = tl.load(value + row * row_stride + d, mask=mask, other=0.0).to(tl.float32)
    strength = tl.load(write_logit + row * write_stride + d // WIDTH, mask=mask, other=0.0).to(tl.float32)
    root = tl.sqrt(tl.sigmoid(strength))
    tl.store(query_rms + row, tl.rsqrt(tl.sum(q * q, axis=0) / DIM + eps))
    inverse = tl.rsqrt(tl.sum(k * k, axis=0) / DIM + eps)
    tl.store(key_rms + row, inverse)
    k = tl.maximum(k * inverse * tl.load(key_scale + d, mask=mask, other=0.0).to(tl.float32), 0.0) * root
    pairs = tl.load(table + (row % table_rows) * WIDTH + d % WIDTH, mask=mask, other=0.0)
    cos, sin = tl.split(tl.reshape(pairs, (BLOCK // 2, 2)))
    even, odd = tl.split(tl.reshape(k, (BLOCK // 2, 2)))
    turned = tl.reshape(tl.join(even * cos - odd * sin, even * sin + odd * cos), (BLOCK,))
    plane = rows.to(tl.int64) * DIM
    features += row * DIM + d
    tl.store(features, turned.to(features.dtype.element_ty), mask=mask)
    tl.store(features + plane, k.to(features.dtype.element_ty), mask=mask)
    tl.store(features + 2 * plane, (v * root).to(features.dtype.element_ty), mask=mask)


@triton.jit
@no_type_check
def _features(x, rms, scale, rows, d, row_stride, mask, TOKENS: tl.constexpr):
    raw = tl.load(x + rows[:, None] * row_stride + d[None, :], mask=mask, other=0.0).to(tl.float32)
    inverse = tl.load(rms + rows, mask=rows < TOKENS, other=0.0)
    return tl.maximum(raw * inverse[:, None] * scale[None, :], 0.0)


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
def _summary_kernel(
    features,
    write_logit,
    decay_logit,
    log_rate,
    rate_bias,
    matrices,
    norm_update,
    decay,
    rows,
    write_stride,
    decay_stride,
    factor,
    HEADS: tl.constexpr,
    TOKENS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
    STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A frame's sums of outer products: transition (0), update (1), denominator's transition (2)."""
    frame, head = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS
    kind = tl.program_id(1)
    first = frame.to(tl.int64) * TOKENS
    plane = rows.to(tl.int64) * HEADS * D
    d = tl.arange(0, BLOCK_D)
    features += first * (HEADS * D) + head * D
    # rotated keys with themselves, values with rotated keys, keys with themselves
    left = features + plane * ((kind == 1) * 2 + (kind == 2) * 1)
    right = features + plane * (kind == 2)
    product = tl.zeros((BLOCK_D, BLOCK_D), dtype=tl.float32)
    for start in tl.range(0, TOKENS, BLOCK_S, num_stages=STAGES):
        tokens = start + tl.arange(0, BLOCK_S)
        mask = (tokens < TOKENS)[:, None] & (d < D)[None, :]
        place = tokens[:, None] * (HEADS * D) + d[None, :]
        x = tl.load(left + place, mask=mask, other=0.0)
        y = tl.load(right + place, mask=mask, other=0.0)
        product = tl.dot(tl.trans(x), y, product, input_precision=PRECISION)
    summary = tl.program_id(0).to(tl.int64)
    area = BLOCK_D * BLOCK_D
    target = matrices + (kind * tl.num_programs(0).to(tl.int64) + summary) * area
    weight = tl.where(kind == 1, factor, factor * factor)
    tl.store(target + d[:, None] * BLOCK_D + d[None, :], product * weight)
    if kind == 2:
        written = tl.zeros((BLOCK_D,), dtype=tl.float32)
        logits = tl.zeros((BLOCK_S,), dtype=tl.float32)
        write_logit += first * write_stride + head
        decay_logit += first * decay_stride + head
        for start in tl.range(0, TOKENS, BLOCK_S, num_stages=STAGES):
            tokens = start + tl.arange(0, BLOCK_S)
            mask = (tokens < TOKENS)[:, None] & (d < D)[None, :]
            place = tokens[:, None] * (HEADS * D) + d[None, :]
            k = tl.load(right + place, mask=mask, other=0.0).to(tl.float32)
            logit = tl.load(write_logit + tokens * write_stride, mask=tokens < TOKENS, other=0.0)
            written += tl.sum(k * tl.sqrt(tl.sigmoid(logit.to(tl.float32)))[:, None], axis=0)
            logit = tl.load(decay_logit + tokens * decay_stride, mask=tokens < TOKENS, other=0.0)
            logits += logit.to(tl.float32)
        tl.store(norm_update + summary * BLOCK_D + d, written * factor)
        rate = tl.sum(logits, axis=0) / TOKENS + tl.load(rate_bias + head).to(tl.float32)
        # softplus without overflow
        rate = tl.maximum(rate, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(rate)))
        tl.store(decay + summary, tl.exp(-tl.exp(tl.load(log_rate + head).to(tl.float32)) * rate))


@triton.jit
@no_type_check
def _scan_kernel(
    transition,
    update,
    norm_transition,
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
    HEADS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One tile of state rows (or the denominator) through all frames, in one direction.

    `past` holds two planes: the state of the frame and all before it, and that of the later frames of its
    chunk.
    """
    batch, head = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS
    tile, is_backward = tl.program_id(1), tl.program_id(2)
    d = tl.arange(0, BLOCK_D)
    square = d[:, None] * BLOCK_D + d[None, :]
    area = BLOCK_D * BLOCK_D
    first = (batch * num_frames).to(tl.int64)
    planes = tl.num_programs(0).to(tl.int64) * num_frames
    if tile * ROWS < BLOCK_D:
        r = tile * ROWS + tl.arange(0, ROWS)
        rows = r[:, None] * BLOCK_D + d[None, :]
        inside = (r < D)[:, None] & (d < D)[None, :]
        outer = tl.program_id(0).to(tl.int64) * D * D + r[:, None] * D + d[None, :]
        state = tl.zeros((ROWS, BLOCK_D), dtype=tl.float32)
        if HAS_STATE:
            state = tl.load(numerator + outer, mask=inside & (is_backward == 0), other=0.0)
        for step in range(num_frames):
            # backward, a frame takes in the one after it, and nothing where its chunk ends
            frame = step + is_backward * (num_frames - 1 - 2 * step)
            source = tl.minimum(frame + is_backward, num_frames - 1)
            keep = 1.0 - is_backward * tl.load(is_chunk_end + frame)
            index = (first + source) * HEADS + head
            m = tl.load(transition + index * area + square)
            u = tl.load(update + index * area + rows)
            gamma = tl.load(decay + index)
            state = keep * (gamma * (state - tl.dot(state, m, input_precision=PRECISION)) + u)
            place = is_backward * planes + (first + frame) * HEADS + head
            tl.store(past + place * area + rows, state.to(past.dtype.element_ty))
        if is_backward == 0:
            tl.store(last_numerator + outer, state, mask=inside)
    else:
        norm = tl.zeros((BLOCK_D,), dtype=tl.float32)
        corner = tl.program_id(0).to(tl.int64) * D + d
        if HAS_STATE:
            norm = tl.load(denominator + corner, mask=(d < D) & (is_backward == 0), other=0.0)
        for step in range(num_frames):
            # backward, a frame takes in the one after it, and nothing where its chunk ends
            frame = step + is_backward * (num_frames - 1 - 2 * step)
            source = tl.minimum(frame + is_backward, num_frames - 1)
            keep = 1.0 - is_backward * tl.load(is_chunk_end + frame)
            index = (first + source) * HEADS + head
            # P is symmetric, so rows may stand for columns
            m = tl.load(norm_transition + index * area + square)
            moved = tl.sum(m * norm[None, :], axis=1)
            gamma = tl.load(decay + index)
            norm = keep * (gamma * (norm - moved) + tl.load(norm_update + index * BLOCK_D + d))
            place = is_backward * planes + (first + frame) * HEADS + head
            tl.store(past_norm + place * BLOCK_D + d, norm)
        if is_backward == 0:
            tl.store(last_denominator + corner, norm, mask=d < D)


@triton.jit
@no_type_check
def _output_kernel(
    query,
    query_rms,
    query_scale,
    table,
    gate,
    past,
    past_norm,
    out,
    row_stride,
    gate_stride,
    num_frames,
    eps,
    HEADS: tl.constexpr,
    TOKENS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    frame, head = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS
    first = frame.to(tl.int64) * TOKENS
    plane = tl.num_programs(0).to(tl.int64)
    place = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    rows = tl.program_id(1) * BLOCK_S + tl.arange(0, BLOCK_S)
    mask = (rows < TOKENS)[:, None] & (d < D)[None, :]
    query += first * row_stride + head * D
    table += (frame % num_frames).to(tl.int64) * TOKENS * D
    scale = tl.load(query_scale + head * D + d, mask=d < D, other=0.0).to(tl.float32)
    q = _features(query, query_rms + first, scale, rows, d, row_stride, mask, TOKENS)
    norm = tl.load(past_norm + place * BLOCK_D + d) + tl.load(past_norm + (plane + place) * BLOCK_D + d)
    divisor = tl.sum(q * norm[None, :], axis=1) + eps
    q = _rotated(q, table, rows, d, mask, D, BLOCK_S, BLOCK_D)
    square = d[:, None] * BLOCK_D + d[None, :]
    area = BLOCK_D * BLOCK_D
    q = q.to(past.dtype.element_ty)
    read = tl.dot(q, tl.trans(tl.load(past + place * area + square)), input_precision=PRECISION)
    later = tl.load(past + (plane + place) * area + square)
    read = tl.dot(q, tl.trans(later), read, input_precision=PRECISION) / divisor[:, None]
    offset = (first + rows)[:, None] * gate_stride + head * D + d[None, :]
    opening = tl.load(gate + offset, mask=mask, other=0.0).to(tl.float32)
    read = read * opening * tl.sigmoid(opening)
    offset = (first + rows)[:, None] * (HEADS * D) + head * D + d[None, :]
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
    rms, features = empty(2, num_rows), empty(3, num_rows, dim, dtype=given.query.dtype)
    _feature_kernel[(num_rows,)](
        given.query, given.key, given.value, given.key_scale, table, given.write_logit, rms[0], rms[1],
        features, stride, given.write_logit.stride(2), num_rows, frames * tokens, NORM_EPS,
        WIDTH=width, DIM=dim, BLOCK=triton.next_power_of_2(dim), num_warps=8,
    )  # fmt: skip
    count = b * frames * heads
    matrices, vectors, decay = empty(3, count, block, block), empty(count, block), empty(count)
    constants = {"HEADS": heads, "D": width, "BLOCK_D": block}
    _summary_kernel[(count, 3)](
        features, given.write_logit, given.decay_logit, given.log_rate, given.rate_bias,
        matrices, vectors, decay, num_rows,
        given.write_logit.stride(2), given.decay_logit.stride(2), (width * tokens) ** -0.5,
        TOKENS=tokens, BLOCK_S=tiles.summary_tokens, STAGES=tiles.summary_stages,
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
        matrices[0], matrices[1], matrices[2], vectors, decay, _chunk_ends(tuple(chunks), device),
        start, start_norm, past, past_norm, last, last_norm, frames, HAS_STATE=has_state, ROWS=state_rows,
        PRECISION=tiles.scan_precision, num_warps=tiles.scan_warps, num_stages=tiles.scan_stages, **constants,
    )  # fmt: skip
    out = empty(b, frames, tokens, dim, dtype=given.value.dtype)
    _output_kernel[(count, triton.cdiv(tokens, tiles.output_tokens))](
        given.query, rms[0], given.query_scale, table, given.output_logit, past, past_norm, out,
        stride, given.output_logit.stride(2), frames, EPS,
        TOKENS=tokens, BLOCK_S=tiles.output_tokens,
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
