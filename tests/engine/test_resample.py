import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivace.core.errors import InputError
from vivace.engine.resample import RateResampler


def run(fps: float, times: list[float]) -> list[tuple[object, float, float]]:
    resampler = RateResampler(fps)
    settled = []
    for index, time_s in enumerate(times):
        settled += resampler.push(index, time_s, arrived_s=time_s)
    return [(one.pixels, round(one.time_s, 4), round(one.stream_s, 4)) for one in settled]


def test_frames_at_the_native_rate_pass_as_they_are():
    assert run(10, [5.0, 5.1, 5.2]) == [(0, 5.0, 0.0), (1, 5.1, 0.1), (2, 5.2, 0.2)]


def test_a_faster_sender_gives_one_frame_a_tick():
    settled = run(10, [index / 30 for index in range(31)])
    assert [stream_s for _, _, stream_s in settled] == [round(index / 10, 4) for index in range(11)]
    assert all(abs(int(str(pixels)) / 30 - time_s) <= 0.05 for pixels, time_s, _ in settled)


def test_a_slower_sender_is_repeated_by_the_nearer_neighbour():
    settled = run(30, [0.0, 0.1, 0.2])
    assert [pixels for pixels, _, _ in settled] == [0, 0, 1, 1, 1, 2, 2]


def test_a_long_gap_is_not_filled_and_the_stream_goes_on():
    assert run(10, [0.0, 0.1, 3600.0, 3600.1]) == [
        (0, 0.0, 0.0),
        (1, 0.1, 0.1),
        (2, 3600.0, 0.2),
        (3, 3600.1, 0.3),
    ]


def test_a_clock_that_jumps_back_far_starts_anew_and_a_little_is_late():
    assert [one[0] for one in run(10, [50.0, 50.1, 0.0, 0.1])] == [0, 1, 2, 3]
    assert [one[0] for one in run(10, [50.0, 50.1, 50.05, 50.0, 50.2])] == [0, 1, 4]


def test_a_pause_leaves_no_gap():
    resampler = RateResampler(10)
    resampler.push(0, 0.0, 0.0)
    resampler.skip_gap()
    (settled,) = resampler.push(1, 0.7, 0.7)
    assert (settled.time_s, round(settled.stream_s, 4)) == (0.7, 0.1)


@pytest.mark.parametrize("time_s", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_times_that_are_no_times_are_refused(time_s):
    with pytest.raises(InputError, match="expected seconds"):
        RateResampler(10).push(0, time_s, 0.0)


@settings(deadline=None)
@given(
    st.floats(1, 60),
    st.lists(st.one_of(st.floats(0, 0.5), st.floats(-1e6, 1e6)), min_size=1, max_size=60),
)
def test_ticks_never_go_back_or_leave_a_hole_whatever_the_clock_does(fps, steps):
    resampler, time_s, places = RateResampler(fps), 0.0, []
    for step in steps:
        time_s += step
        settled = resampler.push(None, time_s, time_s)
        assert len(settled) <= fps + 2
        places += [one.stream_s for one in settled]
    assert places == pytest.approx([index / fps for index in range(len(places))])
