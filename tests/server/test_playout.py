"""Playback is even where the model is, and never much later than it has to be; all under a fake clock."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.server.playout import (
    CATCH_UP,
    MAX_HELD_S,
    MAX_QUEUED_S,
    MAX_WAIT_S,
    NUM_CHUNKS,
    Playout,
)

PERIOD_S = 0.1


def playout_of(max_waiting: int = 50) -> Playout[int]:
    return Playout(max_waiting=max_waiting, interval_s=PERIOD_S)


def chunk(first: int, count: int = 4) -> list[tuple[float, int]]:
    return [(index * PERIOD_S, index) for index in range(first, first + count)]


def played(model_s: list[float]) -> tuple[list[float], list[float]]:
    """When each frame is shown, and how long it was held back, for chunks that take so long."""
    playout, free_s, due_s, held_s = playout_of(), 0.0, [], []
    needed_s: list[float] = []

    def show_until(now_s: float) -> None:
        while (at_s := playout.next_due_s()) is not None and at_s <= now_s:
            index = playout.pop_due(at_s)
            assert index == len(due_s)
            due_s.append(at_s)
            held_s.append(at_s - index * PERIOD_S - needed_s[index // 4])

    for index, taken_s in enumerate(model_s):
        frames = chunk(4 * index)
        free_s = max(frames[-1][0], free_s) + taken_s
        show_until(free_s)
        needed_s.append(free_s - frames[0][0])
        playout.push(frames, free_s)
    show_until(float("inf"))
    return due_s, held_s


def gaps(due_s: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(due_s)]


def test_a_burst_of_a_chunk_becomes_an_even_stream():
    due_s, held_s = played([0.2] * 5)
    assert gaps(due_s) == pytest.approx([PERIOD_S] * 19)
    assert held_s == pytest.approx([0.0] * 20)


def test_a_model_whose_times_spread_a_little_is_played_evenly():
    random = Random(0)
    due_s, held_s = played([0.2 + random.uniform(-0.01, 0.01) for _ in range(200)])
    settled = gaps(due_s[4 * NUM_CHUNKS :])
    assert max(settled) < PERIOD_S + 0.015
    assert min(settled) > PERIOD_S - 0.015
    assert max(held_s) < 0.025


def test_one_late_chunk_is_late_and_changes_nothing_for_those_behind_it():
    usual, late = [0.2] * 20, [0.2] * 20
    late[12] = 0.35
    due_s, expected = played(late)[0], played(usual)[0]
    first = 4 * 12
    assert due_s[first] == pytest.approx(expected[first] + 0.15)
    # it catches up at twice the rate
    catching_up = gaps(due_s[first : first + 4])
    assert catching_up == pytest.approx([CATCH_UP * PERIOD_S] * 3)
    assert due_s[first + 4 :] == pytest.approx(expected[first + 4 :])


def test_a_model_that_becomes_slower_is_soon_played_evenly_again():
    due_s, _ = played([0.2] * 20 + [0.28] * 20)
    slower = gaps(due_s[80:])
    assert slower[4 * NUM_CHUNKS // 2 :] == pytest.approx([PERIOD_S] * (79 - 4 * NUM_CHUNKS // 2))
    assert due_s[-1] - 159 * PERIOD_S == pytest.approx(due_s[79] - 79 * PERIOD_S + 0.08)


def test_a_delay_that_is_no_longer_needed_is_given_back():
    due_s, _ = played([0.35] * 20 + [0.1] * 20)
    assert due_s[-1] == pytest.approx(played([0.1] * 40)[0][-1])
    # the step down is a quarter of a second: a few frames follow each other quickly, the rest as before
    assert sum(gap < CATCH_UP * PERIOD_S - 1e-9 for gap in gaps(due_s)) <= 4


@given(st.lists(st.floats(0.0, 0.39), min_size=1, max_size=60))
def test_whatever_the_model_takes_no_frame_is_held_back_long(model_s):
    due_s, held_s = played(model_s)
    assert len(due_s) == 4 * len(model_s)
    assert max(held_s) <= max(MAX_HELD_S, MAX_QUEUED_S) + 1e-9
    assert min(gaps(due_s)) >= 0


def test_of_a_backlog_the_oldest_frames_go():
    playout = playout_of(max_waiting=3)
    playout.push(chunk(0, 8), now_s=1.0)
    assert len(playout) == 3
    assert playout.num_dropped == 5
    assert [playout.pop_due(4.0) for _ in range(4)] == [5, 6, 7, None]


def test_after_a_rewind_frames_are_shown_at_once_again():
    playout = playout_of()
    playout.push(chunk(100), now_s=10.5)
    playout.clear()
    assert playout.next_due_s() is None
    playout.push([(11.0, 1)], now_s=11.5)
    assert playout.next_due_s() == pytest.approx(11.5)
    assert playout.pop_due(11.4) is None
    assert playout.pop_due(11.5) == 1


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)), max_size=30))
def test_whatever_the_clocks_say_no_frame_waits_long_and_order_stays(pushes):
    playout: Playout[int] = playout_of(max_waiting=100)
    now_s = 0.0
    for index, (arrived_s, later_s) in enumerate(pushes):
        now_s += later_s
        playout.push([(arrived_s, index)], now_s)
    shown = []
    while (item := playout.pop_due(now_s + MAX_WAIT_S)) is not None:
        shown.append(item)
    assert shown == sorted(shown)
    assert len(playout) == 0
