"""The place of one stream in the engine: its session, its state and the chunk it is at; runs no network."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from vivace.catalog.sampling import fewer_steps
from vivace.core.errors import InputError
from vivace.core.grid import ChunkPlan
from vivace.data.fit import resize_and_crop
from vivace.engine.pace import Pace, expected_cost, steps_in_time, work_kind
from vivace.engine.rewind import Snapshot, SnapshotRing
from vivace.engine.scheduler import LatencyModel, SessionView
from vivace.engine.session import Session
from vivace.engine.telemetry import SessionFigures
from vivace.engine.terms import ChunkInput, RewindReceipt
from vivace.pipelines.edit import EditPipeline, Result
from vivace.pipelines.stream import CommitMode, EditStream, Prompt, StreamSettings
from vivace.pipelines.work import Denoise, Encode, Work


class Picture:
    """A raw frame as it came, until it is brought to the stream's size; ticks that repeat it share it.

    Two threads may do so at once: both get the same pixels.
    """

    __slots__ = ("_fitted", "_raw")

    def __init__(self, pixels: object) -> None:
        self._raw: Tensor | None = _as_tensor(pixels)
        self._fitted: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        raw = self._raw
        pixels = self._fitted if raw is None else raw
        assert pixels is not None
        return pixels.shape[1], pixels.shape[0]

    def fitted(self, width: int, height: int) -> Tensor:
        """The picture at this size, on the CPU; computed once."""
        raw = self._raw
        if raw is not None:
            self._fitted = resize_and_crop(rearrange(raw.cpu(), "h w c -> 1 h w c"), height, width)[0]
            self._raw = None
        assert self._fitted is not None
        return self._fitted


class Slot:
    """One stream. Its queues belong to the session; stream, chunk and snapshots to the worker alone."""

    def __init__(
        self,
        session: Session,
        pipeline: EditPipeline,
        sigmas: Callable[[int | None], tuple[float, ...]],
        commit: CommitMode,
        plan: ChunkPlan,
        ring: SnapshotRing,
    ) -> None:
        self.session = session
        self.size: tuple[int, int] | None = None
        self.num_passed_over = 0
        self.asked_rewinds: list[tuple[float, Future[RewindReceipt]]] = []
        self.source: ChunkInput | None = None
        self.listener: Callable[[], object] | None = None
        self.has_news = False
        self.ring = ring
        self._pipeline = pipeline
        self._sigmas = sigmas
        self._commit: CommitMode = commit
        self._plan = plan
        self._stream: EditStream | None = None
        self._pace: Pace | None = None

    @property
    def stream(self) -> EditStream:
        """The open stream."""
        assert self._stream is not None
        return self._stream

    def view(self) -> SessionView | None:
        """What the scheduler may know; None where there is nothing to do. Changes nothing."""
        if self.session.is_over:
            return None
        if self.source is not None:
            work = self.stream.plan()
            assert work is not None
            deadline_s: float | None = self.source.deadline_s
        else:
            deadline_s = self.session.next_deadline_s
            work = Encode(self._plan.chunk(self.session.next_chunk_index))
        if deadline_s is None:
            return None
        return SessionView(self.session.slot, self._batch_key(work), deadline_s, self.num_passed_over)

    @property
    def next_kind(self) -> str:
        """The kind of the work that the chunk under work needs next, as its durations are learned."""
        work = self.stream.plan()
        assert work is not None
        return self._kind_of(work)

    @property
    def wanted_steps(self) -> int:
        """Denoising steps of a chunk as the user wants them."""
        return len(self._sigmas(self.session.controls.num_denoising_steps))

    @property
    def present_steps(self) -> int | None:
        """Denoising steps of the newest chunk; None before the first one."""
        return None if self._pace is None else self._pace.num_steps

    def paced(self, source: ChunkInput, latency: LatencyModel, num_sessions: int, now_s: float) -> ChunkInput:
        """The chunk with the steps that it takes: fewer than wanted where it would be late, if it may.

        `num_sessions` take turns with this engine.
        """
        settings = self.session.settings
        wanted = self.wanted_steps
        least = settings.least_denoising_steps
        choices = fewer_steps(wanted, wanted if least is None else least)
        # what the user asks for is tried before anything is known against it
        pace = self._pace
        if pace is None or pace.choices != choices:
            pace = Pace.at_will(choices)
        if len(choices) > 1:
            cost = expected_cost(latency, self.size, has_commit=self._commit == "clean_pass")
            pace = steps_in_time(pace, cost, self.session.next_chunk_s, num_sessions, now_s)
        self._pace = pace
        return replace(source, controls=replace(source.controls, num_denoising_steps=pace.num_steps))

    def begin_chunk(self, source: ChunkInput) -> None:
        """Give the stream the frames and the instruction of its next chunk."""
        assert self.size is not None
        assert isinstance(source.prompt, Prompt)
        width, height = self.size
        sigmas = self._sigmas(source.controls.num_denoising_steps)
        if self._stream is None:
            settings = StreamSettings(
                height_px=height,
                width_px=width,
                seed=self.session.settings.seed,
                sigmas=sigmas,
                commit=self._commit,
                plan=self._plan,
            )
            self._stream = EditStream(settings, self._pipeline.vae.grid, source.prompt)
        self._stream.prompt = source.prompt
        # between chunks the steps are free: memory is written at noise level 0, or at that of the last step,
        # which is the same for the numbers of steps that a pace chooses from
        self._stream.settings = replace(self._stream.settings, sigmas=sigmas)
        pictures = [frame.pixels for frame in source.frames]
        self._stream.push(
            torch.stack([one.fitted(width, height) for one in pictures if isinstance(one, Picture)])
        )
        if source.is_last:
            self._stream.finish()
        self.source = source

    def advance(self, result: Result) -> None:
        """Take the result of a work item."""
        self.stream.advance(result.flight, result.memories)

    def has_finite_chunk(self) -> bool:
        """Whether the chunk under work holds numbers only; waits for the device."""
        latent = self.stream.in_flight.latent
        return latent is None or bool(torch.isfinite(latent).all())

    def shown(self, edited: Tensor) -> Tensor:
        """The edited frames of the chunk under work at the strength that was asked for."""
        source = self.source
        assert source is not None
        strength = source.controls.strength
        if strength == 1:
            return edited
        assert self.size is not None
        pictures = [frame.pixels for frame in source.frames]
        before = torch.stack([one.fitted(*self.size) for one in pictures if isinstance(one, Picture)])
        if strength == 0:
            return before
        return torch.lerp(before.float(), edited.float(), strength).round_().to(torch.uint8)

    def state_bytes(self) -> int:
        """Bytes of the stream's memories."""
        return self.stream.memories.num_bytes()

    def snapshot(self) -> Snapshot | None:
        """A copy of the stream between two chunks; None where the ring would not keep it."""
        prompt = self.session.prompt
        num_bytes = self.state_bytes()
        if prompt is None or not self.ring.would_keep(num_bytes):
            return None
        stream = self.stream
        return Snapshot(
            stream.memories.clone(), num_bytes, stream.next_chunk, self.session.next_frame_index, prompt
        )

    def rewind(self, seconds: float) -> RewindReceipt:
        """Go back; what is under work and what waits is dropped.

        Raises:
            InputError: If no snapshot is kept.
        """
        fps = self.session.settings.native_fps
        found = self.ring.back(seconds * fps)
        if found is None:
            raise InputError("there is nothing to go back to: no chunk is edited yet, or rewind_s is 0")
        snapshot, num_frames = found
        self.stream.restore(snapshot.memories.clone(), snapshot.next_chunk)
        self.source = None
        self.ring.forget_after(snapshot.next_frame)
        self.session.rewound(snapshot.next_chunk, snapshot.next_frame, snapshot.prompt)
        return RewindReceipt(
            snapshot.next_frame,
            snapshot.next_chunk,
            self.session.branch,
            num_frames / fps,
            snapshot.prompt.words,
        )

    def drop_stream(self) -> None:
        """Free what the stream remembers."""
        self._stream = None
        self.source = None
        self.ring.clear()

    def figures(self, now_s: float) -> SessionFigures:
        """Measured so far."""
        session = self.session
        return SessionFigures(
            slot=session.slot,
            phase=session.phase,
            is_paused=session.is_paused,
            prompt_words=session.prompt_words,
            stream_s=session.stream_s,
            next_frame_index=session.next_frame_index,
            branch=session.branch,
            rewindable_s=self.ring.reach_frames / session.settings.native_fps,
            num_denoising_steps=self.present_steps,
            wanted_denoising_steps=self.wanted_steps,
            figures=session.figures(now_s),
        )

    def _batch_key(self, work: Work) -> tuple[Hashable, ...]:
        # As the pipeline groups works; the first item is what durations are learned for.
        writes = isinstance(work, Denoise) and work.writes
        return self._kind_of(work), writes, work.chunk.start, work.chunk.num_frames, self.size

    def _kind_of(self, work: Work) -> str:
        return work_kind(type(work).__name__, self.size, is_first=work.chunk.start == 0)


def _as_tensor(pixels: object) -> Tensor:
    """The picture as a tensor.

    Raises:
        InputError: If it is no picture.
    """
    if isinstance(pixels, np.ndarray):
        if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size:
            # torch warns about arrays that it could, but does not, write into
            owned = np.ascontiguousarray(pixels)
            return torch.from_numpy(owned if owned.flags.writeable else owned.copy())
        raise InputError(f"got a frame {pixels.dtype} {pixels.shape}, expected uint8 (h, w, 3)")
    if isinstance(pixels, Tensor):
        if pixels.dtype == torch.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.numel():
            return pixels.detach()
        raise InputError(f"got a frame {pixels.dtype} {tuple(pixels.shape)}, expected uint8 (h, w, 3)")
    raise InputError(f"got {type(pixels).__name__} as a frame, expected a numpy array or a torch tensor")
