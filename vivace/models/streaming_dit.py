"""The streaming diffusion transformer: a stack of specified blocks whose memory is a value."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.core.errors import ConfigError, StateError
from vivace.layers.attention import CrossAttention, SinkWindowAttention, SoftmaxSpec
from vivace.layers.feed_forward import GluConvFeedForward
from vivace.layers.gdn import GdnMixer, GdnSpec
from vivace.layers.modulation import Modulation, ModulationTable, TimestepEmbedding
from vivace.layers.norm import RmsNorm, layer_norm
from vivace.layers.rope import Rotation, rotation_table
from vivace.state.conv import ConvTail
from vivace.state.kv_cache import SinkWindowCache
from vivace.state.recurrent import GdnState
from vivace.state.stream_state import StreamState

FrameTokens = Float[Tensor, "b t s dim"]
MixerSpec = GdnSpec | SoftmaxSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class DitSpec:
    """Everything that decides the shape of a streaming DiT.

    `in_channels` counts all concatenated channels (noisy latent plus source latent); `mixers` has one entry
    a block.
    """

    in_channels: int
    out_channels: int
    dim: int
    num_heads: int
    mlp_ratio: float
    text_dim: int
    mixers: tuple[MixerSpec, ...]
    patch_size: int = 1

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ConfigError(f"DitSpec: dim {self.dim} must split into {self.num_heads} heads of even width")
        if not self.mixers:
            raise ConfigError("DitSpec.mixers: got no block, expected at least one")


def hybrid_mixers(
    num_blocks: int, num_softmax: int, gdn: GdnSpec, softmax: SoftmaxSpec
) -> tuple[MixerSpec, ...]:
    """GDN blocks with evenly spread softmax blocks, the last block being softmax.

    Source: the official index int((i + 1) * depth / n) - 1, which gives 3, 7, 11, 15, 19 for 5 of 20 blocks.
    """
    places = {int((i + 1) * num_blocks / num_softmax) - 1 for i in range(num_softmax)}
    return tuple(softmax if index in places else gdn for index in range(num_blocks))


@dataclass(frozen=True, slots=True)
class BlockState:
    """Memory of one block."""

    mixer: GdnState | SinkWindowCache
    tail: ConvTail


@dataclass(frozen=True, slots=True)
class TextContext:
    """A prompt as keys and values of every block's cross-attention, projected once."""

    keys: tuple[Float[Tensor, "b heads m d"], ...]
    values: tuple[Float[Tensor, "b heads m d"], ...]
    mask: Bool[Tensor, "b m"]


