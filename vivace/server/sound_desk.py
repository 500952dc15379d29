"""The sound of one session: from its publisher, in step with the picture, to viewers and the recording."""

import asyncio
from collections import deque
from collections.abc import Callable
from statistics import median

from vivace.server.sound import BLOCK_S, RATE_HZ, ArrivalClock, Samples, SoundBlock, SoundDelay

# Blocks that wait for one viewer; a slower one loses the oldest.
MAX_WAITING = 25
# The delay of the picture is the median over so many shown frames.
NUM_DELAYS = 15
# A loop that was held up for longer goes on from now instead of catching up.
MAX_LATE_S = 0.2
# A session has sound while some came within this time.
FRESH_S = 2.0


class SoundOutlet:
    """One viewer's queue of blocks."""

    def __init__(self) -> None:
        self._blocks: deque[SoundBlock] = deque(maxlen=MAX_WAITING)
        self._has_news = asyncio.Event()
        self._is_closed = False

    def put(self, block: SoundBlock) -> None:
        """Hand in a block."""
        self._blocks.append(block)
        self._has_news.set()

    def close(self) -> None:
        """No more blocks come."""
        self._is_closed = True
        self._has_news.set()

    async def get(self) -> SoundBlock | None:
        """The oldest block, waiting for one; None when the session is over."""
        while not self._blocks:
            if self._is_closed:
                return None
            self._has_news.clear()
            await self._has_news.wait()
        return self._blocks.popleft()


class SoundDesk:
    """Takes sound in and gives it out delayed by what the picture is delayed; on the event loop's thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.recorder: Callable[[SoundBlock], None] | None = None
        self._clock = clock
        self._arrivals = ArrivalClock()
        self._delay = SoundDelay()
        self._delays_s: deque[float] = deque(maxlen=NUM_DELAYS)
        self._outlets: set[SoundOutlet] = set()
        self._last_in_s = float("-inf")
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None

    @property
    def has_sound(self) -> bool:
        """Whether a publisher sends sound now."""
        return self._clock() - self._last_in_s < FRESH_S

    @property
    def delay_s(self) -> float | None:
        """How long after their arrival frames are shown; None before the first one."""
        return median(self._delays_s) if self._delays_s else None

    def push(self, samples: Samples, media_s: float) -> None:
        """Take samples in; `media_s` is the time of the first one on the track's own clock."""
        # the end of the samples is what has just arrived
        end_s = media_s + len(samples) / RATE_HZ
        self.push_arrived(samples, self._arrivals.arrival_s(end_s, self._clock()) - (end_s - media_s))

    def push_arrived(self, samples: Samples, arrived_s: float) -> None:
        """Take samples in that belong to a picture which arrived together with the first of them."""
        if self._is_closed:
            return
        self._delay.push(samples, arrived_s)
        self._last_in_s = self._clock()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="sound")

    def source_changed(self) -> None:
        """Another publisher took over, or a pause began: what waits belongs to nothing any more."""
        self._arrivals = ArrivalClock()
        self._delay.clear()

    def frame_shown(self, delay_s: float) -> None:
        """A frame was shown so long after its arrival."""
        self._delays_s.append(delay_s)

    def add_outlet(self) -> SoundOutlet:
        """A viewer's queue; give it back with `remove_outlet`."""
        outlet = SoundOutlet()
        if self._is_closed:
            outlet.close()
        self._outlets.add(outlet)
        return outlet

    def remove_outlet(self, outlet: SoundOutlet) -> None:
        """Send no more blocks there."""
        self._outlets.discard(outlet)

    def close(self) -> None:
        """End it; viewers are told."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
        for outlet in self._outlets:
            outlet.close()
        self._outlets.clear()

    async def _run(self) -> None:
        due_s = self._clock()
        # once the source falls silent nothing is sent, until it comes back and starts this again
        while self._clock() - self._last_in_s < FRESH_S:
            delay_s = self.delay_s
            if delay_s is not None:
                self._send(self._delay.take(due_s, delay_s))
            due_s += BLOCK_S
            late_s = self._clock() - due_s
            if late_s > MAX_LATE_S:
                due_s += late_s
            await asyncio.sleep(max(0.0, due_s - self._clock()))

    def _send(self, block: SoundBlock) -> None:
        for outlet in self._outlets:
            outlet.put(block)
        if self.recorder is not None:
            self.recorder(block)
