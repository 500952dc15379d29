"""The streaming diffusion transformer: a stack of specified blocks whose memory is a value."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.core.errors import ConfigError, StateError
from vivace.layers.attention import CrossAttention, SinkWindowAttention, SoftmaxSpec, additive_mask
from vivace.layers.feed_forward import GluConvFeedForward
from vivace.layers.gdn import GdnMixer, GdnSpec
from vivace.layers.linear_attention import LinearMixer, LinearSpec
from vivace.layers.modulation import Modulation, ModulationTable, Pending, TimestepEmbedding
from vivace.layers.norm import RmsNorm
from vivace.layers.place import place_features
from vivace.layers.positions import FixedPositions, Positions, RollingPositions, rebased
from vivace.layers.quantized import takes_rows
from vivace.layers.rope import PastRotation, Rotation, rotation_table
from vivace.ops.fp8_linear import Fp8Rows
from vivace.state.conv import ConvTail
from vivace.state.kv_cache import SinkWindowCache
from vivace.state.recurrent import GdnState, LinearState
from vivace.state.stream_state import StreamState
from vivace.state.tree import tree_map, tree_tensors

FrameTokens = Float[Tensor, "b t s dim"]
MixerSpec = GdnSpec | SoftmaxSpec | LinearSpec
MixerState = GdnState | SinkWindowCache | LinearState
Memory = TypeVar("Memory", GdnState, SinkWindowCache, LinearState)


@dataclass(frozen=True, kw_only=True, slots=True)
class DitSpec:
    """Everything that decides the shape of a streaming DiT.

    `in_channels` counts all concatenated channels (noisy latent plus source latent); `mixers` has one entry
    a block. `positions` says whether a stream may go on for ever. `place_octaves` is for how many octaves a
    patch is told where in the picture it is; with 0, as in the official models, it knows how far others are.
    """

    in_channels: int
    out_channels: int
    dim: int
    num_heads: int
    mlp_ratio: float
    text_dim: int
    mixers: tuple[MixerSpec, ...]
    patch_size: int = 1
    positions: Positions = field(default_factory=RollingPositions)
    place_octaves: int = 0

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ConfigError(f"DitSpec: dim {self.dim} must split into {self.num_heads} heads of even width")
        if not self.mixers:
            raise ConfigError("DitSpec.mixers: got no block, expected at least one")
        capped = [m for m in self.mixers if isinstance(m, SoftmaxSpec) and m.max_distance_frames is not None]
        if capped and isinstance(self.positions, FixedPositions):
            raise ConfigError(
                "DitSpec: fixed positions are absolute, so max_distance_frames must be None; "
                "use RollingPositions to cap distances"
            )


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

    mixer: MixerState
    tail: ConvTail


@dataclass(frozen=True, slots=True)
class TextContext:
    """A prompt as keys and values of every block's cross-attention, projected once."""

    keys: tuple[Float[Tensor, "b heads m d"], ...]
    values: tuple[Float[Tensor, "b heads m d"], ...]
    mask: Bool[Tensor, "b m"]


DitState = StreamState[tuple[BlockState, ...]]


