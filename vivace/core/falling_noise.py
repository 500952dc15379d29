"""White noise that falls: every value moves down by whole latent rows from latent frame to latent frame.

At each latent frame the noise is white; along time it is the same noise carried downwards, so what a model
draws where a value stands (a snowflake, a drop) falls with it, for ever, without any memory of where it was.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.core.errors import ConfigError
from vivace.core.seeds import mix_seed

_DOMAIN = 0x66616C6C  # keeps these draws apart from others with the same seed


@dataclass(frozen=True, kw_only=True, slots=True)
class FallingNoise:
    """A group of noise channels that falls.

    Attributes:
        key: Tells groups of one seed apart.
        num_channels: Channels of the group.
        rows_per_frame: Latent rows that a value falls in one latent frame, at least 1.
        columns_per_frame: Latent columns that it moves to the right meanwhile, at least 0.
    """

    key: int
    num_channels: int
    rows_per_frame: int
    columns_per_frame: int = 0

    def __post_init__(self) -> None:
        if self.num_channels < 1 or self.rows_per_frame < 1 or self.columns_per_frame < 0:
            raise ConfigError(
                f"FallingNoise: got {self.num_channels} channels, {self.rows_per_frame} rows and "
                f"{self.columns_per_frame} columns a frame, expected at least 1, 1 and 0"
            )

    def margin(self, num_rows: int) -> int:
        """Columns to the left of a grid from which values enter it."""
        return self.columns_per_frame * (num_rows // self.rows_per_frame + 1) + 1

    def rows(
        self, seed: int, first: int, count: int, grid: tuple[int, int]
    ) -> Float[Tensor, "c count columns_and_margin"]:
        """Rows `first ...` in falling coordinates, fp32 on the CPU; column 0 is `margin` left of the grid.

        The row at height y of latent frame t is number y - rows_per_frame t; the value at column x of it is
        number x - columns_per_frame (y // rows_per_frame).
        """
        width = grid[1] + self.margin(grid[0])
        drawn = [_row(seed, self.key, first + i, self.num_channels, width) for i in range(count)]
        return torch.stack(drawn, dim=1)

    def frames(
        self, seed: int, start: int, num_frames: int, grid: tuple[int, int]
    ) -> Float[Tensor, "c t h w"]:
        """The group's noise in latent frames `start ...` of a grid of `h, w` latents, fp32 on the CPU."""
        height, width = grid
        first = -self.rows_per_frame * (start + num_frames - 1)
        drawn = self.rows(seed, first, height + self.rows_per_frame * (num_frames - 1), grid)
        y = torch.arange(height)
        shift = self.columns_per_frame * (y // self.rows_per_frame)
        columns = torch.arange(width) - shift[:, None] + self.margin(height)
        frames = torch.arange(start, start + num_frames)
        numbers = y - self.rows_per_frame * frames[:, None] - first
        return drawn[:, numbers[:, :, None], columns]


@lru_cache(maxsize=256)
def _row(seed: int, key: int, number: int, channels: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(mix_seed(_DOMAIN, seed, key, number))
    return torch.randn(channels, width, generator=generator)


FAR_SNOW = FallingNoise(key=1, num_channels=4, rows_per_frame=1)
NEAR_SNOW = FallingNoise(key=2, num_channels=4, rows_per_frame=2, columns_per_frame=1)
RAIN = FallingNoise(key=3, num_channels=4, rows_per_frame=4, columns_per_frame=1)
WEATHER = (FAR_SNOW, NEAR_SNOW, RAIN)
