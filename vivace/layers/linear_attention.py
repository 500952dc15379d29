"""Self-attention by ReLU linear attention: constant memory that never forgets."""

from collections.abc import Sequence
from dataclasses import dataclass

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.layers.norm import RmsNorm
from vivace.layers.quantized import applied
from vivace.layers.rope import Rotation, rotate
from vivace.ops.fp8_linear import Fp8Rows
from vivace.ops.linear_attention import LinearInputs, linear_attention
from vivace.state.recurrent import LinearState

FrameTokens = Float[Tensor, "b t s dim"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearSpec:
    """A linear-attention mixer; `eps` is added to its denominator."""

    eps: float = 1e-8


class LinearMixer(nn.Module):
    """SANA-Video's mixer: no decay, no write strength, no output gate.

    Source: SANA-Video (LiteLAReLURope): queries and keys are RMS-normalised over all channels before the head
    split and passed through ReLU; RoPE enters the numerator only.
    """

    def __init__(self, dim: int, num_heads: int, spec: LinearSpec) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.spec = spec
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.query_norm = RmsNorm(dim, eps=1e-5)
        self.key_norm = RmsNorm(dim, eps=1e-5)
        self.project = nn.Linear(dim, dim)

    def forward(
        self,
        x: FrameTokens,
        table: Rotation,
        state: LinearState | None,
        chunks: Sequence[int],
        *,
        rows: Fp8Rows | None = None,
    ) -> tuple[FrameTokens, LinearState]:
        """Mix the tokens of sum(chunks) latent frames; returns tokens and the state after them.

        `rows` are the tokens in 8 bits, for a layer whose products take them.
        """
        query, key, value = applied(self.qkv, x, rows).chunk(3, dim=-1)
        query, key = self._split(F.relu(self.query_norm(query))), self._split(F.relu(self.key_norm(key)))
        inputs = LinearInputs(query, key, rotate(query, table), rotate(key, table), self._split(value))
        sums: tuple[Tensor | None, Tensor | None] = (None, None)
        if state is not None:
            sums = state.numerator, state.denominator
        mixed, numerator, denominator = linear_attention(inputs, chunks, *sums, eps=self.spec.eps)
        out = rearrange(mixed, "b heads t s d -> b t s (heads d)")
        return self.project(out.to(x.dtype)), LinearState(numerator, denominator)

    def _split(self, x: FrameTokens) -> Float[Tensor, "b heads t s d"]:
        return rearrange(x, "b t s (heads d) -> b heads t s d", heads=self.num_heads)
