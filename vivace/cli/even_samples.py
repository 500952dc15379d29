"""A few evenly spaced items out of a stream whose length nobody knows, in constant memory."""

from typing import Generic, TypeVar

Item = TypeVar("Item")


class EvenSamples(Generic[Item]):
    """Keeps every n-th item and doubles n whenever there are too many."""

    def __init__(self, num_samples: int) -> None:
        self._num_samples = num_samples
        self._kept: list[Item] = []
        self._stride = 1
        self._num_seen = 0

    def wants_next(self) -> bool:
        """Whether the next item will be kept, so that it need not be prepared otherwise."""
        return self._num_seen % self._stride == 0

    def add(self, item: Item | None) -> None:
        """Count an item, and keep it if it is one of the wanted; None stands for one that is not."""
        if self.wants_next() and item is not None:
            self._kept.append(item)
            if len(self._kept) > 2 * self._num_samples:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._num_seen += 1

    def take(self) -> list[Item]:
        """At most `num_samples` items, the first one always among them."""
        if len(self._kept) <= self._num_samples:
            return list(self._kept)
        last = len(self._kept) - 1
        return [self._kept[round(i * last / (self._num_samples - 1))] for i in range(self._num_samples)]
