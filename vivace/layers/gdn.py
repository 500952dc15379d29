"""Self-attention by the frame-wise gated delta rule: constant memory, causal over chunks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.layers.norm import RmsNorm
from vivace.layers.rope import Rotation, rotate
from vivace.ops.frame_gdn import FrameGdnInputs, frame_gdn
from vivace.state.recurrent import GdnState

FrameTokens = Float[Tensor, "b t s dim"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GdnSpec:
    """A gated-delta mixer; the initial values are those of SANA-WM stage 1."""

    beta_bias: float = 5.0
    decay_bias: float = -5.0


class GdnMixer(nn.Module):
    """Hybrid DiT's linear block.

    Source: SANA-Streaming, section on the hybrid DiT; SANA-WM, Eq. 3 to 5. Heads share nothing; queries and
    keys are RMS-normalised over all channels before the head split, passed through ReLU, and keys scaled by
    1/sqrt(dk s) (Eq. 5).
    """

    def __init__(self, dim: int, num_heads: int, spec: GdnSpec) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.query_norm = RmsNorm(dim, eps=1e-5)
        self.key_norm = RmsNorm(dim, eps=1e-5)
        self.write_strength = nn.Linear(dim, num_heads)
        self.decay_gate = nn.Linear(dim, num_heads)
        self.log_rate = nn.Parameter(torch.zeros(num_heads))
        self.rate_bias = nn.Parameter(torch.full((num_heads,), spec.decay_bias))
        self.output_gate = nn.Linear(dim, dim)
        self.project = nn.Linear(dim, dim)
        for gate, bias in (
            (self.write_strength, spec.beta_bias),
            (self.decay_gate, 0.0),
            (self.output_gate, 1.0),
        ):
            nn.init.zeros_(gate.weight)
            nn.init.constant_(gate.bias, bias)

    def forward(
        self,
        x: FrameTokens,
        table: Rotation,
        state: GdnState | None,
        chunks: Sequence[int],
    ) -> tuple[FrameTokens, GdnState]:
        """Mix the tokens of sum(chunks) latent frames; returns tokens and the state after them."""
        numerator, denominator = (None, None) if state is None else (state.numerator, state.denominator)
        inputs = self._inputs(x, table)
        mixed, numerator, denominator = frame_gdn(inputs, chunks, numerator, denominator)
        out = rearrange(mixed, "b heads t s d -> b t s (heads d)")
        out = out * F.silu(self.output_gate(x))
        return self.project(out.to(x.dtype)), GdnState(numerator, denominator)

    def _inputs(self, x: FrameTokens, table: Rotation) -> FrameGdnInputs:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        query, key = self._split(F.relu(self.query_norm(query))), self._split(F.relu(self.key_norm(key)))
        head_dim, tokens_per_frame = key.shape[-1], key.shape[-2]
        key = key.float() * (head_dim * tokens_per_frame) ** -0.5
        query = query.float()
        return FrameGdnInputs(
            query=query,
            key=key,
            rotated_query=rotate(query, table),
            rotated_key=rotate(key, table),
            value=self._split(value),
            beta=rearrange(self.beta(x), "b t s heads -> b heads t s"),
            decay=rearrange(self.decay(x), "b t heads -> b heads t"),
        )

    def beta(self, x: FrameTokens) -> Float[Tensor, "b t s heads"]:
        """Write strength of every token and head, in (0, 1)."""
        return self.write_strength(x).float().sigmoid()

    def decay(self, x: FrameTokens) -> Float[Tensor, "b t heads"]:
        """Forgetting factor of every frame and head, in (0, 1)."""
        rate = F.softplus(self.decay_gate(x.mean(dim=2)).float() + self.rate_bias.float())
        return torch.exp(-self.log_rate.float().exp() * rate)

    def _split(self, x: FrameTokens) -> Float[Tensor, "b heads t s d"]:
        return rearrange(x, "b t s (heads d) -> b heads t s d", heads=self.num_heads)
