"""One user's session: phases, bounded queues, prompts at chunk borders; locks and computes nothing."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

from vivace.core.errors import InputError
from vivace.core.grid import ChunkPlan, LatentGrid
from vivace.engine.outbox import Outbox
from vivace.engine.prompts import PromptChange, PromptReceipt, PromptTimeline
from vivace.engine.resample import InputFrame, RateResampler
from vivace.engine.scheduler import SlotId
from vivace.engine.telemetry import Figures, SessionTelemetry, figures_of
from vivace.engine.terms import (
    ChunkInput,
    Controls,
    EditedFrame,
    Phase,
    SessionEnd,
    SessionEndedError,
    SessionSettings,
)

# One turn of the engine counts at most so much towards idleness, so a jump of the clock ends no session.
MAX_IDLE_TURN_S = 1.0
# A session has its turn with the model while its last frame is not older.
TAKES_TURN_S = 2.0


class Session:
    """The state of one session. Its owner calls from one thread at a time and gives the time with every call.

    `slot` names the place of its stream in the engine; it means nothing here.
    """

    def __init__(
        self, slot: SlotId, settings: SessionSettings, grid: LatentGrid, plan: ChunkPlan, now_s: float
    ) -> None:
        self.slot = slot
        self.settings = settings
        self.timeline = PromptTimeline()
        self.telemetry = SessionTelemetry()
        self.phase = Phase.OPENING
        self.is_paused = False
        self.end: SessionEnd | None = None
        self.branch = 0
        self.controls = Controls(num_denoising_steps=settings.num_denoising_steps, strength=settings.strength)
        self.opened: Future[None] = Future()
        self.opened.set_running_or_notify_cancel()
        self._grid, self._plan = grid, plan
        self._resampler = RateResampler(settings.native_fps)
        self._prompt: PromptChange | None = None
        self._first_prompt = self.timeline.add(settings.prompt, 0.0, now_s, is_exact=True)
        self._waiting: deque[InputFrame] = deque()
        self._outbox = Outbox(settings.max_ready_frames, self.telemetry)
        self._ready_since_s: float | None = None
        self._is_behind = False
        self._next_chunk = 0
        self._next_frame = 0
        self._idle_s = 0.0
        self._last_tick_s = now_s
        self._last_frame_s = float("-inf")

    @property
    def is_over(self) -> bool:
        """Whether it takes and makes no more frames."""
        return self.phase is Phase.CLOSED

    @property
    def stream_s(self) -> float:
        """Seconds of video taken in so far."""
        return self._resampler.stream_s

    @property
    def prompt_words(self) -> str:
        """The instruction that the newest chunk follows."""
        return self.settings.prompt if self._prompt is None else self._prompt.words

    @property
    def next_frame_index(self) -> int:
        """The raw frame that the next chunk starts with."""
        return self._next_frame

    @property
    def next_chunk_index(self) -> int:
        """The chunk that will be taken next."""
        return self._next_chunk

    @property
    def next_chunk_s(self) -> float:
        """Seconds of video in the chunk that is taken next."""
        return self._num_needed() / self.settings.native_fps

    def gets_frames(self, now_s: float) -> bool:
        """Whether frames came lately, so that it takes its turn with the model."""
        return not self.is_over and not self.is_paused and now_s - self._last_frame_s < TAKES_TURN_S

    @property
    def num_ready(self) -> int:
        """Edited frames that wait for the consumer."""
        return len(self._outbox)

    @property
    def waiting_frames(self) -> Sequence[InputFrame]:
        """Raw frames that wait for a chunk, oldest first."""
        return self._waiting

    @property
    def chunk_ready_s(self) -> float | None:
        """Since when a chunk can be opened; None while none can.

        Kept when a newer frame takes the place of a dropped one: otherwise the deadline of a session that is
        behind would move away with every frame.
        """
        return self._ready_since_s

    def push(self, pixels: object, time_s: float, now_s: float) -> Sequence[InputFrame]:
        """Take a raw frame in; returns what the change of rate made of it.

        Raises:
            InputError: If the time is not finite.
            SessionEndedError: If the session takes no more frames.
        """
        self.check_takes_input()
        self.touch()
        counts = self.telemetry.counts
        if self.is_paused:
            counts.frames_in += 1
            counts.frames_ignored += 1
            return ()
        settled = self._resampler.push(pixels, time_s, now_s)
        self.telemetry.frame_came(now_s)
        if not settled:
            counts.frames_surplus += 1
        counts.frames_repeated += max(0, len(settled) - 1)
        self._last_frame_s = now_s
        self._waiting.extend(settled)
        while len(self._waiting) > self._max_waiting():
            self._waiting.popleft()
            counts.frames_dropped_in += 1
            self._is_behind = True
        self._note_readiness(now_s)
        return settled

    def take_chunk(self, now_s: float) -> ChunkInput | None:
        """The next chunk, if its frames and prompt are there; applies prompt changes, gives receipts.

        Where the model fell so far behind that frames were dropped, it takes the newest frames.
        """
        if not self.can_take_chunk() or self._ready_since_s is None:
            return None
        for _ in range(self._num_skipped()):
            self._waiting.popleft()
            self.telemetry.counts.frames_dropped_in += 1
        self._is_behind = False
        chunk = self._plan.chunk(self._next_chunk)
        needed = self._num_needed()
        is_last = self.phase is Phase.DRAINING and len(self._waiting) <= needed
        frames = tuple(self._waiting.popleft() for _ in range(min(needed, len(self._waiting))))
        self._apply_prompts(frames[0].stream_s, now_s)
        assert self._prompt is not None
        taken = ChunkInput(
            chunk,
            frames,
            self._next_frame,
            self._prompt.prepared,
            self._prompt.words,
            self._prompt.prompt_id,
            self.controls,
            max(self._ready_since_s, frames[-1].arrived_s),
            self._deadline_s(self._ready_since_s),
            is_last,
        )
        self._next_chunk += 1
        self._next_frame += needed
        self._ready_since_s = None
        num_left = self._num_needed()
        has_next = len(self._waiting) >= num_left
        self._note_readiness(self._waiting[num_left - 1].arrived_s if has_next else now_s)
        return taken

    def can_take_chunk(self) -> bool:
        """Whether `take_chunk` would give one."""
        if self.is_over or self._ready_since_s is None:
            return False
        chunk_s = self._waiting[self._num_skipped()].stream_s
        has_prompt = self._prompt is not None or self._first_prompt.prepared is not None
        return has_prompt and not self.timeline.holds_back(chunk_s)

    @property
    def next_deadline_s(self) -> float | None:
        """The deadline of the chunk that `take_chunk` would give; None while it would give none."""
        if not self.can_take_chunk() or self._ready_since_s is None:
            return None
        return self._deadline_s(self._ready_since_s)

    def deliver(self, source: ChunkInput, pixels: Sequence[object], now_s: float, added_s: float) -> None:
        """Put the edited frames of a chunk into the output queue; the oldest go where it is full."""
        self._outbox.put(source, pixels, self.branch, now_s, added_s)

    def take_ready(self, max_frames: int | None = None) -> list[EditedFrame]:
        """Edited frames, oldest first; no sign of life, since a consumer may poll for ever."""
        return self._outbox.take(max_frames)

    def set_controls(self, controls: Controls) -> None:
        """Steps and strength from the next chunk on; raises as `push`."""
        self.check_takes_input()
        self.touch()
        self.controls = controls

    def set_prompt(self, words: str, now_s: float) -> PromptChange:
        """Ask for a change as soon as it is encoded; raises as `push` and `PromptTimeline.add`."""
        self.check_takes_input()
        self.touch()
        at_s = self._waiting[0].stream_s if self._waiting else self.stream_s
        return self.timeline.add(words, at_s, now_s, is_exact=False)

    def schedule_prompt(self, at_s: float, words: str, now_s: float) -> PromptChange:
        """Ask for a change at a moment of the stream; raises as `set_prompt`."""
        if not 0 <= at_s < float("inf"):
            raise InputError(f"got a prompt at {at_s} s, expected 0 or later")
        self.check_takes_input()
        self.touch()
        return self.timeline.add(words, at_s, now_s, is_exact=True)

    def cancel_prompt(self, prompt_id: int, now_s: float) -> bool:
        """Take a change back that is not applied yet; its receipt says that it reached no frame."""
        if prompt_id == self._first_prompt.prompt_id:
            return False
        self.touch()
        change = self.timeline.cancel(prompt_id)
        if change is not None:
            self._give_receipt(change, now_s, is_applied=False)
        return change is not None

    def prompt_prepared(self, change: PromptChange, prepared: object) -> None:
        """Take in what the model reads for a change."""
        change.prepared = prepared
        if change is self._first_prompt and self.phase is not Phase.CLOSED:
            if self.phase is Phase.OPENING:
                self.phase = Phase.LIVE
            self.opened.set_result(None)

    def prompt_refused(self, change: PromptChange, error: Exception) -> bool:
        """A change cannot be encoded: its receipt says so. True where the session cannot go on without."""
        if change.receipt.done():
            return False
        self.timeline.remove(change)
        change.receipt.set_exception(error)
        is_first = change is self._first_prompt
        if is_first and not self.opened.done():
            self.opened.set_exception(error)
        return is_first

    def rewound(self, chunk_index: int, frame_index: int, prompt: PromptChange) -> None:
        """Go on from an earlier chunk: waiting and ready frames are dropped, a new branch begins."""
        self.branch += 1
        self.telemetry.counts.rewinds += 1
        self._next_chunk = chunk_index
        self._next_frame = frame_index
        self._prompt = prompt
        self._waiting.clear()
        self._outbox.clear()
        self._ready_since_s = None
        self._is_behind = False

    @property
    def prompt(self) -> PromptChange | None:
        """The change that the newest chunk follows; None before the first chunk."""
        return self._prompt

    def pause(self) -> None:
        """Ignore incoming frames."""
        self.check_takes_input()
        self.touch()
        self.is_paused = True

    def resume(self) -> None:
        """Take frames again; the pause leaves no gap in the stream."""
        self.check_takes_input()
        self.touch()
        if self.is_paused:
            self.is_paused = False
            self._resampler.skip_gap()

    def finish(self, now_s: float) -> None:
        """Take no more frames; what waits can be edited as a last, shorter chunk."""
        if self.phase in (Phase.OPENING, Phase.LIVE):
            self.phase = Phase.DRAINING
            self._note_readiness(now_s)

    @property
    def is_drained(self) -> bool:
        """Whether a draining session has no frames left to start on."""
        return self.phase is Phase.DRAINING and not self._waiting

    def close(self, end: SessionEnd, now_s: float) -> None:
        """End it; ready frames stay, everything else goes, and who waits for a receipt is told."""
        if self.is_over:
            return
        self.phase = Phase.CLOSED
        self.end = end
        self._waiting.clear()
        self._ready_since_s = None
        self._last_tick_s = now_s
        error = SessionEndedError(end)
        if not self.opened.done():
            self.opened.set_exception(error)
        for change in self.timeline.clear():
            if not change.receipt.done():
                change.receipt.set_exception(error)

    def touch(self) -> None:
        """Note that the user is there."""
        self._idle_s = 0.0

    def tick(self, now_s: float) -> bool:
        """Let time pass; true when the session was idle for too long."""
        self._idle_s += min(max(0.0, now_s - self._last_tick_s), MAX_IDLE_TURN_S)
        self._last_tick_s = now_s
        limit_s = self.settings.idle_timeout_s
        return limit_s is not None and not self.is_over and self._idle_s > limit_s

    def check_takes_input(self) -> None:
        """Raise where the session takes no more frames and orders.

        Raises:
            SessionEndedError: If it is closed or draining.
        """
        if self.end is not None:
            raise SessionEndedError(self.end)
        if self.phase is Phase.DRAINING:
            raise SessionEndedError(SessionEnd("finished", "it was finished and takes no more frames"))

    def figures(self, now_s: float) -> Figures:
        """Measured so far."""
        telemetry = self.telemetry
        return figures_of(
            telemetry.counts,
            telemetry.times,
            recent_delay=telemetry.recent_delay.summary(now_s),
            state_bytes=telemetry.state_bytes,
            rewind_bytes=telemetry.rewind_bytes,
            fps_in=telemetry.rate_in.rate(now_s),
            fps_out=telemetry.rate_out.rate(now_s),
            frames_waiting=len(self._waiting),
            frames_ready=len(self._outbox),
            oldest_waiting_s=max(0.0, now_s - self._waiting[0].arrived_s) if self._waiting else 0.0,
            oldest_ready_s=self._outbox.oldest_s(now_s),
        )

    def _deadline_s(self, ready_s: float) -> float:
        """When the frames of the next chunk are due: when those of the one behind it will have come."""
        return ready_s + self._num_raw_frames(self._next_chunk + 1) / self.settings.native_fps

    def _num_needed(self) -> int:
        return self._num_raw_frames(self._next_chunk)

    def _num_raw_frames(self, chunk_index: int) -> int:
        chunk = self._plan.chunk(chunk_index)
        return self._grid.num_raw_frames(chunk.num_frames, chunk.start)

    def _max_waiting(self) -> int:
        wanted = self.settings.max_waiting_frames
        if wanted is None:
            wanted = 2 * self._plan.frames_per_chunk * self._grid.temporal_stride
        return max(wanted, self._num_needed())

    def _num_skipped(self) -> int:
        is_catching_up = self._is_behind and self.phase is not Phase.DRAINING
        return max(0, len(self._waiting) - self._num_needed()) if is_catching_up else 0

    def _note_readiness(self, since_s: float) -> None:
        is_enough = len(self._waiting) >= self._num_needed()
        ends_short = self.phase is Phase.DRAINING and bool(self._waiting)
        if self._ready_since_s is None and (is_enough or ends_short):
            self._ready_since_s = since_s

    def _apply_prompts(self, chunk_s: float, now_s: float) -> None:
        applied, void = self.timeline.take_due(chunk_s)
        if applied is None:
            return
        self._prompt = applied
        self.telemetry.counts.prompts_applied += 1
        for change in void:
            self._give_receipt(change, now_s, is_applied=False)
        self._give_receipt(applied, now_s, is_applied=True)

    def _give_receipt(self, change: PromptChange, now_s: float, *, is_applied: bool) -> None:
        change.receipt.set_result(
            PromptReceipt(
                change.words,
                self._next_frame if is_applied else None,
                self._next_chunk if is_applied else None,
                self.branch,
                max(0.0, now_s - change.asked_s),
            )
        )
