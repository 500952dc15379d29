"""The Python interface: sizes, types, partitions, prompts, snapshots, bad frames."""

import numpy as np
import pytest
import torch

import vivace
from clock_lanes import ClockLanes
from vivace.catalog.editor import Editor, LiveStream
from vivace.core.errors import InputError

WIDTH, HEIGHT = 70, 50


def clip(num_frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, HEIGHT, WIDTH, 3), dtype=np.uint8)


def edit(stream: LiveStream, frames: np.ndarray, sizes: list[int]) -> np.ndarray:
    parts, start = [], 0
    for size in sizes:
        parts.append(stream.push(frames[start : start + size]))
        start += size
    return np.concatenate([*parts, stream.finish()])


def test_every_frame_comes_back_once_at_the_models_size(toy_editor: Editor):
    stream = toy_editor.open("make it snow")
    edited = edit(stream, clip(7), [3, 4])
    assert edited.shape == (7, 48, 64, 3)
    assert edited.dtype == np.uint8
    assert stream.size == (64, 48)
    assert stream.crop is not None
    assert stream.crop.left_px + stream.crop.right_px == 3
    assert edited.std() > 1


@pytest.mark.parametrize("sizes", [[10], [1] * 10, [2, 5, 3], [9, 1]])
def test_how_frames_are_pushed_does_not_change_the_edit(toy_editor: Editor, sizes: list[int]):
    whole = edit(toy_editor.open("make it snow"), clip(10), [10])
    assert np.array_equal(edit(toy_editor.open("make it snow"), clip(10), sizes), whole)


@pytest.mark.parametrize("push", [1, 3, 6])
def test_memory_that_was_pushed_may_be_used_again(toy_editor: Editor, push: int):
    frames = clip(12)[:, :48, :64]  # the model's own size, which needs no other copy
    whole = edit(toy_editor.open("make it snow"), frames, [12])
    stream, buffer, parts = toy_editor.open("make it snow"), np.empty_like(frames[:push]), []
    for start in range(0, 12, push):
        buffer[:] = frames[start : start + push]
        parts.append(stream.push(buffer))
    buffer[:] = 0
    assert np.array_equal(np.concatenate([*parts, stream.finish()]), whole)


def test_a_stream_that_overlaps_gives_the_same_frames_later(toy_editor: Editor):
    whole = edit(toy_editor.open("make it snow"), clip(18), [18])
    editor = Editor(toy_editor.pipeline, toy_editor.defaults, ClockLanes())
    stream = editor.open("make it snow", overlaps=True)
    first = stream.push(clip(18)[:5])
    assert len(first) == 0
    assert stream.num_waiting == 0
    snapshot = stream.snapshot()
    assert snapshot is not None
    rest = edit(stream, clip(18)[5:], [4, 9])
    assert np.array_equal(np.concatenate([first, rest]), whole)
    # the frames of chunks under way still come after a rewind
    again = editor.open("make it snow", overlaps=True)
    before = again.push(clip(18)[:9])
    again.restore(snapshot)
    assert np.array_equal(
        np.concatenate([before, edit(again, clip(18)[5:], [13])]), whole[[*range(9), *range(5, 18)]]
    )


def test_on_a_cpu_streams_do_not_overlap(toy_editor: Editor):
    assert len(toy_editor.open("make it snow", overlaps=True).push(clip(5))) == 5


def test_tensors_give_tensors_and_arrays_give_arrays_with_the_same_pixels(toy_editor: Editor):
    frames = clip(5)
    from_arrays, from_tensors = toy_editor.open("fog"), toy_editor.open("fog")
    first, rest = from_arrays.push(frames), from_arrays.finish()
    first_tensor, rest_tensor = from_tensors.push(torch.from_numpy(frames)), from_tensors.finish()
    assert isinstance(first, np.ndarray)
    assert isinstance(rest, np.ndarray)
    assert isinstance(first_tensor, torch.Tensor)
    assert isinstance(rest_tensor, torch.Tensor)
    assert np.array_equal(first, first_tensor.numpy())
    assert np.array_equal(rest, rest_tensor.numpy())


def test_a_read_only_array_is_taken_without_a_warning_and_not_written(toy_editor: Editor):
    frames = clip(1)
    frames.setflags(write=False)
    assert toy_editor.open("fog").push(frames).shape == (1, 48, 64, 3)
    assert np.array_equal(frames, clip(1))


def test_a_new_prompt_takes_effect_at_the_next_chunk_and_not_before(toy_editor: Editor):
    frames = clip(13)
    plain = edit(toy_editor.open("make it snow"), frames, [13])
    stream = toy_editor.open("make it snow")
    # chunks hold frames 0, 1 to 4, 5 to 8 and 9 to 12: frame 6 waits in the third
    before = stream.push(frames[:7])
    assert stream.num_waiting == 2
    stream.set_prompt("a pencil sketch of it")
    assert stream.prompt == "a pencil sketch of it"
    after = np.concatenate([stream.push(frames[7:]), stream.finish()])
    assert np.array_equal(before, plain[:5])
    assert not np.array_equal(after[:4], plain[5:9])
    stream.close()


