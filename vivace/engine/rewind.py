"""Saved states of a stream, so that it can go back; bounded in time and bytes."""

from collections import deque
from dataclasses import dataclass

from vivace.engine.prompts import PromptChange
from vivace.pipelines.stream import Memories


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream between two chunks: its memories (a copy), what comes next and the instruction it followed."""

    memories: Memories
    num_bytes: int
    next_chunk: int
    next_frame: int
    prompt: PromptChange


class SnapshotRing:
    """Snapshots, oldest first. Beyond `max_bytes` the densest place is thinned, so the reach stays."""

    def __init__(self, max_frames: float, max_bytes: int) -> None:
        self.num_bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._kept: deque[Snapshot] = deque()

    @property
    def reach_frames(self) -> int:
        """Raw frames from the oldest snapshot to the newest."""
        return self._kept[-1].next_frame - self._kept[0].next_frame if self._kept else 0

    def __len__(self) -> int:
        return len(self._kept)

    def would_keep(self, num_bytes: int) -> bool:
        """Whether a snapshot of this size has a place at all."""
        return self._max_frames > 0 and num_bytes <= self._max_bytes

    def keep(self, snapshot: Snapshot) -> None:
        """Add the newest one; lets go of what is too old, or of the densest where bytes run out."""
        self._kept.append(snapshot)
        self.num_bytes += snapshot.num_bytes
        while len(self._kept) > 1 and snapshot.next_frame - self._kept[1].next_frame >= self._max_frames:
            self._drop(0)
        while self.num_bytes > self._max_bytes and len(self._kept) > 1:
            self._drop(self._densest())

    def back(self, num_frames: float) -> tuple[Snapshot, int] | None:
        """The newest snapshot at least so many raw frames before the last one, else the oldest.

        With it, how many frames it really goes back; None where nothing is kept.
        """
        if not self._kept:
            return None
        newest = self._kept[-1].next_frame
        wanted = newest - num_frames
        found = next((one for one in reversed(self._kept) if one.next_frame <= wanted), self._kept[0])
        return found, newest - found.next_frame

    def forget_after(self, next_frame: int) -> None:
        """Drop what lies later than the snapshot that starts with this raw frame."""
        while self._kept and self._kept[-1].next_frame > next_frame:
            self._drop(len(self._kept) - 1)

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()
        self.num_bytes = 0

    def _drop(self, index: int) -> None:
        self.num_bytes -= self._kept[index].num_bytes
        del self._kept[index]

    def _densest(self) -> int:
        """The snapshot whose neighbours are closest; the first one where there is none between."""
        frames = [one.next_frame for one in self._kept]
        inner = range(1, len(frames) - 1)
        return min(inner, key=lambda index: frames[index + 1] - frames[index - 1], default=0)
