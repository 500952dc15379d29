# pyright: reportCallIssue=false, reportArgumentType=false, reportMissingImports=false
"""Fused middle of the convolutional feed-forward: SiLU, 3x3 depthwise convolution, gated linear unit."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from vivace.ops.triton_silu import silu

# written out in the kernel
COLUMNS_PER_PROGRAM = 4


@triton.jit
@no_type_check
def _pixel(x, row, column, c, stride, ROWS, COLUMNS: tl.constexpr, WIDTH: tl.constexpr, FAST: tl.constexpr):
    """SiLU of the channels of one place; zero outside the picture."""
    mask = (c < WIDTH) & (column >= 0) & (column < COLUMNS) & (row < ROWS)
    return silu(tl.load(x + (row * COLUMNS + column) * stride + c, mask=mask, other=0.0).to(tl.float32), FAST)


@triton.jit
@no_type_check
def _weights(weight, c, mask):
    """The nine numbers of every channel's kernel, row by row."""
    weight += c * 9
    w0 = tl.load(weight, mask=mask, other=0.0).to(tl.float32)
    w1 = tl.load(weight + 1, mask=mask, other=0.0).to(tl.float32)
    w2 = tl.load(weight + 2, mask=mask, other=0.0).to(tl.float32)
    w3 = tl.load(weight + 3, mask=mask, other=0.0).to(tl.float32)
    w4 = tl.load(weight + 4, mask=mask, other=0.0).to(tl.float32)
    w5 = tl.load(weight + 5, mask=mask, other=0.0).to(tl.float32)
    w6 = tl.load(weight + 6, mask=mask, other=0.0).to(tl.float32)
    w7 = tl.load(weight + 7, mask=mask, other=0.0).to(tl.float32)
    w8 = tl.load(weight + 8, mask=mask, other=0.0).to(tl.float32)
    return w0, w1, w2, w3, w4, w5, w6, w7, w8


@triton.jit
@no_type_check
def _step(above, here, bias, left, middle, right, w0, w1, w2, w3, w4, w5, w6, w7, w8):
    """An input row completes the output row above it and begins the one below."""
    done = above + left * w6 + middle * w7 + right * w8
    above = here + left * w3 + middle * w4 + right * w5
    here = bias + left * w0 + middle * w1 + right * w2
    return done, above, here


@triton.jit
@no_type_check
def _glue(
    out, value, gate, row, column, c, first, COLUMNS: tl.constexpr, WIDTH: tl.constexpr, FAST: tl.constexpr
):
    mask = (c < WIDTH) & (column < COLUMNS) & (row >= first)
    glued = value * silu(gate, FAST)
    tl.store(out + (row * COLUMNS + column) * WIDTH + c, glued.to(out.dtype.element_ty), mask=mask)


