"""Main memory of this process over a long run, and whether it stayed flat."""

from dataclasses import dataclass, field

import psutil

MIB = 2**20


@dataclass
class ResidentMemory:
    """Samples of the resident memory in MiB, by what was done so far (frames, cycles)."""

    samples: dict[int, float] = field(default_factory=dict)
    _process: psutil.Process = field(default_factory=psutil.Process)

    def sample(self, num_done: int) -> None:
        self.samples[num_done] = self._process.memory_info().rss / MIB

    def peak(self, start: int, end: int) -> float:
        return max(mib for num_done, mib in self.samples.items() if start <= num_done < end)

    def growth(self, start: int, middle: int, end: int) -> float:
        """How much higher the peak of [middle, end) is than that of [start, middle), as a share."""
        before, after = self.peak(start, middle), self.peak(middle, end)
        print(
            f"\nresident memory: {start}..{middle} {before:.1f} MiB, {middle}..{end} {after:.1f} MiB at most"
        )
        return after / before - 1
