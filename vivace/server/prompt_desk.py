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
    engine_id: int


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
        limits: Limits,
        tell: Callable[[ServerMessage], None],
        soon: Callable[[Callable[[], None]], None],
    ) -> None:
        self._limits = limits
        self._tell = tell
        self._soon = soon
        self._next_id = 1
        self._asked: dict[int, _Asked] = {}
        # the engine counts anew in every session it opens, clients see one count
        self._id_of: dict[int, int] = {}
        self._name(0)

    def id_of(self, engine_id: int) -> int:
        """What clients call an instruction of the engine's; 0 where it was forgotten."""
        return self._id_of.get(engine_id, 0)

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
        num_waiting = len(session.upcoming_prompts)
        if num_waiting >= self._limits.max_timeline:
            raise ProtocolError("busy", f"{num_waiting} instructions wait already; cancel some")
        at_s = session.stream_s + (in_s or 0.0)
        try:
            order = session.ask_prompt(words, at_s if in_s else None)
        except VivaceError as error:
            raise ProtocolError("bad_prompt", str(error)) from None
        asked = _Asked(self._name(order.prompt_id), words, at_s, order.receipt, order.prompt_id)
        self._asked[asked.prompt_id] = asked
        self._tell(PromptAccepted(prompt_id=asked.prompt_id, prompt=words, at_s=at_s))
        order.receipt.add_done_callback(lambda _: self._soon(lambda: self._done(asked, first_frame)))

    def cancel(self, session: SyncSession, prompt_id: int) -> None:
        """Take an instruction off the timeline.

        Raises:
            ProtocolError: If it is not on it any more.
        """
        asked = self._asked.get(prompt_id)
        if asked is None or not session.cancel_prompt(asked.engine_id):
            raise ProtocolError("not_possible", f"instruction {prompt_id} does not wait on the timeline")
        del self._asked[prompt_id]
        self._tell(PromptCancelled(prompt_id=prompt_id))

    def start_anew(self, engine_id: int) -> None:
        """Go on with a new engine session that was opened with that instruction; what waits is dropped."""
        for prompt_id in tuple(self._asked):
            del self._asked[prompt_id]
            self._tell(PromptCancelled(prompt_id=prompt_id))
        self._id_of = {0: self.id_of(engine_id)}

    def _name(self, engine_id: int) -> int:
        found, self._next_id = self._next_id, self._next_id + 1
        self._id_of[engine_id] = found
        while len(self._id_of) > MAX_NAMES:
            del self._id_of[next(iter(self._id_of))]
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
