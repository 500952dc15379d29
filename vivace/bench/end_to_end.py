"""Times full-size SANA-Streaming from raw frames in main memory to edited ones there, on random weights."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Literal, Protocol, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from vivace.bench.full_speed import TEXT_TOKENS, VAE_STRIDE
from vivace.catalog.ltx2_vae import ltx2_vae_spec
from vivace.catalog.random_weights import random_dit, random_ltx2_vae
from vivace.catalog.sampling import editing_sigmas
from vivace.catalog.sana_streaming import FRAMES_PER_CHUNK, sana_streaming_spec
from vivace.core.errors import InputError
from vivace.core.grid import ChunkPlan
from vivace.models.ltx2_vae import Ltx2VaeSpec
from vivace.models.precision import PrecisionPolicy, apply_precision
from vivace.models.streaming_dit import DitSpec
from vivace.pipelines.edit import EditPipeline
from vivace.pipelines.overlap import MAX_PENDING, CudaLanes, Lanes, OverlappedEdit
from vivace.pipelines.stream import CommitMode, EditStream, StreamSettings
from vivace.pipelines.velocity_graphs import VelocityGraphs

Loop = Literal["serial", "overlapped"]
Frames = UInt8[Tensor, "r h w c"]
LIVE_FPS = 24
GIB = 2**30
# streams that start before the ones that count: a first chunk is recorded once two were seen
NUM_WARM_STARTS = 3
NUM_STARTS = 3
# pictures that are pushed in turn
NUM_INPUTS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class EndToEndSettings:
    """What one row measures.

    Attributes:
        width_px: Width of the frames; 32 must divide it.
        height_px: Height likewise.
        num_streams: Streams at once: in shared calls where the loop is serial, on shared lanes elsewhere.
        num_denoising_steps: Model calls a chunk before the commit.
        commit: How a chunk enters the memories.
        loop: `serial` waits for every chunk, `overlapped` has up to two more under way.
        vae_frames: Latent frames a VAE call, see `vivace.pipelines.vae_calls.VaeCalls`; None is a chunk at
            once.
        num_chunks: Chunks of all streams together that count; for latencies, half as many, from 3 to 20.
        num_warmup_chunks: Chunks of each stream before them.
    """

    width_px: int = 1280
    height_px: int = 704
    num_streams: int = 1
    num_denoising_steps: int = 4
    commit: CommitMode = "clean_pass"
    loop: Loop = "serial"
    vae_frames: int | None = None
    num_chunks: int = 200
    num_warmup_chunks: int = 8

    def __post_init__(self) -> None:
        if self.num_chunks < 1 or self.num_warmup_chunks < 1 or self.num_streams < 1:
            raise InputError("expected at least 1 chunk, 1 chunk before and 1 stream")
        if (
            self.width_px % VAE_STRIDE
            or self.height_px % VAE_STRIDE
            or min(self.width_px, self.height_px) < 1
        ):
            raise InputError(
                f"got {self.width_px}x{self.height_px}, expected multiples of {VAE_STRIDE} for this model"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class EndToEndSpeed:
    """One row.

    Attributes:
        settings: What was measured.
        precision: Of the transformer's products.
        frames_per_second: Raw frames of all streams over the time from the first to the last chunk.
        chunk_median_ms: From the frames of one chunk to those of the next, all streams together.
        chunk_p99_ms: Likewise.
        latency_median_ms: From a chunk's last raw frame to its edited frames, nothing else under way.
        latency_p99_ms: Likewise.
        first_frame_ms: The same for a new stream's first chunk, everything warm; median.
        steady_delay_s: From any raw frame to its edited form where frames come and go at 24 a second: the
            wait for its chunk's last frame and the latency together. None where the model falls behind.
        peak_gib: Most GPU memory in tensors once cuDNN has tried its algorithms in the warm-up, weights
            included; None on a CPU.
        reserved_gib: Most that PyTorch took from the GPU meanwhile, memory of graphs included; likewise.
    """

    settings: EndToEndSettings
    precision: str
    frames_per_second: float
    chunk_median_ms: float
    chunk_p99_ms: float
    latency_median_ms: float
    latency_p99_ms: float
    first_frame_ms: float
    steady_delay_s: float | None
    peak_gib: float | None
    reserved_gib: float | None


class RandomPrompts:
    """Reads any instruction as the same random features: 300 tokens, of which 60 count."""

    def __init__(self, dim: int, device: torch.device, dtype: torch.dtype) -> None:
        generator = torch.Generator(device).manual_seed(1)
        self._tokens = torch.randn(1, TEXT_TOKENS, dim, generator=generator, device=device).to(dtype)
        self._mask = torch.arange(TEXT_TOKENS, device=device)[None] < 60

    def encode(self, prompts: Sequence[str]) -> "RandomFeatures":
        """The features, once for every instruction."""
        return RandomFeatures(self._tokens.expand(len(prompts), -1, -1), self._mask.expand(len(prompts), -1))


@dataclass(frozen=True, slots=True)
class RandomFeatures:
    """What `RandomPrompts` gives."""

    tokens: Float[Tensor, "b m c"]
    mask: Bool[Tensor, "b m"]


class RandomEditor:
    """SANA-Streaming with random weights on one device; `to_fp8` cannot be taken back.

    Raises:
        ConfigError: From `to_fp8`, if the GPU has no fp8 products.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype = torch.bfloat16,
        dit_spec: DitSpec | None = None,
        vae_spec: Ltx2VaeSpec | None = None,
    ) -> None:
        self._device = device
        self._dtype = dtype
        self._vae = random_ltx2_vae(vae_spec or ltx2_vae_spec(), device, dtype)
        self._dit = random_dit(dit_spec or sana_streaming_spec(), device, dtype)
        self._prompts = RandomPrompts(self._dit.spec.text_dim, device, dtype)

    def to_fp8(self) -> None:
        """Round the transformer's products."""
        apply_precision(self._dit.blocks, PrecisionPolicy(default="fp8"))

    def pipeline(self, vae_frames: int | None = None) -> EditPipeline:
        """A pipeline with graphs of its own, so that memory is counted for each."""
        graphs = None
        if self._device.type == "cuda":
            graphs = VelocityGraphs(self._dit, records_starts=vae_frames is None)
        return EditPipeline(
            self._vae,
            self._dit,
            self._prompts,
            device=self._device,
            dtype=self._dtype,
            graphs=graphs,
            vae_frames=vae_frames,
        )


