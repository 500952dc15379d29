"""3-D rotary positions (frame, row, column) at absolute, unbounded frame indices."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vivace.ops.rotary import rotate

__all__ = ["PastRotation", "Rotation", "axis_pairs", "rotate", "rotation_table"]

Rotation = Complex[Tensor, "t s half"]
PastRotation = Complex[Tensor, "kept s half"]


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
    return _table(tuple(frames), rows, columns, head_dim, device)


@lru_cache(maxsize=64)
def _table(frames: tuple[int, ...], rows: int, columns: int, head_dim: int, device: torch.device) -> Tensor:
    # a denoising step asks for the same table in every block and step of a chunk; training may do so later
    with torch.inference_mode(False):
        positions = torch.tensor(frames, dtype=torch.float64).to(device, non_blocking=True)
        turns = _turns(_angles(positions, axis_pairs(head_dim)[0]))
        places = _places(rows, columns, head_dim, device)
        t, s = len(frames), rows * columns
        return torch.cat([turns[:, None].expand(t, s, -1), places.expand(t, s, -1)], dim=-1)


@lru_cache(maxsize=16)
def _places(rows: int, columns: int, head_dim: int, device: torch.device) -> Complex[Tensor, "s half"]:
    """The part of a table that is the same in every frame."""
    _, row_pairs, column_pairs = axis_pairs(head_dim)
    row_angles = _angles(torch.arange(rows, dtype=torch.float64), row_pairs)[:, None]
    column_angles = _angles(torch.arange(columns, dtype=torch.float64), column_pairs)[None]
    angles = torch.cat(
        [row_angles.expand(rows, columns, row_pairs), column_angles.expand(rows, columns, column_pairs)],
        dim=-1,
    )
    return _turns(angles.flatten(0, 1)).to(device)


def _turns(angles: Float[Tensor, "*n"]) -> Complex[Tensor, "*n"]:
    return torch.complex(angles.cos().float(), angles.sin().float())


def _angles(positions: Tensor, num_pairs: int, theta: float = 1e4) -> Tensor:
    steps = torch.arange(num_pairs, dtype=torch.float64, device=positions.device)
    frequencies = theta ** (-steps / num_pairs)
    return positions[:, None] * frequencies
