from fractions import Fraction

import numpy as np
import pytest

from vivace.core.errors import InputError
from vivace.data.frame_timing import SteadyTimes, TimedFrame, exact_seconds, resample_fps

MS = Fraction(1, 1000)


def clip(times_ms: list[int], last_ms: int = 40) -> list[TimedFrame]:
    """Frame i holds the number i."""
    ends = [*times_ms[1:], times_ms[-1] + last_ms]
    return [
        TimedFrame(pixels=np.full((1, 1, 3), i, np.uint8), time_s=start * MS, duration_s=(end - start) * MS)
        for i, (start, end) in enumerate(zip(times_ms, ends, strict=True))
    ]


def shown(frames, fps) -> list[int]:
    return [int(frame.pixels[0, 0, 0]) for frame in resample_fps(frames, fps)]


def repaired(times_ms: list[int | None], duration_ms: int = 40) -> list[int]:
    clock = SteadyTimes()
    return [int(clock.repair(None if t is None else t * MS, duration_ms * MS) / MS) for t in times_ms]


def test_good_timestamps_pass_unchanged_however_uneven():
    assert repaired([5, 45, 46, 1000, 9000]) == [5, 45, 46, 1000, 9000]


def test_missing_timestamps_follow_the_frame_before():
    assert repaired([None, None, 100, None]) == [0, 40, 100, 140]


def test_repeated_and_disordered_timestamps_become_increasing():
    times = repaired([0, 40, 40, 20, 160, 200])
    assert times == [0, 40, 80, 120, 160, 200]


def test_a_recording_that_starts_over_is_joined_to_the_end_of_the_first():
    assert repaired([9000, 9040, 0, 40, 80]) == [9000, 9040, 9080, 9120, 9160]


def test_the_same_rate_gives_the_same_frames_at_the_same_times():
    frames = clip([0, 40, 80, 120])
    again = list(resample_fps(frames, 25))
    assert [f.time_s for f in again] == [f.time_s for f in frames]
    assert shown(frames, 25) == [0, 1, 2, 3]


def test_half_the_rate_takes_every_other_frame():
    assert shown(clip([0, 20, 40, 60, 80, 100], last_ms=20), 25) == [0, 2, 4]


def test_a_higher_rate_holds_frames_without_copying_them():
    frames = clip([0, 100], last_ms=100)
    result = list(resample_fps(frames, 20))
    assert [int(f.pixels[0, 0, 0]) for f in result] == [0, 0, 1, 1]
    assert result[1].pixels is frames[0].pixels


def test_of_several_frames_on_one_tick_the_latest_wins():
    assert shown(clip([0, 1, 2, 100], last_ms=100), 10) == [2, 3]


def test_a_pause_is_filled_with_the_picture_before_it():
    assert shown(clip([0, 100, 500], last_ms=100), 10) == [0, 1, 1, 1, 1, 2]


def test_the_last_picture_stays_as_long_as_it_lasts():
    assert shown(clip([0, 100], last_ms=300), 10) == [0, 1, 1, 1]


def test_ntsc_rates_do_not_drift_over_ten_minutes():
    ntsc = Fraction(30_000, 1001)
    pixels = np.zeros((1, 1, 3), np.uint8)
    minutes = (
        TimedFrame(pixels=pixels, time_s=i / ntsc, duration_s=1 / ntsc) for i in range(int(600 * ntsc))
    )
    ends_s = [frame.end_s for frame in resample_fps(minutes, 25)]
    assert len(ends_s) == 15_000
    assert ends_s[-1] == 600


def test_a_clip_that_starts_late_keeps_its_start():
    assert next(resample_fps(clip([500, 540]), 25)).time_s == Fraction(1, 2)


def test_no_frames_give_no_frames():
    assert list(resample_fps([], 25)) == []


@pytest.mark.parametrize("fps", [0, -5])
def test_a_rate_that_is_not_positive_is_refused(fps):
    with pytest.raises(InputError, match="more than 0"):
        resample_fps([], fps)


def test_decimal_seconds_are_exact():
    assert exact_seconds(0.1) == Fraction(1, 10)
    assert exact_seconds(Fraction(1001, 30_000)) == Fraction(1001, 30_000)
