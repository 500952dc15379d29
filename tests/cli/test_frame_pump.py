"""The pump keeps order, times and memory, whatever the length of the stream."""

import weakref
from fractions import Fraction

import numpy as np
import pytest

from clock_lanes import ClockLanes
from vivace.catalog.editor import Editor, open_editor
from vivace.cli.edit_job import TimedPrompt
from vivace.cli.frame_pump import FramePump
from vivace.data.frame_timing import TimedFrame


@pytest.fixture(scope="module")
def editor(toy_folder) -> Editor:
    return open_editor(toy_folder, device="cpu", dtype="fp32")


def frame(index: int) -> TimedFrame:
    pixels = np.full((48, 64, 3), index % 256, dtype=np.uint8)
    return TimedFrame(pixels=pixels, time_s=Fraction(index, 25), duration_s=Fraction(1, 25))


def prompts_of(editor: Editor, *times_s: float) -> list:
    timed = [TimedPrompt(at_s=Fraction(at_s), words=f"snow at {index}") for index, at_s in enumerate(times_s)]
    return [(each, editor.encode_prompt(each.words)) for each in timed]


def num_alive(references: list[weakref.ref]) -> int:
    return sum(reference() is not None for reference in references)


def test_every_frame_comes_out_once_with_its_own_time(editor):
    seen = []
    pump = FramePump(editor.open("fog"), prompts_of(editor, 0), lambda *pair: seen.append(pair))
    for index in range(11):
        pump.push(frame(index))
    assert pump.num_edited == 9
    pump.finish()
    assert pump.num_edited == 11
    assert [source.time_s for source, _ in seen] == [Fraction(index, 25) for index in range(11)]
    assert all((s.time_s, s.duration_s) == (e.time_s, e.duration_s) for s, e in seen)
    assert all(np.all(source.pixels == index) for index, (source, _) in enumerate(seen))
    # chunks of 1, 4, 4 and the rest
    assert len(pump.chunk_ms) == 4


def test_of_prompts_that_are_due_together_the_last_one_counts(editor):
    pump = FramePump(editor.open("fog"), prompts_of(editor, 0, 0.01, 0.02, 9), lambda *_: None)
    for index in range(9):
        pump.push(frame(index))
    assert [(prompt.words, prompt.from_frame) for prompt in pump.followed] == [
        ("snow at 0", 0),
        ("snow at 2", 1),
    ]
    assert [prompt.words for prompt in pump.never_reached] == ["snow at 3"]


def test_times_are_read_from_the_clock(editor):
    readings = iter([10.0, 10.5, 11.0, 11.25, *range(12, 40)])
    pump = FramePump(editor.open("fog"), prompts_of(editor, 0), lambda *_: None, clock=lambda: next(readings))
    pump.push(frame(0))
    assert pump.first_frame_at == 10.5
    assert list(pump.chunk_ms) == [500.0]


def test_a_chunk_is_timed_from_its_own_last_frame_however_late_it_comes(editor):
    lanes = ClockLanes()
    overlapping = Editor(editor.pipeline, editor.defaults, lanes)
    readings = iter(range(100))
    stream = overlapping.open("fog", overlaps=True)
    seen: list[tuple] = []
    pump = FramePump(stream, prompts_of(editor, 0), lambda *pair: seen.append(pair), lambda: next(readings))
    for index in range(9):
        pump.push(frame(index))
    # frame 8 is read in at 8, and the first chunk, of frame 0 alone, comes out at 9
    assert list(pump.chunk_ms) == [9000]
    pump.finish()
    assert [source.time_s for source, _ in seen] == [Fraction(index, 25) for index in range(9)]


def test_a_long_stream_is_held_a_chunk_at_a_time(editor):
    made_so_far: list[weakref.ref] = []
    most = 0
    pump = FramePump(editor.open("fog"), prompts_of(editor, 0), lambda *_: None)
    for index in range(120):
        made = frame(index)
        made_so_far.append(weakref.ref(made.pixels))
        pump.push(made)
        del made
        most = max(most, num_alive(made_so_far))
    pump.finish()
    assert most <= 4
    assert num_alive(made_so_far) == 0