@triton.jit
@no_type_check
def _depthwise_glu_kernel(
    x,
    weight,
    bias,
    out,
    stride,
    ROWS,
    rows_per_program,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_C: tl.constexpr,
    FAST: tl.constexpr,
):
    """Four output columns of some channels and picture rows.

    A thread keeps the weights of its channels and the unfinished sums of two output rows, and goes down the
    picture: an input row is read once, for six columns, and a SiLU serves three output columns.
    """
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    strips: tl.constexpr = (COLUMNS + 3) // 4
    column = (tl.program_id(1) % strips) * 4
    first = (tl.program_id(1) // strips) * rows_per_program
    frame = tl.program_id(2).to(tl.int64)
    x += frame * ROWS * COLUMNS * stride
    out += frame * ROWS * COLUMNS * WIDTH
    gates = x + WIDTH
    mask = c < WIDTH
    v = tl.load(bias + c, mask=mask, other=0.0).to(tl.float32)
    g = tl.load(bias + WIDTH + c, mask=mask, other=0.0).to(tl.float32)
    v0, v1, v2, v3, v4, v5, v6, v7, v8 = _weights(weight, c, mask)
    g0, g1, g2, g3, g4, g5, g6, g7, g8 = _weights(weight + 9 * WIDTH, c, mask)
    zero = tl.zeros((BLOCK_C,), dtype=tl.float32)
    # unfinished sums: of values (a, b, c, d) and gates (e, f, g, h), in the row above and in this one
    a_above, b_above, c_above, d_above = zero, zero, zero, zero
    e_above, f_above, g_above, h_above = zero, zero, zero, zero
    a_here, b_here, c_here, d_here = v, v, v, v
    e_here, f_here, g_here, h_here = g, g, g, g
    last = tl.minimum(first + rows_per_program, ROWS)
    for row in range(tl.maximum(first - 1, 0), last + 1):
        x0 = _pixel(x, row, column - 1, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        x1 = _pixel(x, row, column, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        x2 = _pixel(x, row, column + 1, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        x3 = _pixel(x, row, column + 2, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        x4 = _pixel(x, row, column + 3, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        x5 = _pixel(x, row, column + 4, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        y0 = _pixel(gates, row, column - 1, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        y1 = _pixel(gates, row, column, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        y2 = _pixel(gates, row, column + 1, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        y3 = _pixel(gates, row, column + 2, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        y4 = _pixel(gates, row, column + 3, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        y5 = _pixel(gates, row, column + 4, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        a, a_above, a_here = _step(a_above, a_here, v, x0, x1, x2, v0, v1, v2, v3, v4, v5, v6, v7, v8)
        b, b_above, b_here = _step(b_above, b_here, v, x1, x2, x3, v0, v1, v2, v3, v4, v5, v6, v7, v8)
        m, c_above, c_here = _step(c_above, c_here, v, x2, x3, x4, v0, v1, v2, v3, v4, v5, v6, v7, v8)
        d, d_above, d_here = _step(d_above, d_here, v, x3, x4, x5, v0, v1, v2, v3, v4, v5, v6, v7, v8)
        e, e_above, e_here = _step(e_above, e_here, g, y0, y1, y2, g0, g1, g2, g3, g4, g5, g6, g7, g8)
        f, f_above, f_here = _step(f_above, f_here, g, y1, y2, y3, g0, g1, g2, g3, g4, g5, g6, g7, g8)
        n, g_above, g_here = _step(g_above, g_here, g, y2, y3, y4, g0, g1, g2, g3, g4, g5, g6, g7, g8)
        h, h_above, h_here = _step(h_above, h_here, g, y3, y4, y5, g0, g1, g2, g3, g4, g5, g6, g7, g8)
        _glue(out, a, e, row - 1, column, c, first, COLUMNS, WIDTH, FAST)
        _glue(out, b, f, row - 1, column + 1, c, first, COLUMNS, WIDTH, FAST)
        _glue(out, m, n, row - 1, column + 2, c, first, COLUMNS, WIDTH, FAST)
        _glue(out, d, h, row - 1, column + 3, c, first, COLUMNS, WIDTH, FAST)


def silu_depthwise_glu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    rows: int,
    columns: int,
    *,
    fast: bool | None = None,
    block_channels: int = 64,
    warps: int = 1,
    row_parts: int = 2,
) -> Tensor:
    """(n, rows * columns, 2 width) to (n, rows * columns, width); see `vivace.ops.depthwise_glu`.

    `fast` computes SiLU by the hardware's tanh; None does so where bf16 or fp16 would hide its error.
    """
    if fast is None:
        fast = x.dtype != torch.float32
    x = x.contiguous()
    width = x.shape[-1] // 2
    out = torch.empty(*x.shape[:-1], width, device=x.device, dtype=x.dtype)
    rows_per_program = triton.cdiv(rows, row_parts)
    strips = triton.cdiv(columns, COLUMNS_PER_PROGRAM) * triton.cdiv(rows, rows_per_program)
    _depthwise_glu_kernel[(triton.cdiv(width, block_channels), strips, x.shape[0])](
        x, weight.contiguous(), bias, out, x.shape[-1], rows, rows_per_program, COLUMNS=columns, WIDTH=width,
        BLOCK_C=block_channels, FAST=fast, num_warps=warps,
    )  # fmt: skip
    return out
