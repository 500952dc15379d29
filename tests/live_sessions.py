"""Films, faulty pipelines and hand-turned engines for tests of live sessions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event

import numpy as np
import torch

from vivace.catalog.editor import Editor
from vivace.engine.engine import Engine, EngineSettings
from vivace.engine.live import SyncSession
from vivace.engine.terms import EditedFrame, SessionSettings
from vivace.pipelines.edit import EditPipeline, Result
from vivace.pipelines.stream import EditStream
from vivace.pipelines.work import Work

HEIGHT, WIDTH, FPS = 32, 48, 10.0
SETTINGS = SessionSettings(
    prompt="make it night",
    size=(WIDTH, HEIGHT),
    native_fps=FPS,
    num_denoising_steps=2,
    max_waiting_frames=1000,
    max_ready_frames=1000,
)


def film(num_frames: int, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def push_all(session: SyncSession, frames: np.ndarray, start: int = 0) -> None:
    for index, frame in enumerate(frames, start):
        session.push(frame, index / FPS)


def pump(engine: Engine) -> int:
    """Do all work; returns how many model calls that took."""
    num_calls = 0
    while True:
        if engine.prepare_once():
            continue
        if not engine.work_once():
            return num_calls
        num_calls += 1


def pixels_of(frames: Sequence[EditedFrame]) -> np.ndarray:
    return np.stack([np.asarray(frame.pixels) for frame in frames])


def edited_alone(editor: Editor, frames: np.ndarray, settings: SessionSettings = SETTINGS) -> np.ndarray:
    """What the definition, the pipeline's own loop over one stream, makes of a film."""
    stream = editor.open(
        settings.prompt,
        size=settings.size,
        seed=settings.seed,
        num_denoising_steps=settings.num_denoising_steps,
        commit=settings.commit,
    )
    return np.concatenate([stream.push(frames), stream.finish()])


def still(editor: Editor, pipeline: EditPipeline | None = None, **settings) -> Engine:
    """An engine whose threads are turned by hand."""
    return Engine(pipeline or editor.pipeline, editor.defaults, EngineSettings(**settings), has_threads=False)


def with_seed(seed: int) -> SessionSettings:
    return replace(SETTINGS, seed=seed)


class FaultyPipeline(EditPipeline):
    """Runs the networks of another one; `fault` may raise, wait or spoil a result."""

    def __init__(
        self,
        sound: EditPipeline,
        fault: Callable[[Sequence[tuple[EditStream, Work]]], None] = lambda works: None,
        spoil: Callable[[EditStream, Work, Result], Result] = lambda stream, work, result: result,
    ) -> None:
        super().__init__(sound.vae, sound.dit, sound.prompts, device=sound.device, dtype=sound.dtype)
        self.calls: list[list[Work]] = []
        self._fault = fault
        self._spoil = spoil

    def run(self, works: Sequence[tuple[EditStream, Work]]) -> list[Result]:
        self.calls.append([work for _, work in works])
        self._fault(works)
        results = super().run(works)
        return [self._spoil(stream, work, result) for (stream, work), result in zip(works, results)]


class Gate:
    """A fault that holds the model inside its first call until it is opened."""

    def __init__(self) -> None:
        self.is_inside = Event()
        self.may_go = Event()

    def __call__(self, works: object) -> None:
        self.is_inside.set()
        assert self.may_go.wait(10)


def not_a_number(result: Result) -> Result:
    assert result.flight is not None
    assert result.flight.latent is not None
    return replace(
        result, flight=replace(result.flight, latent=torch.full_like(result.flight.latent, torch.nan))
    )
