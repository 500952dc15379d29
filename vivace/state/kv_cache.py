"""Keys and values of sink frames and of a rolling window; index moves only, no attention."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

CachedTokens = Float[Tensor, "b heads t s d"]


@dataclass(frozen=True, slots=True)
class SinkWindowCache:
    """Un-rotated keys and values of kept chunks, oldest first, with the absolute latent frame of each.

    Whole chunks enter and leave: the sink is the leading chunks that first hold `num_sink_frames`, the window
    the trailing chunks that together hold at least `window_frames`.
    """

    key: CachedTokens
    value: CachedTokens
    positions: tuple[int, ...]
    chunk_sizes: tuple[int, ...]

    @classmethod
    def empty(cls, like: CachedTokens) -> "SinkWindowCache":
        """A cache that holds no frame; `like` gives batch, heads, tokens and width."""
        nothing = like[:, :, :0]
        return cls(key=nothing, value=nothing, positions=(), chunk_sizes=())

    @property
    def num_frames(self) -> int:
        """Latent frames held."""
        return len(self.positions)

    def append(self, key: CachedTokens, value: CachedTokens, start: int) -> "SinkWindowCache":
        """The cache with one more chunk whose first latent frame is `start`."""
        size = key.shape[2]
        return SinkWindowCache(
            key=torch.cat([self.key, key], dim=2),
            value=torch.cat([self.value, value], dim=2),
            positions=(*self.positions, *range(start, start + size)),
            chunk_sizes=(*self.chunk_sizes, size),
        )

    def evict(
        self, num_sink_frames: int, window_frames: int | None
    ) -> tuple["SinkWindowCache", "SinkWindowCache"]:
        """Drop the oldest chunks between sink and window; returns what is kept and what was dropped.

        `window_frames=None` keeps everything.
        """
        if window_frames is None:
            return self, self._select(0, 0)
        first = self._num_sink_chunks(num_sink_frames)
        last, window = first, sum(self.chunk_sizes[first:])
        while last < len(self.chunk_sizes) and window - self.chunk_sizes[last] >= window_frames:
            window -= self.chunk_sizes[last]
            last += 1
        if last == first:
            return self, self._select(0, 0)
        dropped = self._select(first, last)
        sink, tail = self._select(0, first), self._select(last, len(self.chunk_sizes))
        kept = SinkWindowCache(
            key=torch.cat([sink.key, tail.key], dim=2),
            value=torch.cat([sink.value, tail.value], dim=2),
            positions=sink.positions + tail.positions,
            chunk_sizes=sink.chunk_sizes + tail.chunk_sizes,
        )
        return kept, dropped

    def positions_from(self, oldest: int, num_sink_frames: int) -> tuple[int, ...]:
        """The frames' positions with none before `oldest`.

        The sink moves up as a whole, so that its frames keep their order; other frames move by themselves.
        """
        size = sum(self.chunk_sizes[: self._num_sink_chunks(num_sink_frames)])
        sink, window = self.positions[:size], self.positions[size:]
        shift = max(0, oldest - sink[0]) if sink else 0
        # a cap shorter than sink and window together leaves no room for the sink's order
        last = max(oldest, window[0] - 1) if window else None
        moved = (position + shift if last is None else min(position + shift, last) for position in sink)
        return (*moved, *(max(position, oldest) for position in window))

    def _num_sink_chunks(self, num_sink_frames: int) -> int:
        count = held = 0
        while count < len(self.chunk_sizes) and held < num_sink_frames:
            held += self.chunk_sizes[count]
            count += 1
        return count

    def _select(self, first_chunk: int, stop_chunk: int) -> "SinkWindowCache":
        start, stop = sum(self.chunk_sizes[:first_chunk]), sum(self.chunk_sizes[:stop_chunk])
        return SinkWindowCache(
            key=self.key[:, :, start:stop],
            value=self.value[:, :, start:stop],
            positions=self.positions[start:stop],
            chunk_sizes=self.chunk_sizes[first_chunk:stop_chunk],
        )
