"""When an edited frame is shown: bursts of a chunk become an even stream; pure, the clock is an argument."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")

# The part of a delay that is no longer needed which each chunk gives back.
RECOVERY = 0.1
# No frame waits longer than this, whatever the clocks say.
MAX_WAIT_S = 2.0


@dataclass(slots=True)
class Playout(Generic[Item]):
    """Releases frames at their arrival time plus a delay just long enough for the slowest chunk of late.

    Times are seconds of one monotonic clock. `max_waiting` bounds the queue: of a backlog the oldest frames
    are dropped, so that slowness never adds up to delay.
    """

    max_waiting: int
    delay_s: float = 0.0
    num_dropped: int = 0
    _waiting: deque[tuple[float, Item]] = field(default_factory=deque)
    _newest_due_s: float = float("-inf")

    def push(self, frames: Sequence[tuple[float, Item]], now_s: float) -> None:
        """Take the frames of a chunk, each with the time when its raw frame arrived, oldest first."""
        if not frames:
            return
        needed_s = max(0.0, now_s - frames[0][0])
        surplus_s = self.delay_s - needed_s
        if surplus_s < 0:
            self.delay_s = needed_s
        else:
            self.delay_s -= surplus_s * RECOVERY
        for arrived_s, item in frames:
            due_s = min(max(arrived_s + self.delay_s, self._newest_due_s), now_s + MAX_WAIT_S)
            self._newest_due_s = due_s
            self._waiting.append((due_s, item))
        while len(self._waiting) > self.max_waiting:
            self._waiting.popleft()
            self.num_dropped += 1

    def next_due_s(self) -> float | None:
        """When the oldest waiting frame is due; None if none waits."""
        return self._waiting[0][0] if self._waiting else None

    def pop_due(self, now_s: float) -> Item | None:
        """The oldest frame if it is due."""
        if not self._waiting or self._waiting[0][0] > now_s:
            return None
        return self._waiting.popleft()[1]

    def clear(self) -> None:
        """Forget waiting frames and the timing, after a rewind for example."""
        self._waiting.clear()
        self._newest_due_s = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)
