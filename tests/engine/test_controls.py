"""Steps and strength change between chunks of a running stream; frames name the change they follow."""

from dataclasses import replace

import numpy as np
import pytest

from live_sessions import SETTINGS, edited_alone, film, pixels_of, pump, push_all, still
from vivace.core.errors import InputError
from vivace.engine.terms import Controls, SessionEndedError


def edited(toy_editor, strength: float) -> np.ndarray:
    engine = still(toy_editor)
    session = engine.open_sync(replace(SETTINGS, strength=strength))
    push_all(session, film(9))
    pump(engine)
    return pixels_of(session.take_frames())


def test_strength_mixes_source_and_edit(toy_editor):
    full = edited_alone(toy_editor, film(9))
    assert np.array_equal(edited(toy_editor, 1.0), full)
    assert np.array_equal(edited(toy_editor, 0.0), film(9))
    mixed = 0.25 * full + 0.75 * film(9).astype(float)
    assert np.abs(edited(toy_editor, 0.25) - mixed).max() <= 0.5


def test_a_strength_that_comes_and_goes_leaves_no_trace_in_the_stream(toy_editor):
    engine = still(toy_editor)
    session = engine.open_sync(SETTINGS)
    for start, strength in ((0, 1.0), (5, 0.5), (9, 1.0)):
        session.set_controls(replace(session.controls, strength=strength))
        push_all(session, film(13)[start : max(5, start + 4)], start=start)
        pump(engine)
    frames = pixels_of(session.take_frames())
    alone = edited_alone(toy_editor, film(13))
    assert np.array_equal(frames[:5], alone[:5])
    assert not np.array_equal(frames[5:9], alone[5:9])
    assert np.array_equal(frames[9:], alone[9:])


def test_other_steps_take_effect_at_the_next_chunk_and_the_stream_goes_on(toy_editor):
    engine = still(toy_editor)
    session = engine.open_sync(SETTINGS)
    push_all(session, film(5))
    pump(engine)
    session.set_controls(replace(session.controls, num_denoising_steps=1))
    push_all(session, film(9)[5:], start=5)
    num_calls = pump(engine)
    frames = session.take_frames()
    assert num_calls == 4  # encode, one denoising step, commit, decode
    assert [frame.frame_index for frame in frames] == list(range(9))
    assert {frame.branch for frame in frames} == {0}
    # the same chunk without what came before would look otherwise: the memories were kept
    fresh = edited_alone(toy_editor, film(9)[5:], replace(SETTINGS, num_denoising_steps=1))
    assert not np.array_equal(pixels_of(frames[5:6]), fresh[:1])
    assert not np.array_equal(pixels_of(frames[5:]), edited_alone(toy_editor, film(9))[5:])


@pytest.mark.parametrize("steps", [0, 9])
def test_controls_out_of_range_change_nothing(toy_editor, steps):
    session = still(toy_editor).open_sync(SETTINGS)
    before = session.controls
    with pytest.raises(InputError, match="1 to 8"):
        session.set_controls(Controls(num_denoising_steps=steps))
    assert session.controls == before
    session.close()
    with pytest.raises(SessionEndedError):
        session.set_controls(before)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(InputError, match="strength"):
        Controls(strength=strength)
    with pytest.raises(InputError, match="strength"):
        replace(SETTINGS, strength=strength)


def test_frames_name_the_very_change_they_follow_even_where_the_words_are_the_same(toy_editor):
    engine = still(toy_editor)
    session = engine.open_sync(SETTINGS)
    push_all(session, film(5))
    pump(engine)
    first = session.ask_prompt("make it snow")
    push_all(session, film(9)[5:], start=5)
    pump(engine)
    again = session.ask_prompt("make it snow")
    push_all(session, film(13)[9:], start=9)
    pump(engine)
    ids = [frame.prompt_id for frame in session.take_frames()]
    assert ids == [0] * 5 + [first.prompt_id] * 4 + [again.prompt_id] * 4
    assert first.prompt_id != again.prompt_id
    landed = session.rewind(0.4)
    pump(engine)
    assert landed.result(0).frame_index == 9
    push_all(session, film(17)[13:], start=13)
    pump(engine)
    assert {frame.prompt_id for frame in session.take_frames()} == {first.prompt_id}
