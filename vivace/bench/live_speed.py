"""Times live sessions in one process: synthetic cameras, an engine and consumers; opens no socket."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from jaxtyping import UInt8

from vivace.catalog.editor import Editor
from vivace.core.config import Json, to_json
from vivace.core.errors import InputError
from vivace.engine.engine import Engine, EngineSettings
from vivace.engine.live import LiveSession
from vivace.engine.telemetry import Counts, Histogram, TimeFigures
from vivace.engine.terms import SessionSettings
from vivace.engine.warm_up import warm_up

PROMPT, NEW_PROMPT = "make it a snowy night", "turn it into a pencil sketch"
# Different pictures in turn, so that nothing is ever the same frame again.
NUM_PICTURES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveSpeedSettings:
    """What is measured.

    Attributes:
        num_sessions: Sessions at the same time.
        duration_s: How long each one sends.
        fps: Frames a second that it sends; the native rate of the stream.
        width_px: Width of what comes in and goes out.
        height_px: Height likewise.
        num_denoising_steps: Model calls a chunk before the commit; None is the model's own number.
        least_denoising_steps: How few a chunk may take where all are too slow; None takes always all.
        stagger_s: Sessions start spread over this time, as people do.
        rewind_s: How far back each session can go; copying states costs time.
        max_batch: Sessions that share a model call; None is the engine's own choice.
    """

    num_sessions: int = 1
    duration_s: float = 10.0
    fps: float = 16.0
    width_px: int = 320
    height_px: int = 192
    num_denoising_steps: int | None = None
    least_denoising_steps: int | None = None
    stagger_s: float = 0.0
    rewind_s: float = 10.0
    max_batch: int | None = None

    def __post_init__(self) -> None:
        if self.num_sessions < 1 or not self.duration_s > 0 or not self.fps > 0 or self.stagger_s < 0:
            raise InputError(
                f"got {self.num_sessions} sessions of {self.duration_s} s at {self.fps} frames a second, "
                "expected at least 1 session and times above 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveSpeed:
    """One measurement; all times in milliseconds, over all sessions.

    Attributes:
        settings: What was measured.
        fps_out: Edited frames a second and session, while frames came.
        counts: Frames in, out and dropped, chunks, missed deadlines.
        miss_share: Chunks later than their deadline, which is when the next chunk is complete.
        busy_share: Share of the time in which the model worked.
        ttff: From a session's first frame in to its first edited frame.
        delay: From a frame's arrival to its edited frame being ready.
        buffering: Of that, waiting for the rest of its chunk.
        queueing: From a complete chunk to its first work.
        turnaround: From a complete chunk to its edited frames.
        jitter: Difference of the delays of neighbouring chunks.
        added: From a complete chunk to its edited frames, less the time in which the model worked.
        handover: From ready to in the consumer's hands.
        prompt_change: From asking for another instruction, half-way, to the first frame that follows it.
    """

    settings: LiveSpeedSettings
    fps_out: float
    counts: Counts
    miss_share: float
    busy_share: float
    ttff: TimeFigures
    delay: TimeFigures
    buffering: TimeFigures
    queueing: TimeFigures
    turnaround: TimeFigures
    jitter: TimeFigures
    added: TimeFigures
    handover: TimeFigures
    prompt_change: TimeFigures

    def to_json(self) -> Json:
        """Plain JSON values."""
        return to_json(self)

    def table(self) -> str:
        """The times as a Markdown table, with a line of counts before it."""
        counts = self.counts
        named = {
            "time to first frame": self.ttff,
            "delay, arrival to ready": self.delay,
            "of it waiting for its chunk": self.buffering,
            "chunk complete to first work": self.queueing,
            "chunk complete to edited": self.turnaround,
            "jitter": self.jitter,
            "added by the engine": self.added,
            "handed to the consumer": self.handover,
            "prompt change to first frame": self.prompt_change,
        }
        return "\n".join(
            [
                f"{self.settings.num_sessions} sessions at {self.settings.fps:g} frames a second, "
                f"{self.settings.width_px}x{self.settings.height_px}, {self.settings.duration_s:g} s: "
                f"{self.fps_out:.1f} frames a second out, {counts.frames_dropped_in} dropped, "
                f"{counts.deadline_misses} of {counts.chunks} chunks late, "
                f"{counts.steps_a_chunk:.1f} steps a chunk, model busy {100 * self.busy_share:.0f} %.",
                "",
                *time_rows(named),
            ]
        )


def time_rows(named: Mapping[str, TimeFigures]) -> list[str]:
    """A Markdown table of times, one row each."""
    return [
        "| ms | p50 | p99 | p99.9 | max |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {one.p50_ms:.2f} | {one.p99_ms:.2f} | {one.p999_ms:.2f} | {one.max_ms:.2f} |"
            for name, one in named.items()
        ),
    ]


def measure_live(editor: Editor, settings: LiveSpeedSettings) -> LiveSpeed:
    """Send synthetic frames in real time, take the edited ones, and time everything between.

    Raises:
        InputError: If a number of denoising steps is out of range.
    """
    return asyncio.run(_measure(editor, settings))


async def _measure(editor: Editor, settings: LiveSpeedSettings) -> LiveSpeed:
    pictures = _pictures(settings)
    limits = EngineSettings(max_sessions=settings.num_sessions, max_batch=settings.max_batch)
    handover, prompt_change = Histogram(), Histogram()
    wanted = SessionSettings(
        prompt=PROMPT,
        size=(settings.width_px, settings.height_px),
        native_fps=settings.fps,
        num_denoising_steps=settings.num_denoising_steps,
        least_denoising_steps=settings.least_denoising_steps,
        rewind_s=settings.rewind_s,
    )

    async def session(engine: Engine, index: int) -> None:
        await asyncio.sleep(index * settings.stagger_s / settings.num_sessions)
        async with engine.open(wanted) as live:
            asked: list[float] = []
            sending = asyncio.create_task(_send(live, pictures, settings, asked))
            has_changed = False
            async for frame in live.frames():
                handover.record(perf_counter() - frame.ready_s)
                if frame.prompt_id and not has_changed:
                    has_changed = True
                    prompt_change.record(perf_counter() - asked[0])
            await sending

    # as `vivace serve` does before it listens
    warm_up(editor.pipeline, editor.defaults, wanted.size)
    with Engine(editor.pipeline, editor.defaults, limits, clock=perf_counter) as engine:
        await asyncio.gather(*(session(engine, index) for index in range(settings.num_sessions)))
        figures = engine.figures()
    sums = figures.figures
    return LiveSpeed(
        settings=settings,
        fps_out=sums.counts.frames_out / settings.num_sessions / settings.duration_s,
        counts=sums.counts,
        miss_share=sums.counts.deadline_misses / max(1, sums.counts.chunks),
        busy_share=figures.busy_share,
        ttff=sums.ttff,
        delay=sums.delay,
        buffering=sums.buffering,
        queueing=sums.queueing,
        turnaround=sums.turnaround,
        jitter=sums.jitter,
        added=sums.added,
        handover=handover.summary(),
        prompt_change=prompt_change.summary(),
    )


async def _send(
    live: LiveSession,
    pictures: list[UInt8[np.ndarray, "h w c"]],
    settings: LiveSpeedSettings,
    asked: list[float],
) -> None:
    start_s = perf_counter()
    total = max(1, round(settings.duration_s * settings.fps))
    for index in range(total):
        await asyncio.sleep(max(0.0, start_s + index / settings.fps - perf_counter()))
        if index == total // 2:
            asked.append(perf_counter())
            live.sync.ask_prompt(NEW_PROMPT)
        await live.push(pictures[index % len(pictures)], index / settings.fps)
    live.finish()


def _pictures(settings: LiveSpeedSettings) -> list[UInt8[np.ndarray, "h w c"]]:
    size = (NUM_PICTURES, settings.height_px, settings.width_px, 3)
    return list(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8))
