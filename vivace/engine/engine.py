"""Owns the slots and the threads that serve sessions from one pipeline; knows no network."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, RLock, Thread
from time import perf_counter
from types import TracebackType
from typing import Literal, Self

from vivace.catalog.model_folder import EditorDefaults
from vivace.catalog.sampling import editing_sigmas
from vivace.core.errors import InputError
from vivace.core.grid import ChunkPlan
from vivace.data.fit import divisible_size, fit_size
from vivace.engine.live import LiveSession, SyncSession
from vivace.engine.preparation import Preparation
from vivace.engine.prompts import PromptChange
from vivace.engine.rewind import SnapshotRing
from vivace.engine.scheduler import SlotId
from vivace.engine.session import Session
from vivace.engine.slot import Picture, Slot
from vivace.engine.telemetry import EngineFigures, EngineTelemetry
from vivace.engine.terms import SessionEnd, SessionSettings
from vivace.engine.worker import Worker
from vivace.pipelines.edit import EditPipeline

# The worker looks around so often even where nothing comes in: idle sessions end.
LOOK_AROUND_S = 0.25

_log = logging.getLogger(__name__)


class EngineFullError(InputError):
    """All slots are taken, or the engine is closing; try again later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """Limits of an engine.

    Attributes:
        loop: `plain` does one thing at a time on one thread and is the definition; `overlapped` encodes
            prompts and fits pictures on a second thread. Their frames are equal.
        max_sessions: Slots.
        max_batch: Sessions that share a model call; None is 1 on a CPU, where sharing saves nothing and changes
            the last bits, and 8 on a GPU.
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

    Without threads (`has_threads=False`) nothing happens until `work_once` and `prepare_once` are called: tests
    and offline runs decide the order themselves.
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
        self.lock = Condition(RLock())
        self.output = Condition(self._rlock)
