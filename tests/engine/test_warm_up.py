import numpy as np
import pytest

from vivace.core.errors import InputError
from vivace.engine.engine import Engine
from vivace.engine.terms import SessionSettings
from vivace.engine.warm_up import NUM_CHUNKS_CPU, warm_up


def test_chunks_are_edited_and_forgotten(toy_editor, monkeypatch):
    kinds = []
    run = toy_editor.pipeline.run
    monkeypatch.setattr(
        toy_editor.pipeline,
        "run",
        lambda works: kinds.extend(type(w).__name__ for _, w in works) or run(works),
    )
    warm_up(toy_editor.pipeline, toy_editor.defaults, (32, 32))
    assert kinds.count("Decode") == NUM_CHUNKS_CPU
    with Engine(toy_editor.pipeline, toy_editor.defaults, has_threads=False) as engine:
        session = engine.open_sync(SessionSettings(prompt="snow", size=(32, 32)))
        session.push(np.zeros((32, 32, 3), np.uint8), 0.0)
        while engine.prepare_once() or engine.work_once():
            pass
        assert [frame.frame_index for frame in session.take_frames()] == [0]


def test_a_size_that_cannot_be_is_refused(toy_editor):
    with pytest.raises(InputError, match="size"):
        warm_up(toy_editor.pipeline, toy_editor.defaults, (0, 32))
