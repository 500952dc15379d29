"""Times the full-size SANA-Streaming transformer and its recurrent kernel on random weights."""

import gc
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vivace.catalog.random_weights import random_dit
from vivace.catalog.sampling import editing_sigmas
from vivace.catalog.sana_streaming import FRAMES_PER_CHUNK, LATENT_CHANNELS, sana_streaming_spec
from vivace.core.errors import InputError
from vivace.diffusion.sampler import euler_step
from vivace.models.precision import PrecisionPolicy, apply_precision
from vivace.models.streaming_dit import DitSpec, DitState, StreamingDit, TextContext
from vivace.ops.frame_gdn import GdnProjections, gated_frame_gdn, naive
from vivace.pipelines.stream import CommitMode
from vivace.pipelines.velocity_graphs import VelocityGraphs

Latent = Float[Tensor, "b c t h w"]
Variant = Literal["eager", "graph", "graph fp8"]
Velocity = Callable[..., tuple[Latent, DitState | None]]
VARIANTS: tuple[Variant, ...] = ("eager", "graph", "graph fp8")
RAW_FRAMES_PER_LATENT = 8
VAE_STRIDE = 32
TEXT_TOKENS = 300
GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class FullSpeedSettings:
    """What is measured.

    Attributes:
        width_px: Width of the frames, a multiple of 32.
        height_px: Height likewise.
        num_streams: Streams in one batch.
        num_denoising_steps: Model calls a chunk before the commit.
        num_chunks: Chunks that count.
        num_warmup_chunks: Chunks before them; the memories are full after 3 and graphs recorded after 5.
        variants: How the model runs, in this order.
    """

    width_px: int = 1280
    height_px: int = 704
    num_streams: int = 1
    num_denoising_steps: int = 4
    num_chunks: int = 200
    num_warmup_chunks: int = 8
    variants: tuple[Variant, ...] = VARIANTS

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
        if list(self.variants) != [one for one in VARIANTS if one in self.variants]:
            raise InputError(f"got variants {self.variants}, expected some of {VARIANTS} in this order")


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeFigure:
    """Median and 99th percentile of a repeated piece of work; raw frames a second where it makes frames."""

    name: str
    variant: str
    median_ms: float
    p99_ms: float
    num_runs: int
    frames_per_second: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DistanceFigure:
    """How far a fast form is from its definition: |fast - definition| / |definition|."""

    name: str
    relative: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FullSpeedReport:
    """One measurement: times, distances to the definitions, and peak GPU memory of each variant."""

    settings: FullSpeedSettings
    times: tuple[TimeFigure, ...]
    distances: tuple[DistanceFigure, ...]
    peak_gib: dict[str, float]


def measure_full_speed(
    device: torch.device, settings: FullSpeedSettings, spec: DitSpec | None = None
) -> FullSpeedReport:
    """Check and time the recurrent kernel and the transformer, with latents that are already on the device.

    Raises:
        InputError: If `device` is no GPU: the full-size model takes minutes a chunk without one.
        ConfigError: If fp8 is wanted and the GPU has none.
    """
    if device.type != "cuda":
        raise InputError(
            "the full-size model is timed on a GPU only; use --device cuda on a machine with one"
        )
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    spec = spec or sana_streaming_spec()
    distances, times = list(_gdn_distances(device)), [_time_gdn(device, settings)]
    dit = random_dit(spec, device, torch.bfloat16)
    peaks: dict[str, float] = {}
    reference: Tensor | None = None
    rows, columns = settings.height_px // VAE_STRIDE, settings.width_px // VAE_STRIDE
    with torch.inference_mode():
        text = random_text(dit, settings.num_streams, device)
    distances.append(_exact_distance(dit, (rows, columns)))
    for variant in settings.variants:
        if variant == "graph fp8":
            apply_precision(dit.blocks, PrecisionPolicy(default="fp8"))
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        velocity = dit if variant == "eager" else VelocityGraphs(dit)
        rollout = _rollout(velocity, text, settings, device)
        if reference is None:
            reference = rollout
        else:
            distances.append(
                _distance(f"latents of 7 chunks, {variant} to {settings.variants[0]}", rollout, reference)
            )
        for commit in ("clean_pass", "last_step"):
            times += _time_chunks(velocity, variant, commit, text, settings, device)
        peaks[variant] = torch.cuda.max_memory_allocated(device) / GIB
        del velocity
    return FullSpeedReport(settings=settings, times=tuple(times), distances=tuple(distances), peak_gib=peaks)


