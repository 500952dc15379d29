"""Times the streaming LTX-2 VAE at full size with random weights: python -m vivace.bench.ltx2_speed."""

import argparse
import gc
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal, get_args

import torch
from torch import Tensor

from vivace.bench.ltx2_floor import Floor, measure_floor, record_convolutions
from vivace.catalog.ltx2_vae import ltx2_vae_spec
from vivace.core.config import write_config
from vivace.core.errors import InputError, VivaceError
from vivace.layers.causal_conv3d import CausalConv3d, Grow, Shrink
from vivace.models.ltx2_vae import Ltx2DecoderState, Ltx2EncoderState, Ltx2Vae, Ltx2VaeSpec
from vivace.ops import resample
from vivace.ops.conv_input import conv_input, naive
from vivace.state.tree import tree_map, tree_tensors

Direction = Literal["encode", "decode"]
Form = Literal["plain", "fused", "fused-graph", "compiled", "compiled-graph"]
State = Ltx2EncoderState | Ltx2DecoderState
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ltx2SpeedSettings:
    """What is measured.

    Attributes:
        width_px: Width of the frames; 32 must divide it.
        height_px: Height likewise.
        latent_frames: Latent frames that count, for each row.
        forms: `plain` is the definition in library calls, `fused` the Triton input pass, `compiled` what
            torch.compile makes of the definition; `-graph` replays a CUDA graph.
        frames_per_call: Latent frames of a call; one row for each.
    """

    width_px: int = 1280
    height_px: int = 704
    latent_frames: int = 200
    forms: tuple[Form, ...] = ("plain", "fused", "fused-graph", "compiled")
    frames_per_call: tuple[int, ...] = (1, 3)

    def __post_init__(self) -> None:
        if self.latent_frames < 1 or min(self.frames_per_call, default=0) < 1:
            raise InputError(
                f"got {self.latent_frames} latent frames in calls of {self.frames_per_call}, expected at "
                "least 1 each"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Ltx2Speed:
    """One row.

    Attributes:
        direction: Encode or decode.
        form: How it ran.
        frames_per_call: Latent frames a call.
        median_ms: Of one call, waited for.
        p99_ms: Likewise.
        raw_frames_per_second: Raw frames of a call over the median.
        peak_gib: Most GPU memory while it ran, with weights and state; None on a CPU.
        state_gib: What one stream keeps.
        tflop_per_s: Convolution operations over the median.
    """

    direction: Direction
    form: Form
    frames_per_call: int
    median_ms: float
    p99_ms: float
    raw_frames_per_second: float
    peak_gib: float | None
    state_gib: float
    tflop_per_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Ltx2SpeedReport:
    """All rows of a machine, and the floor of each direction and call size (`decode x1` and so on)."""

    settings: Ltx2SpeedSettings
    device: str
    torch: str
    python: str
    rows: tuple[Ltx2Speed, ...]
    floors: dict[str, Floor]


def measure_ltx2_speed(
    spec: Ltx2VaeSpec,
    settings: Ltx2SpeedSettings,
    device: torch.device,
    say: Callable[[str], None] = lambda _: None,
) -> Ltx2SpeedReport:
    """Time streaming encode and decode of random input with random weights, and their floors.

    bf16 on a GPU and fp32 on a CPU. Frames come from and stay in the device's memory. cuDNN may choose its
    algorithms by measuring them, which happens before the rows that count.

    Raises:
        InputError: If a form needs a GPU and there is none.
        ConfigError: If the picture size does not fit the VAE.
    """
    if device.type != "cuda" and any(form != "plain" for form in settings.forms):
        raise InputError(f"forms {settings.forms} need a CUDA device, got {device}; ask for form plain only")
    rows: list[Ltx2Speed] = []
    floors: dict[str, Floor] = {}
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.backends.cudnn.flags(enabled=True, benchmark=True), torch.inference_mode():
        vae = Ltx2Vae(spec).to(device, dtype).eval()
        for direction in get_args(Direction):
            for frames in settings.frames_per_call:
                seen = record_convolutions(
                    spec, settings.width_px, settings.height_px, frames, decodes=direction == "decode"
                )
                floor = measure_floor(seen, device if device.type == "cuda" else None)
                floors[f"{direction} x{frames}"] = floor
                say(
                    f"{direction} x{frames}: {floor.tflop:.2f} TFLOP, convolutions {floor.convolutions_ms} ms"
                )
                for form in settings.forms:
                    rows.append(_measure(vae, settings, direction, form, frames, floor.tflop))
                    row = rows[-1]
                    say(f"  {form}: {row.median_ms:.2f} ms, {row.raw_frames_per_second:.0f} frames/s")
    return Ltx2SpeedReport(
        settings=settings,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        torch=torch.__version__,
        python=platform.python_version(),
        rows=tuple(rows),
        floors=floors,
    )


def _measure(
    vae: Ltx2Vae, settings: Ltx2SpeedSettings, direction: Direction, form: Form, frames: int, tflop: float
) -> Ltx2Speed:
    device = vae.latent_mean.device
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    for module in vae.modules():
        if isinstance(module, CausalConv3d):
            module.prepare = naive.conv_input if form == "plain" else conv_input
        elif isinstance(module, Shrink):
            module.resample = resample.naive.shrunk if form == "plain" else resample.shrunk
        elif isinstance(module, Grow):
            module.resample = resample.naive.grown if form == "plain" else resample.grown
    first, later = _inputs(vae, settings, direction, frames)
    run = _runner(vae, direction)
    _, state = run(first, None)
    state_bytes = sum(leaf.numel() * leaf.element_size() for _, leaf in tree_tensors(state))
    if form.startswith("compiled"):
        run = torch.compile(run, dynamic=False, fullgraph=True)
    step = _replayed(run, later, state) if form.endswith("-graph") else _looped(run, state)
    num_warmup, num_calls = 5, -(-settings.latent_frames // frames)
    if device.type == "cpu":
        num_warmup = 1
    times: list[float] = []
    for _ in range(num_warmup + num_calls):
        _wait(device)
        started = perf_counter()
        step(later)
        _wait(device)
        times.append((perf_counter() - started) * 1000)
    counted = torch.tensor(times[num_warmup:])
    median_ms = counted.median().item()
    raw_frames = frames * vae.grid.temporal_stride
    return Ltx2Speed(
        direction=direction,
        form=form,
        frames_per_call=frames,
        median_ms=median_ms,
        p99_ms=counted.quantile(0.99).item(),
        raw_frames_per_second=raw_frames * 1000 / median_ms,
        peak_gib=torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
        state_gib=state_bytes / 2**30,
        tflop_per_s=tflop * 1000 / median_ms,
    )


def _inputs(
    vae: Ltx2Vae, settings: Ltx2SpeedSettings, direction: Direction, frames: int
) -> tuple[Tensor, Tensor]:
    like = vae.latent_mean
    height, width = settings.height_px, settings.width_px
    rows, columns = vae.grid.latent_size(height, width)
    if direction == "decode":
        first = torch.randn(1, vae.spec.latent_channels, 1, rows, columns)
        later = torch.randn(1, vae.spec.latent_channels, frames, rows, columns)
    else:
        first = torch.rand(1, 3, 1, height, width) * 2 - 1
        later = torch.rand(1, 3, frames * vae.grid.temporal_stride, height, width) * 2 - 1
    return first.to(like), later.to(like)


def _runner(vae: Ltx2Vae, direction: Direction) -> Callable:
    return vae.encode if direction == "encode" else vae.decode


def _looped(run: Callable, state: State) -> Step:
    kept = [state]

    def step(x: Tensor) -> Tensor:
        y, kept[0] = run(x, kept[0])
        return y

    return step


def _replayed(run: Callable, x: Tensor, state: State) -> Step:
    """A CUDA graph of one call that leaves the next state where it found the last one."""
    here = tree_map(torch.clone, state)
    source = x.clone()

    def once() -> Tensor:
        y, after = run(source, here)
        for (_, old), (_, new) in zip(tree_tensors(here), tree_tensors(after)):
            old.copy_(new)
        return y

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            once()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = once()

    def step(x: Tensor) -> Tensor:
        source.copy_(x)
        graph.replay()
        return result

    return step


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write JSON; 2 where something asked for is not there."""
    defaults = Ltx2SpeedSettings()
    parser = argparse.ArgumentParser(prog="python -m vivace.bench.ltx2_speed", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where to write the report")
    parser.add_argument("--width", type=int, default=defaults.width_px)
    parser.add_argument("--height", type=int, default=defaults.height_px)
    parser.add_argument("--latent-frames", type=int, default=defaults.latent_frames)
    parser.add_argument("--forms", nargs="+", choices=get_args(Form), default=defaults.forms)
    parser.add_argument("--frames-per-call", nargs="+", type=int, default=defaults.frames_per_call)
    asked = parser.parse_args(arguments)
    try:
        if not torch.cuda.is_available():
            raise InputError("this measures a GPU and PyTorch finds none; run it on a machine that has one")
        if not asked.json.parent.is_dir():
            raise InputError(f"cannot write {asked.json}: there is no folder {asked.json.parent}")
        settings = Ltx2SpeedSettings(
            width_px=asked.width,
            height_px=asked.height,
            latent_frames=asked.latent_frames,
            forms=tuple(asked.forms),
            frames_per_call=tuple(asked.frames_per_call),
        )
        report = measure_ltx2_speed(ltx2_vae_spec(), settings, torch.device("cuda"), print)
    except VivaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_config(report, asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
