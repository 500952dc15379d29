"""Replays a model's forward as a CUDA graph: no launch costs, while states stay values going in and out."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.layers.attention import SoftmaxSpec
from vivace.models.streaming_dit import BlockState, DitState, MixerSpec, Rotations, StreamingDit, TextContext
from vivace.pipelines.graph_pool import GraphPool
from vivace.state.kv_cache import SinkWindowCache
from vivace.state.stream_state import StreamState
from vivace.state.tree import tree_map, tree_tensors

Latent = Float[Tensor, "b c t h w"]
Memory = tuple[BlockState, ...]
Signature = tuple[object, ...]
Outputs = tuple[Latent, Memory | None]
Forward = Callable[[], Outputs]


@dataclass(slots=True)
class _Recording:
    """A captured forward with the tensors that it reads from and writes to at every replay."""

    replay: Callable[[], None]
    latent: Tensor
    sigma: Tensor
    velocity: Tensor
    written: Memory | None


@dataclass(slots=True)
class _Buffers:
    """Memory, positions and prompt of the recordings of one signature, and whose they hold at the moment."""

    memory: Memory | None
    rotations: Rotations
    text: TextContext
    state: DitState | None = None
    prompt: TextContext | None = None
    recordings: dict[bool, _Recording] = field(default_factory=dict)


class VelocityGraphs:
    """`StreamingDit.forward` for single chunks, replayed from CUDA graphs once a stream has settled.

    A call has the contract of the forward itself. Memory of shapes that were seen in fewer than
    `settled_chunks` chunks runs as it is, as do all calls on other devices: the first chunks of a stream have
    shapes that return with other streams only. Where streams come and go they do, so `settled_chunks` 0
    records all at first sight. One object serves one thread; it may serve several streams in turn, at the
    price of copying each stream's memory in.

    Args:
        dit: The model, in evaluation mode; its weights must stay where they are.
        settled_chunks: Chunks of one signature before its forward is recorded.
        max_signatures: Signatures whose recordings are kept, the most recent ones. One that was dropped has
            to settle again, so that too many of them cost no more than none at all; with `settled_chunks` 0
            make it large enough.
    """

    def __init__(self, dit: StreamingDit, *, settled_chunks: int = 2, max_signatures: int = 4) -> None:
        self.dit = dit
        self.settled_chunks = settled_chunks
        self.max_signatures = max_signatures
        self._buffers: OrderedDict[Signature, _Buffers] = OrderedDict()
        self._chunks_seen: dict[Signature, int] = {}
        self._pool = GraphPool()
        self._current: tuple[DitState, Signature] | None = None

    @torch.inference_mode()
    def __call__(
        self,
        latent: Latent,
        sigma: Float[Tensor, "b t_or_1"],
        text: TextContext,
        state: DitState | None = None,
        *,
        write: bool,
    ) -> tuple[Latent, DitState | None]:
        """Velocity of a chunk and the state after it; see `StreamingDit.forward`.

        Raises:
            StateError: If `state` was consumed before or belongs to another model.
        """
        if not self._can_record(latent):
            return self.dit(latent, sigma, text, state, write=write)
        signature, num_seen = self._signature(latent, sigma, text, state, write=write)
        if num_seen < self.settled_chunks:
            return self.dit(latent, sigma, text, state, write=write)
        buffers = self._buffers.get(signature)
        if buffers is None:
            buffers = self._new_buffers(latent, text, state)
            self._buffers[signature] = buffers
            while len(self._buffers) > self.max_signatures:
                dropped, _ = self._buffers.popitem(last=False)
                self._chunks_seen[dropped] = 0
        self._buffers.move_to_end(signature)
        self._load(buffers, latent, text, state)
        if write not in buffers.recordings:
            # positions come with the rotations and `committed`, so the recording stands at none of its own
            buffers.recordings[write] = self._record(buffers, latent, sigma, write)
        recording = buffers.recordings[write]
        recording.latent.copy_(latent, non_blocking=True)
        recording.sigma.copy_(sigma, non_blocking=True)
        recording.replay()
        velocity = recording.velocity.clone()
        if recording.written is None:
            return velocity, state
        frames, start = latent.shape[2], 0 if state is None else state.next_frame
        memory = (None,) * len(recording.written) if state is None else state.peek()
        written = tuple(
            _as_value(after, before, mixer, start, frames)
            for after, before, mixer in zip(recording.written, memory, self.dit.spec.mixers)
        )
        if state is not None:
            state.take()
        return velocity, self.dit.committed(written, start, frames)

    def num_recordings(self) -> int:
        """Graphs that exist at the moment."""
        return sum(len(buffers.recordings) for buffers in self._buffers.values())

    def _signature(
        self, latent: Latent, sigma: Tensor, text: TextContext, state: DitState | None, *, write: bool
    ) -> tuple[Signature, int]:
        """What decides the shapes of a forward, and how many chunks of it were seen."""
        prompt = tuple(tensor.shape for _, tensor in tree_tensors(text))
        call = latent.shape, latent.dtype, latent.device, sigma.shape, prompt
        if state is None:
            num_seen = self._chunks_seen.get(call, 0)
            # of the calls of a first chunk one writes
            self._chunks_seen[call] = num_seen + write
            return call, num_seen
        if self._current is None or self._current[0] is not state:
            memory = state.peek()
            sizes = tuple(
                block.mixer.chunk_sizes for block in memory if isinstance(block.mixer, SinkWindowCache)
            )
            shapes = tuple((tensor.shape, tensor.dtype) for _, tensor in tree_tensors(memory))
            signature = (*call, sizes, shapes)
            self._chunks_seen[signature] = self._chunks_seen.get(signature, 0) + 1
            self._current = state, signature
        signature = self._current[1]
        return signature, self._chunks_seen[signature]

    def _new_buffers(self, latent: Latent, text: TextContext, state: DitState | None) -> _Buffers:
        rotations = self.dit.rotations(latent.shape[2], _size(latent), state, latent.device)
        memory = None if state is None else tree_map(torch.clone, state.peek())
        return _Buffers(memory, _copied(rotations), tree_map(torch.clone, text), state, text)

    def _load(self, buffers: _Buffers, latent: Latent, text: TextContext, state: DitState | None) -> None:
        # all streams start at the same place
        if state is not None and buffers.state is not state:
            rotations = self.dit.rotations(latent.shape[2], _size(latent), state, latent.device)
            _copy_into(buffers.memory, state.peek())
            _copy_into(_rotation_tensors(buffers.rotations), _rotation_tensors(rotations))
            buffers.state = state
        if buffers.prompt is not text:
            _copy_into(buffers.text, text)
            buffers.prompt = text

    def _record(self, buffers: _Buffers, latent: Latent, sigma: Tensor, write: bool) -> _Recording:
        static_latent, static_sigma = latent.clone(), sigma.clone()

        def forward() -> Outputs:
            state = None if buffers.memory is None else StreamState(buffers.memory, 0)
            velocity, after = self.dit(
                static_latent, static_sigma, buffers.text, state, write=write, rotations=buffers.rotations
            )
            return velocity, None if not write or after is None else after.peek()

        replay, (velocity, written) = self._capture(forward, latent.device)
        return _Recording(replay, static_latent, static_sigma, velocity, written)

    def _can_record(self, latent: Latent) -> bool:
        return latent.is_cuda

    def _capture(self, forward: Forward, device: torch.device) -> tuple[Callable[[], None], Outputs]:
        return self._pool.capture(forward, device)


def _as_value(
    after: BlockState, before: BlockState | None, mixer: MixerSpec, start: int, frames: int
) -> BlockState:
    """A replayed block's memory as tensors of its own, with the positions of this chunk."""
    own = tree_map(torch.clone, after)
    if not isinstance(mixer, SoftmaxSpec):
        return own
    assert isinstance(own.mixer, SinkWindowCache)
    positions, chunk_sizes = (), ()
    if before is not None:
        assert isinstance(before.mixer, SinkWindowCache)
        positions, chunk_sizes = before.mixer.positions, before.mixer.chunk_sizes
    # which chunks are kept is a matter of their sizes: the same moves on tensors without elements
    old, new = torch.empty(1, 1, len(positions), 0, 0), torch.empty(1, 1, frames, 0, 0)
    moved = SinkWindowCache(old, old, positions, chunk_sizes)
    moved, _ = moved.append(new, new, start).evict(mixer.num_sink_frames, mixer.window_frames)
    cache = SinkWindowCache(own.mixer.key, own.mixer.value, moved.positions, moved.chunk_sizes)
    return BlockState(cache, own.tail)


def _size(latent: Latent) -> tuple[int, int]:
    return latent.shape[3], latent.shape[4]


def _rotation_tensors(rotations: Rotations) -> tuple[Tensor, ...]:
    return (rotations.current, *(table for table in rotations.past if table is not None))


def _copied(rotations: Rotations) -> Rotations:
    past = tuple(None if table is None else table.clone() for table in rotations.past)
    return Rotations(rotations.current.clone(), past)


def _copy_into(targets: object, sources: object) -> None:
    for (_, target), (_, source) in zip(tree_tensors(targets), tree_tensors(sources), strict=True):
        target.copy_(source, non_blocking=True)
