"""Edited frames of one session that wait for its consumer; bounded, the oldest go first."""

from collections import deque
from collections.abc import Sequence

from vivace.engine.telemetry import SessionTelemetry
from vivace.engine.terms import ChunkInput, EditedFrame


class Outbox:
    """A queue of edited frames. What falls out of it is counted."""

    def __init__(self, max_frames: int, telemetry: SessionTelemetry) -> None:
        self._max_frames = max_frames
        self._telemetry = telemetry
        self._frames: deque[EditedFrame] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def put(
        self, source: ChunkInput, pixels: Sequence[object], branch: int, now_s: float, added_s: float
    ) -> None:
        """Take the edited frames of a chunk; `added_s` is its time less buffering and the model's work."""
        arrived_s = [frame.arrived_s for frame in source.frames]
        self._telemetry.chunk_done(
            now_s=now_s,
            ready_s=source.ready_s,
            deadline_s=source.deadline_s,
            added_s=added_s,
            arrived_s=arrived_s,
        )
        self._telemetry.counts.denoising_steps += source.controls.num_denoising_steps or 0
        for offset, (frame, picture) in enumerate(zip(source.frames, pixels)):
            if len(self._frames) == self._max_frames:
                self._frames.popleft()
                self._telemetry.counts.frames_dropped_out += 1
            self._frames.append(
                EditedFrame(
                    picture,
                    frame.time_s,
                    source.first_frame_index + offset,
                    source.chunk.index,
                    branch,
                    source.prompt_words,
                    source.prompt_id,
                    max(0.0, now_s - frame.arrived_s),
                    now_s,
                    max(0.0, arrived_s[-1] - arrived_s[0]),
                    max(0.0, now_s - source.ready_s - added_s),
                    max(0.0, added_s),
                )
            )

    def take(self, max_frames: int | None) -> list[EditedFrame]:
        """Remove and return the oldest; None takes all."""
        count = len(self._frames) if max_frames is None else min(max_frames, len(self._frames))
        return [self._frames.popleft() for _ in range(count)]

    def clear(self) -> None:
        """Drop what waits."""
        self._frames.clear()

    def oldest_s(self, now_s: float) -> float:
        """How long the oldest one waits; 0 where none does."""
        return max(0.0, now_s - self._frames[0].ready_s) if self._frames else 0.0
