"""Replays a model's forward as a CUDA graph: no launch costs, while states stay values going in and out."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import ref

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.core.errors import ConfigError
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.packed import PackedLinear
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
    """A captured forward with the tensors that it reads from and writes to at every replay.

    `written` is None where the forward reads only, and where it leaves the next memory in that of its
    buffers.
    """

    replay: Callable[[], None]
    latent: Tensor
    sigma: Tensor
    velocity: Tensor
    written: Memory | None


@dataclass(slots=True)
class _Buffers:
    """Memory, positions and prompt of the recordings of one signature, and whose they hold at the moment.

    Where a chunk leaves memory of the same shapes, as in all but the first chunks of a stream (`is_steady`),
    it is written in place: the next state lies in these tensors until the memory of another one is needed.
    """

    memory: Memory | None
    rotations: Rotations
    text: TextContext
    is_steady: bool
    state: DitState | None = None
    prompt: TextContext | None = None
    lent_to: Callable[[], DitState | None] = lambda: None
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
        records_starts: Whether the first chunks of streams, whose memory still grows, are recorded too; each
            such recording keeps a memory of its own.
    """

    def __init__(
        self,
        dit: StreamingDit,
        *,
        settled_chunks: int = 2,
        max_signatures: int = 4,
        records_starts: bool = True,
    ) -> None:
        """Record nothing yet.

        Raises:
            ConfigError: If the model has weights packed for a CPU.
        """
        # they come with results kept for tensors that nobody writes into; a replay writes into all of them
        if any(isinstance(module, PackedLinear) for module in dit.modules()):
            raise ConfigError("got a model with packed weights, which only serves eagerly; load it without")
        self.dit = dit
        self.records_starts = records_starts
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
        is_steady = state is not None and self._is_steady(state.peek(), latent.shape[2])
        if not self._can_record(latent) or not (is_steady or self.records_starts):
            return self._direct(latent, sigma, text, state, write=write)
        signature, num_seen = self._signature(latent, sigma, text, state, write=write)
        if num_seen < self.settled_chunks:
            return self._direct(latent, sigma, text, state, write=write)
        buffers = self._buffers.get(signature)
        if buffers is None:
            buffers = self._new_buffers(latent, text, state, is_steady)
            self._buffers[signature] = buffers
            while len(self._buffers) > self.max_signatures:
                dropped, _ = self._buffers.popitem(last=False)
                self._chunks_seen[dropped] = 0
        self._buffers.move_to_end(signature)
        self._load(buffers, latent, text, state)
        if write not in buffers.recordings:
            # positions come with the rotations and `committed`, so the recording stands at none of its own
            buffers.recordings[write] = self._record(buffers, latent, sigma, write)
            if write and is_steady:
                # to record it took to run it, which wrote over the memory
                buffers.state = None
                self._load(buffers, latent, text, state)
        recording = buffers.recordings[write]
        recording.latent.copy_(latent, non_blocking=True)
        recording.sigma.copy_(sigma, non_blocking=True)
        velocity = torch.empty_like(recording.velocity)
        frames, start = latent.shape[2], 0 if state is None else state.next_frame
        memory = (None,) * len(self.dit.spec.mixers) if state is None else state.peek()
        if write and is_steady and state is not None:
            # from here on the old memory is gone, whatever happens: no second try may start from it
            state.take()
        recording.replay()
        velocity.copy_(recording.velocity)
        if not write:
            return velocity, state
        written = buffers.memory if recording.written is None else tree_map(torch.clone, recording.written)
        assert written is not None
        written = tuple(
            _placed(after, before, mixer, start, frames)
            for after, before, mixer in zip(written, memory, self.dit.spec.mixers)
        )
        if state is not None and not is_steady:
            state.take()
        after = self.dit.committed(written, start, frames)
        if recording.written is None:
            buffers.lent_to = ref(after)
        return velocity, after

    def _direct(
        self, latent: Latent, sigma: Tensor, text: TextContext, state: DitState | None, *, write: bool
    ) -> tuple[Latent, DitState | None]:
        """The forward as it is; the state that it writes holds no more memory than it needs."""
        velocity, after = self.dit(latent, sigma, text, state, write=write)
        if write and after is not None:
            after = StreamState(tree_map(_own, after.peek()), after.next_frame)
        return velocity, after

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

    def _is_steady(self, memory: Memory, frames: int) -> bool:
        """Whether a chunk of so many frames leaves memory of the shapes that it found."""
        caches = [
            (block.mixer, mixer)
            for block, mixer in zip(memory, self.dit.spec.mixers)
            if isinstance(block.mixer, SinkWindowCache) and isinstance(mixer, SoftmaxSpec)
        ]
        return all(
            _moved(cache, mixer, 0, frames).chunk_sizes == cache.chunk_sizes for cache, mixer in caches
        )

    def _new_buffers(
        self, latent: Latent, text: TextContext, state: DitState | None, is_steady: bool
    ) -> _Buffers:
        rotations = self.dit.rotations(latent.shape[2], _size(latent), state, latent.device)
        memory = None if state is None else tree_map(torch.clone, state.peek())
        return _Buffers(memory, _copied(rotations), tree_map(torch.clone, text), is_steady, state, text)

    def _load(self, buffers: _Buffers, latent: Latent, text: TextContext, state: DitState | None) -> None:
        # all streams start at the same place
        if state is not None and buffers.state is not state:
            rotations = self.dit.rotations(latent.shape[2], _size(latent), state, latent.device)
            holder = buffers.lent_to()
            if holder is not None and holder is not state and not holder.is_consumed:
                holder.separate()
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
                static_latent,
                static_sigma,
                buffers.text,
                state,
                write=write,
                rotations=buffers.rotations,
                room=buffers.memory if buffers.is_steady else None,
            )
            return velocity, None if not write or buffers.is_steady or after is None else after.peek()

        replay, (velocity, written) = self._capture(forward, latent.device)
        return _Recording(replay, static_latent, static_sigma, velocity, written)

    def _can_record(self, latent: Latent) -> bool:
        return latent.is_cuda

    def _capture(self, forward: Forward, device: torch.device) -> tuple[Callable[[], None], Outputs]:
        return self._pool.capture(forward, device)


