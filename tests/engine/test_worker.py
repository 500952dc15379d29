"""What goes wrong in one session stays there."""

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from live_sessions import (
    FPS,
    SETTINGS,
    FaultyPipeline,
    Gate,
    edited_alone,
    film,
    not_a_number,
    pixels_of,
    pump,
    push_all,
    still,
    with_seed,
)
from vivace.core.errors import InputError
from vivace.engine.engine import Engine
from vivace.engine.terms import Phase, SessionEndedError
from vivace.pipelines.work import Commit, Denoise

SICK = 13


def is_sick(works) -> bool:
    return any(stream.settings.seed == SICK for stream, _ in works)


@pytest.mark.parametrize("kind", ["Encode", "Denoise", "Commit", "Decode"])
def test_work_that_fails_once_is_done_again_from_the_same_state(toy_editor, kind):
    failed = []

    def fault(works):
        _, work = works[0]
        key = (type(work).__name__, work.chunk.index, isinstance(work, Denoise) and work.step)
        if type(work).__name__ == kind and key not in failed:
            failed.append(key)
            raise RuntimeError("the device hiccuped")

    engine = still(toy_editor, FaultyPipeline(toy_editor.pipeline, fault))
    session = engine.open_sync(SETTINGS)
    push_all(session, film(9))
    pump(engine)
    assert np.array_equal(pixels_of(session.take_frames()), edited_alone(toy_editor, film(9)))
    assert session.figures().figures.counts.retries == len(failed) >= 3


@pytest.mark.parametrize("max_batch", [1, 4])
def test_work_that_fails_twice_ends_its_session_only(toy_editor, max_batch):
    def fault(works):
        if is_sick(works) and works[0][1].chunk.index == 1 and isinstance(works[0][1], Commit):
            raise RuntimeError("out of memory")

    engine = still(toy_editor, FaultyPipeline(toy_editor.pipeline, fault), max_batch=max_batch)
    sick, sound = engine.open_sync(with_seed(SICK)), engine.open_sync(SETTINGS)
    for session in (sick, sound):
        push_all(session, film(9))
    pump(engine)
    assert sick.end is not None
    assert sick.end.kind == "failed"
    assert "out of memory" in sick.end.reason
    assert "chunk 1" in sick.end.reason
    assert len(sick.take_frames()) == 1
    shared = pixels_of(sound.take_frames())
    assert np.abs(shared.astype(int) - edited_alone(toy_editor, film(9))).max() <= (max_batch > 1)
    assert engine.num_sessions == 1
    assert engine.figures().sessions_failed == 1


def test_a_model_that_gives_no_numbers_ends_its_session_only(toy_editor):
    def spoil(stream, work, result):
        is_hit = stream.settings.seed == SICK and isinstance(work, Commit) and work.chunk.index == 1
        return not_a_number(result) if is_hit else result

    engine = still(toy_editor, FaultyPipeline(toy_editor.pipeline, spoil=spoil))
    sick, sound = engine.open_sync(with_seed(SICK)), engine.open_sync(SETTINGS)
    for session in (sick, sound):
        push_all(session, film(9))
    pump(engine)
    assert sick.end is not None
    assert "NaN" in sick.end.reason
    assert len(sick.take_frames()) == 1
    assert np.array_equal(pixels_of(sound.take_frames()), edited_alone(toy_editor, film(9)))


def test_a_decoder_that_gives_no_numbers_ends_its_session_only(toy_editor, monkeypatch):
    spoiled = []

    def fault(works):
        spoiled[:] = [is_sick(works) and works[0][1].chunk.index == 1]

    def decode(latent, state):
        video, after = sound_decode(latent, state)
        if spoiled[0]:
            video[:, :, 2, 3, 4] = torch.nan
        return video, after

    pipeline = FaultyPipeline(toy_editor.pipeline, fault)
    sound_decode = pipeline.vae.decode
    monkeypatch.setattr(pipeline.vae, "decode", decode)
    engine = still(toy_editor, pipeline)
    sick, sound = engine.open_sync(with_seed(SICK)), engine.open_sync(SETTINGS)
    for session in (sick, sound):
        push_all(session, film(9))
    pump(engine)
    assert sick.end is not None
    assert "the decoder gave no numbers" in sick.end.reason
    assert len(sick.take_frames()) == 1
    assert len(sound.take_frames()) == 9


BAD_FRAMES = [
    np.zeros((32, 48, 3), np.float32),
    np.zeros((32, 48), np.uint8),
    np.zeros((32, 48, 4), np.uint8),
    np.zeros((0, 48, 3), np.uint8),
    None,
    "frame",
]


@pytest.mark.parametrize("frame", BAD_FRAMES, ids=range(len(BAD_FRAMES)))
def test_a_bad_frame_ends_its_session_only(toy_editor, frame):
    engine = still(toy_editor)
    bad, good = engine.open_sync(SETTINGS), engine.open_sync(SETTINGS)
    push_all(good, film(5))
    with pytest.raises(InputError, match="got"):
        bad.push(frame, 0.0)
    with pytest.raises(SessionEndedError, match="failed"):
        bad.push(film(1)[0], 0.1)
    pump(engine)
    assert len(good.take_frames()) == 5
    assert engine.num_sessions == 1


