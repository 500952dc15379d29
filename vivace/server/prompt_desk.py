"""The instructions of a session as clients know them: ids, timeline, what became of each; applies none."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from vivace.core.errors import VivaceError
from vivace.engine.live import SyncSession
from vivace.engine.prompts import PromptReceipt
from vivace.server.protocol import (
    PromptAccepted,
    PromptCancelled,
    PromptFailed,
    PromptReached,
    ProtocolError,
    ServerMessage,
    TimedPrompt,
)
from vivace.server.settings import Limits

MAX_NAMES = 256


@dataclass(slots=True, eq=False)
class _Asked:
    prompt_id: int
    words: str
    at_s: float
    receipt: Future[PromptReceipt]
    engine_id: int | None


def check_words(words: str, limits: Limits) -> None:
    """Raise where an instruction is too long for this server.

    Raises:
        ProtocolError: If it is.
    """
    if len(words) > limits.max_prompt_chars:
        raise ProtocolError(
            "bad_prompt",
            f"got an instruction of {len(words)} characters, expected at most {limits.max_prompt_chars}",
        )


class PromptDesk:
    """Takes orders about instructions and tells what becomes of them; belongs to the event loop's thread.

    `tell` reaches all listeners of the session, `soon` runs a call on the event loop from any thread.
    """

    def __init__(
        self,
        words: str,
        limits: Limits,
        tell: Callable[[ServerMessage], None],
        soon: Callable[[Callable[[], None]], None],
    ) -> None:
        self._limits = limits
        self._tell = tell
        self._soon = soon
        self._next_id = 1
        self._asked: dict[int, _Asked] = {}
        self._id_of_words: dict[str, int] = {}
        self._name(words)

    def id_of(self, words: str) -> int:
        """The newest id of an instruction; 0 if it has none."""
        return self._id_of_words.get(words, 0)

    @property
    def timeline(self) -> tuple[TimedPrompt, ...]:
        """Instructions that no frame follows yet."""
        waiting = sorted(self._asked.values(), key=lambda one: (one.at_s, one.prompt_id))
        return tuple(TimedPrompt(prompt_id=one.prompt_id, prompt=one.words, at_s=one.at_s) for one in waiting)

    def ask(self, session: SyncSession, words: str, in_s: float | None, first_frame: int) -> None:
        """Change the instruction, now or `in_s` seconds of video from now.

        `first_frame` is the place of the engine's frame 0 in what clients count.

        Raises:
            ProtocolError: If the words are too long, the timeline is full or the session is over.
        """
        check_words(words, self._limits)
        known = {one.prompt_id for one in session.upcoming_prompts}
        if len(known) >= self._limits.max_timeline:
            raise ProtocolError("busy", f"{len(known)} instructions wait already; cancel some")
        at_s = session.stream_s + (in_s or 0.0)
        try:
            receipt = session.schedule_prompt(at_s, words) if in_s else session.set_prompt(words)
        except VivaceError as error:
            raise ProtocolError("bad_prompt", str(error)) from None
        new = [one.prompt_id for one in session.upcoming_prompts if one.prompt_id not in known]
        asked = _Asked(self._name(words), words, at_s, receipt, new[-1] if new else None)
        self._asked[asked.prompt_id] = asked
        self._tell(PromptAccepted(prompt_id=asked.prompt_id, prompt=words, at_s=at_s))
        receipt.add_done_callback(lambda _: self._soon(lambda: self._done(asked, first_frame)))

    def cancel(self, session: SyncSession, prompt_id: int) -> None:
        """Take an instruction off the timeline.

        Raises:
            ProtocolError: If it is not on it any more.
        """
        asked = self._asked.get(prompt_id)
        if asked is None or asked.engine_id is None or not session.cancel_prompt(asked.engine_id):
            raise ProtocolError("not_possible", f"instruction {prompt_id} does not wait on the timeline")
        del self._asked[prompt_id]
        self._tell(PromptCancelled(prompt_id=prompt_id))

    def clear(self) -> None:
        """Drop what waits, because its stream ended."""
        for prompt_id in tuple(self._asked):
            del self._asked[prompt_id]
            self._tell(PromptCancelled(prompt_id=prompt_id))

    def _name(self, words: str) -> int:
        found, self._next_id = self._next_id, self._next_id + 1
        self._id_of_words.pop(words, None)
        self._id_of_words[words] = found
        while len(self._id_of_words) > MAX_NAMES:
            del self._id_of_words[next(iter(self._id_of_words))]
        return found

    def _done(self, asked: _Asked, first_frame: int) -> None:
        # cancelled ones were taken out and announced already
        if self._asked.pop(asked.prompt_id, None) is None or asked.receipt.cancelled():
            return
        error = asked.receipt.exception()
        if error is not None:
            self._tell(PromptFailed(prompt_id=asked.prompt_id, sentence=str(error)))
            return
        frame_index = asked.receipt.result().frame_index
        if frame_index is None:
            self._tell(PromptFailed(prompt_id=asked.prompt_id, sentence="a later instruction took its place"))
            return
        frame = first_frame + frame_index
        self._tell(PromptReached(prompt_id=asked.prompt_id, prompt=asked.words, frame=frame))
