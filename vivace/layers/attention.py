"""Softmax attention: over sink, window and chunk (self), and over text (cross)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.core.errors import ConfigError
from vivace.layers.last_result import LastResult
from vivace.layers.norm import RmsNorm
from vivace.layers.packed import PackedLinear
from vivace.layers.quantized import applied
from vivace.layers.rope import PastRotation, Rotation, rotate, rotation_table
from vivace.ops.attention import attend
from vivace.ops.fp8_linear import Fp8Rows
from vivace.ops.rotary import joined_rotated
from vivace.ops.row_norm import normed_rotated_heads
from vivace.state.kv_cache import SinkWindowCache

FrameTokens = Float[Tensor, "b t s dim"]
HeadTokens = Float[Tensor, "b heads t s d"]
KeptTokens = Float[Tensor, "b heads kept s d"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftmaxSpec:
    """A softmax mixer over sink + window + current chunk.

    `window_frames=None` keeps the whole history. `max_distance_frames` caps how far behind the chunk a cached
    frame may appear to the rotary positions, so that a stream of any length stays within distances seen in
    training; None keeps absolute distances, as the official code does.
    """

    num_sink_frames: int
    window_frames: int | None
    max_distance_frames: int | None = None

    def __post_init__(self) -> None:
        if self.num_sink_frames < 0 or (self.window_frames is not None and self.window_frames < 0):
            raise ConfigError(
                f"SoftmaxSpec: got {self.num_sink_frames} sink and {self.window_frames} window frames, "
                "expected 0 or more"
            )


class SinkWindowAttention(nn.Module):
    """Hybrid DiT's softmax block with an output gate.

    Source: SANA-Streaming, hybrid DiT; SANA-WM section 3.2, "Hybrid GDN/Softmax Attention".
    Deviation: keys are cached before rotation and rotated when read; with `max_distance_frames=None` this
    equals the official post-RoPE cache.
    """

    def __init__(self, dim: int, num_heads: int, spec: SoftmaxSpec) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.spec = spec
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.query_norm = RmsNorm(dim, eps=1e-5)
        self.key_norm = RmsNorm(dim, eps=1e-5)
        self.output_gate = nn.Linear(dim, dim)
        self.project = nn.Linear(dim, dim)
        self.joined: PackedLinear | None = None
        self._rotated_past = LastResult()
        nn.init.zeros_(self.output_gate.weight)
        nn.init.constant_(self.output_gate.bias, 1.0)

    def forward(
        self,
        x: FrameTokens,
        table: Rotation,
        state: SinkWindowCache | None,
        chunks: Sequence[int],
        start: int,
        size: tuple[int, int],
        *,
        write: bool,
        past_table: PastRotation | None = None,
        origin: int = 0,
        rows: Fp8Rows | None = None,
    ) -> tuple[FrameTokens, SinkWindowCache]:
        """Attend over what is kept and the current chunk, chunk after chunk.

        Args:
            x: Tokens of sum(chunks) latent frames, the first of which is frame `start`.
            table: Rotation of those frames.
            state: What is kept of earlier chunks; None for an empty stream.
            chunks: Chunk sizes in latent frames.
            start: Absolute index of the first latent frame.
            size: Token rows and columns of a frame.
            write: False leaves the last chunk out of the returned cache, which then only serves later chunks
                of this call.
            past_table: Rotation of what is kept, as `past_rotation` gives it; None computes it here.
            origin: Latent frame that stands at position 0 in `table`.
            rows: The tokens in 8 bits, for a layer whose products take them.
        """
        if self.joined is not None:
            query, key, value, gate = self.joined(x).chunk(4, dim=-1)
        else:
            query, key, value = applied(self.qkv, x, rows).chunk(3, dim=-1)
            gate = self.output_gate(x)
        rotated_query = normed_rotated_heads(query, self.query_norm.weight, table, self.query_norm.eps)
        key = self.key_norm(key)
        rotated_key = normed_rotated_heads(key, None, table, self.key_norm.eps)
        key, value = self._split(key), self._split(value)
        cache = SinkWindowCache.empty(key) if state is None else state
        outputs: list[Tensor] = []
        # taken apart at once: the gradient of one chunk taken out of all would be as large as all of them
        parts = [each.split(list(chunks), dim=2) for each in (rotated_query, rotated_key, key, value)]
        first = 0
        for index, (frames, queries, rotated, raw, own) in enumerate(zip(chunks, *parts)):
            if index > 0 or past_table is None:
                past_table = self.past_rotation(cache, start + first, size, origin)
            keys, values = self._joined_keys((cache.key, cache.value), past_table, (rotated, own))
            outputs.append(_attend(queries, keys, values))
            if write or index + 1 < len(chunks):
                cache = cache.append(raw, own, start + first)
                cache, _ = cache.evict(self.spec.num_sink_frames, self.spec.window_frames)
            first += frames
        out = rearrange(torch.cat(outputs, dim=2), "b heads t s d -> b t s (heads d)")
        return self.project(out * F.silu(gate).to(out.dtype)), cache

    def pack(self, num_rows: int) -> None:
        """Let one product with packed weights give queries, keys, values and gates."""
        self.joined = PackedLinear.of((self.qkv, self.output_gate), num_rows)

    def _joined_keys(
        self, past: tuple[KeptTokens, KeptTokens], table: PastRotation, current: tuple[HeadTokens, HeadTokens]
    ) -> tuple[Float[Tensor, "b heads all s d"], Float[Tensor, "b heads all s d"]]:
        if self.joined is None or past[0].shape[2] == 0:
            return joined_rotated(past, table, current)
        # all denoising steps of a chunk read the same keys
        rotated = self._rotated_past.of(rotate, past[0], table)
        return torch.cat([rotated, current[0]], dim=2), torch.cat([past[1], current[1]], dim=2)

    def past_rotation(
        self, cache: SinkWindowCache, start: int, size: tuple[int, int], origin: int = 0
    ) -> PastRotation:
        """Rotation of the cached frames for a chunk that begins at latent frame `start`."""
        cap = self.spec.max_distance_frames
        positions = cache.positions
        if cap is not None:
            positions = cache.positions_from(start - cap, self.spec.num_sink_frames)
        positions = tuple(position - origin for position in positions)
        return rotation_table(positions, *size, cache.key.shape[-1], cache.key.device)

    def _split(self, x: FrameTokens) -> HeadTokens:
        return rearrange(x, "b t s (heads d) -> b heads t s d", heads=self.num_heads)


def _attend(query: HeadTokens, key: KeptTokens, value: KeptTokens) -> HeadTokens:
    frames = query.shape[2]
    query, key, value = (rearrange(x, "b heads t s d -> b heads (t s) d") for x in (query, key, value))
    out = attend(query, key, value)
    return rearrange(out, "b heads (t s) d -> b heads t s d", t=frames)


def additive_mask(mask: Bool[Tensor, "b m"], dtype: torch.dtype) -> Float[Tensor, "b 1 1 m"]:
    """Zero where `mask` is true and minus infinity elsewhere; every row of `mask` needs a true entry.

    The storage ends on a multiple of 16 elements, which spares fused attention a copy of its own.
    """
    tokens = mask.shape[1]
    hidden = F.pad(~mask, (0, -tokens % 16), value=True)
    added = torch.zeros(hidden.shape, dtype=dtype, device=mask.device).masked_fill(hidden, float("-inf"))
    return added[:, None, None, :tokens]


class CrossAttention(nn.Module):
    """Attention from video tokens to text tokens; text keys and values are projected once per prompt."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.query_norm = RmsNorm(dim, eps=1e-6)
        self.key_norm = RmsNorm(dim, eps=1e-6)
        self.project = nn.Linear(dim, dim)

    def project_text(
        self, text: Float[Tensor, "b m dim"]
    ) -> tuple[Float[Tensor, "b heads m d"], Float[Tensor, "b heads m d"]]:
        """Keys and values of the text tokens."""
        key, value = self.key_value(text).chunk(2, dim=-1)
        return self._split(self.key_norm(key)), self._split(value)

    def forward(
        self,
        x: FrameTokens,
        key: Float[Tensor, "b heads m d"],
        value: Float[Tensor, "b heads m d"],
        mask: Float[Tensor, "b 1 1 m"],
        *,
        rows: Fp8Rows | None = None,
    ) -> FrameTokens:
        """Attend to the text tokens that `mask` (from `additive_mask`) leaves visible.

        `rows` are the tokens in 8 bits, for a layer whose products take them.
        """
        frames = x.shape[1]
        query = self.query_norm(applied(self.query, x, rows))
        query = self._split(rearrange(query, "b t s dim -> b (t s) dim"))
        out = attend(query, key, value, mask)
        return self.project(rearrange(out, "b heads (t s) d -> b t s (heads d)", t=frames))

    def _split(self, x: Float[Tensor, "b n dim"]) -> Float[Tensor, "b heads n d"]:
        return rearrange(x, "b n (heads d) -> b heads n d", heads=self.num_heads)