def test_frames_that_change_their_size_on_the_way_are_fitted(toy_editor):
    engine = still(toy_editor)
    session = engine.open_sync(replace(SETTINGS, size=None))
    push_all(session, film(3, height=90, width=60))
    push_all(session, film(2, height=60, width=90), start=3)
    pump(engine)
    frames = session.take_frames()
    assert len({np.shape(frame.pixels) for frame in frames}) == 1
    assert np.shape(frames[0].pixels)[0] > np.shape(frames[0].pixels)[1]
    assert session.size == np.shape(frames[0].pixels)[1::-1]


def test_a_client_that_is_gone_in_mid_chunk_leaves_nothing_behind(toy_editor):
    gate = Gate()
    with Engine(FaultyPipeline(toy_editor.pipeline, gate), toy_editor.defaults) as engine:
        gone = engine.open_sync(SETTINGS)
        gone.push(film(1)[0], 0.0)
        assert gate.is_inside.wait(10)
        gone.close("the connection broke")
        assert engine.num_sessions == 0
        there = engine.open_sync(SETTINGS)
        push_all(there, film(5))
        gate.may_go.set()
        frames = []
        while len(frames) < 5:
            frames += there.take_frames(timeout_s=10)
        assert np.array_equal(pixels_of(frames), edited_alone(toy_editor, film(5)))
        assert gone.take_frames() == []
        assert gone.end is not None
        assert gone.end.reason == "the connection broke"


def test_a_slow_consumer_loses_frames_and_holds_nobody_up(toy_editor):
    engine = still(toy_editor)
    slow, quick = engine.open_sync(replace(SETTINGS, max_ready_frames=2)), engine.open_sync(SETTINGS)
    for session in (slow, quick):
        push_all(session, film(13))
    pump(engine)
    assert [frame.frame_index for frame in slow.take_frames()] == [11, 12]
    assert slow.figures().figures.counts.frames_dropped_out == 11
    assert len(quick.take_frames()) == 13


@pytest.mark.parametrize("jump_s", [-3600.0, -0.3, 3600.0])
def test_jumps_of_the_clock_end_nothing_and_lose_no_frame(toy_editor, clock, jump_s):
    engine = Engine(toy_editor.pipeline, toy_editor.defaults, clock=clock, has_threads=False)
    sessions = [engine.open_sync(with_seed(seed)) for seed in (0, 1)]
    for index, frame in enumerate(film(13)):
        if index == 6:
            clock.now_s += jump_s
        for session in sessions:
            session.push(frame, index / FPS)
        clock.now_s += 1 / FPS
        pump(engine)
    for seed, session in enumerate(sessions):
        frames = session.take_frames()
        assert np.array_equal(pixels_of(frames), edited_alone(toy_editor, film(13), with_seed(seed)))
        assert all(frame.delay_s >= 0 for frame in frames)
        assert session.phase is Phase.LIVE


def test_an_idle_session_ends_with_a_reason(toy_editor, clock):
    engine = Engine(toy_editor.pipeline, toy_editor.defaults, clock=clock, has_threads=False)
    idle = engine.open_sync(replace(SETTINGS, idle_timeout_s=5.0))
    for _ in range(7):
        clock.now_s += 0.9
        pump(engine)
    assert idle.end is not None
    assert idle.end.kind == "idle"
    assert engine.num_sessions == 0


def test_a_listener_hears_of_frames_and_of_the_end_and_may_fail(toy_editor, caplog):
    engine = still(toy_editor)
    session, other = engine.open_sync(SETTINGS), engine.open_sync(SETTINGS)
    heard = []
    session.on_change(lambda: heard.append(session.phase))
    other.on_change(lambda: 1 / 0)
    for one in (session, other):
        push_all(one, film(1))
    pump(engine)
    assert heard == [Phase.LIVE]
    session.close()
    assert heard == [Phase.LIVE, Phase.CLOSED]
    assert "listener" in caplog.text
    assert other.phase is Phase.LIVE


def test_nobody_waits_for_an_engine_whose_thread_failed(toy_editor, caplog, monkeypatch):
    with Engine(toy_editor.pipeline, toy_editor.defaults) as engine:
        session = engine.open_sync(SETTINGS)
        monkeypatch.setattr(engine._worker, "turn", lambda: 1 / 0)
        while session.phase is not Phase.CLOSED:
            session.take_frames(timeout_s=0.01)
        assert session.end is not None
        assert session.end.kind == "failed"
        assert not engine.is_open


def test_a_thousand_sessions_leave_nothing_behind(toy_editor):
    tracked: list[weakref.ref] = []
    with Engine(toy_editor.pipeline, toy_editor.defaults) as engine:
        num_threads = threading.active_count()
        for index in range(1000):
            session = engine.open_sync(replace(SETTINGS, num_denoising_steps=1))
            tracked.append(weakref.ref(session))
            tracked.append(weakref.ref(session._slot))
            session.push(film(1)[0], 0.0)
            if index % 10 == 0:
                (frame,) = session.take_frames(timeout_s=10)
                tracked.append(weakref.ref(frame.pixels))
            if index % 8:
                session.close()
            else:
                session.finish()
                while session.phase is not Phase.CLOSED:
                    session.take_frames(timeout_s=10)
            assert threading.active_count() == num_threads
        assert engine.num_sessions == 0
        assert engine.figures().sessions_opened == 1000
        assert engine.figures().sessions_failed == 0
    del session, frame
    gc.collect()
    assert sum(one() is not None for one in tracked) == 0
