"""Where a patch stands in the picture, as features; rotary positions only tell how far patches are apart."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


def place_features(
    rows: int, columns: int, num_octaves: int, device: torch.device
) -> Float[Tensor, "s features"]:
    """Sine and cosine of the place of every patch, row by row; 4 * num_octaves features, fp32.

    Places run from 0 to 1 over the height and the width, whatever the picture's size, so that "on the left"
    is the same place in all. Octave k has 2^k half waves over the picture; the first one alone is monotone.

    Source: Fourier features (Tancik et al. 2020), with octaves as in NeRF (Mildenhall et al. 2020).
    """
    if device.type == "cpu":
        # every forward asks for the same; on a GPU a recording keeps them
        return _cached(rows, columns, num_octaves)
    return _computed(rows, columns, num_octaves, device)


@lru_cache(maxsize=16)
def _cached(rows: int, columns: int, num_octaves: int) -> Tensor:
    # training may ask for what serving has made
    with torch.inference_mode(False):
        return _computed(rows, columns, num_octaves, torch.device("cpu"))


def _computed(rows: int, columns: int, num_octaves: int, device: torch.device) -> Tensor:
    octaves = math.pi * 2.0 ** torch.arange(num_octaves, device=device)
    y, x = ((torch.arange(size, device=device) + 0.5) / size for size in (rows, columns))
    waves = [
        torch.cat([torch.sin(place[:, None] * octaves), torch.cos(place[:, None] * octaves)], dim=-1)
        for place in (y, x)
    ]
    down, across = waves[0][:, None].expand(-1, columns, -1), waves[1][None].expand(rows, -1, -1)
    return torch.cat([down, across], dim=-1).flatten(0, 1)
