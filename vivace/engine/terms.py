"""What a session is opened with, what goes through it and how it ends: values only."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from vivace.core.errors import InputError, VivaceError
from vivace.core.grid import Chunk
from vivace.engine.resample import InputFrame

EndKind = Literal["finished", "closed", "idle", "failed"]


class Phase(StrEnum):
    """Where a session stands in its life."""

    OPENING = "opening"
    LIVE = "live"
    DRAINING = "draining"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """Why a session is closed; `reason` is a sentence for the user."""

    kind: EndKind
    reason: str


class SessionEndedError(VivaceError):
    """A call came to a session that is closed, or a session failed while its frames were awaited.

    Attributes:
        end: Why it is closed.
    """

    def __init__(self, end: SessionEnd) -> None:
        super().__init__(f"the session is closed ({end.kind}): {end.reason}")
        self.end = end


def check_strength(strength: float) -> None:
    """Raise where a strength is out of range.

    Raises:
        InputError: If it is not between 0 and 1.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"got strength {strength}, expected 0 (the source) to 1 (the edit)")


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionSettings:
    """What a session is opened with.

    Attributes:
        prompt: What to do with the video.
        size: Width and height of the edited frames, moved to what the model can do; None keeps the aspect of
            the first frame at the model's native area.
        seed: Another seed gives another version of the edit.
        num_denoising_steps: 1 to 8; None is the model's own number. It can be changed between chunks.
        least_denoising_steps: 1 to 8; where the machine is slower than `native_fps` chunks take fewer steps
            than that, down to this number, before frames are dropped; the edit then depends on the machine.
            None takes as many as are asked for, always.
        strength: 0 to 1: 1 shows the edit, 0 the source, between them the two are mixed pixel by pixel after
            the decoder. What the stream remembers is always the full edit (docs/decisions/0008).
        commit: How a chunk enters the memories; None is the model's own way.
        native_fps: The rate that incoming frames are brought to.
        max_waiting_frames: Frames that wait for a chunk at most; the oldest goes when the model is slower.
            Never less than one chunk; None is two chunks.
        max_ready_frames: Edited frames that wait for the consumer at most; the oldest goes when it is slower.
        idle_timeout_s: The session ends after so long without a frame or an order; None never.
        rewind_s: How far back `rewind` can reach; 0 keeps no snapshots.
    """

    prompt: str
    size: tuple[int, int] | None = None
    seed: int = 0
    num_denoising_steps: int | None = None
    least_denoising_steps: int | None = None
    strength: float = 1.0
    commit: Literal["clean_pass", "last_step"] | None = None
    native_fps: float = 16.0
    max_waiting_frames: int | None = None
    max_ready_frames: int = 64
    idle_timeout_s: float | None = 60.0
    rewind_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.native_fps <= 240:
            raise InputError(f"got native_fps {self.native_fps}, expected more than 0 and at most 240")
        if self.max_ready_frames < 1 or (self.max_waiting_frames is not None and self.max_waiting_frames < 1):
            raise InputError(
                f"got queues of {self.max_waiting_frames} and {self.max_ready_frames} frames, "
                "expected at least 1 each"
            )
        if not 0 <= self.rewind_s <= 3600 or (self.idle_timeout_s is not None and self.idle_timeout_s <= 0):
            raise InputError(
                f"got rewind_s {self.rewind_s} and idle_timeout_s {self.idle_timeout_s}, "
                "expected at most an hour, and above 0 or None"
            )
        check_strength(self.strength)
        if self.size is not None and min(self.size) < 1:
            raise InputError(f"got size {self.size}, expected width and height of at least 1 pixel")


@dataclass(frozen=True, slots=True)
class EditedFrame:
    """An edited raw frame.

    Attributes:
        pixels: uint8 `h w c`, a numpy array.
        time_s: Of the frame it was made from, on the sender's clock; sound is delayed to it.
        frame_index: Place in the stream, from 0; goes back with a rewind.
        chunk_index: Place of its chunk, likewise.
        branch: How many rewinds came before it.
        prompt_words: The instruction it follows.
        prompt_id: Which change of the instruction that was; 0 is what the session was opened with.
        delay_s: From the arrival of its source frame to now, when it became ready.
        ready_s: When it became ready, on the engine's clock.
        span_s: Of the delay, what the chunk costs: from the arrival of its first frame to that of its last.
        model_s: Of the delay, the time in which the model worked (also for others) on the complete chunk.
        engine_s: Of the delay, what else passed between the complete chunk and its edited frames.
    """

    pixels: object
    time_s: float
    frame_index: int
    chunk_index: int
    branch: int
    prompt_words: str
    prompt_id: int
    delay_s: float
    ready_s: float
    span_s: float = 0.0
    model_s: float = 0.0
    engine_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RewindReceipt:
    """Where a rewind landed: the next edited frame has this index and follows these words.

    `back_s` is what was really gone back, which differs from the wish by what snapshots there are.
    """

    frame_index: int
    chunk_index: int
    branch: int
    back_s: float
    prompt_words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Controls:
    """What may change from chunk to chunk without a new stream; ranges as in `SessionSettings`."""

    num_denoising_steps: int | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_strength(self.strength)


@dataclass(frozen=True, slots=True)
class ChunkInput:
    """The raw frames of a chunk that is ready to be edited.

    Attributes:
        chunk: Its place.
        frames: Its raw frames; fewer than the chunk holds only where `is_last`.
        first_frame_index: Of the first one in the stream.
        prompt: What the model reads, opaque here.
        prompt_words: The instruction.
        prompt_id: Which change of it.
        controls: Steps and strength; the steps are those that it takes once the engine has chosen.
        ready_s: When the chunk was complete.
        deadline_s: When its edited frames must be ready: before the next chunk is complete.
        is_last: Whether the stream ends with it.
    """

    chunk: Chunk
    frames: tuple[InputFrame, ...]
    first_frame_index: int
    prompt: object
    prompt_words: str
    prompt_id: int
    controls: Controls
    ready_s: float
    deadline_s: float
    is_last: bool
