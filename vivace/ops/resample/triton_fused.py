# pyright: reportCallIssue=false, reportArgumentType=false
"""Triton forms: every value is read once and written once, sums are formed in fp32; inference only."""

from math import prod
from typing import no_type_check

import triton
import triton.language as tl
from torch import Tensor

from vivace.ops.resample.naive import Bias, Resampled, Stride, Total, Update

# values that one program makes: enough to fill a warp's loads, few enough to stay in registers
TILE = 4096


@triton.jit
@no_type_check
def _neighbours(
    x,
    corner,
    exists,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    FRAMES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The input positions that become one, read as they lie: (positions, channels, neighbours)."""
    neighbours: tl.constexpr = FRAMES * ROWS * COLUMNS
    r = tl.arange(0, neighbours)
    shift = (r // (ROWS * COLUMNS) * (HEIGHT * ROWS) + r // COLUMNS % ROWS) * (WIDTH * COLUMNS) + r % COLUMNS
    c = tl.arange(0, BLOCK_C)
    at = (corner[:, None] + shift[None, :]).to(tl.int64)[:, :, None] * CHANNELS + c[None, None, :]
    mask = exists[:, None, None] & (r >= 0)[None, :, None] & (c < CHANNELS)[None, None, :]
    return tl.permute(tl.load(x + at, mask=mask, other=0.0), (0, 2, 1))


@triton.jit
@no_type_check
def _shrink_kernel(
    update,
    bias,
    total,
    out,
    num_positions,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    FRAMES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Some output positions with all their channels; HEIGHT and WIDTH are those of the output.

    CHANNELS and BLOCK_C count the channels of `update`.
    """
    neighbours: tl.constexpr = FRAMES * ROWS * COLUMNS
    place = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    exists = place < num_positions
    row_index = place // WIDTH
    column = place - row_index * WIDTH
    frame = row_index // HEIGHT
    row = row_index - frame * HEIGHT
    # streams follow each other as frames do
    corner = ((frame * FRAMES) * (HEIGHT * ROWS) + row * ROWS) * (WIDTH * COLUMNS) + column * COLUMNS
    y = _neighbours(update, corner, exists, HEIGHT, WIDTH, FRAMES, ROWS, COLUMNS, CHANNELS, BLOCK_P, BLOCK_C)
    y = tl.reshape(y, (BLOCK_P, BLOCK_C * neighbours)).to(tl.float32)
    o = tl.arange(0, BLOCK_C * neighbours)
    inside = o < CHANNELS * neighbours
    y += tl.load(bias + o // neighbours, mask=inside, other=0.0).to(tl.float32)[None, :]
    mean = _neighbours(
        total,
        corner,
        exists,
        HEIGHT,
        WIDTH,
        FRAMES,
        ROWS,
        COLUMNS,
        CHANNELS * GROUP,
        BLOCK_P,
        BLOCK_C * GROUP,
    )
    mean = tl.reshape(mean, (BLOCK_P, BLOCK_C * neighbours, GROUP)).to(tl.float32)
    y += tl.sum(mean, axis=2) / GROUP
    at = place.to(tl.int64)[:, None] * (CHANNELS * neighbours) + o[None, :]
    tl.store(out + at, y.to(out.dtype.element_ty), mask=exists[:, None] & inside[None, :])


@triton.jit
@no_type_check
def _grow_kernel(
    update,
    bias,
    total,
    out,
    num_positions,
    num_frames,
    dropped,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    FRAMES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    TOTAL_CHANNELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Some input positions and output channels, all neighbours; HEIGHT and WIDTH are those of the input."""
    neighbours: tl.constexpr = FRAMES * ROWS * COLUMNS
    place = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    # channels as they are read: of one output channel the values of all neighbours, then of the next one
    s = tl.program_id(1) * (BLOCK_C * neighbours) + tl.arange(0, BLOCK_C * neighbours)
    inside = s < CHANNELS * neighbours
    mask = (place < num_positions)[:, None] & inside[None, :]
    at = place.to(tl.int64)[:, None] * (CHANNELS * neighbours) + s[None, :]
    y = tl.load(update + at, mask=mask, other=0.0).to(tl.float32)
    y += tl.load(bias + s, mask=inside, other=0.0).to(tl.float32)[None, :]
    at = place.to(tl.int64)[:, None] * TOTAL_CHANNELS + (s % TOTAL_CHANNELS)[None, :]
    y += tl.load(total + at, mask=mask, other=0.0).to(tl.float32)
    y = tl.permute(tl.reshape(y, (BLOCK_P, BLOCK_C, neighbours)), (0, 2, 1))
    row_index = place // WIDTH
    column = place - row_index * WIDTH
    frame_index = row_index // HEIGHT
    row = row_index - frame_index * HEIGHT
    stream = frame_index // num_frames
    frame = frame_index - stream * num_frames
    r = tl.arange(0, neighbours)
    frame = (frame * FRAMES - dropped)[:, None] + (r // (ROWS * COLUMNS))[None, :]
    row = (row * ROWS)[:, None] + (r // COLUMNS % ROWS)[None, :]
    column = (column * COLUMNS)[:, None] + (r % COLUMNS)[None, :]
    at = (stream * (num_frames * FRAMES - dropped))[:, None] + frame
    at = (at * (HEIGHT * ROWS) + row) * (WIDTH * COLUMNS) + column
    o = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask = ((place < num_positions)[:, None] & (frame >= 0))[:, :, None] & (o < CHANNELS)[None, None, :]
    at = at.to(tl.int64)[:, :, None] * CHANNELS + o[None, None, :]
    tl.store(out + at, y.to(out.dtype.element_ty), mask=mask)


def shrunk(update: Update, bias: Bias, total: Total, stride: Stride) -> Resampled:
    """See `naive.shrunk`."""
    update, total = _channels_last(update), _channels_last(total)
    streams, frames, rows, columns, width = update.shape
    channels = width * prod(stride)
    size = frames // stride[0], rows // stride[1], columns // stride[2]
    out = update.new_empty(streams, *size, channels)
    group = total.shape[-1] // width
    block_channels = triton.next_power_of_2(width)
    block_positions = max(1, TILE // (block_channels * group * prod(stride)))
    num_positions = streams * prod(size)
    _shrink_kernel[(triton.cdiv(num_positions, block_positions),)](
        update, bias, total, out, num_positions, HEIGHT=size[1], WIDTH=size[2], FRAMES=stride[0],
        ROWS=stride[1], COLUMNS=stride[2], CHANNELS=width, GROUP=group, BLOCK_P=block_positions,
        BLOCK_C=block_channels, num_warps=4 if block_channels * group * prod(stride) <= TILE else 8,
    )  # fmt: skip
    return out.movedim(-1, 1)


def grown(update: Update, bias: Bias, total: Total, stride: Stride, *, num_dropped: int) -> Resampled:
    """See `naive.grown`."""
    update, total = _channels_last(update), _channels_last(total)
    streams, frames, rows, columns, width = update.shape
    neighbours = prod(stride)
    channels = width // neighbours
    size = frames * stride[0] - num_dropped, rows * stride[1], columns * stride[2]
    out = update.new_empty(streams, *size, channels)
    block_channels = min(64, triton.next_power_of_2(channels))
    block_positions = max(1, TILE // (block_channels * neighbours))
    num_positions = streams * frames * rows * columns
    grid = triton.cdiv(num_positions, block_positions), triton.cdiv(channels, block_channels)
    _grow_kernel[grid](
        update, bias, total, out, num_positions, frames, num_dropped, HEIGHT=rows, WIDTH=columns,
        FRAMES=stride[0], ROWS=stride[1], COLUMNS=stride[2], CHANNELS=channels,
        TOTAL_CHANNELS=total.shape[-1], BLOCK_P=block_positions, BLOCK_C=block_channels, num_warps=4,
    )  # fmt: skip
    return out.movedim(-1, 1)


def _channels_last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous()
