"""Triton form of the convolution input: every value is read once and written once; inference only."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from vivace.ops.conv_input.inputs import ConvInput, Frames, Padding, Past
from vivace.ops.conv_input.naive import EPS
from vivace.ops.triton_silu import silu

# values that one program holds: enough to fill a warp's loads, few enough to stay in registers
TILE = 4096


@no_type_check
@triton.jit
def _lay_out(
    update,
    base,
    bias,
    tail,
    padded,
    total,
    next_tail,
    num_positions,
    num_frames,
    frames_out,
    num_channels: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    BEFORE: tl.constexpr,
    BORDER: tl.constexpr,
    HAS_BASE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_TAIL: tl.constexpr,
    KEEP_TOTAL: tl.constexpr,
    ACTIVATE: tl.constexpr,
    FAST: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_POSITIONS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """One program lays out some positions of the padded buffer with all their channels."""
    # divisors known to the compiler: dividing costs more than all else here
    width_out: tl.constexpr = WIDTH + 2 * BORDER
    height_out: tl.constexpr = HEIGHT + 2 * BORDER
    out = tl.program_id(0) * BLOCK_POSITIONS + tl.arange(0, BLOCK_POSITIONS)
    row_index = out // width_out
    column_out = out - row_index * width_out
    frame_index = row_index // height_out
    row_out = row_index - frame_index * height_out
    stream = frame_index // frames_out
    frame_out = frame_index - stream * frames_out
    # reflection without repeating the border
    column = tl.abs(column_out - BORDER)
    column = tl.where(column >= WIDTH, 2 * (WIDTH - 1) - column, column)
    row = tl.abs(row_out - BORDER)
    row = tl.where(row >= HEIGHT, 2 * (HEIGHT - 1) - row, row)
    frame = tl.minimum(tl.maximum(frame_out - BEFORE, 0), num_frames - 1)

    channel = tl.arange(0, BLOCK_CHANNELS)
    exists = (out < num_positions)[:, None] & (channel < num_channels)[None, :]
    is_inside = (column_out - BORDER == column) & (row_out - BORDER == row)
    at = ((stream * num_frames + frame) * HEIGHT + row) * WIDTH + column
    at = at.to(tl.int64)[:, None] * num_channels + channel[None, :]

    x = tl.load(update + at, mask=exists, other=0.0).to(tl.float32)
    if HAS_BIAS:
        x += tl.load(bias + channel, mask=channel < num_channels, other=0.0).to(tl.float32)[None, :]
    if HAS_BASE:
        x += tl.load(base + at, mask=exists, other=0.0).to(tl.float32)
    if KEEP_TOTAL:
        is_own = is_inside & (frame_out - BEFORE == frame)
        tl.store(total + at, x.to(total.dtype.element_ty), mask=exists & is_own[:, None])
    if ACTIVATE:
        # the values that later layers see, not the more exact ones
        x = x.to(padded.dtype.element_ty).to(tl.float32)
        mean_square = tl.sum(x * x, axis=1) / num_channels
        x = x * tl.rsqrt(mean_square + EPS)[:, None]
        x = silu(x, FAST)
    if HAS_TAIL:
        is_past = frame_out < BEFORE
        past = ((stream * BEFORE + frame_out) * HEIGHT + row) * WIDTH + column
        past = past.to(tl.int64)[:, None] * num_channels + channel[None, :]
        kept = tl.load(tail + past, mask=exists & is_past[:, None], other=0.0).to(tl.float32)
        x = tl.where(is_past[:, None], kept, x)
    y = x.to(padded.dtype.element_ty)
    tl.store(padded + out.to(tl.int64)[:, None] * num_channels + channel[None, :], y, mask=exists)
    back = frame_out - num_frames
    is_kept = is_inside & (back >= 0) & (back < BEFORE)
    later = ((stream * BEFORE + back) * HEIGHT + row) * WIDTH + column
    later = later.to(tl.int64)[:, None] * num_channels + channel[None, :]
    tl.store(next_tail + later, y, mask=exists & is_kept[:, None])


def conv_input(
    update: Frames,
    tail: Past | None,
    padding: Padding,
    *,
    base: Frames | None = None,
    bias: Tensor | None = None,
    activate: bool,
    keep_total: bool = True,
) -> ConvInput:
    """Same contract as `naive.conv_input`, without a backward pass; sums are formed in fp32."""
    streams, channels, num_frames, height, width = update.shape
    border = 1 if padding.reflect else 0
    size = (padding.before + num_frames + padding.after, height + 2 * border, width + 2 * border)
    rows = _channels_last(update)
    padded = rows.new_empty(streams, *size, channels)
    next_tail = rows.new_empty(streams, padding.before, height, width, channels)
    forms_total = keep_total and (base is not None or bias is not None)
    total = torch.empty_like(rows) if forms_total else rows
    is_half = rows.dtype in (torch.bfloat16, torch.float16)
    num_positions = streams * size[0] * size[1] * size[2]
    block_channels = triton.next_power_of_2(channels)
    block_positions = max(1, TILE // block_channels)
    _lay_out[(triton.cdiv(num_positions, block_positions),)](
        rows,
        # absent inputs are never read; any pointer stands for them
        rows if base is None else _channels_last(base),
        rows if bias is None else bias,
        rows if tail is None else _channels_last(tail),
        padded,
        total,
        next_tail,
        num_positions,
        num_frames,
        size[0],
        num_channels=channels,
        HEIGHT=height,
        WIDTH=width,
        BEFORE=padding.before,
        BORDER=border,
        HAS_BASE=base is not None,
        HAS_BIAS=bias is not None,
        HAS_TAIL=tail is not None,
        KEEP_TOTAL=forms_total,
        ACTIVATE=activate,
        FAST=is_half,
        EPS=EPS,
        BLOCK_POSITIONS=block_positions,
        BLOCK_CHANNELS=block_channels,
        num_warps=4 if block_channels * block_positions <= TILE else 8,  # pyright: ignore[reportCallIssue]
    )
    return ConvInput(
        padded.movedim(-1, 1), total.movedim(-1, 1) if keep_total else None, next_tail.movedim(-1, 1)
    )


def _channels_last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous()
