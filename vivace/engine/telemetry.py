"""What sessions measure: counts and times, alone and in sum; pure Python, about a microsecond a value."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

# Buckets grow by 5 %, so a quantile is at most 2.5 % off.
GROWTH = 1.05
SMALLEST_S = 1e-5
FPS_WINDOW_S = 5.0
# What `recent_delay` looks back at; 4,096 frames at most.
RECENT_S = 10.0


class Histogram:
    """Times in seconds in logarithmic buckets; needs no memory for values that never come."""

    __slots__ = ("_counts", "largest_s", "num_values", "total_s")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.num_values = 0
        self.total_s = 0.0
        self.largest_s = 0.0

    def record(self, seconds: float) -> None:
        """Count a time; negative ones (a clock went back) count as 0."""
        seconds = max(0.0, seconds)
        bucket = 0 if seconds <= SMALLEST_S else 1 + int(math.log(seconds / SMALLEST_S, GROWTH))
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.num_values += 1
        self.total_s += seconds
        self.largest_s = max(self.largest_s, seconds)

    def add(self, other: "Histogram") -> None:
        """Take in all values of another one."""
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count
        self.num_values += other.num_values
        self.total_s += other.total_s
        self.largest_s = max(self.largest_s, other.largest_s)

    def quantile(self, share: float) -> float:
        """The time that `share` of the values do not exceed; 0 without values."""
        left = math.ceil(share * self.num_values)
        for bucket in sorted(self._counts):
            left -= self._counts[bucket]
            if left <= 0:
                middle = 0.0 if bucket == 0 else SMALLEST_S * GROWTH ** (bucket - 0.5)
                return min(middle, self.largest_s)
        return 0.0

    def summary(self) -> "TimeFigures":
        """The usual quantiles in milliseconds."""
        mean_s = self.total_s / self.num_values if self.num_values else 0.0
        p50, p99, p999 = (1000 * self.quantile(share) for share in (0.5, 0.99, 0.999))
        return TimeFigures(self.num_values, 1000 * mean_s, p50, p99, p999, 1000 * self.largest_s)


@dataclass(frozen=True, slots=True)
class TimeFigures:
    """A distribution of times in milliseconds."""

    num_values: int
    mean_ms: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(kw_only=True, slots=True)
class Counts:
    """What happened so far.

    Attributes:
        frames_in: Raw frames handed in.
        frames_surplus: Of these, without a tick of their own at the native rate.
        frames_repeated: Ticks filled with a neighbour.
        frames_ignored: Handed in during a pause.
        frames_dropped_in: Dropped because the model was slower (latest wins).
        frames_dropped_out: Edited, but dropped because the consumer was slower.
        frames_out: Edited.
        chunks: Chunks edited.
        deadline_misses: Of these, later than their deadline.
        denoising_steps: Steps of all of them; divided by `chunks` what one took.
        retries: Work items that failed once.
        prompts_applied: Changes that reached a frame.
        rewinds: Jumps back.
    """

    frames_in: int = 0
    frames_surplus: int = 0
    frames_repeated: int = 0
    frames_ignored: int = 0
    frames_dropped_in: int = 0
    frames_dropped_out: int = 0
    frames_out: int = 0
    chunks: int = 0
    deadline_misses: int = 0
    denoising_steps: int = 0
    retries: int = 0
    prompts_applied: int = 0
    rewinds: int = 0

    @property
    def steps_a_chunk(self) -> float:
        """Denoising steps of a chunk, on average; 0 without any."""
        return self.denoising_steps / self.chunks if self.chunks else 0.0

    def add(self, other: "Counts") -> None:
        """Take in another one."""
        for one in fields(Counts):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def copy(self) -> "Counts":
        """The present numbers, as a value of their own."""
        total = Counts()
        total.add(self)
        return total


@dataclass(slots=True)
class Times:
    """The distributions that are kept.

    Attributes:
        ttff: From a session's first raw frame handed in to its first edited frame.
        delay: From a raw frame's arrival to its edited frame being ready.
        buffering: Of the delay, from a frame's arrival until its chunk was complete.
        queueing: From a complete chunk to the start of its first work.
        turnaround: From a complete chunk to its edited frames; in time where that is less than a chunk lasts.
        added: From a complete chunk to its edited frames, less the time in which the model worked.
        slack: Time left before the deadline, of chunks that met it.
        lateness: Time beyond the deadline, of chunks that missed it.
        jitter: Difference of the delays of neighbouring chunks.
    """

    ttff: Histogram = field(default_factory=Histogram)
    delay: Histogram = field(default_factory=Histogram)
    buffering: Histogram = field(default_factory=Histogram)
    queueing: Histogram = field(default_factory=Histogram)
    turnaround: Histogram = field(default_factory=Histogram)
    added: Histogram = field(default_factory=Histogram)
    slack: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)
    jitter: Histogram = field(default_factory=Histogram)

    def add(self, other: "Times") -> None:
        """Take in another one."""
        for one in fields(Times):
            getattr(self, one.name).add(getattr(other, one.name))


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Counts and times, for one session or in sum; `recent_delay` is the delay of the last ten seconds."""

    counts: Counts
    ttff: TimeFigures
    delay: TimeFigures
    buffering: TimeFigures
    queueing: TimeFigures
    turnaround: TimeFigures
    added: TimeFigures
    slack: TimeFigures
    lateness: TimeFigures
    jitter: TimeFigures
    recent_delay: TimeFigures
    state_bytes: int
    rewind_bytes: int
    fps_in: float
    fps_out: float
    frames_waiting: int
    frames_ready: int
    oldest_waiting_s: float
    oldest_ready_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionFigures:
    """One session: the figures, and what a page shows beside them.

    `num_denoising_steps` are those of the newest chunk, None before the first one.
    """

    slot: int
    phase: str
    is_paused: bool
    prompt_words: str
    stream_s: float
    next_frame_index: int
    branch: int
    rewindable_s: float
    num_denoising_steps: int | None
    wanted_denoising_steps: int
    figures: Figures


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineFigures:
    """All sessions, ended ones included in counts and times."""

    num_sessions: int
    sessions_opened: int
    sessions_failed: int
    busy_share: float
    uptime_s: float
    figures: Figures


