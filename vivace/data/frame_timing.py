"""When frames are shown: timed frames, repair of broken timestamps, change of frame rate; reads no files."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import UInt8

from vivace.core.errors import InputError

# A step back larger than this is a new time line (a recording that was joined), not a disordered frame.
NEW_TIME_LINE_S = Fraction(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedFrame:
    """A raw frame with the time at which it is shown.

    `pixels` is RGB in 0..255; `time_s` counts from the start of the edited range; `duration_s` is how long
    the frame stays on screen.
    """

    pixels: UInt8[np.ndarray, "h w c"]
    time_s: Fraction
    duration_s: Fraction

    @property
    def end_s(self) -> Fraction:
        """When the next frame is due."""
        return self.time_s + self.duration_s


class SteadyTimes:
    """Makes the timestamps of one track complete and strictly increasing; good ones pass unchanged.

    A missing or disordered timestamp becomes the end of the frame before. A step back of more than a second
    starts a new time line, which is joined to the end of the old one.
    """

    def __init__(self, start_s: Fraction = Fraction(0)) -> None:
        self._expected_s = start_s
        self._last_s: Fraction | None = None
        self._shift_s = Fraction(0)

    def repair(self, time_s: Fraction | None, duration_s: Fraction) -> Fraction:
        """The time to use for a frame that claims `time_s` and lasts `duration_s` (positive)."""
        repaired_s = self._expected_s if time_s is None else time_s + self._shift_s
        if self._last_s is not None and repaired_s <= self._last_s:
            if self._last_s - repaired_s > NEW_TIME_LINE_S:
                self._shift_s += self._expected_s - repaired_s
            repaired_s = self._expected_s
        self._last_s = repaired_s
        self._expected_s = repaired_s + duration_s
        return repaired_s


def exact_seconds(seconds: float | Fraction) -> Fraction:
    """Seconds as a fraction, to the microsecond, so that 0.1 means 1/10."""
    return Fraction(seconds).limit_denominator(1_000_000)


def resample_fps(frames: Iterable[TimedFrame], fps: float | Fraction) -> Iterator[TimedFrame]:
    """Frames at a constant rate of `fps`, chosen by timestamp.

    Every source frame goes to the nearest tick; where several meet the latest wins, where none falls the
    picture before is held (the same array, not a copy). Ticks are counted, not added up, so nothing drifts.

    Raises:
        InputError: If `fps` is not positive.
    """
    rate = exact_seconds(fps)
    if rate <= 0:
        raise InputError(f"got a frame rate of {float(fps):g}, expected more than 0 frames per second")
    return _resample(frames, rate)


def _resample(frames: Iterable[TimedFrame], rate: Fraction) -> Iterator[TimedFrame]:
    held: TimedFrame | None = None
    start_s = end_s = Fraction(0)
    tick = 0

    def shown(frame: TimedFrame, tick: int) -> TimedFrame:
        return TimedFrame(pixels=frame.pixels, time_s=start_s + tick / rate, duration_s=1 / rate)

    for frame in frames:
        if held is None:
            start_s = frame.time_s
        else:
            due = _nearest_tick((frame.time_s - start_s) * rate)
            for missed in range(tick, due):
                yield shown(held, missed)
            tick = max(tick, due)
        held, end_s = frame, frame.end_s
    if held is not None:
        # The end decides how many there are, so that the duration survives; a very short clip is one frame.
        for missed in range(tick, max(1, _nearest_tick((end_s - start_s) * rate))):
            yield shown(held, missed)


def _nearest_tick(position: Fraction) -> int:
    # Halves always go up: rounding them to even would show 60 -> 30 fps with an uneven rhythm.
    return math.floor(position + Fraction(1, 2))
