"""What the LTX-2 VAE cannot do without: operations, bytes, and the time of its convolutions alone."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from vivace.models.ltx2_vae import Ltx2Vae, Ltx2VaeSpec


class Convolution(NamedTuple):
    """A convolution by its shapes: input b c t h w, weight out in kt kh kw, padding in rows and columns."""

    input_size: tuple[int, ...]
    weight_size: tuple[int, ...]
    border: int

    @property
    def output_size(self) -> tuple[int, ...]:
        """Shape of what it gives."""
        streams, _, frames, height, width = self.input_size
        rows, columns = height + 2 * self.border - 2, width + 2 * self.border - 2
        return streams, self.weight_size[0], frames - 2, rows, columns

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * prod(self.output_size) * prod(self.weight_size[1:])

    @property
    def num_bytes(self) -> int:
        """Input, weight and output moved once, in bf16."""
        return 2 * (prod(self.input_size) + prod(self.weight_size) + prod(self.output_size))


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvolutionSpeed:
    """One shape of convolution, alone.

    Attributes:
        shape: In words.
        count: How often a call has it.
        gflop: Of one.
        median_ms: Of one; None where it was not measured.
        tflop_per_s: What was reached; None where it was not measured.
    """

    shape: str
    count: int
    gflop: float
    median_ms: float | None
    tflop_per_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """What one call costs at least.

    Attributes:
        tflop: Operations of all convolutions.
        gigabytes: Bytes that they move if each value is moved once.
        convolutions: Every shape.
        convolutions_ms: Sum of the convolutions' own times; None where they were not measured.
    """

    tflop: float
    gigabytes: float
    convolutions: tuple[ConvolutionSpeed, ...]
    convolutions_ms: float | None


class _Recorder(TorchFunctionMode):
    """Notes every 3-D convolution that is called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[Convolution] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.conv3d:
            key = Convolution(tuple(args[0].shape), tuple(args[1].shape), kwargs["padding"][-1])
            self.seen[key] += 1
        return func(*args, **kwargs)


def record_convolutions(
    spec: Ltx2VaeSpec, width_px: int, height_px: int, latent_frames: int, *, decodes: bool
) -> Counter[Convolution]:
    """The convolutions of one call in the middle of a stream; needs no memory."""
    with torch.device("meta"), torch.no_grad():
        vae = Ltx2Vae(spec)
        latent = torch.empty(1, spec.latent_channels, 1, *spec.grid.latent_size(height_px, width_px))
        if decodes:
            _, state = vae.decode(latent, None)
            with _Recorder() as recorder:
                vae.decode(latent.expand(-1, -1, latent_frames, -1, -1), state)
        else:
            frames = latent_frames * spec.grid.temporal_stride
            _, state = vae.encode(torch.empty(1, 3, 1, height_px, width_px), None)
            with _Recorder() as recorder:
                vae.encode(torch.empty(1, 3, frames, height_px, width_px), state)
    return recorder.seen


def measure_floor(seen: Counter[Convolution], device: torch.device | None) -> Floor:
    """Count operations and bytes and, on a CUDA device, time every shape of convolution by itself."""
    rows = [_speed_of(convolution, count, device) for convolution, count in sorted(seen.items())]
    times = [row.median_ms * row.count for row in rows if row.median_ms is not None]
    return Floor(
        tflop=sum(conv.flops * count for conv, count in seen.items()) / 1e12,
        gigabytes=sum(conv.num_bytes * count for conv, count in seen.items()) / 1e9,
        convolutions=tuple(rows),
        convolutions_ms=sum(times) if times else None,
    )


def _speed_of(convolution: Convolution, count: int, device: torch.device | None) -> ConvolutionSpeed:
    median_ms = None if device is None else _time(convolution, device)
    return ConvolutionSpeed(
        shape=f"{convolution.weight_size[1]} -> {convolution.weight_size[0]} channels, "
        + "x".join(str(size) for size in convolution.output_size[2:]),
        count=count,
        gflop=convolution.flops / 1e9,
        median_ms=median_ms,
        tflop_per_s=None if median_ms is None else convolution.flops / median_ms / 1e9,
    )


def _time(convolution: Convolution, device: torch.device, num_runs: int = 20, num_calls: int = 5) -> float:
    x = _channels_last(convolution.input_size, device)
    weight = _channels_last(convolution.weight_size, device)
    border = (0, convolution.border, convolution.border)
    times: list[float] = []
    for _ in range(num_runs + 3):
        torch.cuda.synchronize(device)
        started = perf_counter()
        for _ in range(num_calls):
            F.conv3d(x, weight, padding=border)
        torch.cuda.synchronize(device)
        times.append((perf_counter() - started) * 1000 / num_calls)
    return sorted(times[3:])[num_runs // 2]


def _channels_last(size: tuple[int, ...], device: torch.device) -> Tensor:
    x = torch.randn(size, device=device, dtype=torch.bfloat16)
    return x.contiguous(memory_format=torch.channels_last_3d)