def random_text(
    dit: StreamingDit, num_streams: int, device: torch.device, dtype: torch.dtype = torch.bfloat16
) -> TextContext:
    """Features of a prompt of 300 tokens, of which 60 count."""
    generator = torch.Generator(device).manual_seed(1)
    size = num_streams, TEXT_TOKENS, dit.spec.text_dim
    features = torch.randn(size, generator=generator, device=device, dtype=torch.bfloat16).to(dtype)
    mask = torch.arange(TEXT_TOKENS, device=device) < 60
    return dit.embed_text(features, mask.expand(num_streams, -1))


def random_latent(settings: FullSpeedSettings, device: torch.device, seed: int) -> Latent:
    """A normal latent of one chunk of every stream, fp32."""
    rows, columns = settings.height_px // VAE_STRIDE, settings.width_px // VAE_STRIDE
    generator = torch.Generator(device).manual_seed(seed)
    size = settings.num_streams, LATENT_CHANNELS, FRAMES_PER_CHUNK, rows, columns
    return torch.randn(size, generator=generator, device=device)


@torch.inference_mode()
def denoise_chunk(
    velocity: Velocity,
    noise: Latent,
    source: Latent,
    sigmas: Sequence[Tensor],
    levels: Sequence[float],
    text: TextContext,
    state: DitState | None,
    commit: CommitMode,
) -> tuple[Latent, DitState | None]:
    """All model calls of a chunk. `levels` ends with 0, and `sigmas` are the same on the device."""
    x = noise
    last = len(levels) - 2
    for step, level in enumerate(levels[:-1]):
        write = commit == "last_step" and step == last
        latent = torch.cat([x, source], dim=1).to(torch.bfloat16)
        slope, state = velocity(latent, sigmas[step], text, state, write=write)
        x = euler_step(x, slope.float(), level, levels[step + 1])
    if commit == "clean_pass":
        latent = torch.cat([x, source], dim=1).to(torch.bfloat16)
        _, state = velocity(latent, sigmas[-1], text, state, write=True)
    return x, state


def sigma_levels(settings: FullSpeedSettings, device: torch.device) -> tuple[tuple[float, ...], list[Tensor]]:
    """Noise levels of a chunk with the final 0, as numbers and on the device."""
    levels = (*editing_sigmas(settings.num_denoising_steps), 0.0)
    return levels, [torch.full((settings.num_streams, 1), level, device=device) for level in levels]


def _rollout(
    velocity: Velocity, text: TextContext, settings: FullSpeedSettings, device: torch.device
) -> Tensor:
    levels, sigmas = sigma_levels(settings, device)
    state, chunks = None, []
    for index in range(7):
        noise, source = (random_latent(settings, device, 2 * index + i) for i in range(2))
        x, state = denoise_chunk(velocity, noise, source, sigmas, levels, text, state, "clean_pass")
        chunks.append(x.cpu())
    return torch.cat(chunks, dim=2)


def _time_chunks(
    velocity: Velocity,
    variant: str,
    commit: CommitMode,
    text: TextContext,
    settings: FullSpeedSettings,
    device: torch.device,
) -> list[TimeFigure]:
    """Whole chunks by the host's clock, and one reading forward by events on the GPU."""
    levels, sigmas = sigma_levels(settings, device)
    inputs = [tuple(random_latent(settings, device, 2 * index + i) for i in range(2)) for index in range(4)]
    state: DitState | None = None
    chunk_ms: list[float] = []
    for index in range(settings.num_warmup_chunks + settings.num_chunks):
        noise, source = inputs[index % len(inputs)]
        torch.cuda.synchronize(device)
        started = perf_counter()
        _, state = denoise_chunk(velocity, noise, source, sigmas, levels, text, state, commit)
        torch.cuda.synchronize(device)
        if index >= settings.num_warmup_chunks:
            chunk_ms.append((perf_counter() - started) * 1000)
    frames = settings.num_streams * FRAMES_PER_CHUNK * RAW_FRAMES_PER_LATENT
    figures = [
        _time_figure(f"chunk, {settings.num_denoising_steps} steps, {commit}", variant, chunk_ms, frames)
    ]
    if commit == "clean_pass":
        latent = torch.cat(inputs[0], dim=1).to(torch.bfloat16)

        @torch.inference_mode()
        def forward() -> None:
            velocity(latent, sigmas[1], text, state, write=False)

        figures.append(_time_figure("one denoising forward", variant, event_times(forward, 3, 50)))
    return figures


def event_times(work: Callable[[], object], num_warmup: int, num_runs: int) -> list[float]:
    """Milliseconds of every run, by events on the GPU."""
    for _ in range(num_warmup):
        work()
    pairs = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(num_runs)
    ]
    for begin, end in pairs:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) for begin, end in pairs]


