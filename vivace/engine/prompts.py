"""The instructions of a session along its time: which one a chunk follows; encodes nothing."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from vivace.core.errors import InputError

MAX_UPCOMING = 64


@dataclass(frozen=True, slots=True)
class PromptReceipt:
    """What became of a change of the instruction.

    Attributes:
        words: The instruction.
        frame_index: The first raw frame that follows it; None where a later change took its place before.
        chunk_index: The chunk of that frame; None likewise.
        branch: How many rewinds came before.
        waited_s: From the call to the chunk that took it up.
    """

    words: str
    frame_index: int | None
    chunk_index: int | None
    branch: int
    waited_s: float

    @property
    def was_applied(self) -> bool:
        """Whether any frame follows it."""
        return self.frame_index is not None


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """A change that was asked for: the id that its frames will carry, and what will become of it."""

    prompt_id: int
    receipt: Future[PromptReceipt]


@dataclass(frozen=True, slots=True)
class UpcomingPrompt:
    """A change that is not applied yet; `is_ready` once it is encoded."""

    prompt_id: int
    at_s: float
    words: str
    is_ready: bool


@dataclass(slots=True, eq=False)
class PromptChange:
    """A change on its way; `prepared` is what the model reads, opaque here.

    An exact change holds its chunk back until it is encoded; the others apply when they are ready.
    """

    prompt_id: int
    words: str
    at_s: float
    is_exact: bool
    asked_s: float
    prepared: object | None = None
    is_taken: bool = False
    receipt: Future[PromptReceipt] = field(default_factory=Future)

    @property
    def place(self) -> tuple[float, int]:
        """Order in which changes take effect."""
        return self.at_s, self.prompt_id


class PromptTimeline:
    """Upcoming changes in order."""

    def __init__(self) -> None:
        self._changes: list[PromptChange] = []
        self._next_id = 0

    def add(self, words: str, at_s: float, asked_s: float, *, is_exact: bool) -> PromptChange:
        """Put a change in its place.

        Raises:
            InputError: If 64 changes are waiting already.
        """
        if len(self._changes) >= MAX_UPCOMING:
            raise InputError(f"got more than {MAX_UPCOMING} upcoming prompts; cancel some or wait")
        change = PromptChange(self._next_id, words, at_s, is_exact, asked_s)
        change.receipt.set_running_or_notify_cancel()
        self._next_id += 1
        self._changes.append(change)
        self._changes.sort(key=lambda one: one.place)
        return change

    @property
    def upcoming(self) -> tuple[UpcomingPrompt, ...]:
        """Changes that are not applied yet."""
        return tuple(
            UpcomingPrompt(one.prompt_id, one.at_s, one.words, one.prepared is not None)
            for one in self._changes
        )

    def unprepared(self) -> Iterator[PromptChange]:
        """Changes that nobody encodes yet, the next one first."""
        return (one for one in self._changes if one.prepared is None and not one.is_taken)

    def holds_back(self, chunk_s: float) -> bool:
        """Whether a chunk that starts at `chunk_s` must wait for an exact change to be encoded."""
        return any(one.is_exact and one.prepared is None and one.at_s <= chunk_s for one in self._changes)

    def take_due(self, chunk_s: float) -> tuple[PromptChange | None, list[PromptChange]]:
        """The change that a chunk starting at `chunk_s` takes up, and those it makes void; removes both."""
        due = [one for one in self._changes if one.prepared is not None and one.at_s <= chunk_s]
        if not due:
            return None, []
        winner = due[-1]
        void = [one for one in self._changes if one.place < winner.place]
        self._changes = [one for one in self._changes if one.place > winner.place]
        return winner, void

    def remove(self, change: PromptChange) -> None:
        """Forget a change that cannot be encoded."""
        self._changes = [one for one in self._changes if one is not change]

    def cancel(self, prompt_id: int) -> PromptChange | None:
        """Take a change out; None if there is none of that id."""
        found = next((one for one in self._changes if one.prompt_id == prompt_id), None)
        if found is not None:
            self.remove(found)
        return found

    def clear(self) -> list[PromptChange]:
        """Take all out."""
        changes, self._changes = self._changes, []
        return changes
