"""How the noise level enters: a timestep embedding and shared-table modulation."""

import math
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.ops.fp8_linear import Fp8Rows
from vivace.ops.row_norm import (
    gated_sum,
    gated_sum_and_modulated_norm,
    gated_sum_and_rows,
    gated_sum_modulated_norm_and_rows,
    modulated_norm,
    modulated_norm_and_rows,
    sum_and_modulated_norm,
    sum_modulated_norm_and_rows,
)

FrameTokens = Float[Tensor, "b t s dim"]
PerFrame = Float[Tensor, "b t dim"]

NUM_TIMESTEPS = 1000


class TimestepEmbedding(nn.Module):
    """Sinusoids of the timestep (0 to 1000) through a two-layer perceptron."""

    def __init__(self, dim: int, num_sinusoids: int = 256) -> None:
        super().__init__()
        self.num_sinusoids = num_sinusoids
        self.hidden = nn.Linear(num_sinusoids, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, sigma: Float[Tensor, "b t"]) -> PerFrame:
        """Embed noise levels in [0, 1]."""
        half = self.num_sinusoids // 2
        steps = torch.arange(half, dtype=torch.float32, device=sigma.device)
        angles = (sigma.float() * NUM_TIMESTEPS)[..., None] * torch.exp(-math.log(1e4) * steps / half)
        sinusoids = torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.hidden.weight.dtype)
        return self.out(F.silu(self.hidden(sinusoids)))


class Pending(NamedTuple):
    """A branch still to be gated and added: whoever norms the sum does it in the same pass."""

    gate: Float[Tensor, "b t_or_1 1 dim"]
    added: FrameTokens

    def added_to(self, x: FrameTokens) -> FrameTokens:
        """x + gate * added."""
        return gated_sum(x, self.gate, self.added)


class Modulation(NamedTuple):
    """Shift, scale and gate of one branch of a block, for every frame or for all alike."""

    shift: Float[Tensor, "b t_or_1 1 dim"]
    scale: Float[Tensor, "b t_or_1 1 dim"]
    gate: Float[Tensor, "b t_or_1 1 dim"]

    def norm(
        self, x: FrameTokens, pending: Pending | None = None, *, rounds: bool = False
    ) -> tuple[FrameTokens, FrameTokens, Fp8Rows | None]:
        """x with what is pending added, and its layer norm, scaled and shifted.

        With `rounds` the latter also as 8-bit rows.
        """
        if pending is None:
            if rounds:
                return x, *modulated_norm_and_rows(x, self.shift, self.scale)
            return x, modulated_norm(x, self.shift, self.scale), None
        given = x, pending.gate, pending.added, self.shift, self.scale
        if rounds:
            return gated_sum_modulated_norm_and_rows(*given)
        return *gated_sum_and_modulated_norm(*given), None

    def sum_and_norm(
        self, x: FrameTokens, added: FrameTokens, *, rounds: bool = False
    ) -> tuple[FrameTokens, FrameTokens, Fp8Rows | None]:
        """x + added, and its layer norm, scaled and shifted; with `rounds` the latter also as 8-bit rows."""
        if rounds:
            return sum_modulated_norm_and_rows(x, added, self.shift, self.scale)
        return *sum_and_modulated_norm(x, added, self.shift, self.scale), None

    def gated_sum(
        self, x: FrameTokens, added: FrameTokens, *, rounds: bool = False
    ) -> tuple[FrameTokens, Fp8Rows | None]:
        """x + gate * added; with `rounds` also as 8-bit rows."""
        if rounds:
            return gated_sum_and_rows(x, self.gate, added)
        return gated_sum(x, self.gate, added), None


class ModulationTable(nn.Module):
    """A block's offsets to the modulation that all blocks share (adaLN-single)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(6, dim) / dim**0.5)

    def forward(self, shared: Float[Tensor, "b t_or_1 six_dim"]) -> tuple[Modulation, Modulation]:
        """Modulations of the mixer and of the feed-forward."""
        rows = rearrange(shared, "b t (six dim) -> six b t 1 dim", six=6) + self.table[:, None, None, None, :]
        return Modulation(*rows[:3]), Modulation(*rows[3:])
