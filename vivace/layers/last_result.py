"""Keeps what a function gave last, for inputs that come again as the same tensors."""

from collections.abc import Callable

from torch import Tensor


class LastResult:
    """The newest result of a function of tensors that nobody writes into, such as a stream's memory on a CPU.

    Several threads may ask: whoever comes with other tensors computes, and the last one's result is kept.
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple[Tensor, ...], Tensor] | None = None

    def of(self, function: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """`function(*given)`, computed only if one of `given` is another tensor than last time."""
        # read once, as another thread may replace it
        kept = self._kept
        if kept is not None and all(old is new for old, new in zip(kept[0], given, strict=True)):
            return kept[1]
        result = function(*given)
        self._kept = given, result
        return result
