"""Lanes on a CPU that do everything at once and keep the books: who is known to have waited for whom."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from vivace.pipelines.overlap import LANES, Lane

CALLER = "caller"


@dataclass
class ClockMark:
    """A lane's place and all that had to be done before it; a test decides when it is reached."""

    clock: dict[str, int]
    is_reached: bool = False

    def query(self) -> bool:
        return self.is_reached

    def synchronize(self) -> None:
        self.is_reached = True


class ClockLanes:
    """Every queue counts its works and knows how far each other queue is when its own next work begins."""

    def __init__(self) -> None:
        self.clocks = {name: dict.fromkeys((CALLER, *LANES), 0) for name in (CALLER, *LANES)}
        self.current: str = CALLER
        self.made_by: dict[int, tuple[str, int]] = {}
        self.kept: set[tuple[str, int]] = set()
        self.marks: list[ClockMark] = []
        self._alive: list[Tensor] = []

    @contextmanager
    def on(self, lane: Lane) -> Iterator[None]:
        self.current = lane
        try:
            yield
        finally:
            self.current = CALLER

    def follow(self, lane: Lane) -> None:
        self._learn(lane, self.clocks[CALLER])

    def mark(self, lane: Lane) -> ClockMark:
        self.marks.append(ClockMark(dict(self.clocks[lane])))
        return self.marks[-1]

    def wait(self, lane: Lane, mark: ClockMark) -> None:
        self._learn(lane, mark.clock)

    def keep(self, lane: Lane, tensors: Iterable[Tensor]) -> None:
        self.kept |= {(lane, id(tensor)) for tensor in tensors}

    def join(self) -> None:
        for lane in LANES:
            self._learn(CALLER, self.clocks[lane])

    def makes(self, tensors: Iterable[Tensor]) -> None:
        """The current queue has one more work behind it, which made these."""
        clock = self.clocks[self.current]
        clock[self.current] += 1
        for tensor in tensors:
            self.made_by.setdefault(id(tensor), (self.current, clock[self.current]))
            # ids must not be given twice
            self._alive.append(tensor)

    def check_reads(self, tensors: Iterable[Tensor]) -> int:
        """Fail where the current queue reads what it has not waited for; returns how many others made."""
        num_foreign = 0
        for tensor in tensors:
            maker, tick = self.made_by.get(id(tensor), (CALLER, 0))
            assert self.clocks[self.current][maker] >= tick, f"{self.current} reads ahead of {maker}"
            if maker != self.current:
                assert (self.current, id(tensor)) in self.kept, f"{self.current} may lose what {maker} made"
                num_foreign += 1
        return num_foreign

    def _learn(self, name: str, clock: dict[str, int]) -> None:
        mine = self.clocks[name]
        mine.update({other: max(mine[other], tick) for other, tick in clock.items()})