def rows_to_measure(
    first: EndToEndSettings,
    steps: Sequence[int],
    extra: Sequence[tuple[int, int, int]],
    commits: Sequence[CommitMode] = ("clean_pass", "last_step"),
    loops: Sequence[Loop] = ("serial", "overlapped"),
    vae_frames: Sequence[int | None] = (None,),
) -> list[EndToEndSettings]:
    """Every combination of VAE calls, steps, commit and loop; then the loops for each extra width, height,
    streams."""
    rows = [
        replace(first, num_denoising_steps=number, commit=commit, loop=loop, vae_frames=frames)
        for frames in vae_frames
        for number in steps
        for commit in commits
        for loop in loops
    ]
    for width_px, height_px, num_streams in extra:
        at = replace(
            first, width_px=width_px, height_px=height_px, num_streams=num_streams, vae_frames=vae_frames[0]
        )
        rows += [replace(at, num_denoising_steps=steps[0], loop=loop) for loop in loops]
    return rows


@torch.inference_mode()
def measure_end_to_end(
    pipeline: EditPipeline, settings: EndToEndSettings, lanes: Lanes | None = None
) -> EndToEndSpeed:
    """Edit random frames as fast as they can be pushed, then one chunk at a time, then starts of streams.

    Reading, resizing and writing video are not part of it.

    Raises:
        InputError: If loops are to overlap without a GPU (or lanes), or the pipeline calls its VAE otherwise.
    """
    device = pipeline.device
    is_cuda = device.type == "cuda"
    if pipeline.vae_frames != settings.vae_frames:
        raise InputError(
            f"got a pipeline of {pipeline.vae_frames} frames a VAE call to measure {settings.vae_frames}"
        )
    if settings.loop == "overlapped" and lanes is None:
        if not is_cuda:
            raise InputError(f"chunks overlap on a GPU only, got device {device}; measure the serial loop")
        lanes = CudaLanes(device)
    if is_cuda:
        gc.collect()
        torch.cuda.empty_cache()
    plan = live_plan()
    num_first, num_raw = (pipeline.vae.grid.num_raw_frames(FRAMES_PER_CHUNK, start) for start in (0, 1))
    inputs = [random_frames(settings, num_raw, seed) for seed in range(NUM_INPUTS)]
    start = partial(_start, pipeline, settings, plan, lanes)
    streams = start()
    streams.push(inputs[0][:num_first])
    for index in range(settings.num_warmup_chunks):
        streams.push(inputs[index % NUM_INPUTS])
    streams.drain()
    if is_cuda:
        # what cuDNN tried its algorithms in goes back
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    chunk_ms = _intervals_ms(streams, settings, inputs)
    streams.drain()
    latency_ms = []
    for index in range(min(20, max(3, settings.num_chunks // settings.num_streams // 2))):
        began = perf_counter()
        streams.push(inputs[index % NUM_INPUTS])
        streams.drain()
        latency_ms.append((perf_counter() - began) * 1000)
    first_ms = []
    for _ in range(NUM_WARM_STARTS + NUM_STARTS):
        streams = start()
        began = perf_counter()
        streams.push(inputs[0][:num_first])
        streams.drain()
        first_ms.append((perf_counter() - began) * 1000)
    first_ms = first_ms[NUM_WARM_STARTS:]
    frames_per_second = len(chunk_ms) * num_raw * settings.num_streams * 1000 / float(chunk_ms.sum())
    latency = float(np.median(latency_ms))
    is_live = frames_per_second >= LIVE_FPS * settings.num_streams
    return EndToEndSpeed(
        settings=settings,
        precision=pipeline.precision,
        frames_per_second=frames_per_second,
        chunk_median_ms=float(np.median(chunk_ms)),
        chunk_p99_ms=float(np.percentile(chunk_ms, 99)),
        latency_median_ms=latency,
        latency_p99_ms=float(np.percentile(latency_ms, 99)),
        first_frame_ms=float(np.median(first_ms)),
        steady_delay_s=(num_raw - 1) / LIVE_FPS + latency / 1000 if is_live else None,
        peak_gib=torch.cuda.max_memory_allocated(device) / GIB if is_cuda else None,
        reserved_gib=torch.cuda.max_memory_reserved(device) / GIB if is_cuda else None,
    )


def _intervals_ms(
    streams: "_Streams", settings: EndToEndSettings, inputs: Sequence[Frames]
) -> Float[np.ndarray, "k"]:
    """Times between chunks that came out, pushed as fast as they are taken."""
    num_rounds, per_round = -(-settings.num_chunks // settings.num_streams), len(inputs[0])
    # while chunks that overlap fill up, nothing comes out
    num_pushes = num_rounds + 1 + (MAX_PENDING if settings.loop == "overlapped" else 0)
    arrivals: list[float] = []
    num_frames = 0
    for index in range(num_pushes):
        num_frames += streams.push(inputs[index % NUM_INPUTS])
        while num_frames >= (len(arrivals) + 1) * per_round * settings.num_streams:
            arrivals.append(perf_counter())
    return np.diff(np.asarray(arrivals)) * 1000


def stream_settings(settings: EndToEndSettings, plan: ChunkPlan, *, seed: int) -> StreamSettings:
    """What a measured stream is opened with."""
    return StreamSettings(
        width_px=settings.width_px,
        height_px=settings.height_px,
        seed=seed,
        sigmas=editing_sigmas(settings.num_denoising_steps),
        commit=settings.commit,
        plan=plan,
    )


class _Streams(Protocol):
    def push(self, frames: Frames) -> int:
        """Give every stream these frames; returns how many edited ones came out of all."""
        ...

    def drain(self) -> int:
        """Wait for what is under way; returns how many frames came out of all."""
        ...


class _Together:
    """The plain loop; streams share every call."""

    def __init__(self, pipeline: EditPipeline, streams: list[EditStream]) -> None:
        self._pipeline = pipeline
        self._streams = streams

    def push(self, frames: Frames) -> int:
        for stream in self._streams:
            stream.push(frames)
        num_frames = 0
        while works := [(stream, work) for stream in self._streams if (work := stream.plan()) is not None]:
            for (stream, _), result in zip(works, self._pipeline.run(works)):
                stream.advance(result.flight, result.memories)
                num_frames += 0 if result.frames is None else len(result.frames)
        return num_frames

    def drain(self) -> int:
        return 0


class _Overlapped:
    """Every stream on the same lanes, one after the other."""

    def __init__(self, edits: list[OverlappedEdit]) -> None:
        self._edits = edits

    def push(self, frames: Frames) -> int:
        return sum(len(edit.step(frames)) for edit in self._edits)

    def drain(self) -> int:
        return sum(len(edit.drain()) for edit in self._edits)


def _start(
    pipeline: EditPipeline, settings: EndToEndSettings, plan: ChunkPlan, lanes: Lanes | None
) -> _Streams:
    streams = [
        pipeline.open("any", stream_settings(settings, plan, seed=seed))
        for seed in range(settings.num_streams)
    ]
    if settings.loop == "serial":
        return _Together(pipeline, streams)
    return _Overlapped([OverlappedEdit(pipeline, stream, cast(Lanes, lanes)) for stream in streams])


def live_plan() -> ChunkPlan:
    """The chunks of a live stream."""
    return ChunkPlan.live(FRAMES_PER_CHUNK, first_chunk_frames=FRAMES_PER_CHUNK)


def random_frames(settings: EndToEndSettings, num_frames: int, seed: int) -> Frames:
    """Frames of noise of the measured size."""
    generator = torch.Generator().manual_seed(seed)
    size = num_frames, settings.height_px, settings.width_px, 3
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
