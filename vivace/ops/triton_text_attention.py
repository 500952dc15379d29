# pyright: reportCallIssue=false, reportArgumentType=false, reportMissingImports=false
"""Attention of many queries to a short, masked text: keys behind the last visible one are never read."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
@no_type_check
def _text_attention_kernel(
    query,
    key,
    value,
    mask,
    out,
    q_batch,
    q_head,
    q_row,
    k_batch,
    k_head,
    k_row,
    v_batch,
    v_head,
    v_row,
    mask_batch,
    num_queries,
    num_keys,
    scale,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ALL_KEYS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    batch, head = (tl.program_id(0) // HEADS).to(tl.int64), tl.program_id(0) % HEADS
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    m = tl.arange(0, BLOCK_M)
    query += batch * q_batch + head * q_head
    key += batch * k_batch + head * k_head
    value += batch * v_batch + head * v_head
    mask += batch * mask_batch
    every = tl.arange(0, ALL_KEYS)
    shown = tl.load(mask + every, mask=every < num_keys, other=float("-inf")).to(tl.float32)
    stop = tl.max(tl.where(shown > float("-inf"), every + 1, 0), axis=0)
    inside = (n < num_queries)[:, None] & (d < D)[None, :]
    q = tl.load(query + n[:, None] * q_row + d[None, :], mask=inside, other=0.0)
    # softmax in powers of two: the hardware's exponential
    to_log2 = 1.4426950408889634
    top = tl.full((BLOCK_N,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_N,), dtype=tl.float32)
    read = tl.zeros((BLOCK_N, BLOCK_D), dtype=tl.float32)
    for start in range(0, stop, BLOCK_M):
        rows = start + m
        present = (rows < num_keys)[:, None] & (d < D)[None, :]
        k = tl.load(key + rows[:, None] * k_row + d[None, :], mask=present, other=0.0)
        v = tl.load(value + rows[:, None] * v_row + d[None, :], mask=present, other=0.0)
        added = tl.load(mask + rows, mask=rows < num_keys, other=float("-inf")).to(tl.float32)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (scale * to_log2)
        scores += (added * to_log2)[None, :]
        higher = tl.maximum(top, tl.max(scores, axis=1))
        # a block without a visible key leaves the maximum at minus infinity
        safe = tl.where(higher > float("-inf"), higher, 0.0)
        weights = tl.exp2(scores - safe[:, None])
        fade = tl.exp2(top - safe)
        total = total * fade + tl.sum(weights, axis=1)
        read = tl.dot(weights.to(v.dtype), v, read * fade[:, None], input_precision=PRECISION)
        top = higher
    place = (batch * num_queries + n)[:, None] * (HEADS * D) + head * D + d[None, :]
    tl.store(out + place, (read / total[:, None]).to(out.dtype.element_ty), mask=inside)


def text_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Heads (b heads n d) to heads of the same shape, stored token by token; see `vivace.ops.attention`."""
    query, key, value = (x if x.stride(3) == 1 else x.contiguous() for x in (query, key, value))
    batch, heads, num_queries, width = query.shape
    num_keys = key.shape[2]
    out = torch.empty(batch, num_queries, heads, width, device=query.device, dtype=query.dtype)
    is_half = query.dtype != torch.float32
    block_queries, block_keys = (64, 64) if is_half else (32, 32)
    _text_attention_kernel[(batch * heads, triton.cdiv(num_queries, block_queries))](
        query, key, value, mask, out, *query.stride()[:3], *key.stride()[:3], *value.stride()[:3],
        mask.stride(0), num_queries, num_keys, width**-0.5, HEADS=heads, D=width,
        BLOCK_D=max(16, triton.next_power_of_2(width)), BLOCK_N=block_queries, BLOCK_M=block_keys,
        ALL_KEYS=triton.next_power_of_2(num_keys), PRECISION="tf32" if is_half else "ieee", num_warps=4,
        num_stages=2,
    )  # fmt: skip
    return out.transpose(1, 2)
