"""Self-attention by the frame-wise gated delta rule: constant memory, causal over chunks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.layers.norm import RmsNorm
from vivace.layers.packed import PackedLinear
from vivace.layers.quantized import applied
from vivace.layers.rope import Rotation
from vivace.ops.fp8_linear import Fp8Rows
from vivace.ops.frame_gdn import GdnProjections, gated_frame_gdn
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
        self.joined: PackedLinear | None = None
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
        *,
        rows: Fp8Rows | None = None,
    ) -> tuple[FrameTokens, GdnState]:
        """Mix the tokens of sum(chunks) latent frames; returns tokens and the state after them.

        `rows` are the tokens in 8 bits, for a layer whose products take them.
        """
        numerator, denominator = (None, None) if state is None else (state.numerator, state.denominator)
        projections = self.projections(x, table, rows=rows)
        mixed, numerator, denominator = gated_frame_gdn(projections, chunks, numerator, denominator)
        return self.project(mixed), GdnState(numerator, denominator)

    def projections(self, x: FrameTokens, table: Rotation, *, rows: Fp8Rows | None = None) -> GdnProjections:
        """All that the tokens say about themselves: queries, keys, values and gates."""
        if self.joined is not None:
            dim, heads = self.project.in_features, self.num_heads
            query, key, value, output_logit, write_logit, decay_logit = self.joined(x).split(
                [dim, dim, dim, dim, heads, heads], dim=-1
            )
        else:
            query, key, value = applied(self.qkv, x, rows).chunk(3, dim=-1)
            # one narrow product instead of two, each of which would read all tokens
            weight = torch.cat([self.write_strength.weight, self.decay_gate.weight])
            bias = torch.cat([self.write_strength.bias, self.decay_gate.bias])
            write_logit, decay_logit = F.linear(x, weight, bias).chunk(2, dim=-1)
            output_logit = self.output_gate(x)
        return GdnProjections(
            query=query,
            key=key,
            value=value,
            query_scale=self.query_norm.weight,
            key_scale=self.key_norm.weight,
            table=table,
            write_logit=write_logit,
            decay_logit=decay_logit,
            log_rate=self.log_rate,
            rate_bias=self.rate_bias,
            output_logit=output_logit,
        )

    def pack(self, num_rows: int) -> None:
        """Let one product with packed weights give all that the tokens say about themselves."""
        layers = self.qkv, self.output_gate, self.write_strength, self.decay_gate
        self.joined = PackedLinear.of(layers, num_rows)
