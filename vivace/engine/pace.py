"""How many denoising steps a chunk takes on a slow machine: a pure function; runs nothing, reads no clock."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vivace.engine.scheduler import LatencyModel

# A chunk that is expected to take more than this share of its time has too many steps. The rest is for what
# the engine does between model calls and for what a call takes longer than usual.
FALL_SHARE = 0.92
# More steps are taken where they are expected to fit into this share.
RISE_SHARE = 0.8
# A session that takes fewer steps tries more again after this time at the earliest. A try that fails within
# `TRIAL_S` doubles the time, so that where expectations are wrong the number of steps does not swing.
LEAST_WAIT_S = 2.0
MOST_WAIT_S = 64.0
TRIAL_S = 10.0

Size = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class ChunkCost:
    """Seconds of the engine that a chunk is expected to take: for each denoising step, and for all else.

    Attributes:
        lone_step_s: What a chunk with a single step takes besides: such a step writes no memory.
    """

    step_s: float
    rest_s: float
    lone_step_s: float = 0.0

    def total_s(self, num_steps: int) -> float:
        """What a chunk with so many steps takes."""
        return self.rest_s + num_steps * self.step_s + (self.lone_step_s if num_steps == 1 else 0.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """The number of steps of one session and when it changed.

    Attributes:
        choices: Numbers of steps, falling; the first one is what the user wants.
        num_steps: The one of them that the next chunk takes.
        fell_s: When it last became less.
        rose_s: When it last became more.
        wait_s: How long after `fell_s` it stays.
    """

    choices: tuple[int, ...]
    num_steps: int
    fell_s: float = float("-inf")
    rose_s: float = float("-inf")
    wait_s: float = LEAST_WAIT_S

    @classmethod
    def at_will(cls, choices: Sequence[int]) -> "Pace":
        """As many steps as are wanted."""
        return cls(tuple(choices), choices[0])


def work_kind(name: str, size: Size, *, is_first: bool) -> str:
    """What durations are learned for: a kind of work at a size; a stream's first chunk holds fewer frames."""
    return f"{name} {size}{' first' if is_first else ''}"


def expected_cost(latency: LatencyModel, size: Size, *, has_commit: bool) -> ChunkCost | None:
    """What a further chunk of this size takes, by what the last ones took; None while that is not known.

    Args:
        latency: Durations of works by `work_kind`.
        size: Width and height of the frames.
        has_commit: Whether a call of its own writes the memories, also after several steps.
    """
    names = ("Encode", "Decode", "Commit") if has_commit else ("Encode", "Decode")
    rest = [latency.each_s(work_kind(name, size, is_first=False)) for name in names]
    step_s = latency.each_s(work_kind("Denoise", size, is_first=False))
    known = [one for one in rest if one is not None]
    if step_s is None or len(known) < len(rest):
        return None
    # a commit is a call like a step
    return ChunkCost(step_s, sum(known), lone_step_s=0.0 if has_commit else step_s)


def steps_in_time(
    pace: Pace, cost: ChunkCost | None, chunk_s: float, num_sessions: int, now_s: float
) -> Pace:
    """The pace of the next chunk: the most steps that are in time, the fewest where none are.

    Down at once, as far as it takes; up to what fits with room to spare, once `Pace.wait_s` is over. While
    nothing is known it stays as it is.

    Args:
        pace: The one of the chunk before.
        cost: What a chunk takes; None while that is not known.
        chunk_s: Seconds of video that a chunk holds.
        num_sessions: Sessions that take turns, this one included: each may use its part of the time.
        now_s: The time.
    """
    if cost is None:
        return pace
    spare_s = chunk_s / max(1, num_sessions)
    # a clock that was set back keeps nobody waiting
    must_stay = 0 <= now_s - pace.fell_s < pace.wait_s
    for number in pace.choices:
        is_more = number > pace.num_steps
        share = RISE_SHARE if is_more else FALL_SHARE
        if cost.total_s(number) <= share * spare_s and not (is_more and must_stay):
            break
    else:
        number = pace.choices[-1]
    if number > pace.num_steps:
        return replace(pace, num_steps=number, rose_s=now_s)
    if number < pace.num_steps:
        was_vain = 0 <= now_s - pace.rose_s < TRIAL_S
        wait_s = min(2 * pace.wait_s, MOST_WAIT_S) if was_vain else LEAST_WAIT_S
        return replace(pace, num_steps=number, fell_s=now_s, wait_s=wait_s)
    return pace
