"""Sound that waits for its picture: blocks of samples by arrival time; pure, the clock is an argument."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int16

RATE_HZ = 48_000
NUM_CHANNELS = 2
BLOCK = 960
BLOCK_S = BLOCK / RATE_HZ
# Sound this old is forgotten; frames never wait so long (`vivace.server.playout`).
KEPT_S = 3.0
# How far sound may be from its picture before it jumps; people notice about 45 ms where sound comes first.
TOLERATED_S = 0.03
# Packets whose times differ by less from those before them follow without a seam.
SEAM_S = 0.015
# A jump is faded over, so that it does not click.
FADE = 240
# Offsets between a track's own clock and arrival that count; jitter only ever makes packets late.
WINDOW_S = 5.0
RESET_S = 1.0

Samples = Int16[np.ndarray, "n 2"]


@dataclass(slots=True)
class ArrivalClock:
    """Tells when media would have arrived without jitter: its own time plus the least offset of late."""

    _offsets: deque[tuple[float, float]] = field(default_factory=deque)

    @property
    def offset_s(self) -> float | None:
        """What lies between the track's own time and arrival; None before anything came."""
        return self._offsets[0][1] if self._offsets else None

    def arrival_s(self, media_s: float, now_s: float) -> float:
        """The arrival of what lies at `media_s` of the track and came in at `now_s`."""
        offset_s = now_s - media_s
        if self._offsets and abs(offset_s - self._offsets[0][1]) > RESET_S:
            # the sender's clock jumped
            self._offsets.clear()
        while self._offsets and self._offsets[0][0] < now_s - WINDOW_S:
            self._offsets.popleft()
        # ascending offsets: the first one is the least of those that are not too old
        while self._offsets and self._offsets[-1][1] >= offset_s:
            self._offsets.pop()
        self._offsets.append((now_s, offset_s))
        return media_s + self._offsets[0][1]


@dataclass(frozen=True, slots=True)
class SoundBlock:
    """20 ms of sound on its way out.

    Attributes:
        samples: 48 kHz stereo.
        arrived_s: When its first sample arrived, on the server's clock; comparable with that of frames.
        index: Place of the block in the session's 20 ms; after a silence that was not sent it jumps.
    """

    samples: Samples
    arrived_s: float
    index: int


@dataclass(slots=True)
class SoundDelay:
    """Gives the sound that belongs to the picture being shown; silence where there is none."""

    _pieces: deque[tuple[int, Samples]] = field(default_factory=deque)
    _next_in: int | None = None
    _next_out: int | None = None
    _first_s: float | None = None
    _last_index: int = -1

    def push(self, samples: Samples, arrived_s: float) -> None:
        """Take samples in, the first of which arrived at `arrived_s`."""
        start = round(arrived_s * RATE_HZ)
        if self._next_in is not None and abs(start - self._next_in) <= SEAM_S * RATE_HZ:
            start = self._next_in
        if self._next_in is not None and start < self._next_in:
            # what was already there stays: a sender that repeats itself is not heard twice
            samples = samples[self._next_in - start :]
            start = self._next_in
        if not len(samples):
            return
        self._pieces.append((start, samples))
        self._next_in = start + len(samples)
        while self._pieces and self._pieces[0][0] < self._next_in - KEPT_S * RATE_HZ:
            self._pieces.popleft()

    def take(self, now_s: float, delay_s: float) -> SoundBlock:
        """The next block; `delay_s` is what lies between the arrival and the showing of frames now."""
        wanted = round((now_s - delay_s) * RATE_HZ)
        before = self._next_out
        start = wanted if before is None or abs(wanted - before) > TOLERATED_S * RATE_HZ else before
        samples = self._read(start, BLOCK)
        if before is not None and start != before:
            weight = np.linspace(0, 1, FADE)[:, None]
            samples[:FADE] = np.rint(samples[:FADE] * weight + self._read(before, FADE) * (1 - weight))
        self._next_out = start + BLOCK
        if self._first_s is None:
            self._first_s = now_s
        self._last_index = max(self._last_index + 1, round((now_s - self._first_s) / BLOCK_S))
        return SoundBlock(samples, start / RATE_HZ, self._last_index)

    def clear(self) -> None:
        """Forget what waits."""
        self._pieces.clear()
        self._next_in = None

    def _read(self, start: int, count: int) -> Samples:
        found = np.zeros((count, NUM_CHANNELS), np.int16)
        for begin, samples in self._pieces:
            if begin >= start + count:
                break
            low, high = max(begin, start), min(begin + len(samples), start + count)
            if low < high:
                found[low - start : high - start] = samples[low - begin : high - begin]
        return found
