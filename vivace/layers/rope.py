"""3-D rotary positions (frame, row, column) at absolute, unbounded frame indices."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor

Rotation = Complex[Tensor, "t s half"]


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """Rotated pairs given to frame, row and column.

    Source: official "Wan 3D" RoPE: 20 / 18 / 18 pairs for a head of 112.
    """
    sixth = head_dim // 6
    return head_dim // 2 - 2 * sixth, sixth, sixth


def rotation_table(
    frames: Sequence[int], rows: int, columns: int, head_dim: int, device: torch.device
) -> Rotation:
    """cos + i sin for every token of the latent frames, in single precision (angles come from fp64)."""
    return _cpu_table(tuple(frames), rows, columns, head_dim).to(device, non_blocking=True)


@lru_cache(maxsize=64)
def _cpu_table(frames: tuple[int, ...], rows: int, columns: int, head_dim: int) -> Tensor:
    # a denoising step asks for the same table in every block and step of a chunk
    frame_pairs, row_pairs, column_pairs = axis_pairs(head_dim)
    t, h, w = len(frames), rows, columns
    frame_angles = _angles(torch.tensor(frames, dtype=torch.float64), frame_pairs)[:, None, None]
    row_angles = _angles(torch.arange(rows, dtype=torch.float64), row_pairs)[None, :, None]
    column_angles = _angles(torch.arange(columns, dtype=torch.float64), column_pairs)[None, None]
    angles = torch.cat(
        [
            frame_angles.expand(t, h, w, frame_pairs),
            row_angles.expand(t, h, w, row_pairs),
            column_angles.expand(t, h, w, column_pairs),
        ],
        dim=-1,
    )
    angles = rearrange(angles, "t h w half -> t (h w) half")
    return torch.complex(angles.cos().float(), angles.sin().float())


def _angles(positions: Tensor, num_pairs: int, theta: float = 1e4) -> Tensor:
    frequencies = theta ** (-torch.arange(num_pairs, dtype=torch.float64) / num_pairs)
    return positions[:, None] * frequencies


def rotate(x: Float[Tensor, "b heads t s d"], table: Rotation) -> Float[Tensor, "b heads t s d"]:
    """Rotate adjacent pairs of the last axis as complex numbers, in fp32; returned in the dtype of `x`."""
    pairs = torch.view_as_complex(x.float().contiguous().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table).flatten(-2).to(x.dtype)
