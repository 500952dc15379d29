"""Times every stage of an editing pipeline, from host frames in to host frames out; prints nothing."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vivace.catalog.editor import Editor
from vivace.catalog.sampling import editing_sigmas
from vivace.core.errors import InputError
from vivace.pipelines.edit import EditPipeline
from vivace.pipelines.stream import CommitMode, EditStream, StreamSettings
from vivace.pipelines.work import Commit, Decode, Denoise, Encode, Work

PROMPT = "make it a snowy night"


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedSettings:
    """What is measured.

    Attributes:
        width_px: Width of the frames; the stride of the VAE must divide it.
        height_px: Height likewise.
        num_denoising_steps: Model calls a chunk before the commit.
        commit: How a chunk enters the memory.
        num_chunks: Chunks that count.
        num_warmup_chunks: Chunks before them, so that caches, memories and allocators are full.
    """

    width_px: int
    height_px: int
    num_denoising_steps: int
    commit: CommitMode
    num_chunks: int
    num_warmup_chunks: int

    def __post_init__(self) -> None:
        if self.num_chunks < 1 or self.num_warmup_chunks < 1:
            raise InputError(
                f"got {self.num_chunks} chunks and {self.num_warmup_chunks} before, expected at least 1 each"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSpeed:
    """Milliseconds of one stage: median and 99th percentile over its runs."""

    name: str
    median_ms: float
    p99_ms: float
    num_runs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedReport:
    """One measurement.

    Attributes:
        settings: What was measured.
        precision: `fp32`, `bf16` or `fp8`.
        raw_frames_per_chunk: Frames that a chunk takes and gives.
        stages: Encode, one denoising step, commit, decode, and the whole chunk end to end.
        frames_per_second: Raw frames of a chunk over its median end-to-end time.
    """

    settings: SpeedSettings
    precision: str
    raw_frames_per_chunk: int
    stages: tuple[StageSpeed, ...]
    frames_per_second: float


def measure_speed(editor: Editor, settings: SpeedSettings) -> SpeedReport:
    """Edit random frames at full speed and time every stage.

    End to end is from uint8 frames in main memory to edited uint8 frames in main memory, at the model's size;
    reading, resizing and writing video are not part of it. On a GPU every stage is waited for.

    Raises:
        InputError: If the number of denoising steps is out of range.
        ConfigError: If the picture size does not fit the VAE.
    """
    pipeline = editor.pipeline
    plan = editor.defaults.plan
    stream = pipeline.open(
        PROMPT,
        StreamSettings(
            width_px=settings.width_px,
            height_px=settings.height_px,
            seed=0,
            sigmas=editing_sigmas(settings.num_denoising_steps),
            commit=settings.commit,
            plan=plan,
        ),
    )
    times_ms: dict[str, array[float]] = {}
    num_raw = 0
    for index in range(settings.num_warmup_chunks + settings.num_chunks):
        chunk = plan.chunk(index)
        num_raw = pipeline.vae.grid.num_raw_frames(chunk.num_frames, chunk.start)
        frames = _random_frames(num_raw, settings, index)
        for name, elapsed_ms in _edit_chunk(pipeline, stream, frames):
            if index >= settings.num_warmup_chunks:
                times_ms.setdefault(name, array("d")).append(elapsed_ms)
    stages = tuple(_speed_of(name, values) for name, values in times_ms.items())
    return SpeedReport(
        settings=settings,
        precision=pipeline.precision,
        raw_frames_per_chunk=num_raw,
        stages=stages,
        frames_per_second=num_raw / stages[-1].median_ms * 1000,
    )


def _edit_chunk(
    pipeline: EditPipeline, stream: EditStream, frames: UInt8[Tensor, "r h w c"]
) -> list[tuple[str, float]]:
    """Times of the works of one chunk in their order, the whole chunk last."""
    times: list[tuple[str, float]] = []
    started = perf_counter()
    stream.push(frames)
    while (work := stream.plan()) is not None:
        begun = perf_counter()
        (result,) = pipeline.run([(stream, work)])
        stream.advance(result.flight, result.memories)
        if pipeline.device.type == "cuda":
            torch.cuda.synchronize(pipeline.device)
        times.append((_name_of(work), (perf_counter() - begun) * 1000))
    return [*times, ("end to end", (perf_counter() - started) * 1000)]


def _name_of(work: Work) -> str:
    match work:
        case Encode():
            return "encode"
        case Denoise(writes=True):
            return "denoising step that commits"
        case Denoise():
            return "denoising step"
        case Commit():
            return "commit"
        case Decode():
            return "decode"


def _random_frames(num_frames: int, settings: SpeedSettings, seed: int) -> UInt8[Tensor, "r h w c"]:
    generator = torch.Generator().manual_seed(seed)
    size = (num_frames, settings.height_px, settings.width_px, 3)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


def _speed_of(name: str, times_ms: Sequence[float]) -> StageSpeed:
    median, high = np.percentile(np.asarray(times_ms), (50, 99))
    return StageSpeed(name=name, median_ms=float(median), p99_ms=float(high), num_runs=len(times_ms))
