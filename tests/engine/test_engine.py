import threading
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_sessions import (
    FPS,
    SETTINGS,
    FaultyPipeline,
    edited_alone,
    film,
    pixels_of,
    pump,
    push_all,
    still,
    with_seed,
)
from vivace.core.errors import InputError
from vivace.engine.engine import Engine, EngineFullError, EngineSettings
from vivace.engine.terms import Phase, SessionEndedError
from vivace.pipelines.work import Decode, Encode


@pytest.mark.parametrize("loop", ["plain", "overlapped"])
@pytest.mark.parametrize("commit", ["clean_pass", "last_step"])
def test_a_session_edits_as_the_pipeline_alone_does(toy_editor, loop, commit):
    wanted = replace(SETTINGS, commit=commit)
    engine = still(toy_editor, loop=loop)
    session = engine.open_sync(wanted)
    push_all(session, film(11))
    session.finish()
    pump(engine)
    frames = session.take_frames()
    assert np.array_equal(pixels_of(frames), edited_alone(toy_editor, film(11), wanted))
    assert [frame.frame_index for frame in frames] == list(range(11))
    assert [frame.chunk_index for frame in frames] == [0, *[1] * 4, *[2] * 4, *[3] * 2]
    assert [frame.time_s for frame in frames] == pytest.approx([index / FPS for index in range(11)])
    assert session.end is not None
    assert session.end.kind == "finished"
    assert engine.num_sessions == 0


def digests_of(frames) -> list[str]:
    """Short names of pictures, so that a failure can be read."""
    return [sha256(np.asarray(frame.pixels).tobytes()).hexdigest()[:8] for frame in frames]


def run_script(engine: Engine, draw) -> list[list[str]]:
    """Two sessions with frames of their own sizes and prompts in time; `draw` orders the threads."""
    sessions = [engine.open_sync(replace(with_seed(seed), size=None)) for seed in (1, 2)]
    sessions[0].schedule_prompt(0.3, "make it snow")
    sessions[0].schedule_prompt(0.7, "make it a painting")
    films = [film(11, seed=3), film(9, seed=4, height=70, width=90)]
    for index in range(11):
        for session, frames in zip(sessions, films):
            if index < len(frames):
                session.push(frames[index], index / FPS)
        for turn in draw():
            engine.prepare_once() if turn else engine.work_once()
    for session in sessions:
        session.finish()
    pump(engine)
    taken = [session.take_frames() for session in sessions]
    assert {frame.prompt_words for frame in taken[0]} == {
        "make it night",
        "make it snow",
        "make it a painting",
    }
    return [digests_of(frames) for frames in taken]


@pytest.fixture(scope="module")
def plainly_edited(toy_editor) -> list[list[str]]:
    return run_script(still(toy_editor, loop="plain"), lambda: [False])


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_the_overlapped_loop_gives_the_frames_of_the_plain_one_in_every_order(
    toy_editor, plainly_edited, data
):
    turns = st.lists(st.booleans(), max_size=4)
    assert run_script(still(toy_editor, loop="overlapped"), lambda: data.draw(turns)) == plainly_edited


def test_with_real_threads_they_are_the_same_as_well(toy_editor, plainly_edited):
    with Engine(toy_editor.pipeline, toy_editor.defaults) as engine:
        sessions = [engine.open_sync(replace(with_seed(seed), size=None)) for seed in (1, 2)]
        sessions[0].schedule_prompt(0.3, "make it snow")
        sessions[0].schedule_prompt(0.7, "make it a painting")
        push_all(sessions[0], film(11, seed=3))
        push_all(sessions[1], film(9, seed=4, height=70, width=90))
        for session in sessions:
            session.finish()
        for session, wanted in zip(sessions, plainly_edited):
            frames = []
            while len(frames) < len(wanted):
                frames += session.take_frames(timeout_s=10)
            assert digests_of(frames) == wanted


