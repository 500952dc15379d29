import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.server.playout import MAX_WAIT_S, Playout


def chunk(first: int, count: int, period_s: float = 0.1) -> list[tuple[float, int]]:
    return [(index * period_s, index) for index in range(first, first + count)]


def releases(playout: Playout[int], start_s: float, stop_s: float, step_s: float = 0.001) -> dict[int, float]:
    found, now_s = {}, start_s
    while now_s < stop_s:
        while (item := playout.pop_due(now_s)) is not None:
            found[item] = now_s
        now_s += step_s
    return found


def test_a_burst_of_a_chunk_becomes_an_even_stream():
    playout: Playout[int] = Playout(max_waiting=50)
    playout.push(chunk(0, 4), now_s=0.5)
    playout.push(chunk(4, 4), now_s=0.9)
    shown = releases(playout, 0.5, 2.0)
    gaps = [shown[index + 1] - shown[index] for index in range(7)]
    assert gaps == pytest.approx([0.1] * 7, abs=0.002)


def test_every_frame_has_the_delay_of_the_slowest_chunk():
    playout: Playout[int] = Playout(max_waiting=50)
    playout.push(chunk(0, 4), now_s=0.5)
    assert playout.delay_s == pytest.approx(0.5)
    playout.push(chunk(4, 4), now_s=1.2)
    assert playout.delay_s == pytest.approx(0.8)


def test_a_delay_that_is_no_longer_needed_is_given_back_slowly():
    playout: Playout[int] = Playout(max_waiting=1000)
    playout.push(chunk(0, 4), now_s=1.0)
    for index in range(1, 60):
        playout.push(chunk(4 * index, 4), now_s=0.4 * index + 0.5)
    assert playout.delay_s == pytest.approx(0.5, abs=0.01)


def test_of_a_backlog_the_oldest_frames_go():
    playout: Playout[int] = Playout(max_waiting=3)
    playout.push(chunk(0, 8), now_s=1.0)
    assert len(playout) == 3
    assert playout.num_dropped == 5
    assert sorted(releases(playout, 1.0, 4.0)) == [5, 6, 7]


def test_after_a_rewind_frames_are_shown_at_once_again():
    playout: Playout[int] = Playout(max_waiting=50)
    playout.push(chunk(100, 4), now_s=10.5)
    playout.clear()
    assert playout.next_due_s() is None
    playout.push([(11.0, 1)], now_s=11.5)
    assert playout.next_due_s() == pytest.approx(11.5)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)), max_size=30))
def test_whatever_the_clocks_say_no_frame_waits_long_and_order_stays(pushes):
    playout: Playout[int] = Playout(max_waiting=100)
    now_s = 0.0
    for index, (arrived_s, later_s) in enumerate(pushes):
        now_s += later_s
        playout.push([(arrived_s, index)], now_s)
    shown = []
    while (item := playout.pop_due(now_s + MAX_WAIT_S)) is not None:
        shown.append(item)
    assert shown == sorted(shown)
    assert len(playout) == 0
