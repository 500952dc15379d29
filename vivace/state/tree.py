"""Tree maps over nested dataclasses, tuples and tensors, so that every state operation is one walk."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch import Tensor

from vivace.core.errors import StateError

T = TypeVar("T")


def tree_map(function: Callable[[Tensor], Tensor], tree: T) -> T:
    """The same structure with `function` applied to every tensor; other leaves are kept."""
    return _map(lambda leaves: function(leaves[0]), [tree])


def tree_zip_map(function: Callable[[list[Tensor]], Tensor], trees: Sequence[T]) -> T:
    """Walk equal structures together and give `function` the list of corresponding tensors.

    Raises:
        StateError: If the structures or their non-tensor leaves differ.
    """
    return _map(function, list(trees))


def tree_tensors(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors with dotted names, in a fixed order."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif dataclasses.is_dataclass(tree):
        for field in dataclasses.fields(tree):
            yield from tree_tensors(getattr(tree, field.name), f"{name}.{field.name}" if name else field.name)
    elif isinstance(tree, tuple):
        for i, item in enumerate(tree):
            yield from tree_tensors(item, f"{name}.{i}" if name else str(i))


def _map(function: Callable[[list[Tensor]], Tensor], trees: list[Any]) -> Any:
    first = trees[0]
    if any(type(tree) is not type(first) for tree in trees):
        raise StateError(f"got states of different kinds: {sorted({type(tree).__name__ for tree in trees})}")
    if isinstance(first, Tensor):
        return function(trees)
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in dataclasses.fields(first) if field.init]
        mapped = {name: _map(function, [getattr(tree, name) for tree in trees]) for name in names}
        return type(first)(**mapped)
    if isinstance(first, tuple):
        if any(len(tree) != len(first) for tree in trees):
            raise StateError(f"got states of {[len(tree) for tree in trees]} parts, expected equal numbers")
        return tuple(_map(function, list(items)) for items in zip(*trees))
    if any(tree != first for tree in trees):
        raise StateError(f"got states that differ in {trees!r}; only states at the same frame can be joined")
    return first