DitState = StreamState[tuple[BlockState, ...]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the tokens of a forward stand on the axes of the stream."""

    table: Rotation
    chunks: Sequence[int]
    start: int
    size: tuple[int, int]
    write: bool


class DitBlock(nn.Module):
    """Mixer, cross-attention and feed-forward, modulated by the noise level."""

    def __init__(self, spec: DitSpec, mixer: MixerSpec) -> None:
        super().__init__()
        self.modulation = ModulationTable(spec.dim)
        match mixer:
            case GdnSpec():
                self.mixer = GdnMixer(spec.dim, spec.num_heads, mixer)
            case SoftmaxSpec():
                self.mixer = SinkWindowAttention(spec.dim, spec.num_heads, mixer)
        self.cross = CrossAttention(spec.dim, spec.num_heads)
        self.feed_forward = GluConvFeedForward(spec.dim, int(spec.dim * spec.mlp_ratio))

    def forward(
        self,
        x: FrameTokens,
        shared: Float[Tensor, "b t_or_1 six_dim"],
        text: tuple[Tensor, Tensor, Tensor],
        place: _Place,
        state: BlockState | None,
    ) -> tuple[FrameTokens, BlockState]:
        """Returns tokens and the memory after the last frame."""
        mix, feed = self.modulation(shared)
        mixed, memory = self._mix(mix, x, place, None if state is None else state.mixer)
        x = torch.addcmul(x, mix.gate, mixed)
        x = x + self.cross(x, *text)
        normed = feed.apply(layer_norm(x))
        fed, tail = self.feed_forward(normed, None if state is None else state.tail, place.chunks, place.size)
        return torch.addcmul(x, feed.gate, fed), BlockState(memory, tail)

    def _mix(
        self, modulation: Modulation, x: FrameTokens, place: _Place, state: GdnState | SinkWindowCache | None
    ) -> tuple[FrameTokens, GdnState | SinkWindowCache]:
        normed = modulation.apply(layer_norm(x))
        if isinstance(self.mixer, GdnMixer):
            if isinstance(state, SinkWindowCache):
                raise StateError("got a key-value cache for a GDN block; the state belongs to another model")
            return self.mixer(normed, place.table, state, place.chunks)
        if isinstance(state, GdnState):
            raise StateError("got a GDN state for a softmax block; the state belongs to another model")
        return self.mixer(
            normed, place.table, state, place.chunks, place.start, place.size, write=place.write
        )


class StreamingDit(nn.Module):
    """Predict the velocity of a chunk (or of a whole clip of chunks) given text, source and memory.

    Source: SANA-Streaming hybrid DiT (facts of the official SanaMSVideoV2V model); SANA-WM section 3.2.
    """

    def __init__(self, spec: DitSpec) -> None:
        super().__init__()
        self.spec = spec
        patch = spec.patch_size**2
        self.embed = nn.Linear(spec.in_channels * patch, spec.dim)
        self.timestep = TimestepEmbedding(spec.dim)
        self.shared_modulation = nn.Linear(spec.dim, 6 * spec.dim)
        self.text_hidden = nn.Linear(spec.text_dim, spec.dim)
        self.text_out = nn.Linear(spec.dim, spec.dim)
        self.text_norm = RmsNorm(spec.dim, eps=1e-5)
        self.blocks = nn.ModuleList(DitBlock(spec, mixer) for mixer in spec.mixers)
        self.final_table = nn.Parameter(torch.randn(2, spec.dim) / spec.dim**0.5)
        self.final = nn.Linear(spec.dim, spec.out_channels * patch)
        nn.init.constant_(self.text_norm.weight, 0.01)
        nn.init.zeros_(self.final.weight)
        nn.init.zeros_(self.final.bias)

    def _dit_blocks(self) -> Iterable[DitBlock]:
        # torch's ModuleList cannot say what it holds
        return cast(Iterable[DitBlock], self.blocks)

    def embed_text(self, text: Float[Tensor, "b m c"], mask: Bool[Tensor, "b m"]) -> TextContext:
        """Project prompt features for all blocks; `mask` is true where a token counts."""
        hidden = F.gelu(self.text_hidden(text), approximate="tanh")
        context = self.text_norm(self.text_out(hidden))
        pairs = [block.cross.project_text(context) for block in self._dit_blocks()]
        return TextContext(tuple(key for key, _ in pairs), tuple(value for _, value in pairs), mask)

    def forward(
        self,
        latent: Float[Tensor, "b c t h w"],
        sigma: Float[Tensor, "b t_or_1"],
        text: TextContext,
        state: DitState | None = None,
        *,
        write: bool,
        chunks: Sequence[int] | None = None,
    ) -> tuple[Float[Tensor, "b out t h w"], DitState | None]:
        """Velocity of the latent's frames.

        Args:
            latent: Noisy latent, with the source latent behind it on the channel axis where the model is an
                editor.
            sigma: Noise level in [0, 1] of every frame; one column stands for all frames.
            text: Prompt from `embed_text`.
            state: Memory after the previous chunk; None is an empty stream.
            write: True consumes `state` and returns the next one; False only reads and returns `state`
                unchanged.
            chunks: Chunk sizes that cover the frames; None means that they are one chunk.

        Raises:
            StateError: If `state` was consumed before or belongs to another model.
            ConfigError: If `chunks` do not add up to the frames.
        """
        frames, rows, columns = latent.shape[2], latent.shape[3], latent.shape[4]
        chunks = (frames,) if chunks is None else tuple(chunks)
        if sum(chunks) != frames:
            raise ConfigError(
                f"chunks {chunks} add up to {sum(chunks)}, expected the {frames} frames of the latent"
            )
        start = 0 if state is None else state.next_frame
        memory = None if state is None else state.peek()
        patch = self.spec.patch_size
        size = rows // patch, columns // patch
        head_dim = self.spec.dim // self.spec.num_heads
        table = rotation_table(range(start, start + frames), *size, head_dim, latent.device)
        place = _Place(table, chunks, start, size, write)

        x = self.embed(rearrange(latent, "b c t (h ph) (w pw) -> b t (h w) (c ph pw)", ph=patch, pw=patch))
        time = self.timestep(sigma)
        shared = self.shared_modulation(F.silu(time))
        written: list[BlockState] = []
        for index, block in enumerate(self._dit_blocks()):
            pair = text.keys[index], text.values[index], text.mask
            x, block_state = block(x, shared, pair, place, None if memory is None else memory[index])
            written.append(block_state)
        shift, scale = (time[:, :, None, None] + self.final_table).unbind(dim=-2)
        x = self.final(torch.addcmul(shift, layer_norm(x), 1 + scale))
        velocity = rearrange(
            x, "b t (h w) (c ph pw) -> b c t (h ph) (w pw)", h=size[0], w=size[1], ph=patch, pw=patch
        )
        if not write:
            return velocity, state
        if state is not None:
            # consumed only now: a forward that failed can be tried again with the same state
            state.take()
        return velocity, StreamState(tuple(written), start + frames)
