# pyright: reportCallIssue=false, reportArgumentType=false, reportMissingImports=false
"""Fused middle of the convolutional feed-forward: SiLU, 3x3 depthwise convolution, gated linear unit."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
@no_type_check
def _silu(x, FAST: tl.constexpr):
    if FAST:
        # one special-function operation instead of two; error 2^-11, below bf16 rounding
        half = x * 0.5
        turned = tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [half], dtype=tl.float32, is_pure=True, pack=1
        )
        return half + half * turned
    return x * tl.sigmoid(x)


@triton.jit
@no_type_check
def _row(x, row, columns, c, stride, ROWS, COLUMNS: tl.constexpr, WIDTH: tl.constexpr, FAST: tl.constexpr):
    """SiLU of one picture row at some columns; zero outside the picture."""
    mask = ((columns >= 0) & (columns < COLUMNS) & (row < ROWS))[:, None] & (c < WIDTH)[None, :]
    place = (row * COLUMNS + columns)[:, None] * stride + c[None, :]
    return _silu(tl.load(x + place, mask=mask, other=0.0).to(tl.float32), FAST)


@triton.jit
@no_type_check
def _taps(left, middle, right, weight, c, mask, KERNEL_ROW: tl.constexpr):
    """What one input row gives to the output row that meets it with the kernel's row KERNEL_ROW."""
    first = tl.load(weight + c * 9 + 3 * KERNEL_ROW, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(weight + c * 9 + 3 * KERNEL_ROW + 1, mask=mask, other=0.0).to(tl.float32)
    third = tl.load(weight + c * 9 + 3 * KERNEL_ROW + 2, mask=mask, other=0.0).to(tl.float32)
    return left * first[None, :] + middle * second[None, :] + right * third[None, :]


@triton.jit
@no_type_check
def _depthwise_glu_kernel(
    x,
    weight,
    bias,
    out,
    stride,
    ROWS,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
    FAST: tl.constexpr,
):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    columns = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    frame = tl.program_id(2).to(tl.int64)
    x += frame * ROWS * COLUMNS * stride
    out += frame * ROWS * COLUMNS * WIDTH
    mask = c < WIDTH
    outside = (columns < COLUMNS)[:, None] & mask[None, :]
    value_bias = tl.load(bias + c, mask=mask, other=0.0).to(tl.float32)[None, :]
    gate_bias = tl.load(bias + WIDTH + c, mask=mask, other=0.0).to(tl.float32)[None, :]
    gates, gate_weight = x + WIDTH, weight + 9 * WIDTH
    # the sums of two unfinished output rows travel down the picture; every input row is read once
    value_above = tl.zeros((BLOCK_W, BLOCK_C), dtype=tl.float32)
    value_here = tl.zeros((BLOCK_W, BLOCK_C), dtype=tl.float32) + value_bias
    gate_above = tl.zeros((BLOCK_W, BLOCK_C), dtype=tl.float32)
    gate_here = tl.zeros((BLOCK_W, BLOCK_C), dtype=tl.float32) + gate_bias
    for row in range(ROWS + 1):
        left = _row(x, row, columns - 1, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        middle = _row(x, row, columns, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        right = _row(x, row, columns + 1, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        value_done = value_above + _taps(left, middle, right, weight, c, mask, 2)
        value_above = value_here + _taps(left, middle, right, weight, c, mask, 1)
        value_here = value_bias + _taps(left, middle, right, weight, c, mask, 0)
        left = _row(gates, row, columns - 1, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        middle = _row(gates, row, columns, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        right = _row(gates, row, columns + 1, c, stride, ROWS, COLUMNS, WIDTH, FAST)
        gate_done = gate_above + _taps(left, middle, right, gate_weight, c, mask, 2)
        gate_above = gate_here + _taps(left, middle, right, gate_weight, c, mask, 1)
        gate_here = gate_bias + _taps(left, middle, right, gate_weight, c, mask, 0)
        if row > 0:
            place = ((row - 1) * COLUMNS + columns)[:, None] * WIDTH + c[None, :]
            done = value_done * _silu(gate_done, FAST)
            tl.store(out + place, done.to(out.dtype.element_ty), mask=outside)


def silu_depthwise_glu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    rows: int,
    columns: int,
    *,
    fast: bool | None = None,
    block_columns: int = 8,
    block_channels: int = 32,
    warps: int = 2,
) -> Tensor:
    """(n, rows * columns, 2 width) to (n, rows * columns, width); see `vivace.ops.depthwise_glu`.

    `fast` computes SiLU by the hardware's tanh; None does so where bf16 or fp16 would hide its error.
    """
    if fast is None:
        fast = x.dtype != torch.float32
    x = x.contiguous()
    width = x.shape[-1] // 2
    out = torch.empty(*x.shape[:-1], width, device=x.device, dtype=x.dtype)
    grid = triton.cdiv(width, block_channels), triton.cdiv(columns, block_columns), x.shape[0]
    _depthwise_glu_kernel[grid](
        x, weight.contiguous(), bias, out, x.shape[-1], rows, COLUMNS=columns, WIDTH=width,
        BLOCK_W=block_columns, BLOCK_C=block_channels, FAST=fast, num_warps=warps,
    )  # fmt: skip
    return out