def _time_figure(
    name: str, variant: str, times_ms: Sequence[float], raw_frames: int | None = None
) -> TimeFigure:
    median, high = np.percentile(np.asarray(times_ms), (50, 99))
    fps = None if raw_frames is None else raw_frames / float(median) * 1000
    return TimeFigure(
        name=name,
        variant=variant,
        median_ms=float(median),
        p99_ms=float(high),
        num_runs=len(times_ms),
        frames_per_second=fps,
    )


def random_projections(
    device: torch.device,
    dtype: torch.dtype,
    frames: int = 3,
    tokens: int = 880,
    heads: int = 20,
    width: int = 112,
) -> GdnProjections:
    """Random arguments of a gated-delta layer."""
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device).to(dtype)

    dim = heads * width
    query, key, value = normal(1, frames, tokens, 3 * dim).chunk(3, dim=-1)
    angles = torch.randn(frames, tokens, width // 2, generator=generator, device=device)
    return GdnProjections(
        query=query,
        key=key,
        value=value,
        query_scale=1 + 0.1 * normal(dim),
        key_scale=1 + 0.1 * normal(dim),
        table=torch.polar(torch.ones_like(angles), angles),
        write_logit=normal(1, frames, tokens, heads) + 1,
        decay_logit=normal(1, frames, tokens, heads),
        log_rate=0.3 * normal(heads),
        rate_bias=normal(heads),
        output_logit=normal(1, frames, tokens, dim),
    )


@torch.inference_mode()
def _gdn_distances(device: torch.device) -> list[DistanceFigure]:
    """The fused kernel in both precisions to the definition in fp64, over two chunks of a stream."""
    figures = []
    for dtype in (torch.float32, torch.bfloat16):
        given = random_projections(device, dtype)
        exact = GdnProjections(*(x.to(torch.complex128 if x.is_complex() else torch.float64) for x in given))
        _, *state = gated_frame_gdn(given, (FRAMES_PER_CHUNK,))
        _, *exact_state = naive.frame_gdn(exact.inputs(), (FRAMES_PER_CHUNK,))
        out, *state = gated_frame_gdn(given, (FRAMES_PER_CHUNK,), *state)
        mixed, *exact_state = naive.frame_gdn(exact.inputs(), (FRAMES_PER_CHUNK,), *exact_state)
        name = str(dtype).removeprefix("torch.")
        figures.append(_distance(f"frame GDN {name}, tokens", out, exact.gated(mixed)))
        figures.append(_distance(f"frame GDN {name}, numerator", state[0], exact_state[0]))
        figures.append(_distance(f"frame GDN {name}, denominator", state[1], exact_state[1]))
    return figures


@torch.inference_mode()
def _time_gdn(device: torch.device, settings: FullSpeedSettings) -> TimeFigure:
    """The whole fused op with norms, gates and merge, replayed as a graph over the same inputs."""
    given = random_projections(device, torch.bfloat16)
    _, *state = gated_frame_gdn(given, (FRAMES_PER_CHUNK,))
    repeats = 20

    def work() -> None:
        for _ in range(repeats):
            gated_frame_gdn(given, (FRAMES_PER_CHUNK,), *state)

    times = event_times(recorded(work), 3, 50)
    return _time_figure("frame GDN op, T=3 S=880 heads=20 D=112", "graph", [t / repeats for t in times])


def recorded(work: Callable[[], object]) -> Callable[[], None]:
    """`work` as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


@torch.inference_mode()
def _exact_distance(dit: StreamingDit, size: tuple[int, int]) -> DistanceFigure:
    """The velocity of a stream's second chunk to the same in fp64, where no fused kernel serves."""
    device = next(dit.parameters()).device
    generator = torch.Generator(device).manual_seed(5)
    shape = 2, 1, dit.spec.in_channels, FRAMES_PER_CHUNK, *size
    latents = torch.randn(shape, generator=generator, device=device).to(torch.bfloat16)
    level = torch.full((1, 1), 0.9, device=device)
    results = []
    for model, dtype in ((dit, torch.bfloat16), (deepcopy(dit).double(), torch.float64)):
        text = random_text(model, 1, device, dtype)
        _, state = model(latents[0].to(dtype), level, text, None, write=True)
        results.append(model(latents[1].to(dtype), level, text, state, write=False)[0])
    return _distance("velocity of the second chunk, bf16 to fp64", *results)


def _distance(name: str, fast: Tensor, definition: Tensor) -> DistanceFigure:
    wanted = definition.double()
    return DistanceFigure(name=name, relative=((fast.double() - wanted).norm() / wanted.norm()).item())
