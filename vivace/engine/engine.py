"""Owns the slots and the threads that serve sessions from one pipeline; knows no network."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, RLock, Thread, current_thread
from time import perf_counter
from types import TracebackType
from typing import Literal, Self

from vivace.catalog.model_folder import EditorDefaults
from vivace.catalog.sampling import editing_sigmas
from vivace.core.errors import InputError
from vivace.data.fit import divisible_size
from vivace.engine.live import LiveSession, SyncSession
from vivace.engine.preparation import Preparation
from vivace.engine.prompts import PromptChange
from vivace.engine.rewind import SnapshotRing
from vivace.engine.scheduler import SlotId
from vivace.engine.session import Session
from vivace.engine.slot import Picture, Slot
from vivace.engine.telemetry import EngineFigures, EngineTelemetry
from vivace.engine.terms import Controls, SessionEnd, SessionEndedError, SessionSettings
from vivace.engine.worker import Worker
from vivace.pipelines.edit import EditPipeline

# The worker looks around so often even where nothing comes in: idle sessions end.
LOOK_AROUND_S = 0.25

# Works take a millisecond there; to look at all sessions again after each one takes a fifth of that.
STAY_ON_GPU_S = 0.005

_log = logging.getLogger(__name__)


class EngineFullError(InputError):
    """All slots are taken, or the engine is closing; try again later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """Limits of an engine.

    Attributes:
        loop: `plain` does one thing at a time on one thread and is the definition; `overlapped` encodes
            prompts and fits pictures on a second thread. Their frames are equal. Neither has model calls
            under way beside each other (pipelines/overlap.py): who is served next, and whether a chunk holds
            numbers, is decided after each call, and a live session has its next chunk complete only when this
            one should be done.
        max_sessions: Slots.
        max_batch: Sessions that share a model call; None is 1 on a CPU, where sharing saves little and
            changes the last bits, 1 on a GPU whose calls are replayed from graphs, which shared ones are not,
            and 8 on others (docs/decisions/0006).
        max_rewind_bytes: Snapshots of one session; beyond it they are thinned out.
    """

    loop: Literal["plain", "overlapped"] = "overlapped"
    max_sessions: int = 16
    max_batch: int | None = None
    max_rewind_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        if self.max_sessions < 1 or self.max_rewind_bytes < 0 or (self.max_batch or 1) < 1:
            raise InputError(
                f"got {self.max_sessions} sessions in batches of {self.max_batch} with "
                f"{self.max_rewind_bytes} bytes to rewind, expected at least 1, 1 and 0"
            )


