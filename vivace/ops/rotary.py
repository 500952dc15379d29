"""Rotation of adjacent pairs by a table of complex numbers."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vivace.ops.kernel_choice import serves


def rotate(
    x: Float[Tensor, "b heads t s d"], table: Complex[Tensor, "t s half"]
) -> Float[Tensor, "b heads t s d"]:
    """Rotate adjacent pairs of the last axis as complex numbers, in the table's precision; `x`'s dtype."""
    pairs = torch.view_as_complex(x.to(table.real.dtype).contiguous().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table).flatten(-2).to(x.dtype)


def joined_rotated(
    past: tuple[Float[Tensor, "b heads kept s d"], Float[Tensor, "b heads kept s d"]],
    table: Complex[Tensor, "kept s half"],
    current: tuple[Float[Tensor, "b heads t s d"], Float[Tensor, "b heads t s d"]],
) -> tuple[Float[Tensor, "b heads kept_and_t s d"], Float[Tensor, "b heads kept_and_t s d"]]:
    """Keys and values of `past` with those of `current` behind them; the keys of `past` are rotated first."""
    if past[0].shape[2] == 0:
        return current
    if serves(*past, *current):
        from vivace.ops.triton_rows import joined_heads

        return joined_heads(past, table, current)
    keys = torch.cat([rotate(past[0], table), current[0]], dim=2)
    return keys, torch.cat([past[1], current[1]], dim=2)
