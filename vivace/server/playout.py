"""When an edited frame is shown: bursts of a chunk become an even stream; pure, the clock is an argument."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Of so many recent chunks, this share is shown without a stutter; slower ones are late, and only they are.
NUM_CHUNKS = 16
EVEN_SHARE = 0.8
# Evenness is worth so much delay: a frame is held back this long where others need longer ...
MAX_HELD_S = 0.03
# ... and this long where the frames before it, which were late, are still being shown.
MAX_QUEUED_S = 0.045
# Frames that catch up follow each other in this part of their usual interval.
CATCH_UP = 0.5
# No frame waits longer than this, whatever the clocks say.
MAX_WAIT_S = 2.0


@dataclass(slots=True)
class _Waiting(Generic[Item]):
    """A frame with the time when its raw frame arrived, the latest time to show it, and the chosen one."""

    item: Item
    arrived_s: float
    latest_s: float
    due_s: float


@dataclass(slots=True)
class Playout(Generic[Item]):
    """Releases frames at their arrival time plus a delay, so that they come as evenly as they went in.

    A chunk's frames come out together; spacing them again undoes what collecting them cost, so it adds
    nothing. What adds is holding a quick chunk back because others are slower. The delay is what
    `EVEN_SHARE` of the last `NUM_CHUNKS` chunks needed, at most `MAX_HELD_S` more than the newest chunk
    does: one late chunk changes nothing for those behind it, and where the model's times spread widely,
    playback becomes less even instead of later. What is behind catches up at twice the usual rate.

    Times are seconds of one monotonic clock. `interval_s` is what lies between two frames. `max_waiting`
    bounds the queue: of a backlog the oldest frames are dropped, so that slowness never adds up to delay.
    """

    max_waiting: int
    interval_s: float
    num_dropped: int = 0
    _needed_s: deque[float] = field(default_factory=lambda: deque(maxlen=NUM_CHUNKS))
    _waiting: deque[_Waiting[Item]] = field(default_factory=deque)
    _shown_s: float = float("-inf")

    @property
    def delay_s(self) -> float:
        """What `EVEN_SHARE` of the last chunks needed after their first frame came; 0 without any."""
        ordered = sorted(self._needed_s)
        return ordered[math.ceil(EVEN_SHARE * len(ordered)) - 1] if ordered else 0.0

    def push(self, frames: Sequence[tuple[float, Item]], now_s: float) -> None:
        """Take the frames of a chunk, each with the time when its raw frame arrived, oldest first."""
        if not frames:
            return
        needed_s = max(0.0, now_s - frames[0][0])
        self._needed_s.append(needed_s)
        for arrived_s, item in frames:
            latest_s = min(arrived_s + needed_s + MAX_QUEUED_S, now_s + MAX_WAIT_S)
            self._waiting.append(_Waiting(item, arrived_s, latest_s, now_s))
        while len(self._waiting) > self.max_waiting:
            self._waiting.popleft()
            self.num_dropped += 1
        self._choose_times(min(self.delay_s, needed_s + MAX_HELD_S), now_s)

    def next_due_s(self) -> float | None:
        """When the oldest waiting frame is due; None if none waits."""
        return self._waiting[0].due_s if self._waiting else None

    def pop_due(self, now_s: float) -> Item | None:
        """The oldest frame if it is due."""
        if not self._waiting or self._waiting[0].due_s > now_s:
            return None
        shown = self._waiting.popleft()
        self._shown_s = shown.due_s
        return shown.item

    def clear(self) -> None:
        """Forget waiting frames and the timing, after a rewind for example."""
        self._waiting.clear()
        self._shown_s = float("-inf")

    def _choose_times(self, delay_s: float, now_s: float) -> None:
        """Also for the frames that waited before: a delay that became less is less for all."""
        before_s = self._shown_s
        for frame in self._waiting:
            frame.due_s = max(frame.arrived_s + delay_s, before_s + CATCH_UP * self.interval_s, now_s)
            before_s = frame.due_s
        after_s = float("inf")
        for frame in reversed(self._waiting):
            frame.due_s = after_s = max(now_s, min(frame.due_s, frame.latest_s, after_s))

    def __len__(self) -> int:
        return len(self._waiting)
