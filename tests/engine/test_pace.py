"""A slow machine takes fewer denoising steps: the choice alone, then in an engine whose clock tests turn."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_sessions import FPS, SETTINGS, FaultyPipeline, edited_alone, film, pixels_of, pump, still
from vivace.catalog.sampling import fewer_steps
from vivace.core.errors import InputError
from vivace.engine.engine import Engine, EngineSettings
from vivace.engine.pace import (
    FALL_SHARE,
    LEAST_WAIT_S,
    MOST_WAIT_S,
    RISE_SHARE,
    ChunkCost,
    Pace,
    expected_cost,
    steps_in_time,
    work_kind,
)
from vivace.engine.scheduler import LatencyModel
from vivace.engine.terms import Controls
from vivace.pipelines.work import Denoise

CHUNK_S = 0.25
WANTED = Pace.at_will((4, 2))


def costing(total_s: float, num_steps: int = 4) -> ChunkCost:
    """A chunk of that cost with so many steps, half of it the steps'."""
    return ChunkCost(total_s / 2 / num_steps, total_s / 2)


def test_what_fits_is_left_as_it_is():
    assert steps_in_time(WANTED, costing(FALL_SHARE * CHUNK_S), CHUNK_S, 1, 0.0) == WANTED


def test_what_does_not_fit_takes_fewer_steps_at_once():
    found = steps_in_time(WANTED, costing(FALL_SHARE * CHUNK_S * 1.01), CHUNK_S, 1, 7.0)
    assert (found.num_steps, found.fell_s) == (2, 7.0)


def test_it_falls_as_far_as_it_must_and_no_further():
    pace = Pace.at_will((8, 4, 2))
    assert steps_in_time(pace, costing(0.24, 4), CHUNK_S, 1, 0.0).num_steps == 2
    assert steps_in_time(pace, costing(0.2, 4), CHUNK_S, 1, 0.0).num_steps == 4


def test_where_nothing_fits_it_takes_the_fewest():
    assert steps_in_time(WANTED, costing(10.0), CHUNK_S, 1, 0.0).num_steps == 2


def test_more_steps_come_back_with_room_to_spare_and_not_at_once():
    fell = replace(WANTED, num_steps=2, fell_s=10.0)
    fits = costing(RISE_SHARE * CHUNK_S)
    tight = costing(RISE_SHARE * CHUNK_S * 1.01)
    assert steps_in_time(fell, fits, CHUNK_S, 1, 10.0 + 0.9 * LEAST_WAIT_S).num_steps == 2
    assert steps_in_time(fell, fits, CHUNK_S, 1, 10.0 + LEAST_WAIT_S).num_steps == 4
    assert steps_in_time(fell, tight, CHUNK_S, 1, 1000.0).num_steps == 2
    # a clock that went back
    assert steps_in_time(fell, fits, CHUNK_S, 1, 3.0).num_steps == 4


def test_sessions_share_the_time():
    cost = costing(0.1)
    assert [steps_in_time(WANTED, cost, CHUNK_S, many, 0.0).num_steps for many in (0, 1, 2, 3)] == [
        4,
        4,
        4,
        2,
    ]


def test_while_nothing_is_known_it_stays():
    assert steps_in_time(WANTED, None, CHUNK_S, 1, 0.0) == WANTED


def test_expectations_that_are_wrong_do_not_make_it_swing():
    """Two steps look as if four would fit, and four never do."""
    pace, changes_s = WANTED, []
    for index in range(4 * 600):
        now_s = index * CHUNK_S
        cost = costing(1.0) if pace.num_steps == 4 else costing(0.1)
        after = steps_in_time(pace, cost, CHUNK_S, 1, now_s)
        changes_s += [now_s] if after.num_steps != pace.num_steps else []
        pace = after
    assert len(changes_s) < 30
    assert pace.wait_s == MOST_WAIT_S
    # once it has held for long, the next fall waits no longer than the first one did
    fallen = steps_in_time(replace(pace, num_steps=4), costing(1.0), CHUNK_S, 1, 1e6)
    assert fallen.wait_s == LEAST_WAIT_S