class RateMeter:
    """Events a second over the last seconds."""

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: deque[float] = deque(maxlen=1024)

    def record(self, now_s: float) -> None:
        """Count an event."""
        self._events.append(now_s)

    def rate(self, now_s: float) -> float:
        """Events a second; 0 while there is nothing to divide by."""
        recent = [at for at in self._events if 0 <= now_s - at <= FPS_WINDOW_S]
        if len(recent) < 2:
            return 0.0
        spread_s = max(now_s - recent[0], recent[-1] - recent[0])
        return len(recent) / spread_s if spread_s > 0 else 0.0


class RecentTimes:
    """Times of the last seconds, so that a page shows what is and not what was."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: deque[tuple[float, float]] = deque(maxlen=4096)

    def record(self, now_s: float, seconds: float) -> None:
        """Count a time."""
        self._values.append((now_s, seconds))

    def summary(self, now_s: float) -> TimeFigures:
        """The usual quantiles, in milliseconds, of what came within `RECENT_S`."""
        return summary_of(self.values(now_s))

    def values(self, now_s: float) -> list[float]:
        """What came within `RECENT_S`, oldest first."""
        return [seconds for at_s, seconds in self._values if 0 <= now_s - at_s <= RECENT_S]


def summary_of(times_s: Sequence[float]) -> TimeFigures:
    """The usual quantiles of these times, in milliseconds."""
    histogram = Histogram()
    for seconds in times_s:
        histogram.record(seconds)
    return histogram.summary()


class SessionTelemetry:
    """What one session counts and times; the session writes, `figures` reads."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.times = Times()
        self.rate_in = RateMeter()
        self.rate_out = RateMeter()
        self.recent_delay = RecentTimes()
        self.state_bytes = 0
        self.rewind_bytes = 0
        self._first_in_s: float | None = None
        self._last_chunk_delay_s: float | None = None

    def frame_came(self, now_s: float) -> None:
        """A raw frame was handed in."""
        self.counts.frames_in += 1
        self.rate_in.record(now_s)
        if self._first_in_s is None:
            self._first_in_s = now_s

    def chunk_done(
        self, *, now_s: float, ready_s: float, deadline_s: float, added_s: float, arrived_s: list[float]
    ) -> None:
        """A chunk was edited; `arrived_s` are the arrivals of the source frames it shows."""
        if self.counts.chunks == 0 and self._first_in_s is not None:
            self.times.ttff.record(now_s - self._first_in_s)
        self.counts.chunks += 1
        self.times.added.record(added_s)
        self.times.turnaround.record(now_s - ready_s)
        if now_s <= deadline_s:
            self.times.slack.record(deadline_s - now_s)
        else:
            self.counts.deadline_misses += 1
            self.times.lateness.record(now_s - deadline_s)
        for at_s in arrived_s:
            self.counts.frames_out += 1
            self.rate_out.record(now_s)
            self.times.delay.record(now_s - at_s)
            self.recent_delay.record(now_s, now_s - at_s)
            self.times.buffering.record(ready_s - at_s)
        delay_s = now_s - ready_s
        if self._last_chunk_delay_s is not None:
            self.times.jitter.record(abs(delay_s - self._last_chunk_delay_s))
        self._last_chunk_delay_s = delay_s


