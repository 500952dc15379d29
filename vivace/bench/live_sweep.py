"""How many live sessions one engine bears: more and more of them until chunks are late; one table."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter

from vivace.bench.live_speed import LiveSpeed, LiveSpeedSettings, measure_live
from vivace.catalog.editor import Editor
from vivace.core.errors import InputError

NUMBERS = (1, 2, 4, 8, 16, 32, 64)
# No further number is begun that would end later than this after the start.
LIMIT_S = 100.0
# Late chunks, or dropped frames, of a thousand that an engine may have and is not called saturated.
MOST_LATE = 0.001


def sweep_live(
    editor: Editor, settings: LiveSpeedSettings, numbers: Sequence[int], *, limit_s: float = LIMIT_S
) -> Iterator[LiveSpeed]:
    """One measurement for each number of sessions, rising, up to the first one that is too many.

    Raises:
        InputError: If a number is below 1, or not even the first one fits into `limit_s`.
    """
    if settings.duration_s > limit_s:
        raise InputError(
            f"got {settings.duration_s:g} s for each number of sessions, expected at most {limit_s:g} s for "
            "the whole sweep"
        )
    began_s = perf_counter()
    for number in sorted(set(numbers)):
        if perf_counter() - began_s + settings.duration_s > limit_s:
            return
        speed = measure_live(editor, replace(settings, num_sessions=number))
        yield speed
        if is_saturated(speed):
            return


def is_saturated(speed: LiveSpeed) -> bool:
    """Whether more than one chunk of a thousand was late, or more than one frame of a thousand dropped."""
    counts = speed.counts
    return (
        speed.miss_share > MOST_LATE
        or counts.frames_dropped_in + counts.frames_dropped_out > MOST_LATE * counts.frames_in
    )


def sweep_table(speeds: Sequence[LiveSpeed]) -> str:
    """One row for each number of sessions, as Markdown, and a sentence about where it ends."""
    first = speeds[0].settings
    rows = [
        f"| {speed.settings.num_sessions} | {speed.fps_out:.2f} | {speed.counts.chunks} "
        f"| {speed.counts.deadline_misses} | {speed.counts.frames_dropped_in} "
        f"| {speed.turnaround.p50_ms:.1f} / {speed.turnaround.p99_ms:.1f} / {speed.turnaround.p999_ms:.1f} "
        f"| {speed.added.p99_ms:.1f} | {speed.ttff.p50_ms:.0f} "
        f"| {speed.counts.steps_a_chunk:.1f} | {100 * speed.busy_share:.0f} % |"
        for speed in speeds
    ]
    met = [speed.settings.num_sessions for speed in speeds if not is_saturated(speed)]
    too_many = [speed.settings.num_sessions for speed in speeds if is_saturated(speed)]
    best = f"{max(met)} at a time meet 99.9 % of their deadlines" if met else "not even one is in time"
    end = f"{too_many[0]} do not" if too_many else "more were not tried"
    return "\n".join(
        [
            f"Sessions at {first.fps:g} frames a second, {first.width_px}x{first.height_px}, "
            f"{first.duration_s:g} s each: {best}; {end}.",
            "",
            "| sessions | FPS each | chunks | late | frames dropped "
            "| complete to edited, ms (p50 / p99 / p99.9) | added p99, ms | first frame, ms | steps "
            "| model busy |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *rows,
        ]
    )