@given(
    st.floats(0, 10),
    st.floats(0, 10),
    st.floats(1e-3, 10),
    st.integers(0, 20),
    st.floats(-1e6, 1e6),
    st.sampled_from([(4,), (4, 2), (8, 4, 2, 1)]),
)
def test_it_is_always_one_of_the_choices(step_s, rest_s, chunk_s, num_sessions, now_s, choices):
    for present in choices:
        pace = replace(Pace.at_will(choices), num_steps=present)
        after = steps_in_time(pace, ChunkCost(step_s, rest_s), chunk_s, num_sessions, now_s)
        assert after.num_steps in choices
        assert after.choices == choices


def test_the_cost_is_known_once_every_kind_of_work_was_seen():
    size, latency = (48, 32), LatencyModel()
    for name in ("Encode", "Denoise", "Decode"):
        assert expected_cost(latency, size, has_commit=False) is None
        # the first chunk of a stream tells nothing about the others
        latency.observe(work_kind(name, size, is_first=True), 1, 9.0)
        latency.observe(work_kind(name, size, is_first=False), 1, 0.1)
    assert expected_cost(latency, size, has_commit=True) is None
    without = expected_cost(latency, size, has_commit=False)
    assert without is not None
    assert without.total_s(4) == pytest.approx(0.6)
    # a single step starts from pure noise and leaves the memory to a commit
    assert without.total_s(1) == without.total_s(2) == pytest.approx(0.4)
    # a call that two sessions share takes half of its time for each
    latency.observe(work_kind("Commit", size, is_first=False), 2, 0.3)
    cost = expected_cost(latency, size, has_commit=True)
    assert cost is not None
    assert cost.total_s(4) == pytest.approx(0.75)
    assert cost.total_s(1) == pytest.approx(0.45)
    assert expected_cost(latency, (64, 32), has_commit=False) is None


def test_one_call_that_was_held_up_changes_little_and_a_slow_machine_is_noticed():
    latency = LatencyModel()
    for _ in range(10):
        latency.observe("Denoise", 1, 0.02)
    latency.observe("Denoise", 1, 5.0)
    assert latency.each_s("Denoise") == pytest.approx(0.024)
    for _ in range(10):
        latency.observe("Denoise", 1, 0.06)
    each_s = latency.each_s("Denoise")
    assert each_s is not None
    assert each_s > 0.05


def test_the_numbers_between_are_those_that_models_are_trained_for():
    assert fewer_steps(4, 2) == (4, 2)
    assert fewer_steps(8, 1) == (8, 4, 2, 1)
    assert fewer_steps(6, 3) == (6, 4, 3)
    assert fewer_steps(4, 4) == fewer_steps(4, 8) == (4,)
    assert fewer_steps(1, 2) == (1,)


# -- in an engine

PACED = replace(SETTINGS, num_denoising_steps=4, least_denoising_steps=2)
# FPS is 10: a chunk of four frames lasts 0.4 s
EASY_S, SLOW_S = 0.01, 0.08


class Machine:
    """An engine on whose clock every model call takes `call_s`, and a user who sends chunk by chunk."""

    def __init__(self, editor, clock, call_s: float, **settings) -> None:
        self.calls: list[int] = []
        self.call_s = call_s
        self.clock = clock
        pipeline = FaultyPipeline(editor.pipeline, self._take_time)
        self.engine = Engine(
            pipeline, editor.defaults, EngineSettings(**settings), clock=clock, has_threads=False
        )
        self.frames = film(200)

    def _take_time(self, works) -> None:
        self.clock.now_s += self.call_s
        self.calls += [works[0][1].step] if isinstance(works[0][1], Denoise) else []

    def send_chunk(self, *sessions) -> int:
        """Send a chunk's frames to each, edit them; the steps that the last session's chunk took."""
        self.calls.clear()
        for session in sessions:
            start = round(session.stream_s * FPS)
            for index in range(start, start + (4 if start else 1)):
                session.push(self.frames[index % 200], index / FPS)
        pump(self.engine)
        self.clock.now_s += 0.4
        return sessions[-1].figures().num_denoising_steps


