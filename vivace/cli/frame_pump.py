"""Pushes timed frames through a live stream and hands out edited frames with their sources; keeps figures."""

from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
from jaxtyping import UInt8

from vivace.catalog.editor import LiveStream
from vivace.cli.edit_job import TimedPrompt
from vivace.cli.edit_report import PromptReport
from vivace.data.frame_timing import TimedFrame
from vivace.pipelines.stream import Prompt

Edited = UInt8[np.ndarray, "r h w c"]
Sink = Callable[[TimedFrame, TimedFrame], None]


class FramePump:
    """One stream from timed frames to timed frames; holds no more source frames than a chunk.

    Attributes:
        num_edited: Frames handed out so far.
        first_frame_at: Clock reading when the first edited frame was ready; None before.
        chunk_ms: Milliseconds from the last source frame of every chunk to its edited frames.
        followed: The prompts that came to effect.
    """

    def __init__(
        self,
        stream: LiveStream,
        prompts: Sequence[tuple[TimedPrompt, Prompt]],
        sink: Sink,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """`prompts` are in the order of their times; `sink` takes a source frame and its edited form."""
        self._stream = stream
        self._upcoming = deque(prompts)
        self._sink = sink
        self._clock = clock
        self._waiting: deque[tuple[TimedFrame, float]] = deque()
        self._num_pushed = 0
        self.num_edited = 0
        self.first_frame_at: float | None = None
        self.chunk_ms = array("d")
        self.followed: list[PromptReport] = []

    @property
    def never_reached(self) -> list[TimedPrompt]:
        """The prompts whose time has not come."""
        return [timed for timed, _ in self._upcoming]

    def push(self, frame: TimedFrame) -> None:
        """Edit what is ready once this frame is in."""
        if not self._stream.num_waiting:
            self._follow_prompts(frame)
        self._waiting.append((frame, self._clock()))
        self._num_pushed += 1
        self._hand_out(self._stream.push(frame.pixels[None]))

    def finish(self) -> None:
        """Edit the frames that are left."""
        self._hand_out(np.asarray(self._stream.finish()))

    def _follow_prompts(self, frame: TimedFrame) -> None:
        # Only where a chunk begins: an instruction must not reach back to frames before its time.
        due = None
        while self._upcoming and self._upcoming[0][0].at_s <= frame.time_s:
            due = self._upcoming.popleft()
        if due is not None:
            timed, prompt = due
            self._stream.set_prompt(prompt)
            self.followed.append(
                PromptReport(at_s=float(timed.at_s), words=timed.words, from_frame=self._num_pushed)
            )

    def _hand_out(self, edited: Edited) -> None:
        if not len(edited):
            return
        ready = self._clock()
        pushed = self._waiting[len(edited) - 1][1]
        self.chunk_ms.append((ready - pushed) * 1000)
        if self.first_frame_at is None:
            self.first_frame_at = ready
        for pixels in edited:
            source, _ = self._waiting.popleft()
            self._sink(source, replace(source, pixels=pixels))
            self.num_edited += 1
