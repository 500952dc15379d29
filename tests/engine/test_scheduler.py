from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from vivace.engine.scheduler import MAX_PASSED_OVER, LatencyModel, SessionView, SlotId, schedule

KEYS = st.sampled_from([("encode", 0), ("denoise", 0), ("denoise", 1)])
DEADLINES = st.floats(-1e9, 1e9)


def views_of(deadlines: list[float], keys: list[tuple[str, int]]) -> list[SessionView]:
    return [SessionView(SlotId(index), key, at) for index, (at, key) in enumerate(zip(deadlines, keys))]


def learned(**durations_s: float) -> LatencyModel:
    latency = LatencyModel()
    for kind, duration_s in durations_s.items():
        latency.observe(kind, 1, duration_s)
    return latency


def test_nobody_has_work():
    assert schedule([], 0.0, LatencyModel()) == []


@settings(deadline=None)
@given(st.lists(st.tuples(DEADLINES, KEYS), min_size=1, max_size=12), DEADLINES, st.integers(1, 4))
def test_the_earliest_deadline_leads_and_only_equal_works_join(works, now_s, max_batch):
    views = views_of([at for at, _ in works], [key for _, key in works])
    chosen = schedule(views, now_s, LatencyModel(), max_batch)
    assert len(set(chosen)) == len(chosen) <= max_batch
    first = views[chosen[0]]
    assert first.deadline_s == min(view.deadline_s for view in views)
    same = sorted(view.deadline_s for view in views if view.batch_key == first.batch_key)
    assert [views[slot].deadline_s for slot in chosen] == same[:max_batch]


@settings(deadline=None)
@given(st.lists(st.tuples(DEADLINES, KEYS), min_size=1, max_size=12), st.randoms())
def test_the_choice_does_not_depend_on_the_order_of_the_views(works, random):
    views = views_of([at for at, _ in works], [key for _, key in works])
    shuffled = random.sample(views, len(views))
    assert schedule(views, 0.0, LatencyModel(), 3) == schedule(shuffled, 0.0, LatencyModel(), 3)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 10), st.integers(1, 3))
def test_nobody_starves_whatever_the_deadlines_and_the_clock_say(seed, num_sessions, max_batch):
    random = Random(seed)
    passed_over = [0] * num_sessions
    # the last sessions are hardly ever the most urgent
    spans = [10.0**-index for index in range(num_sessions)]
    for _ in range(2 * (MAX_PASSED_OVER + num_sessions)):
        views = [
            SessionView(SlotId(index), ("denoise",), random.uniform(-1e6, 1e6) * spans[index], passed)
            for index, passed in enumerate(passed_over)
        ]
        chosen = schedule(views, random.uniform(-1e6, 1e6), LatencyModel(), max_batch)
        assert chosen
        for index in range(num_sessions):
            passed_over[index] = 0 if index in chosen else passed_over[index] + 1
        assert max(passed_over) <= MAX_PASSED_OVER + num_sessions


def test_who_was_passed_over_too_often_goes_first():
    views = [
        SessionView(SlotId(0), ("denoise",), 0.0),
        SessionView(SlotId(1), ("denoise",), 9.0, MAX_PASSED_OVER),
    ]
    assert schedule(views, 0.0, LatencyModel()) == [1]
    assert schedule(
        [views[0], replace(views[1], num_passed_over=MAX_PASSED_OVER - 1)], 0.0, LatencyModel()
    ) == [0]


def test_a_longer_call_must_not_make_the_first_one_late():
    views = views_of([1.0, 2.0, 3.0], [("denoise", 0)] * 3)
    assert schedule(views, 0.0, learned(denoise=0.4), 3) == [0, 1]
    assert schedule(views, 0.0, learned(denoise=0.6), 3) == [0]
    # late in any case: then at least many at once
    assert schedule(views, 0.0, learned(denoise=1.1), 3) == [0, 1, 2]


def test_durations_are_learned_by_kind_and_number():
    latency = LatencyModel()
    assert latency.expected_s("denoise", 2) == 0
    latency.observe("denoise", 1, 0.1)
    assert latency.expected_s("denoise", 4) == 0.4
    for _ in range(60):
        latency.observe("denoise", 2, 0.12)
    assert abs(latency.expected_s("denoise", 2) - 0.12) < 1e-3
    assert abs(latency.expected_s("denoise", 4) - 0.24) < 2e-3
    assert latency.expected_s("denoise", 1) == 0.1
    assert latency.expected_s("encode", 1) == 0


def test_feasible_sessions_of_different_rates_all_meet_their_deadlines():
    """Ten seconds of one server and three sessions that need 90 % of it, under a clock that work moves."""
    periods, cost_s = (0.1, 0.2, 0.4), 0.05
    costs = (cost_s, cost_s, cost_s * 0.6)
    latency, now_s = learned(work=cost_s), 0.0
    served, passed_over, worst_s = [0, 0, 0], [0, 0, 0], 0.0
    while now_s < 10.0:
        waiting = [index for index in range(3) if served[index] * periods[index] <= now_s]
        views = [
            SessionView(SlotId(i), ("work",), (served[i] + 1) * periods[i], passed_over[i]) for i in waiting
        ]
        chosen = schedule(views, now_s, latency)
        if not chosen:
            now_s += 0.001
            continue
        now_s += costs[chosen[0]]
        worst_s = max(worst_s, now_s - (served[chosen[0]] + 1) * periods[chosen[0]])
        for index in waiting:
            passed_over[index] = 0 if index in chosen else passed_over[index] + 1
        served[chosen[0]] += 1
    # work is not interrupted, so one may be late by a single item at most
    assert worst_s <= cost_s
    assert [round(10 / period) - count <= 1 for period, count in zip(periods, served)] == [True] * 3


def test_chunks_that_come_at_once_are_done_one_after_the_other():
    """Sixteen sessions whose chunks of seven works were complete within a millisecond: no turns are taken."""
    left, passed_over, order = [7] * 16, [0] * 16, []
    while any(left):
        waiting = [index for index in range(16) if left[index]]
        views = [SessionView(SlotId(i), ("work", 7 - left[i]), 1 + i / 1e4, passed_over[i]) for i in waiting]
        (chosen,) = schedule(views, 0.0, LatencyModel())
        for index in waiting:
            passed_over[index] = 0 if index == chosen else passed_over[index] + 1
        left[chosen] -= 1
        order.append(chosen)
    assert order == [index for index in range(16) for _ in range(7)]