def figures_of(counts: Counts, times: Times, recent_delay: TimeFigures, **rest: float) -> Figures:
    """A `Figures` from what was kept; `rest` are its remaining fields."""
    summaries = {one.name: getattr(times, one.name).summary() for one in fields(Times)}
    return Figures(counts=counts.copy(), recent_delay=recent_delay, **summaries, **rest)  # pyright: ignore[reportArgumentType]


class BusyLog:
    """When the model worked lately, so that a chunk's time can be split into the model's and the engine's."""

    def __init__(self) -> None:
        self.total_s = 0.0
        self._spans: deque[tuple[float, float]] = deque(maxlen=4096)

    def record(self, start_s: float, stop_s: float) -> None:
        """The model worked from then to then."""
        if stop_s > start_s:
            self._spans.append((start_s, stop_s))
            self.total_s += stop_s - start_s

    def within(self, start_s: float, stop_s: float) -> float:
        """Seconds of work between the two times."""
        busy_s = 0.0
        for begun_s, ended_s in reversed(self._spans):
            if ended_s <= start_s:
                break
            busy_s += max(0.0, min(ended_s, stop_s) - max(begun_s, start_s))
        return busy_s


class EngineTelemetry:
    """Sums over sessions; takes over what an ended session measured."""

    def __init__(self, started_s: float) -> None:
        self.sessions_opened = 0
        self.sessions_failed = 0
        self._started_s = started_s
        self._ended_counts = Counts()
        self._ended_times = Times()

    def session_ended(self, telemetry: SessionTelemetry, *, has_failed: bool) -> None:
        """Keep an ended session's counts and times."""
        self._ended_counts.add(telemetry.counts)
        self._ended_times.add(telemetry.times)
        self.sessions_failed += has_failed

    def figures(
        self, sessions: Sequence[tuple[SessionTelemetry, Figures]], busy_s: float, now_s: float
    ) -> EngineFigures:
        """The sum of these sessions and of all that ended; queue ages are those of the oldest frame."""
        counts, times = self._ended_counts.copy(), Times()
        times.add(self._ended_times)
        for telemetry, _ in sessions:
            counts.add(telemetry.counts)
            times.add(telemetry.times)
        each = [figures for _, figures in sessions]
        recent = [value for telemetry, _ in sessions for value in telemetry.recent_delay.values(now_s)]
        uptime_s = max(0.0, now_s - self._started_s)
        total = figures_of(
            counts,
            times,
            recent_delay=summary_of(recent),
            state_bytes=sum(one.state_bytes for one in each),
            rewind_bytes=sum(one.rewind_bytes for one in each),
            fps_in=sum(one.fps_in for one in each),
            fps_out=sum(one.fps_out for one in each),
            frames_waiting=sum(one.frames_waiting for one in each),
            frames_ready=sum(one.frames_ready for one in each),
            oldest_waiting_s=max((one.oldest_waiting_s for one in each), default=0.0),
            oldest_ready_s=max((one.oldest_ready_s for one in each), default=0.0),
        )
        return EngineFigures(
            num_sessions=len(sessions),
            sessions_opened=self.sessions_opened,
            sessions_failed=self.sessions_failed,
            busy_share=busy_s / uptime_s if uptime_s else 0.0,
            uptime_s=uptime_s,
            figures=total,
        )
