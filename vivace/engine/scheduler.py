"""Who is served next: a pure function over views of sessions; runs nothing and reads no clock."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NewType

SlotId = NewType("SlotId", int)

# A session that was passed over so often goes first whatever the deadlines say, so nobody starves. A chunk is
# several works: a small number would make many sessions take turns within their chunks and all be late, who
# one after the other would be in time.
MAX_PASSED_OVER = 256
# A new measurement's share in the expected duration of a kind of work.
SMOOTHING = 0.2
# One call that was held up counts as so many usual ones at most: it alone does not change what is expected.
MOST_USUAL = 2.0


@dataclass(frozen=True, slots=True)
class SessionView:
    """What the scheduler may know of a session that has work.

    Attributes:
        slot: Whose work it is.
        batch_key: Works of equal keys can share a model call; its first item names the kind of work.
        deadline_s: When the chunk's frames must be ready.
        num_passed_over: Rounds in which this session had work and another one was served.
    """

    slot: SlotId
    batch_key: tuple[Hashable, ...]
    deadline_s: float
    num_passed_over: int = 0


@dataclass(slots=True)
class LatencyModel:
    """Expected duration of works by kind and number of sessions in the call, learned from what they took."""

    _durations_s: dict[tuple[Hashable, int], float] = field(default_factory=dict)
    _each_s: dict[Hashable, float] = field(default_factory=dict)

    def observe(self, kind: Hashable, num_sessions: int, duration_s: float) -> None:
        """Take in what a call took."""
        key = (kind, num_sessions)
        before = self._durations_s.get(key, duration_s)
        self._durations_s[key] = before + SMOOTHING * (duration_s - before)
        each_s = duration_s / num_sessions
        before = self._each_s.get(kind, each_s)
        self._each_s[kind] = before + SMOOTHING * (min(each_s, MOST_USUAL * before) - before)

    def expected_s(self, kind: Hashable, num_sessions: int) -> float:
        """What a call will take.

        Where this number was never seen, in proportion to the nearest one below, so that batching is
        believed to save nothing until it was tried; 0 where nothing is known.
        """
        for seen in range(num_sessions, 0, -1):
            if (kind, seen) in self._durations_s:
                return self._durations_s[kind, seen] * num_sessions / seen
        return 0.0

    def each_s(self, kind: Hashable) -> float | None:
        """What a call took of late for each session in it; None where nothing is known."""
        return self._each_s.get(kind)


def schedule(
    views: Sequence[SessionView], now_s: float, latency: LatencyModel, max_batch: int = 1
) -> list[SlotId]:
    """The slots that the next model call serves; empty where nobody has work.

    Earliest deadline first; who was passed over `MAX_PASSED_OVER` times comes before all deadlines. Others
    with the same batch key join, the most urgent first, up to `max_batch`, unless the longer call would
    make the first one late that alone is in time.
    """
    if not views:
        return []
    first, *others = sorted(views, key=_urgency)
    chosen = [first.slot]
    kind = first.batch_key[0]
    spare_s = first.deadline_s - now_s
    is_in_time_alone = latency.expected_s(kind, 1) <= spare_s
    for other in others:
        if len(chosen) == max_batch:
            break
        if other.batch_key != first.batch_key:
            continue
        if is_in_time_alone and latency.expected_s(kind, len(chosen) + 1) > spare_s:
            break
        chosen.append(other.slot)
    return chosen


def _urgency(view: SessionView) -> tuple[bool, float, float, int]:
    is_starving = view.num_passed_over >= MAX_PASSED_OVER
    rank = -view.num_passed_over if is_starving else view.deadline_s
    return not is_starving, rank, view.deadline_s, view.slot
