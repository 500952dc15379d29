"""One stream of an editing pipeline: its settings, its memories and the chunk in flight; runs no network."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vivace.core.errors import ConfigError, InputError
from vivace.core.grid import Chunk, ChunkPlan, LatentGrid
from vivace.diffusion.sampler import check_sigmas
from vivace.models.streaming_dit import DitState, TextContext
from vivace.pipelines.work import Commit, Decode, Denoise, Encode, Work
from vivace.state.stream_state import StreamState

Latent = Float[Tensor, "b c t h w"]
CommitMode = Literal["clean_pass", "last_step"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamSettings:
    """What a stream is opened with.

    Attributes:
        height_px: Height of the frames that go in and come out.
        width_px: Width likewise.
        seed: Decides the noise of every latent frame.
        sigmas: Noise levels of the denoising steps, falling, the first at most 1.
        commit: `clean_pass` writes the memories by an extra call at noise level 0, `last_step` with the last
            step, unless that one starts from pure noise, as a single step does.
        plan: Chunk borders.
    """

    height_px: int
    width_px: int
    seed: int
    sigmas: tuple[float, ...]
    commit: CommitMode
    plan: ChunkPlan

    def __post_init__(self) -> None:
        check_sigmas(self.sigmas)


@dataclass(frozen=True, slots=True)
class Prompt:
    """An instruction ready for the model."""

    words: str
    context: TextContext


@dataclass(frozen=True, slots=True)
class Memories:
    """Everything a stream remembers between chunks: a value, so a stream can be cloned, saved and rewound.

    What `encoder` and `decoder` hold is a matter of the VAE.
    """

    encoder: StreamState[Any] | None
    dit: DitState | None
    decoder: StreamState[Any] | None

    def clone(self) -> "Memories":
        """A copy that shares no memory."""
        return Memories(
            None if self.encoder is None else self.encoder.clone(),
            None if self.dit is None else self.dit.clone(),
            None if self.decoder is None else self.decoder.clone(),
        )

    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(part.num_bytes() for part in (self.encoder, self.dit, self.decoder) if part is not None)


@dataclass(frozen=True, slots=True)
class ChunkInFlight:
    """A chunk between its raw frames and its edited frames; every work item returns the next one."""

    chunk: Chunk
    frames: UInt8[Tensor, "r h w c"]
    num_padded: int
    prompt: Prompt
    source: Latent | None = None
    latent: Latent | None = None
    next_step: int = 0
    is_committed: bool = False


@dataclass(slots=True)
class EditStream:
    """An open stream; `EditPipeline` advances it. Mutable: buffers and the newest memories."""

    settings: StreamSettings
    grid: LatentGrid
    prompt: Prompt
    memories: Memories = field(default_factory=lambda: Memories(None, None, None))
    is_finished: bool = False
    _waiting: deque[Tensor] = field(default_factory=deque)
    _in_flight: ChunkInFlight | None = None
    _next_chunk: int = 0

    def push(self, frames: UInt8[Tensor, "r h w c"]) -> None:
        """Queue raw frames of the stream's size; they are not copied and must stay as they are until encoded.

        Raises:
            InputError: If the frames have another size or type, or the stream was finished.
        """
        wanted = (self.settings.height_px, self.settings.width_px, 3)
        if frames.dtype != torch.uint8 or frames.ndim != 4 or tuple(frames.shape[1:]) != wanted:
            raise InputError(
                f"got frames {frames.dtype} {tuple(frames.shape)}, "
                f"expected uint8 (r, {wanted[0]}, {wanted[1]}, 3)"
            )
        if self.is_finished:
            raise InputError("the stream was finished and takes no more frames; open another one")
        if len(frames):
            self._waiting.append(frames)

    def keep_waiting(self) -> None:
        """Copy the frames that no chunk has taken yet, so that the caller may write over what it pushed."""
        for index, frames in enumerate(self._waiting):
            self._waiting[index] = frames.clone()

    def finish(self) -> None:
        """Say that no more frames come; the last chunk is padded with its last frame, the surplus dropped."""
        self.is_finished = True

    @property
    def num_waiting(self) -> int:
        """Raw frames that no chunk has taken yet."""
        return sum(len(frames) for frames in self._waiting)

    def plan(self) -> Work | None:
        """What this stream needs next; None while it waits for frames (or has ended)."""
        if self._in_flight is None:
            self._in_flight = self._open_chunk()
        flight = self._in_flight
        if flight is None:
            return None
        sigmas = self.settings.sigmas
        if flight.source is None:
            return Encode(flight.chunk)
        if flight.next_step < len(sigmas):
            is_last = flight.next_step == len(sigmas) - 1
            sigma_next = 0.0 if is_last else sigmas[flight.next_step + 1]
            # what is written from pure noise would say nothing of the chunk
            can_write = sigmas[-1] < 1
            writes = is_last and can_write and self.settings.commit == "last_step"
            return Denoise(flight.chunk, flight.next_step, sigmas[flight.next_step], sigma_next, writes)
        return Decode(flight.chunk) if flight.is_committed else Commit(flight.chunk)

    @property
    def in_flight(self) -> ChunkInFlight:
        """The chunk under work.

        Raises:
            ConfigError: If there is none: `plan` gave no work.
        """
        if self._in_flight is None:
            raise ConfigError("no chunk is in flight; call plan() and run its work")
        return self._in_flight

    def advance(self, flight: ChunkInFlight | None, memories: Memories) -> None:
        """Take the result of a work item; `flight` None means that the chunk is done."""
        self._in_flight = flight
        self.memories = memories

    def restore(self, memories: Memories, next_chunk: int) -> None:
        """Go on from earlier memories (a clone taken between chunks); waiting frames and work are dropped."""
        self.memories = memories
        self._next_chunk = next_chunk
        self._in_flight = None
        self._waiting.clear()
        self.is_finished = False

    @property
    def next_chunk(self) -> int:
        """Index of the chunk that will be opened next."""
        return self._next_chunk

    def _open_chunk(self) -> ChunkInFlight | None:
        chunk = self.settings.plan.chunk(self._next_chunk)
        needed = self.grid.num_raw_frames(chunk.num_frames, chunk.start)
        num_waiting = self.num_waiting
        if not num_waiting or (num_waiting < needed and not self.is_finished):
            return None
        parts, num_missing = [], min(needed, num_waiting)
        while num_missing:
            block = self._waiting.popleft()
            parts.append(block[:num_missing])
            if len(block) > num_missing:
                self._waiting.appendleft(block[num_missing:])
            num_missing -= len(parts[-1])
        num_padded = max(0, needed - num_waiting)
        if num_padded:
            parts.append(parts[-1][-1:].expand(num_padded, -1, -1, -1))
        # a push of a whole chunk is taken as it is: copying it costs as much as a denoising step
        frames = parts[0] if len(parts) == 1 else torch.cat(parts)
        self._next_chunk += 1
        return ChunkInFlight(chunk, frames, num_padded, self.prompt)


def stepped(flight: ChunkInFlight, latent: Latent, *, is_committed: bool = False) -> ChunkInFlight:
    """The chunk after one more denoising step."""
    return replace(flight, latent=latent, next_step=flight.next_step + 1, is_committed=is_committed)
