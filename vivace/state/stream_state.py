"""The state of one stream (or of several in a batch): a value that a committing forward consumes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Generic, Self, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vivace.core.errors import StateError
from vivace.state.tree import tree_map, tree_tensors, tree_zip_map

T = TypeVar("T")


class StreamState(Generic[T]):
    """Owns a tree of state and the absolute index of the next frame; can be consumed once.

    `peek` reads without consuming (denoising steps), `take` hands the tree out for good (the commit), after
    which any use raises `StateError`. Whoever wants to go back keeps a `clone`.
    """

    __slots__ = ("__weakref__", "_tree", "next_frame")

    def __init__(self, tree: T, next_frame: int) -> None:
        self._tree: tuple[T] | None = (tree,)
        self.next_frame = next_frame

    @property
    def is_consumed(self) -> bool:
        """Whether a committing forward has taken the tree."""
        return self._tree is None

    def peek(self) -> T:
        """The tree, for reading.

        Raises:
            StateError: If the state was consumed.
        """
        if self._tree is None:
            raise StateError(
                f"this stream state (next frame {self.next_frame}) was consumed by a commit; "
                "use the state that the commit returned, or clone() before committing"
            )
        return self._tree[0]

    def take(self) -> T:
        """The tree, for replacing; this state cannot be used again.

        Raises:
            StateError: If the state was consumed before.
        """
        tree = self.peek()
        self._tree = None
        return tree

    def clone(self) -> "StreamState[T]":
        """A copy that shares no memory, so both can go on independently."""
        return StreamState(tree_map(torch.clone, self.peek()), self.next_frame)

    def separate(self) -> None:
        """Move to tensors of its own: whoever lent it theirs is about to write over them."""
        self._tree = (tree_map(torch.clone, self.peek()),)

    def to(self, device: torch.device | str) -> "StreamState[T]":
        """A copy on another device."""
        return StreamState(tree_map(lambda leaf: leaf.to(device), self.peek()), self.next_frame)

    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(leaf.numel() * leaf.element_size() for _, leaf in tree_tensors(self.peek()))

    def save(self, path: Path) -> None:
        """Write all tensors to a safetensors file, in one step."""
        tensors = {
            name or "state": leaf.detach().cpu().contiguous() for name, leaf in tree_tensors(self.peek())
        }
        part = path.with_name(path.name + ".part")
        save_file(tensors, part, metadata={"next_frame": str(self.next_frame)})
        part.replace(path)

    def restore(self, path: Path) -> Self:
        """The saved state, with this state's structure, types and devices.

        Raises:
            StateError: If the file is no saved state, or its tensors have other names or shapes than this
                state's.
        """
        tensors, next_frame = _saved(path)
        mine = dict(tree_tensors(self.peek()))
        wrong = sorted(
            name
            for name in tensors.keys() | mine.keys()
            if name not in tensors or name not in mine or tensors[name].shape != mine[name].shape
        )
        if wrong:
            raise StateError(
                f"{path.name} does not fit this stream: {wrong[0]} and {len(wrong) - 1} more differ"
            )
        leaves = iter([tensors[name].to(leaf) for name, leaf in tree_tensors(self.peek())])
        return type(self)(tree_map(lambda _: next(leaves), self.peek()), next_frame)


def _saved(path: Path) -> tuple[dict[str, Tensor], int]:
    try:
        with safe_open(path, framework="pt") as stored:
            next_frame = (stored.metadata() or {}).get("next_frame", "")
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise StateError(
            f"got {path}, which cannot be read ({error}); expected a file that StreamState.save wrote"
        ) from error
    if not next_frame.isdecimal():
        raise StateError(
            f"{path.name} does not say at which frame its stream stands; expected a file that "
            "StreamState.save wrote"
        )
    return tensors, int(next_frame)


def join_states(states: Sequence[StreamState[T]]) -> StreamState[T]:
    """Join states of single streams along the batch axis; the parts stay usable.

    Raises:
        StateError: If they stand at different frames or have different structures.
    """
    frames = {state.next_frame for state in states}
    if len(frames) != 1:
        raise StateError(f"got states at frames {sorted(frames)}, expected the same frame")
    joined = tree_zip_map(lambda leaves: torch.cat(leaves), [state.peek() for state in states])
    return StreamState(joined, frames.pop())


def split_state(state: StreamState[T], num_streams: int) -> list[StreamState[T]]:
    """Split a joined state into one state a stream; consumes it, unless it is of one stream already."""
    if num_streams == 1:
        # the same object: whoever lent it tensors knows it by that
        return [state]
    tree, next_frame = state.take(), state.next_frame

    def part(index: int) -> StreamState[T]:
        def select(leaf: Tensor) -> Tensor:
            width = leaf.shape[0] // num_streams
            return leaf[index * width : (index + 1) * width].clone()

        return StreamState(tree_map(select, tree), next_frame)

    return [part(index) for index in range(num_streams)]
