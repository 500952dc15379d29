"""Encode of the next chunk, denoise of this one and decode of the last at the same time on one GPU."""

from collections import deque
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import UInt8
from torch import Tensor

from vivace.pipelines.edit import EditPipeline, to_host
from vivace.pipelines.stream import EditStream
from vivace.pipelines.work import Commit, Decode, Denoise, Encode, Work
from vivace.state.stream_state import StreamState
from vivace.state.tree import tree_tensors

Lane = Literal["encode", "denoise", "decode"]
LANES: tuple[Lane, ...] = ("encode", "denoise", "decode")
MAX_PENDING = 2


class Mark(Protocol):
    """A place in a lane's queue."""

    def query(self) -> bool:
        """Whether the lane has come past it."""
        ...

    def synchronize(self) -> None:
        """Wait until it has."""
        ...


class Lanes(Protocol):
    """Queues of one device that run beside each other; the caller has a queue of its own."""

    def on(self, lane: Lane) -> AbstractContextManager[object]:
        """What is launched inside goes to this lane."""
        ...

    def follow(self, lane: Lane) -> None:
        """The lane goes on once all is done that the caller's queue holds by now."""
        ...

    def mark(self, lane: Lane) -> Mark:
        """The present end of the lane."""
        ...

    def wait(self, lane: Lane, mark: Mark) -> None:
        """The lane goes on once another one has come past the mark."""
        ...

    def keep(self, lane: Lane, tensors: Iterable[Tensor]) -> None:
        """The lane reads these: if they are freed, their memory stays as it is until it has."""
        ...

    def join(self) -> None:
        """The caller's queue goes on once all lanes have done what they hold by now."""
        ...


class CudaLanes:
    """CUDA streams as lanes; the caller's queue is the current CUDA stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams = {lane: torch.cuda.Stream(device) for lane in LANES}

    def on(self, lane: Lane) -> AbstractContextManager[object]:
        """What is launched inside goes to this lane."""
        return torch.cuda.stream(self._streams[lane])

    def follow(self, lane: Lane) -> None:
        """The lane goes on once all is done that the caller's queue holds by now."""
        self._streams[lane].wait_stream(torch.cuda.current_stream(self._device))

    def mark(self, lane: Lane) -> torch.cuda.Event:
        """The present end of the lane."""
        # a thread that waits for it sleeps, as others have work for the CPU
        event = torch.cuda.Event(blocking=True)
        event.record(self._streams[lane])
        return event

    def wait(self, lane: Lane, mark: Mark) -> None:
        """The lane goes on once another one has come past the mark."""
        assert isinstance(mark, torch.cuda.Event)
        self._streams[lane].wait_event(mark)

    def keep(self, lane: Lane, tensors: Iterable[Tensor]) -> None:
        """The lane reads these: if they are freed, their memory stays as it is until it has."""
        for tensor in tensors:
            if tensor.is_cuda:
                tensor.record_stream(self._streams[lane])

    def join(self) -> None:
        """The caller's queue goes on once all lanes have done what they hold by now."""
        for stream in self._streams.values():
            torch.cuda.current_stream(self._device).wait_stream(stream)


@dataclass(frozen=True, slots=True)
class _Pending:
    """Edited frames on their way to main memory."""

    frames: UInt8[Tensor, "r h w c"]
    arrived: Mark


class OverlappedEdit:
    """The loop of `EditPipeline.step` for one stream that does not wait for the device.

    The work and its order are those of the plain loop, so are the frames; they come up to `max_pending`
    chunks later, and all of them by the end. A chunk is decoded as soon as its latent is there, beside its
    commit. Between calls memories may still be under way: call `join` before they are read or copied.

    Several streams of one pipeline may share lanes; one thread may use them.
    """

    def __init__(
        self, pipeline: EditPipeline, stream: EditStream, lanes: Lanes, *, max_pending: int = MAX_PENDING
    ) -> None:
        self._pipeline = pipeline
        self._stream = stream
        self._lanes = lanes
        self._max_pending = max_pending
        self._pending: deque[_Pending] = deque()
        self._encoded: Mark | None = None
        self._denoised: Mark | None = None

    def step(self, frames: UInt8[Tensor, "r h w c"] | None) -> UInt8[Tensor, "r h w c"]:
        """Push frames (None: no more come), launch all work that is possible, return what has arrived.

        Waits only where more than `max_pending` chunks are under way, and at the end of the stream.
        """
        if frames is None:
            self._stream.finish()
        else:
            self._stream.push(frames)
        done: list[Tensor] = []
        while (work := self._stream.plan()) is not None:
            self._launch(work)
            while len(self._pending) > self._max_pending:
                done.append(self._take())
        while self._pending and (frames is None or self._pending[0].arrived.query()):
            done.append(self._take())
        return self._joined(done)

    def drain(self) -> UInt8[Tensor, "r h w c"]:
        """Wait for all chunks under way and return their frames; the stream goes on."""
        done: list[Tensor] = []
        while self._pending:
            done.append(self._take())
        return self._joined(done)

    def join(self) -> None:
        """What the caller launches next on the device sees the stream's memories as they will be."""
        self._lanes.join()

    def _launch(self, work: Work) -> None:
        stream, lane = self._stream, _lane_of(work)
        # restored memories and new instructions come from the caller
        self._lanes.follow(lane)
        needed = {"encode": None, "denoise": self._encoded, "decode": self._denoised}[lane]
        if needed is not None:
            self._lanes.wait(lane, needed)
        with self._lanes.on(lane):
            self._lanes.keep(lane, list(_read_by(stream, work)))
            (launched,) = self._pipeline.launch([(stream, work)])
            if launched.frames is not None:
                arriving = to_host(launched.frames)
                self._pending.append(_Pending(arriving, self._lanes.mark(lane)))
        stream.advance(launched.flight, launched.memories)
        match work:
            case Encode():
                self._encoded = self._lanes.mark(lane)
            case Denoise():
                # not the commit: decoding needs the latent alone
                self._denoised = self._lanes.mark(lane)
            case _:
                pass

    def _take(self) -> Tensor:
        pending = self._pending.popleft()
        pending.arrived.synchronize()
        return pending.frames

    def _joined(self, done: list[Tensor]) -> Tensor:
        if not done:
            settings = self._stream.settings
            return torch.empty(0, settings.height_px, settings.width_px, 3, dtype=torch.uint8)
        return done[0] if len(done) == 1 else torch.cat(done)


def _lane_of(work: Work) -> Lane:
    match work:
        case Encode():
            return "encode"
        case Denoise() | Commit():
            return "denoise"
        case Decode():
            return "decode"


def _read_by(stream: EditStream, work: Work) -> Iterable[Tensor]:
    """All tensors of the device that a work item reads."""
    flight, memories = stream.in_flight, stream.memories
    state: StreamState | None
    match work:
        case Encode():
            state = memories.encoder
        case Denoise() | Commit():
            state = memories.dit
            yield from (tensor for _, tensor in tree_tensors((flight.source, flight.prompt.context)))
        case Decode():
            state = memories.decoder
    if flight.latent is not None:
        yield flight.latent
    if state is not None:
        yield from (tensor for _, tensor in tree_tensors(state.peek()))