def test_sessions_that_come_and_go_do_not_disturb_the_others_by_a_bit(toy_editor):
    engine = still(toy_editor)
    steady = engine.open_sync(SETTINGS)
    guests = []
    for index, frame in enumerate(film(13)):
        steady.push(frame, index / FPS)
        if index % 3 == 0:
            guests.append(engine.open_sync(with_seed(index)))
        for guest in guests:
            guest.push(film(1, seed=index)[0], index / FPS) if guest.phase is not Phase.CLOSED else None
        engine.prepare_once()
        engine.work_once()
        if index % 4 == 3:
            guests[index // 4].close()
    steady.finish()
    pump(engine)
    assert np.array_equal(pixels_of(steady.take_frames()), edited_alone(toy_editor, film(13)))


def test_sessions_at_the_same_chunk_share_model_calls(toy_editor, clock):
    pipeline = FaultyPipeline(toy_editor.pipeline)
    together = EngineSettings(max_batch=4)
    engine = Engine(pipeline, toy_editor.defaults, together, clock=clock, has_threads=False)
    sessions = [engine.open_sync(with_seed(seed)) for seed in range(3)]
    for seed, session in enumerate(sessions):
        push_all(session, film(5, seed))
    assert pump(engine) == 2 * 5
    assert {len(works) for works in pipeline.calls} == {3}
    for seed, session in enumerate(sessions):
        alone = edited_alone(toy_editor, film(5, seed), with_seed(seed))
        shared = pixels_of(session.take_frames())
        assert np.abs(shared.astype(int) - alone).max() <= 1
        # a session that is slow to take its frames must not keep those of the others alive
        assert shared.nbytes == alone.nbytes


def test_urgent_sessions_go_first_and_none_is_forgotten(toy_editor, clock):
    pipeline = FaultyPipeline(toy_editor.pipeline)
    engine = Engine(pipeline, toy_editor.defaults, clock=clock, has_threads=False)
    late, early = (engine.open_sync(replace(SETTINGS, native_fps=fps)) for fps in (1, 100))
    while engine.prepare_once():
        pass
    late.push(film(1)[0], 0.0)
    clock.now_s += 0.5
    early.push(film(1)[0], 0.0)
    for _ in range(5):
        engine.work_once()
    assert [len(session.take_frames()) for session in (early, late)] == [1, 0]
    pump(engine)
    assert len(late.take_frames()) == 1


def test_all_slots_can_be_taken_and_come_back(toy_editor):
    engine = still(toy_editor, max_sessions=2)
    first, _ = engine.open_sync(SETTINGS), engine.open_sync(SETTINGS)
    with pytest.raises(EngineFullError, match="all 2 sessions"):
        engine.open_sync(SETTINGS)
    first.close()
    engine.open_sync(SETTINGS)
    assert engine.num_sessions == 2


def test_what_cannot_be_opened_is_refused_and_takes_no_slot(toy_editor):
    engine = still(toy_editor)
    with pytest.raises(InputError, match="1 to 8"):
        engine.open_sync(replace(SETTINGS, num_denoising_steps=9))
    session = engine.open_sync(replace(SETTINGS, prompt=" "))
    session.push(film(1)[0], 0.0)
    pump(engine)
    with pytest.raises(InputError):
        session.opened.result(0)
    assert session.end is not None
    assert session.end.kind == "failed"
    assert engine.num_sessions == 0
    with pytest.raises(InputError, match="at least 1"):
        EngineSettings(max_sessions=0)


def test_a_refused_prompt_leaves_the_session_as_it_was(toy_editor):
    engine = still(toy_editor)
    session = engine.open_sync(SETTINGS)
    push_all(session, film(5))
    refused = session.set_prompt("x" * 1000)
    session.finish()
    pump(engine)
    with pytest.raises(InputError):
        refused.result(0)
    assert np.array_equal(pixels_of(session.take_frames()), edited_alone(toy_editor, film(5)))


def test_a_changed_prompt_reaches_the_frame_that_the_receipt_names(toy_editor):
    engine = still(toy_editor)
    session = engine.open_sync(SETTINGS)
    push_all(session, film(5))
    pump(engine)
    receipt = session.set_prompt("make it snow")
    push_all(session, film(9)[5:], start=5)
    pump(engine)
    frames = session.take_frames()
    reached = receipt.result(0).frame_index
    assert reached == 5
    alone = edited_alone(toy_editor, film(9))
    same = [np.array_equal(frame.pixels, alone[frame.frame_index]) for frame in frames]
    assert same == [True] * 5 + [False] * 4
    assert [frame.prompt_words for frame in frames] == ["make it night"] * 5 + ["make it snow"] * 4


def test_a_rewind_branches_from_the_state_of_that_moment(toy_editor):
    engine = still(toy_editor)
    session = engine.open_sync(SETTINGS)
    push_all(session, film(5))
    pump(engine)
    push_all(session, film(13)[5:], start=5)
    pump(engine)
    before = session.take_frames()
    assert session.figures().rewindable_s == pytest.approx(1.2)
    push_all(session, film(6, seed=9), start=13)
    assert engine.work_once()
    landed = session.rewind(0.75)
    pump(engine)
    receipt = landed.result(0)
    assert (receipt.frame_index, receipt.chunk_index, receipt.branch) == (5, 2, 1)
    assert receipt.back_s == pytest.approx(0.8)
    for index, frame in enumerate(film(13)[5:]):
        session.push(frame, 1.9 + index / FPS)
    pump(engine)
    again = session.take_frames()
    assert [frame.frame_index for frame in again] == list(range(5, 13))
    assert {frame.branch for frame in again} == {1}
    assert np.array_equal(pixels_of(again), pixels_of(before[5:]))


def test_a_rewind_without_snapshots_is_refused(toy_editor):
    engine = still(toy_editor)
    none_yet, none_ever = engine.open_sync(SETTINGS), engine.open_sync(replace(SETTINGS, rewind_s=0))
    push_all(none_ever, film(1))
    pump(engine)
    for landed in (none_yet.rewind(1), none_ever.rewind(1)):
        pump(engine)
        with pytest.raises(InputError, match="nothing to go back to"):
            landed.result(0)
    with pytest.raises(InputError, match="0 or more"):
        none_yet.rewind(float("nan"))
    waiting = none_yet.rewind(1)
    none_yet.close()
    with pytest.raises(SessionEndedError):
        waiting.result(0)


def test_closing_drains_what_waits_and_takes_nobody_new(toy_editor):
    with Engine(toy_editor.pipeline, toy_editor.defaults) as engine:
        session = engine.open_sync(SETTINGS)
        push_all(session, film(11))
        engine.close()
        assert np.array_equal(pixels_of(session.take_frames()), edited_alone(toy_editor, film(11)))
        assert session.end is not None
        assert session.end.kind == "finished"
        with pytest.raises(EngineFullError, match="closing"):
            engine.open_sync(SETTINGS)
        assert not engine.is_open
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"vivace-engine", "vivace-preparation"}