class Engine:
    """Sessions of one loaded model: `Engine(editor.pipeline, editor.defaults)`; close it, or use `with`.

    Without threads (`has_threads=False`) nothing happens until `work_once` and `prepare_once` are called:
    tests and offline runs decide the order themselves.
    """

    def __init__(
        self,
        pipeline: EditPipeline,
        defaults: EditorDefaults,
        settings: EngineSettings = EngineSettings(),
        *,
        clock: Callable[[], float] = perf_counter,
        has_threads: bool = True,
    ) -> None:
        self.settings = settings
        lock = RLock()
        self.lock = Condition(lock)
        self.output = Condition(lock)
        self.now = clock
        self._pipeline = pipeline
        self._defaults = defaults
        self._slots: dict[SlotId, Slot] = {}
        self._next_slot = 0
        self._telemetry = EngineTelemetry(clock())
        is_shared = pipeline.device.type == "cuda" and pipeline.graphs is None
        max_batch = settings.max_batch or (8 if is_shared else 1)
        self._worker = Worker(
            pipeline,
            self._slots,
            self.lock,
            self.output,
            clock,
            self.end,
            max_batch=max_batch,
            stay_s=STAY_ON_GPU_S if pipeline.device.type == "cuda" else 0.0,
        )
        self._preparation = Preparation(pipeline, self.lock, self.wake, self.end)
        self._num_wakes = 0
        self._is_closing = False
        self._is_stopped = False
        self._threads: list[Thread] = []
        if has_threads:
            self._threads.append(Thread(target=self._serve, name="vivace-engine", daemon=True))
            if settings.loop == "overlapped":
                self._threads.append(Thread(target=self._prepare, name="vivace-preparation", daemon=True))
        for thread in self._threads:
            thread.start()

    def open(self, settings: SessionSettings | None = None, *, prompt: str | None = None) -> LiveSession:
        """A new session for asyncio, with these settings or with an instruction and all else as usual.

        Raises:
            EngineFullError: If there is no free slot or the engine is closing.
            InputError: If the number of steps cannot be used, or both or neither of the two are given.
        """
        if settings is None and prompt is not None:
            settings = SessionSettings(prompt=prompt)
        elif settings is None or prompt is not None:
            raise InputError("expected settings or a prompt to open a session with, and not both")
        return LiveSession(self.open_sync(settings))

    def open_sync(self, settings: SessionSettings) -> SyncSession:
        """A new session for threads and servers; raises as `open`.

        The prompt is encoded later: `SyncSession.opened` tells whether it can be used.
        """
        defaults = self._defaults
        self._sigmas(settings.num_denoising_steps)
        self._sigmas(settings.least_denoising_steps)
        plan = defaults.plan
        ring = SnapshotRing(settings.rewind_s * settings.native_fps, self.settings.max_rewind_bytes)
        with self.lock:
            if self._is_closing:
                raise EngineFullError("the engine is closing and takes no more sessions; try again later")
            if len(self._slots) >= self.settings.max_sessions:
                raise EngineFullError(f"all {self.settings.max_sessions} sessions are taken; try again later")
            slot_id = SlotId(self._next_slot)
            self._next_slot += 1
            session = Session(slot_id, settings, self._pipeline.vae.grid, plan, self.now())
            commit = settings.commit or defaults.commit
            slot = Slot(session, self._pipeline, self._sigmas, commit, plan, ring)
            self._slots[slot_id] = slot
            self._telemetry.sessions_opened += 1
            for change in session.timeline.unprepared():
                self.prompt_came(slot, change)
        return SyncSession(slot, self)

    @property
    def num_sessions(self) -> int:
        """Slots that are taken."""
        return len(self._slots)

    @property
    def is_open(self) -> bool:
        """Whether sessions can be opened where slots are free: the threads are well and nobody closes."""
        return not self._is_closing and not self._is_stopped

    def figures(self) -> EngineFigures:
        """Measured over all sessions, ended ones included."""
        with self.lock:
            now_s = self.now()
            each = [(slot.session.telemetry, slot.session.figures(now_s)) for slot in self._slots.values()]
            return self._telemetry.figures(each, self._worker.busy.total_s, now_s)

    def work_once(self) -> bool:
        """One turn of the engine's thread; false where nothing was to do."""
        if self.settings.loop == "plain" and self._preparation.run_once():
            return True
        has_worked = self._worker.turn()
        self.tell()
        return has_worked

    def prepare_once(self) -> bool:
        """One turn of the second thread: encode one prompt or fit one picture; false where none waits."""
        has_prepared = self._preparation.run_once()
        if has_prepared:
            self.tell()
        return has_prepared

    def close(self, *, drain: bool = True, timeout_s: float = 10.0) -> None:
        """Take no more sessions, let the present ones edit what waits (or end them), stop the threads.

        Blocks. Sessions that are not done after `timeout_s` are ended.
        """
        with self.lock:
            self._is_closing = True
            for slot in tuple(self._slots.values()) if drain else ():
                slot.session.finish(self.now())
            self.wake()
        if drain and self._threads:
            with self.output:
                self.output.wait_for(lambda: not self._slots or self._is_stopped, timeout_s)
        elif drain:
            while self._preparation.run_once() or self.work_once():
                pass
        self._stop(SessionEnd("closed", "the engine was closed"))
        for thread in self._threads:
            if thread is not current_thread():
                thread.join()
        self._worker.drop_ended()
        self._preparation.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=error is None)

    def fit(self, settings: SessionSettings, width: int, height: int) -> tuple[int, int]:
        """The size at which frames of this size are edited."""
        multiple = self._pipeline.vae.grid.spatial_stride
        if settings.size is not None:
            return divisible_size(*settings.size, multiple)
        return self._defaults.fit(width, height, multiple)

    def check_controls(self, controls: Controls) -> None:
        """Raise where the model cannot do that.

        Raises:
            InputError: If the number of steps is out of range.
        """
        self._sigmas(controls.num_denoising_steps)

    def prompt_came(self, slot: Slot, change: PromptChange) -> None:
        """Have an instruction encoded."""
        self._preparation.add_change(slot, change)
        self.wake()

    def picture_came(self, slot: Slot, picture: Picture | None) -> None:
        """Have a picture fitted, where a second thread is there for it; None is other news for the worker."""
        if picture is not None and self.settings.loop == "overlapped":
            self._preparation.add_picture(slot, picture)
        self.wake()

    def wake(self) -> None:
        """Tell the threads that something came; under the lock."""
        self._num_wakes += 1
        self.lock.notify_all()

    def end(self, slot: Slot, end: SessionEnd) -> None:
        """Close a session and free its slot; under the lock. Ending twice is fine."""
        if slot.session.is_over:
            return
        slot.session.close(end, self.now())
        for _, landed in slot.asked_rewinds:
            landed.set_exception(SessionEndedError(end))
        slot.asked_rewinds.clear()
        self._slots.pop(slot.session.slot, None)
        self._worker.ended.append(slot)
        self._telemetry.session_ended(slot.session.telemetry, has_failed=end.kind == "failed")
        slot.has_news = True
        self.output.notify_all()
        self.wake()

    def tell(self) -> None:
        """Call the listeners of sessions that have news; not under the lock."""
        with self.lock:
            news = [slot for slot in (*self._slots.values(), *self._worker.ended) if slot.has_news]
            for slot in news:
                slot.has_news = False
        for slot in news:
            try:
                if slot.listener is not None:
                    slot.listener()
            except Exception:
                # a listener is somebody else's code, for example an event loop that is gone
                _log.exception("the listener of session %d failed and is not called again", slot.session.slot)
                slot.listener = None

    def _sigmas(self, num_steps: int | None) -> tuple[float, ...]:
        return editing_sigmas(self._defaults.num_denoising_steps if num_steps is None else num_steps)

    def _serve(self) -> None:
        self._repeat(self.work_once)

    def _prepare(self) -> None:
        self._repeat(self.prepare_once)

    def _repeat(self, turn: Callable[[], bool]) -> None:
        try:
            while not self._is_stopped:
                num_seen = self._num_wakes
                if turn():
                    continue
                with self.lock:
                    if num_seen == self._num_wakes and not self._is_stopped:
                        self.lock.wait(LOOK_AROUND_S if self._slots else None)
        except Exception as error:
            # nobody may wait for a thread that is gone
            _log.exception("a thread of the engine failed")
            self._stop(SessionEnd("failed", f"the engine failed ({type(error).__name__}: {error})"))

    def _stop(self, end: SessionEnd) -> None:
        with self.lock:
            self._is_stopped = True
            for slot in tuple(self._slots.values()):
                self.end(slot, end)
            self.wake()
            self.output.notify_all()
        self.tell()