def _placed(
    after: BlockState, before: BlockState | None, mixer: MixerSpec, start: int, frames: int
) -> BlockState:
    """A replayed block's memory with the positions of this chunk."""
    if not isinstance(mixer, SoftmaxSpec):
        return after
    assert isinstance(after.mixer, SinkWindowCache)
    kept = None if before is None else before.mixer
    assert kept is None or isinstance(kept, SinkWindowCache)
    moved = _moved(kept, mixer, start, frames)
    cache = SinkWindowCache(after.mixer.key, after.mixer.value, moved.positions, moved.chunk_sizes)
    return BlockState(cache, after.tail)


def _moved(before: SinkWindowCache | None, mixer: SoftmaxSpec, start: int, frames: int) -> SinkWindowCache:
    """Positions and sizes after a chunk: the moves of a cache on tensors without elements."""
    positions, chunk_sizes = ((), ()) if before is None else (before.positions, before.chunk_sizes)
    old, new = torch.empty(1, 1, len(positions), 0, 0), torch.empty(1, 1, frames, 0, 0)
    moved = SinkWindowCache(old, old, positions, chunk_sizes).append(new, new, start)
    return moved.evict(mixer.num_sink_frames, mixer.window_frames)[0]


def _own(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy of one that keeps a larger one alive, as the last of some frames does."""
    return tensor if tensor.nbytes == tensor.untyped_storage().nbytes() else tensor.clone()


def _size(latent: Latent) -> tuple[int, int]:
    return latent.shape[3], latent.shape[4]


def _rotation_tensors(rotations: Rotations) -> tuple[Tensor, ...]:
    return (rotations.current, *(table for table in rotations.past if table is not None))


def _copied(rotations: Rotations) -> Rotations:
    past = tuple(None if table is None else table.clone() for table in rotations.past)
    return Rotations(rotations.current.clone(), past)


def _copy_into(targets: object, sources: object) -> None:
    for (_, target), (_, source) in zip(tree_tensors(targets), tree_tensors(sources), strict=True):
        # what was lent out and came back is in its place
        if target is not source:
            target.copy_(source, non_blocking=True)
