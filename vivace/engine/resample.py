"""Brings frames of any rate to the rate a model was trained at, by their timestamps; holds no queue."""

import math
from dataclasses import dataclass

from vivace.core.errors import InputError

# A hole or a jump of the sender's clock beyond this is not filled with repeats; time goes on from there.
MAX_GAP_S = 1.0
# About thirty thousand years; beyond it floating-point time is too coarse to count frames.
MAX_TIME_S = 1e12


@dataclass(frozen=True, slots=True)
class InputFrame:
    """A raw frame that has its place on the native time axis.

    Attributes:
        pixels: The picture; opaque here.
        time_s: When it belongs on the sender's clock: the nearest tick of the native rate.
        stream_s: The same in seconds since the session's first frame; never goes back.
        arrived_s: When it came in, on the engine's clock.
    """

    pixels: object
    time_s: float
    stream_s: float
    arrived_s: float


class RateResampler:
    """Every frame goes to its nearest tick at once, so resampling adds no delay.

    A tick that has its frame takes no other (sender faster than native); a tick that was passed over gets the
    nearer of its two neighbours (sender slower than native).
    """

    def __init__(self, native_fps: float) -> None:
        self._period_s = 1 / native_fps
        self._origin_s = 0.0
        self._next_tick = 0
        self._last: InputFrame | None = None

    @property
    def stream_s(self) -> float:
        """Seconds from the session's first frame to the place of the next one."""
        return self._next_tick * self._period_s

    def push(self, pixels: object, time_s: float, arrived_s: float) -> list[InputFrame]:
        """The frames of all ticks that this frame settles: none, itself, or repeats and itself.

        Raises:
            InputError: If `time_s` is not a finite number.
        """
        if not abs(time_s) <= MAX_TIME_S:
            raise InputError(f"got a frame with time {time_s}, expected seconds, at most {MAX_TIME_S:.0e}")
        tick = self._tick_of(time_s)
        previous = self._last
        if previous is None or abs(tick - self._next_tick) * self._period_s > MAX_GAP_S:
            self._origin_s = time_s - self._next_tick * self._period_s
            tick = self._next_tick
            previous = None
        settled: list[InputFrame] = []
        while self._next_tick <= tick:
            at_s = self._origin_s + self._next_tick * self._period_s
            if previous is not None and at_s - previous.time_s < time_s - at_s:
                settled.append(InputFrame(previous.pixels, at_s, self.stream_s, previous.arrived_s))
            else:
                settled.append(InputFrame(pixels, at_s, self.stream_s, arrived_s))
            self._next_tick += 1
        if settled:
            self._last = InputFrame(pixels, time_s, self.stream_s, arrived_s)
        return settled

    def skip_gap(self) -> None:
        """Let the next frame follow the last one directly, whatever its time."""
        self._last = None

    def _tick_of(self, time_s: float) -> int:
        return math.floor((time_s - self._origin_s) / self._period_s + 0.5)
