"""Estimates how much memory and time a full-size model needs, before it is built."""

from dataclasses import dataclass
from time import perf_counter

import psutil
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vivace.catalog.model_folder import EditorDefaults
from vivace.core.errors import InputError, VivaceWarning
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.ltx2_vae import PATCH, Ltx2Vae
from vivace.models.streaming_dit import DitSpec, StreamingDit
from vivace.state.tree import tree_tensors

GB = 1e9
# models below it run anywhere, and nobody waits for a measurement
LARGE_BYTES = 1_000_000_000
# feature maps of the VAE's widest stage that live at the same time: both terms of a sum, the sum, and what
# the convolution reads, which has two frames and a border more
NUM_FEATURE_MAPS = 5
FP32_BYTES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamNeeds:
    """What one stream adds to a loaded model, estimated.

    Attributes:
        state_bytes: Memories between chunks.
        next_state_bytes: Those of the next chunk that have to lie beside them.
        work_bytes: Feature maps while a chunk is under work.
        tflop_per_chunk: Multiplications and additions of a chunk, all steps, in 10^12.
        raw_frames_per_chunk: Frames that a chunk takes and gives.
    """

    state_bytes: int
    next_state_bytes: int
    work_bytes: int
    tflop_per_chunk: float
    raw_frames_per_chunk: int

    @property
    def num_bytes(self) -> int:
        """Memory of a stream under work."""
        return self.state_bytes + self.next_state_bytes + self.work_bytes


def weight_bytes(model: nn.Module, dtype: torch.dtype) -> int:
    """Memory of a model's weights in a precision."""
    return sum(tensor.numel() for tensor in model.state_dict().values()) * dtype.itemsize


