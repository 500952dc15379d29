"""Work that may leave the hot path: encoding instructions and fitting pictures; serves no session."""

from collections import OrderedDict, deque
from collections.abc import Callable
from threading import Condition

from vivace.core.errors import InputError
from vivace.engine.prompts import PromptChange
from vivace.engine.slot import Picture, Slot
from vivace.engine.terms import SessionEnd
from vivace.pipelines.edit import EditPipeline
from vivace.pipelines.stream import Prompt

# Instructions that are kept encoded, so that presets and returning words cost nothing.
NUM_KEPT_PROMPTS = 64
# Pictures that wait at most; one that falls out is fitted when its chunk begins.
NUM_WAITING_PICTURES = 1024


class Preparation:
    """Two queues, guarded by the engine's lock; `run_once` computes without it."""

    def __init__(
        self,
        pipeline: EditPipeline,
        lock: Condition,
        wake: Callable[[], None],
        end: Callable[[Slot, SessionEnd], None],
    ) -> None:
        self._pipeline = pipeline
        self._wake = wake
        self._end = end
        self._lock = lock
        self._changes: deque[tuple[Slot, PromptChange]] = deque()
        self._pictures: deque[tuple[Slot, Picture]] = deque(maxlen=NUM_WAITING_PICTURES)
        self._encoded: OrderedDict[str, Prompt] = OrderedDict()

    def add_change(self, slot: Slot, change: PromptChange) -> None:
        """Queue an instruction; one that is known is ready at once."""
        known = self._encoded.get(change.words)
        if known is None:
            self._changes.append((slot, change))
        else:
            self._encoded.move_to_end(change.words)
            slot.session.prompt_prepared(change, known)

    def add_picture(self, slot: Slot, picture: Picture) -> None:
        """Queue a picture for fitting."""
        self._pictures.append((slot, picture))

    def clear(self) -> None:
        """Forget what waits, and the sessions with it."""
        with self._lock:
            self._changes.clear()
            self._pictures.clear()

    def run_once(self) -> bool:
        """Encode one instruction or, where none waits, fit one picture; false where nothing waited."""
        with self._lock:
            if self._changes:
                slot, change = self._changes.popleft()
                picture = None
            elif self._pictures:
                slot, picture = self._pictures.popleft()
                change = None
            else:
                return False
        if change is not None:
            self._encode(slot, change)
        elif picture is not None and slot.size is not None and not slot.session.is_over:
            picture.fitted(*slot.size)
        return True

    def _encode(self, slot: Slot, change: PromptChange) -> None:
        if change.receipt.done():
            return
        prompt = self._encoded.get(change.words)
        error: Exception | None = None
        for _ in range(2 if prompt is None else 0):
            try:
                prompt = self._pipeline.encode_prompt(change.words)
                break
            except InputError as refusal:
                error = refusal
                break
            except Exception as failure:
                # whatever an encoder raises must not take the other sessions with it
                error = InputError(
                    f"the prompt could not be encoded ({failure}); try again or change the words"
                )
        with self._lock:
            if prompt is None:
                assert error is not None
                if slot.session.prompt_refused(change, error):
                    self._end(slot, SessionEnd("failed", str(error)))
                return
            self._encoded[change.words] = prompt
            while len(self._encoded) > NUM_KEPT_PROMPTS:
                self._encoded.popitem(last=False)
            slot.session.prompt_prepared(change, prompt)
            self._wake()