def test_closing_without_draining_ends_everybody_at_once(toy_editor):
    engine = still(toy_editor)
    session = engine.open_sync(SETTINGS)
    push_all(session, film(11))
    engine.close(drain=False)
    assert session.take_frames() == []
    assert session.end is not None
    assert session.end.kind == "closed"


def test_figures_add_up_over_sessions_that_are_gone(toy_editor, clock):
    engine = Engine(toy_editor.pipeline, toy_editor.defaults, clock=clock, has_threads=False)
    gone, there = engine.open_sync(SETTINGS), engine.open_sync(SETTINGS)
    for session in (gone, there):
        push_all(session, film(5))
    clock.now_s += 0.25
    pump(engine)
    gone.close()
    figures = engine.figures()
    assert (figures.num_sessions, figures.sessions_opened, figures.sessions_failed) == (1, 2, 0)
    assert figures.figures.counts.frames_out == 10
    assert figures.figures.delay.p50_ms == pytest.approx(250, rel=0.03)
    assert figures.figures.ttff.num_values == 2
    assert figures.figures.state_bytes > 0
    assert there.figures().figures.rewind_bytes > there.figures().figures.state_bytes
    assert there.figures().next_frame_index == 5


def test_the_first_work_of_a_chunk_is_chosen_before_its_frames_are_taken(toy_editor, clock):
    pipeline = FaultyPipeline(toy_editor.pipeline)
    engine = Engine(pipeline, toy_editor.defaults, clock=clock, has_threads=False)
    busy, slow = engine.open_sync(SETTINGS), engine.open_sync(replace(SETTINGS, max_waiting_frames=None))
    push_all(busy, film(1))
    clock.now_s += 0.01
    slow.push(film(1)[0], 0.0)
    while engine.prepare_once():
        pass
    engine.work_once()
    assert [type(work) for works in pipeline.calls for work in works] == [Encode]
    # the latest frames win until the very moment the chunk begins
    assert slow.figures().figures.frames_waiting == 1


def test_short_works_of_a_chunk_are_done_in_one_turn(toy_editor, clock):
    pipeline = FaultyPipeline(toy_editor.pipeline)
    engine = Engine(pipeline, toy_editor.defaults, clock=clock, has_threads=False)
    engine._worker._stay_s = 0.005
    first, second = engine.open_sync(SETTINGS), engine.open_sync(SETTINGS)
    for session in (first, second):
        session.push(film(1)[0], 0.0)
    while engine.prepare_once():
        pass
    engine.work_once()
    assert len(first.take_frames()) == 1
    assert second.figures().figures.frames_ready == 0
    assert type(pipeline.calls[-1][0]) is Decode
    # a turn that has taken its time lets others in
    num_calls = len(pipeline.calls)
    run = pipeline.run

    def slow_run(works):
        clock.now_s += 0.01
        return run(works)

    pipeline.run = slow_run
    engine.work_once()
    assert len(pipeline.calls) == num_calls + 1
