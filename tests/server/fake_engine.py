"""An engine of the real one's face that edits at once, in the caller's thread, as a test can foresee."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from vivace.core.errors import InputError
from vivace.engine.engine import EngineFullError
from vivace.engine.prompts import AskedPrompt, PromptReceipt, UpcomingPrompt
from vivace.engine.telemetry import SessionFigures, SessionTelemetry, figures_of
from vivace.engine.terms import (
    Controls,
    EditedFrame,
    Phase,
    RewindReceipt,
    SessionEnd,
    SessionEndedError,
    SessionSettings,
)

CHUNK = 4
STATE_BYTES = 12_345


def color_of(words: str) -> int:
    """The grey that frames of an instruction have; "grey 7" gives 7."""
    return int(words.split()[-1]) if words.startswith("grey") else 100


def done_future(value: RewindReceipt) -> Future[RewindReceipt]:
    found: Future[RewindReceipt] = Future()
    found.set_result(value)
    return found


@dataclass
class Change:
    prompt_id: int
    words: str
    at_s: float
    receipt: Future[PromptReceipt]


class FakeSession:
    """Chunks of four frames; the first frame is a chunk of its own."""

    def __init__(self, engine: "FakeEngine", settings: SessionSettings) -> None:
        self.engine = engine
        self.settings = settings
        self.phase = Phase.LIVE
        self.is_paused = False
        self.end: SessionEnd | None = None
        self.size = settings.size
        self.prompt_words = settings.prompt
        self.prompt_id = 0
        self.controls = Controls(num_denoising_steps=settings.num_denoising_steps, strength=settings.strength)
        self.pushed: list[np.ndarray] = []
        self.opened: Future[None] = Future()
        self.telemetry = SessionTelemetry()
        self._changes: list[Change] = []
        self._next_id = 1
        self._waiting: list[tuple[np.ndarray, float, float]] = []
        self._ready: list[EditedFrame] = []
        self._next_frame = 0
        self._chunk = 0
        self.num_steps: int | None = None
        self._branch = 0
        self._num_in = 0
        self._notify: Callable[[], object] | None = None
        if settings.prompt == "unreadable":
            self.opened.set_exception(InputError("the instruction cannot be read"))
        else:
            self.opened.set_result(None)

    @property
    def upcoming_prompts(self) -> tuple[UpcomingPrompt, ...]:
        return tuple(UpcomingPrompt(one.prompt_id, one.at_s, one.words, True) for one in self._changes)

    @property
    def stream_s(self) -> float:
        return self._num_in / self.settings.native_fps

    def push(self, pixels: np.ndarray, time_s: float | None = None) -> int:
        self._check()
        if self.is_paused:
            return 0
        now_s = perf_counter()
        self.telemetry.frame_came(now_s)
        if self.prompt_words == "explode":
            self._end(SessionEnd("failed", "the model gave no numbers"))
            raise InputError("the model gave no numbers")
        self.pushed.append(pixels)
        self._num_in += 1
        self._waiting.append((pixels, time_s or 0.0, now_s))
        if len(self._waiting) == (CHUNK if self._chunk else 1):
            self._edit(now_s)
        return 1

    def set_controls(self, controls: Controls) -> None:
        self._check()
        self.controls = controls

    def ask_prompt(self, words: str, at_s: float | None = None) -> AskedPrompt:
        self._check()
        at_s = self.stream_s if at_s is None else at_s
        change = Change(self._next_id, words, at_s, Future())
        self._next_id += 1
        if words == "unreadable":
            change.receipt.set_exception(InputError("the instruction cannot be read"))
        else:
            self._changes.append(change)
        return AskedPrompt(change.prompt_id, change.receipt)

    def cancel_prompt(self, prompt_id: int) -> bool:
        before = len(self._changes)
        self._changes = [one for one in self._changes if one.prompt_id != prompt_id]
        return len(self._changes) < before

    def rewind(self, seconds: float) -> Future[RewindReceipt]:
        self._check()
        back = min(self._next_frame, round(seconds * self.settings.native_fps))
        if not back:
            failed: Future[RewindReceipt] = Future()
            failed.set_exception(InputError("there is nothing to go back to"))
            return failed
        self._branch += 1
        self._next_frame -= back
        self._waiting.clear()
        self._ready.clear()
        back_s = back / self.settings.native_fps
        return done_future(
            RewindReceipt(self._next_frame, self._chunk, self._branch, back_s, self.prompt_words)
        )

    def pause(self) -> None:
        self._check()
        self.is_paused = True

    def resume(self) -> None:
        self._check()
        self.is_paused = False

    def take_frames(self, max_frames: int | None = None, timeout_s: float = 0.0) -> list[EditedFrame]:
        ready, self._ready = self._ready, []
        return ready

    def on_change(self, notify: Callable[[], object] | None) -> None:
        self._notify = notify

    def finish(self) -> None:
        if self.phase is Phase.LIVE:
            if self._waiting:
                self._edit(perf_counter())
            self._end(SessionEnd("finished", "it was finished"))

    def close(self, reason: str = "closed by its user") -> None:
        self._end(SessionEnd("closed", reason))

    def figures(self) -> SessionFigures:
        now_s = perf_counter()
        figures = figures_of(
            self.telemetry.counts,
            self.telemetry.times,
            recent_delay=self.telemetry.recent_delay.summary(now_s),
            state_bytes=STATE_BYTES,
            rewind_bytes=0,
            fps_in=self.telemetry.rate_in.rate(now_s),
            fps_out=self.telemetry.rate_out.rate(now_s),
            frames_waiting=len(self._waiting),
            frames_ready=len(self._ready),
            oldest_waiting_s=0.0,
            oldest_ready_s=0.0,
        )
        return SessionFigures(
            slot=0,
            phase=self.phase,
            is_paused=self.is_paused,
            prompt_words=self.prompt_words,
            stream_s=self.stream_s,
            next_frame_index=self._next_frame,
            branch=self._branch,
            rewindable_s=self._next_frame / self.settings.native_fps,
            num_denoising_steps=self.num_steps,
            wanted_denoising_steps=self.controls.num_denoising_steps or 4,
            figures=figures,
        )

    def _edit(self, now_s: float) -> None:
        while self._changes and self._changes[0].at_s <= self.stream_s:
            change = self._changes.pop(0)
            self.prompt_words, self.prompt_id = change.words, change.prompt_id
            change.receipt.set_result(
                PromptReceipt(change.words, self._next_frame, self._chunk, self._branch, 0.0)
            )
        width, height = self.size or (self._waiting[0][0].shape[1], self._waiting[0][0].shape[0])
        self.size = (width, height)
        grey = round(color_of(self.prompt_words) * self.controls.strength)
        picture = np.full((height, width, 3), grey, np.uint8)
        self.num_steps = min(self.controls.num_denoising_steps or 4, self.engine.most_steps)
        self.telemetry.chunk_done(
            now_s=now_s,
            ready_s=now_s,
            deadline_s=now_s + 1,
            added_s=0.0,
            arrived_s=[one[2] for one in self._waiting],
        )
        self.telemetry.counts.denoising_steps += self.num_steps
        for source, time_s, arrived_s in self._waiting:
            self._ready.append(
                EditedFrame(
                    source if self.prompt_words == "mirror" else picture,
                    time_s,
                    self._next_frame,
                    self._chunk,
                    self._branch,
                    self.prompt_words,
                    self.prompt_id,
                    now_s - arrived_s,
                    now_s,
                )
            )
            self._next_frame += 1
        self._waiting.clear()
        self._chunk += 1
        self._tell()

    def _end(self, end: SessionEnd) -> None:
        if self.phase is not Phase.CLOSED:
            self.phase = Phase.CLOSED
            self.end = end
            self.engine.sessions.remove(self)
            self._tell()

    def _check(self) -> None:
        if self.end is not None:
            raise SessionEndedError(self.end)

    def _tell(self) -> None:
        if self._notify is not None:
            self._notify()


class FakeEngine:
    def __init__(self, num_slots: int = 64) -> None:
        self.num_slots = num_slots
        self.is_open = True
        self.most_steps = 8
        self.sessions: list[FakeSession] = []
        self.num_opened = 0

    def open_sync(self, settings: SessionSettings) -> FakeSession:
        if len(self.sessions) >= self.num_slots:
            raise EngineFullError("all slots are taken")
        session = FakeSession(self, settings)
        self.sessions.append(session)
        self.num_opened += 1
        return session
