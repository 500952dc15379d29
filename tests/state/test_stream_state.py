from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save_file

from vivace.core.errors import StateError
from vivace.state.conv import ConvTail
from vivace.state.recurrent import GdnState
from vivace.state.stream_state import StreamState, join_states, split_state
from vivace.state.tree import tree_tensors


@dataclass(frozen=True, slots=True)
class Memory:
    mixer: GdnState | None
    tail: ConvTail


def some_state(frame: int = 4, batch: int = 1) -> StreamState[tuple[Memory, ...]]:
    memory = Memory(
        GdnState(torch.randn(batch, 2, 3, 3), torch.randn(batch, 2, 3)),
        ConvTail(torch.randn(batch, 4, 1, 2, 2)),
    )
    return StreamState((memory, Memory(None, ConvTail(torch.randn(batch, 4, 1, 2, 2)))), frame)


def tensors(state: StreamState) -> dict[str, torch.Tensor]:
    return dict(tree_tensors(state.peek()))


def same(a: StreamState, b: StreamState) -> bool:
    left, right = tensors(a), tensors(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_a_consumed_state_cannot_be_used_again():
    state = some_state()
    state.take()
    assert state.is_consumed
    for use in (state.peek, state.take, state.clone, state.num_bytes):
        with pytest.raises(StateError, match="consumed by a commit"):
            use()


def test_a_clone_diverges_without_touching_the_original():
    state = some_state()
    copy = state.clone()
    assert same(state, copy)
    copy.peek()[0].tail.frames.add_(1)
    assert not same(state, copy)
    state.take()
    assert not copy.is_consumed


def test_a_state_survives_a_file(tmp_path):
    state = some_state()
    state.save(tmp_path / "state.safetensors")
    restored = some_state(frame=0).restore(tmp_path / "state.safetensors")
    assert same(state, restored)
    assert restored.next_frame == 4
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_file_of_another_stream_is_refused(tmp_path):
    some_state(batch=2).save(tmp_path / "state.safetensors")
    with pytest.raises(StateError, match="does not fit"):
        some_state().restore(tmp_path / "state.safetensors")


def test_what_is_no_saved_state_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "state.safetensors"
    with pytest.raises(StateError, match="cannot be read"):
        some_state().restore(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(StateError, match="cannot be read"):
        some_state().restore(path)
    save_file(tensors(some_state()), path)
    with pytest.raises(StateError, match="does not say at which frame"):
        some_state().restore(path)


def test_joining_and_splitting_gives_the_parts_back():
    parts = [some_state(), some_state()]
    back = split_state(join_states(parts), 2)
    assert all(same(part, original) for part, original in zip(back, parts))
    assert [part.next_frame for part in back] == [4, 4]


def test_states_at_different_frames_do_not_join():
    with pytest.raises(StateError, match=r"\[4, 5\]"):
        join_states([some_state(4), some_state(5)])


def test_bytes_count_every_tensor():
    assert some_state().num_bytes() == 4 * (2 * 9 + 2 * 3 + 16 + 16)