def steps_of(machine: Machine, session, num_chunks: int) -> list[int]:
    return [machine.send_chunk(session) for _ in range(num_chunks)]


def test_a_session_that_is_late_takes_fewer_steps_and_more_again_later(toy_editor, clock):
    machine = Machine(toy_editor, clock, SLOW_S)
    session = machine.engine.open_sync(PACED)
    assert session.figures().num_denoising_steps is None
    assert session.figures().wanted_denoising_steps == 4
    # the first chunk is short, the second one tells what a chunk costs
    assert steps_of(machine, session, 4) == [4, 4, 2, 2]
    assert max(machine.calls) == 1
    machine.call_s = EASY_S
    later = steps_of(machine, session, 20)
    assert later[-1] == 4
    assert later == sorted(later)
    counts = session.figures().figures.counts
    assert counts.denoising_steps == 12 + sum(later)
    assert counts.chunks == 24


def test_without_a_least_number_a_slow_machine_changes_no_picture(toy_editor, clock):
    settings = replace(PACED, least_denoising_steps=None, max_waiting_frames=1000)
    machine = Machine(toy_editor, clock, 10 * SLOW_S)
    session = machine.engine.open_sync(settings)
    assert steps_of(machine, session, 4) == [4, 4, 4, 4]
    alone = edited_alone(toy_editor, machine.frames[:13], settings)
    assert np.array_equal(pixels_of(session.take_frames()), alone)


def test_a_stream_that_commits_with_its_last_step_is_paced_too(toy_editor, clock):
    machine = Machine(toy_editor, clock, SLOW_S)
    session = machine.engine.open_sync(replace(PACED, commit="last_step"))
    assert steps_of(machine, session, 4) == [4, 4, 2, 2]


def test_what_a_user_asks_for_is_tried_first_and_never_exceeded(toy_editor, clock):
    machine = Machine(toy_editor, clock, SLOW_S)
    session = machine.engine.open_sync(PACED)
    steps_of(machine, session, 4)
    session.set_controls(Controls(num_denoising_steps=1))
    assert machine.send_chunk(session) == 1
    assert session.figures().wanted_denoising_steps == 1
    session.set_controls(Controls(num_denoising_steps=8))
    # known to be too slow by now: no chunk is late for it
    assert machine.send_chunk(session) == 2
    assert session.controls.num_denoising_steps == 8


def test_two_sessions_take_fewer_steps_where_one_alone_need_not(toy_editor, clock):
    call_s = 0.35 / 7
    machine = Machine(toy_editor, clock, call_s)
    first, second = (machine.engine.open_sync(PACED) for _ in range(2))
    assert steps_of(machine, first, 4)[-1] == 4
    assert machine.send_chunk(first, second) == 2
    second.pause()
    assert steps_of(machine, first, 2)[-1] == 2
    clock.now_s += 10
    machine.call_s = call_s / 2
    assert steps_of(machine, first, 12)[-1] == 4


def test_a_session_that_joins_a_slow_machine_knows_what_to_take(toy_editor, clock):
    machine = Machine(toy_editor, clock, SLOW_S)
    first = machine.engine.open_sync(PACED)
    steps_of(machine, first, 4)
    first.close()
    assert machine.send_chunk(machine.engine.open_sync(PACED)) == 2


@pytest.mark.parametrize("steps", [0, 9])
def test_a_least_number_out_of_range_is_refused(toy_editor, steps):
    with pytest.raises(InputError, match="1 to 8"):
        still(toy_editor).open_sync(replace(SETTINGS, least_denoising_steps=steps))