@dataclass(frozen=True, slots=True)
class Rotations:
    """Positions of a forward as rotations: its own frames, and what each block keeps of earlier ones."""

    current: Rotation
    past: tuple[PastRotation | None, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the tokens of a forward stand on the axes of the stream."""

    table: Rotation
    past_table: PastRotation | None
    chunks: Sequence[int]
    start: int
    origin: int
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
            case LinearSpec():
                self.mixer = LinearMixer(spec.dim, spec.num_heads, mixer)
        self.cross = CrossAttention(spec.dim, spec.num_heads)
        self.feed_forward = GluConvFeedForward(spec.dim, int(spec.dim * spec.mlp_ratio))

    def forward(
        self,
        x: FrameTokens,
        shared: Float[Tensor, "b t_or_1 six_dim"],
        text: tuple[Tensor, Tensor, Tensor],
        place: _Place,
        state: BlockState | None,
        pending: Pending | None = None,
    ) -> tuple[FrameTokens, Pending, BlockState]:
        """Returns tokens, what is still to be added to them, and the memory after the last frame.

        `pending` is what the block before left to be added to `x`.
        """
        mix, feed = self.modulation(shared)
        x, normed, rows = mix.norm(x, pending, rounds=takes_rows(self.mixer.qkv))
        mixed, memory = self._mix(normed, rows, place, None if state is None else state.mixer)
        x, rows = mix.gated_sum(x, mixed, rounds=takes_rows(self.cross.query))
        x, normed, normed_rows = feed.sum_and_norm(
            x, self.cross(x, *text, rows=rows), rounds=takes_rows(self.feed_forward.expand)
        )
        tail = None if state is None else state.tail
        fed, tail = self.feed_forward(
            normed, tail, place.chunks, place.size, write=place.write, rows=normed_rows
        )
        return x, Pending(feed.gate, fed), BlockState(memory, tail)

    def _mix(
        self, normed: FrameTokens, rows: Fp8Rows | None, place: _Place, state: MixerState | None
    ) -> tuple[FrameTokens, MixerState]:
        if isinstance(self.mixer, GdnMixer):
            return self.mixer(normed, place.table, _memory_of(state, GdnState), place.chunks, rows=rows)
        if isinstance(self.mixer, LinearMixer):
            return self.mixer(normed, place.table, _memory_of(state, LinearState), place.chunks, rows=rows)
        return self.mixer(
            normed,
            place.table,
            _memory_of(state, SinkWindowCache),
            place.chunks,
            place.start,
            place.size,
            write=place.write,
            past_table=place.past_table,
            origin=place.origin,
            rows=rows,
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
        self.place = nn.Linear(4 * spec.place_octaves, spec.dim, bias=False) if spec.place_octaves else None
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
        if self.place is not None:
            # a model that is given places later starts as what it was
            nn.init.zeros_(self.place.weight)

    def _dit_blocks(self) -> Iterable[DitBlock]:
        # torch's ModuleList cannot say what it holds
        return cast(Iterable[DitBlock], self.blocks)

    def embed_text(self, text: Float[Tensor, "b m c"], mask: Bool[Tensor, "b m"]) -> TextContext:
        """Project prompt features for all blocks; `mask` is true where a token counts."""
        hidden = F.gelu(self.text_hidden(text), approximate="tanh")
        context = self.text_norm(self.text_out(hidden))
        pairs = [block.cross.project_text(context) for block in self._dit_blocks()]
        return TextContext(tuple(key for key, _ in pairs), tuple(value for _, value in pairs), mask)

    def rotations(
        self, frames: int, size: tuple[int, int], state: DitState | None, device: torch.device
    ) -> Rotations:
        """Rotations of a forward of `frames` latent frames of `size` latent rows and columns.

        They are all that the position in the stream changes in a forward, so whoever replays one with other
        positions replaces them.
        """
        patch, start = self.spec.patch_size, 0 if state is None else state.next_frame
        tokens = size[0] // patch, size[1] // patch
        head_dim = self.spec.dim // self.spec.num_heads
        origin = self.spec.positions.origin(start, frames)
        current = rotation_table(range(start - origin, start - origin + frames), *tokens, head_dim, device)
        memory = () if state is None else state.peek()
        past: list[PastRotation | None] = [None] * len(self.spec.mixers)
        for index, (block, kept) in enumerate(zip(self._dit_blocks(), memory)):
            if isinstance(block.mixer, SinkWindowAttention) and isinstance(kept.mixer, SinkWindowCache):
                past[index] = block.mixer.past_rotation(kept.mixer, start, tokens, origin)
        return Rotations(current, tuple(past))

    def committed(self, memory: tuple[BlockState, ...], start: int, frames: int) -> DitState:
        """The state after `frames` latent frames from `start`, for the origin that the next ones have."""
        moved = self._origin(start + frames) - self._origin(start)
        if moved:
            memory = tuple(
                BlockState(rebased(block.mixer, moved), block.tail)
                if isinstance(block.mixer, (GdnState, LinearState))
                else block
                for block in memory
            )
        return StreamState(memory, start + frames)

    def _origin(self, frame: int) -> int:
        # no frames are asked for: a state may stand at the end of fixed positions
        return self.spec.positions.origin(frame, 0)

    def forward(
        self,
        latent: Float[Tensor, "b c t h w"],
        sigma: Float[Tensor, "b t_or_1"],
        text: TextContext,
        state: DitState | None = None,
        *,
        write: bool,
        chunks: Sequence[int] | None = None,
        rotations: Rotations | None = None,
        room: tuple[BlockState, ...] | None = None,
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
            rotations: From the method of that name, for the same frames and state; None computes them.
            room: Tensors of the next memory's shapes, which may be those of `state`: a call that writes puts
                each block's memory there as soon as the block is done, so that no second memory is needed.

        Raises:
            StateError: If `state` was consumed before or belongs to another model.
                With fixed positions, also if the stream goes on beyond them.
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
        if rotations is None:
            rotations = self.rotations(frames, (rows, columns), state, latent.device)
        x = self.embed(rearrange(latent, "b c t (h ph) (w pw) -> b t (h w) (c ph pw)", ph=patch, pw=patch))
        if self.place is not None:
            x = x + self.place(place_features(*size, self.spec.place_octaves, x.device).to(x.dtype))
        time = self.timestep(sigma)
        shared = self.shared_modulation(F.silu(time))
        mask = additive_mask(text.mask, x.dtype)
        origin = self.spec.positions.origin(start, frames)
        written: list[BlockState] = []
        pending: Pending | None = None
        for index, block in enumerate(self._dit_blocks()):
            place = _Place(rotations.current, rotations.past[index], chunks, start, origin, size, write)
            pair = text.keys[index], text.values[index], mask
            kept = None if memory is None else memory[index]
            x, pending, block_state = block(x, shared, pair, place, kept, pending)
            if write and room is not None:
                block_state = _put(block_state, room[index])
            written.append(block_state)
        shift, scale = (time[:, :, None, None] + self.final_table).unbind(dim=-2)
        _, normed, _ = Modulation(shift, scale, shift).norm(x, pending)
        x = self.final(normed)
        velocity = rearrange(
            x, "b t (h w) (c ph pw) -> b c t (h ph) (w pw)", h=size[0], w=size[1], ph=patch, pw=patch
        )
        if not write:
            return velocity, state
        if state is not None:
            # consumed only now: a forward that failed can be tried again with the same state
            state.take()
        return velocity, self.committed(tuple(written), start, frames)


def _put(state: BlockState, room: BlockState) -> BlockState:
    """The state in other tensors, with its own positions."""
    places = iter([place for _, place in tree_tensors(room)])
    return tree_map(lambda tensor: next(places).copy_(tensor), state)


def _memory_of(state: MixerState | None, kind: type[Memory]) -> Memory | None:
    if state is None or isinstance(state, kind):
        return state
    raise StateError(
        f"got a {type(state).__name__} for a block that keeps a {kind.__name__}; "
        "the state belongs to another model"
    )