def test_prompt_and_seed_change_the_edit_and_equal_ones_repeat_it(toy_editor: Editor):
    def run(prompt: str, seed: int) -> np.ndarray:
        return edit(toy_editor.open(prompt, seed=seed), clip(5), [5])

    same = run("make it snow", 1)
    assert np.array_equal(same, run("make it snow", 1))
    assert not np.array_equal(same, run("make it snow", 2))
    assert not np.array_equal(same, run("turn it red", 1))


def test_a_snapshot_rewinds_a_stream_and_branches_into_another(toy_editor: Editor):
    frames = clip(13)
    stream = toy_editor.open("make it snow")
    assert stream.snapshot() is None
    stream.push(frames[:5])
    snapshot = stream.snapshot()
    assert snapshot is not None
    assert stream.memories.num_bytes() == snapshot.memories.num_bytes() > 0
    first = stream.push(frames[5:])
    stream.restore(snapshot)
    assert np.array_equal(stream.push(frames[5:]), first)
    stream.restore(snapshot)
    stream.set_prompt("turn it red")
    assert not np.array_equal(stream.push(frames[5:]), first)
    branch = toy_editor.open("turn it red")
    branch.restore(snapshot)
    assert branch.prompt == "make it snow"
    assert np.array_equal(branch.push(frames[5:]), first)
    other = toy_editor.open("make it snow", size=(32, 32))
    with pytest.raises(InputError, match="snapshot"):
        other.restore(snapshot)


def test_steps_and_commit_are_choices_within_bounds(toy_editor: Editor):
    edits = [
        edit(toy_editor.open("fog", num_denoising_steps=steps, commit=commit), clip(9), [9])
        for steps, commit in [(2, "clean_pass"), (2, "last_step"), (3, "clean_pass")]
    ]
    assert not np.array_equal(edits[0], edits[1])
    assert not np.array_equal(edits[0], edits[2])
    for steps in (0, 9):
        with pytest.raises(InputError, match="1 to 8"):
            toy_editor.open("fog", num_denoising_steps=steps)


def test_a_wanted_size_is_moved_to_a_multiple_and_kept_when_the_source_changes(toy_editor: Editor):
    stream = toy_editor.open("fog", size=(50, 30))
    assert stream.size == (48, 32)
    assert stream.push(clip(1)).shape == (1, 32, 48, 3)
    larger = np.zeros((4, 90, 33, 3), dtype=np.uint8)
    assert stream.push(larger).shape == (4, 32, 48, 3)
    with pytest.raises(InputError, match="0x9"):
        toy_editor.open("fog", size=(0, 9))


@pytest.mark.parametrize("prompt", ["", "  ", "x" * 101, "!?"])
def test_a_bad_prompt_is_refused_before_any_frame(toy_editor: Editor, prompt: str):
    with pytest.raises(InputError, match="prompt"):
        toy_editor.open(prompt)
    stream = toy_editor.open("fog")
    with pytest.raises(InputError, match="prompt"):
        stream.set_prompt(prompt)
    assert stream.prompt == "fog"


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 4, 3), dtype=np.uint8),
        np.zeros((1, 4, 4, 4), dtype=np.uint8),
        np.zeros((1, 4, 4, 3), dtype=np.float32),
        np.zeros((1, 0, 4, 3), dtype=np.uint8),
        torch.zeros(1, 4, 4, 3),
    ],
)
def test_frames_of_another_form_are_refused(toy_editor: Editor, frames):
    with pytest.raises(InputError, match="expected"):
        toy_editor.open("fog").push(frames)


def test_what_is_not_frames_is_refused(toy_editor: Editor):
    with pytest.raises(InputError, match="got list"):
        toy_editor.open("fog").push([1, 2])


def test_an_ended_stream_takes_no_frames(toy_editor: Editor):
    with toy_editor.open("fog") as stream:
        assert stream.push(clip(0)).shape[0] == 0
        assert stream.size is None
        assert len(stream.finish()) == 0
    with pytest.raises(InputError, match="closed"):
        stream.push(clip(1))
    finished = toy_editor.open("fog")
    finished.push(clip(2))
    assert len(finished.finish()) == 1
    with pytest.raises(InputError, match="finished"):
        finished.push(clip(1))


def test_the_package_offers_the_interface_by_name(toy_folder):
    editor = vivace.open_editor(toy_folder, device="cpu")
    assert isinstance(editor, vivace.Editor)
    assert editor.fit(1280, 720) == (64, 32)
    with pytest.raises(AttributeError, match="nothing"):
        vivace.nothing  # noqa: B018