def stream_needs(
    dit: StreamingDit,
    vae: Ltx2Vae,
    defaults: EditorDefaults,
    size: tuple[int, int],
    dtype: torch.dtype,
    vae_frames: int | None = None,
) -> StreamNeeds:
    """What a stream of this width and height needs; of the networks, only the structure is read.

    `vae_frames` are the latent frames of a VAE call, see `vivace.pipelines.vae_calls.VaeCalls`.

    Raises:
        ConfigError: If the VAE's stride does not divide the size.
    """
    width, height = size
    frames, raw_frames = defaults.frames_per_chunk, defaults.frames_per_chunk * vae.grid.temporal_stride
    rows, columns = vae.grid.latent_size(height, width)
    with torch.device("meta"), torch.inference_mode():
        shapes_only = Ltx2Vae(vae.spec).to(dtype).requires_grad_(False)
        start = torch.empty(1, 3, 1, height, width, dtype=dtype)
        _, encoder = shapes_only.encode(start, None)
        latent = torch.empty(1, vae.spec.latent_channels, frames, rows, columns, dtype=dtype)
        _, decoder = shapes_only.decode(latent[:, :, :1], None)
        with FlopCounterMode(display=False) as counter:
            shapes_only.encode(torch.empty(1, 3, raw_frames, height, width, dtype=dtype), encoder)
            shapes_only.decode(latent, decoder)
    tails = sum(x.numel() * x.element_size() for tree in (encoder, decoder) for _, x in tree_tensors(tree))
    channels = max(vae.spec.latent_channels, vae.spec.decoder[-1].out_channels)
    frames_per_call = frames if vae_frames is None else min(vae_frames, frames)
    call_frames = frames_per_call * vae.grid.temporal_stride
    feature_map = call_frames * channels * (height // PATCH) * (width // PATCH) * dtype.itemsize
    tokens = rows * columns
    num_weights = sum(parameter.numel() for parameter in dit.blocks.parameters())
    num_forwards = defaults.num_denoising_steps + (defaults.commit == "clean_pass")
    denoising = 2 * num_weights * tokens * frames * num_forwards
    dit_state = _dit_state_bytes(dit.spec, tokens, frames, dtype)
    return StreamNeeds(
        state_bytes=tails + dit_state,
        # with a number of frames a call, the tails are written over
        next_state_bytes=dit_state + (tails if vae_frames is None else 0),
        work_bytes=NUM_FEATURE_MAPS * feature_map,
        tflop_per_chunk=(counter.get_total_flops() + denoising) / 1e12,
        raw_frames_per_chunk=raw_frames,
    )


def check_gpu_room(device: torch.device, weights: int, text_encoder: int) -> bool:
    """Whether the text encoder may stay on the GPU beside the model.

    Raises:
        InputError: If there is no room even when it visits; the sentence says how much is missing.
    """
    free, total = torch.cuda.mem_get_info(device)
    if weights + text_encoder > free:
        raise InputError(
            f"{device} has {free / GB:.1f} of {total / GB:.1f} GB free, but the model needs "
            f"{(weights + text_encoder) / GB:.1f} GB before the first frame ({weights / GB:.1f} for its "
            f"weights, {text_encoder / GB:.1f} while it reads an instruction); close other programs, use "
            "--precision bf16, or choose another GPU with --device"
        )
    # as much again as the text encoder has to be left for streams
    return weights + 2 * text_encoder <= free


def check_stream_room(device: torch.device, needs: StreamNeeds, size: tuple[int, int]) -> None:
    """Refuse a stream that the GPU has no room for.

    Raises:
        InputError: With how much is needed, and a size that fits.
    """
    free, _ = torch.cuda.mem_get_info(device)
    # what torch holds and does not use is free too
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if needs.num_bytes <= free:
        return
    share = (free / needs.num_bytes) ** 0.5
    smaller = " and ".join(str(max(1, int(side * share) // 32) * 32) for side in size)
    raise InputError(
        f"{device} has {free / GB:.1f} GB free, but a stream of {size[0]}x{size[1]} needs about "
        f"{needs.num_bytes / GB:.1f} GB; make the picture smaller (with --size, sides of about {smaller}), "
        "use --vae-frames 1, or close other streams and programs"
    )


def warn_of_cpu(name: str, weights: int, needs: StreamNeeds, dtype: torch.dtype) -> VivaceWarning:
    """The warning that a model is far from live on this CPU.

    Raises:
        InputError: If it does not even fit into main memory.
    """
    needed, available = weights + needs.num_bytes, psutil.virtual_memory().available
    if needed > available:
        raise InputError(
            f"{name} needs about {needed / GB:.1f} GB of memory, but this machine has "
            f"{available / GB:.1f} GB available and no GPU is used; use tiny-edit"
        )
    seconds = needs.tflop_per_chunk / tflop_per_second(dtype)
    time = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    return VivaceWarning(
        f"{name} runs without a GPU here: about {needed / GB:.0f} GB of memory and about {time} for every "
        f"{needs.raw_frames_per_chunk} frames at its native size; a smaller --size is faster in proportion, "
        "and tiny-edit runs live"
    )


def tflop_per_second(dtype: torch.dtype) -> float:
    """How fast this CPU multiplies matrices, by a short measurement."""
    left, right = torch.ones(1024, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
    torch.mm(left, right)
    started, num_runs = perf_counter(), 4
    for _ in range(num_runs):
        torch.mm(left, right)
    return num_runs * 2 * 1024**3 / (perf_counter() - started) / 1e12


def _dit_state_bytes(dit: DitSpec, tokens: int, frames: int, dtype: torch.dtype) -> int:
    width = dit.dim // dit.num_heads
    total = 0
    for mixer in dit.mixers:
        total += tokens * dit.dim * dtype.itemsize
        match mixer:
            case GdnSpec():
                total += dit.num_heads * width * (width + 1) * FP32_BYTES
            case SoftmaxSpec(num_sink_frames=sink, window_frames=window):
                total += 2 * (sink + (window or frames)) * tokens * dit.dim * dtype.itemsize
            case _:
                pass
    return total
