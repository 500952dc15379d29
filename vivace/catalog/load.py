"""Builds a ready editing pipeline from a model's weights on a chosen device, precision and thread count."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from vivace.catalog.allocator import keep_freed_memory
from vivace.catalog.entries import find_folder
from vivace.catalog.model_folder import (
    DIT_PREFIX,
    DIT_SPEC_NAME,
    LTX2_VAE_PREFIX,
    LTX2_VAE_SPEC_NAME,
    ModelFolder,
)
from vivace.catalog.needs import LARGE_BYTES, check_gpu_room, stream_needs, warn_of_cpu, weight_bytes
from vivace.catalog.random_weights import random_dit, random_ltx2_vae
from vivace.core.config import Environment, read_config
from vivace.core.errors import InputError, WeightsError
from vivace.layers.packed import PackedConv, PackedLinear, can_pack
from vivace.models.adapters.checkpoint import fill
from vivace.models.gemma_prompts import SPEC_NAME as GEMMA_SPEC_NAME
from vivace.models.gemma_prompts import GemmaPrompts, GemmaPromptSpec
from vivace.models.ltx2_vae import Ltx2Vae, Ltx2VaeSpec
from vivace.models.packing import pack_linear_layers
from vivace.models.precision import PrecisionPolicy, apply_precision
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.shards import load_sharded
from vivace.models.streaming_dit import DitSpec, StreamingDit
from vivace.models.video_vae import SPEC_NAME as VAE_SPEC_NAME
from vivace.models.video_vae import VideoVae, VideoVaeSpec
from vivace.ops.fp8_linear import check_fp8
from vivace.pipelines.edit import EditPipeline
from vivace.pipelines.parts import PromptFeatureSource, StreamingVae
from vivace.pipelines.vae_graphs import GraphedVae
from vivace.pipelines.velocity_graphs import VelocityGraphs

Precision = Literal["auto", "fp32", "bf16", "fp8"]
Weights = Literal["stored", "random"]
Graphs = Literal["auto", "off", "dit", "all"]

# A stream goes through six shapes of memory; this is room for several picture sizes at a time.
MAX_SMALL_RECORDINGS = 32


def load_pipeline(
    name: str | Path, device: str | torch.device = "auto", dtype: Precision = "auto"
) -> EditPipeline:
    """A model by its name in the catalogue, or by the path of a model folder.

    Args:
        name: For example `tiny-edit`, or a folder with `dit`, `video_vae` and `prompt_encoder`.
        device: `auto` (the first GPU if there is one), `cpu`, `cuda` or `cuda:1`.
        dtype: `auto` is bf16 on GPUs and on CPUs that compute in it natively, else fp32; `fp8` has the
            transformer's products in 8 bits and the rest in bf16.

    Raises:
        InputError: If the model or device is unknown or not there, or the device has no fp8 products.
        WeightsError: If weights are missing or do not fit.
        ConfigError: If a spec is missing or does not fit this version.
    """
    return build_pipeline(find_folder(name), device, dtype)


def build_pipeline(
    folder: ModelFolder,
    device: str | torch.device = "auto",
    dtype: Precision = "auto",
    *,
    weights: Weights = "stored",
    graphs: Graphs = "auto",
    vae_frames: int | None = None,
) -> EditPipeline:
    """As `load_pipeline`, with choices that measurements need.

    Args:
        folder: Where the parts are.
        device: As in `load_pipeline`.
        dtype: Likewise.
        weights: `random` reads the specs only, which is enough to measure speed. The prompt encoder is always
            read: its tokenizer is data.
        graphs: What is replayed from CUDA graphs on a GPU: the transformer (`dit`), the VAE as well (`all`,
            for VAEs that are short of work), nothing (`off`); `auto` is `all` for the small models, whose
            kernels are shorter than their launches, and `dit` for large ones.
        vae_frames: Latent frames a VAE call. Fewer need less memory and take longer; with any number, a
            stream's first chunks are not replayed and its VAE memories are written over in place.

    Raises:
        InputError: Also if `vae_frames` is less than 1, the model sees whole clips only, the device has no
            room for it, or graphs are asked for without a GPU.
    """
    if not folder.defaults.is_live:
        raise InputError(
            f"the model in {folder.dit.parent} sees whole clips at once and cannot edit a stream; use "
            "sana-streaming, which was made from it"
        )
    if vae_frames is not None and vae_frames < 1:
        raise InputError(f"got {vae_frames} latent frames a VAE call, expected at least 1")
    place = choose_device(device)
    kind = choose_dtype(dtype, place)
    is_cuda = place.type == "cuda"
    if graphs in ("dit", "all") and not is_cuda:
        raise InputError(f"got graphs {graphs!r} on {place}, expected a GPU; use auto or off")
    networks = load_networks(folder, place, kind, weights=weights)
    dit = networks.dit
    if dtype == "fp8":
        dit.to(place, kind).eval().requires_grad_(False)
        apply_precision(dit.blocks, PrecisionPolicy(default="fp8"))
    elif not is_cuda and isinstance(networks.vae, VideoVae):
        defaults = folder.defaults
        native = defaults.native_height_px, defaults.native_width_px
        if can_pack(PackedLinear, kind):
            dit.to(place, kind).eval()
            pack_linear_layers(dit, networks.vae.grid.tokens_per_frame(*native, dit.spec.patch_size))
        if can_pack(PackedConv, kind):
            networks.vae.to(place, kind).eval()
            networks.vae.pack()
    # a small model's recordings are small and quickly made, and several streams come back to the same shapes
    is_small = isinstance(networks.vae, VideoVae)
    settled, most = (0, MAX_SMALL_RECORDINGS) if is_small else (2, 4)
    has_graphed_vae = graphs == "all" or (graphs == "auto" and is_cuda and is_small)
    return EditPipeline(
        GraphedVae(networks.vae, settled_calls=settled, max_recordings=most)
        if has_graphed_vae
        else networks.vae,
        dit,
        networks.prompts,
        device=place,
        dtype=kind,
        falling_noise=folder.defaults.falling_noise,
        has_still_noise=folder.defaults.has_still_noise,
        graphs=VelocityGraphs(
            dit, settled_chunks=settled, max_signatures=most, records_starts=vae_frames is None
        )
        if is_cuda and graphs != "off"
        else None,
        vae_frames=vae_frames,
    )


@dataclass(frozen=True, slots=True)
class Networks:
    """The parts of a model, not yet a pipeline."""

    vae: StreamingVae
    dit: StreamingDit
    prompts: PromptFeatureSource


def load_networks(
    folder: ModelFolder, device: torch.device, dtype: torch.dtype, *, weights: Weights = "stored"
) -> Networks:
    """The networks of a model folder; large ones are built on the device, without a copy in main memory.

    Raises:
        WeightsError: If weights are missing or do not fit.
        ConfigError: If a spec is missing or does not fit this version.
        InputError: If the device has no room for them, or a package is not installed.
    """
    if device.type == "cpu":
        keep_freed_memory()
    spec = read_config(DitSpec, folder.dit / DIT_SPEC_NAME)
    if not (folder.video_vae / LTX2_VAE_SPEC_NAME).is_file():
        dit, vae = _small_dit(folder, spec, weights), _small_vae(folder, weights)
        prompts, text_dim = _prompts(folder.prompt_encoder, device, dtype, stays=True)
        _check_parts(folder, spec, vae.spec.latent_channels, text_dim)
        return Networks(vae, dit, prompts)
    vae_spec = read_config(Ltx2VaeSpec, folder.video_vae / LTX2_VAE_SPEC_NAME)
    with torch.device("meta"):
        vae, dit = Ltx2Vae(vae_spec), StreamingDit(spec)
    text_stays = _check_room(folder, vae, dit, device, dtype)
    prompts, text_dim = _prompts(folder.prompt_encoder, device, dtype, stays=text_stays)
    _check_parts(folder, spec, vae_spec.latent_channels, text_dim)
    if weights == "random":
        return Networks(random_ltx2_vae(vae_spec, device, dtype), random_dit(spec, device, dtype), prompts)
    for network, part, prefix in ((vae, folder.video_vae, LTX2_VAE_PREFIX), (dit, folder.dit, DIT_PREFIX)):
        network.to(dtype).to_empty(device=device)
        fill(network, load_sharded(part, prefix), str(part))
        network.eval().requires_grad_(False)
    return Networks(vae, dit, prompts)


def choose_device(wanted: str | torch.device) -> torch.device:
    """The device of that name; `auto` takes the first GPU if there is one.

    Raises:
        InputError: If the name is unknown or there is no such device.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise InputError(f"unknown device {wanted!r}; expected auto, cpu, cuda or cuda:NUMBER") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"got device {wanted!r}, expected auto, cpu, cuda or cuda:NUMBER")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"there is no device {wanted}; torch sees {torch.cuda.device_count()} GPUs, use --device cpu"
        )
    return device


def choose_dtype(wanted: Precision, device: torch.device) -> torch.dtype:
    """The floating-point type to compute in; `auto` asks the hardware, fp8 has bf16 around its products.

    Raises:
        InputError: If fp8 is wanted and the device has no fp8 products.
    """
    if wanted == "fp8":
        if device.type != "cuda":
            raise InputError(
                f"fp8 needs a CUDA GPU of compute capability 8.9 (Ada, Hopper) or newer, got {device}; "
                "use --precision bf16 or auto"
            )
        check_fp8(device)
    if wanted == "auto":
        return torch.bfloat16 if device.type == "cuda" or has_native_bf16() else torch.float32
    return torch.float32 if wanted == "fp32" else torch.bfloat16


def has_native_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware; emulated bf16 is slower than fp32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def use_threads(num_threads: int | None) -> None:
    """Let CPU operators use this many threads; None asks VIVACE_NUM_THREADS, and without it torch decides.

    Raises:
        InputError: If the number is below 1.
        ConfigError: If the environment variable is not a number.
    """
    wanted = Environment.read().num_threads if num_threads is None else num_threads
    if wanted is None:
        return
    if wanted < 1:
        raise InputError(f"got {wanted} threads, expected at least 1")
    torch.set_num_threads(wanted)


def live_threads(wanted: int | None) -> int:
    """Threads for a live server: what was asked for, or VIVACE_NUM_THREADS, or all cores but one.

    The last core is for codecs and sockets: OpenMP's threads wait for each other, so a model that loses a
    core to them now and then is slower than one that never had it.

    Raises:
        ConfigError: If the environment variable is not a number.
    """
    if wanted is not None:
        return wanted
    return Environment.read().num_threads or max(1, (os.cpu_count() or 1) - 1)


def _small_dit(folder: ModelFolder, spec: DitSpec, weights: Weights) -> StreamingDit:
    dit = StreamingDit(spec)
    if weights == "random":
        return dit
    try:
        dit.load_state_dict(load_sharded(folder.dit, DIT_PREFIX))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"the weights in {folder.dit} do not fit {DIT_SPEC_NAME}: {reason}") from None
    return dit


def _small_vae(folder: ModelFolder, weights: Weights) -> VideoVae:
    if weights == "random":
        return VideoVae(read_config(VideoVaeSpec, folder.video_vae / VAE_SPEC_NAME))
    return VideoVae.load(folder.video_vae)


def _check_parts(folder: ModelFolder, spec: DitSpec, latent_channels: int, text_dim: int) -> None:
    wanted = 2 * latent_channels, latent_channels, text_dim
    given = spec.in_channels, spec.out_channels, spec.text_dim
    if given != wanted:
        raise WeightsError(
            f"{folder.dit} takes and gives {given[:2]} channels and reads {given[2]} text features, but its "
            f"VAE and prompt encoder have {wanted[:2]} and {wanted[2]}; use parts that were trained together"
        )


def _prompts(
    folder: Path, device: torch.device, dtype: torch.dtype, *, stays: bool
) -> tuple[PromptFeatureSource, int]:
    """The prompt encoder and the width of its features."""
    if not (folder / GEMMA_SPEC_NAME).is_file():
        small = PromptEncoder.load(folder)
        return small, small.spec.dim
    spec = read_config(GemmaPromptSpec, folder / GEMMA_SPEC_NAME)
    large = GemmaPrompts.load(folder, spec, device=device, dtype=dtype, stays=stays)
    return large, large.dim


def _check_room(
    folder: ModelFolder, vae: Ltx2Vae, dit: StreamingDit, device: torch.device, dtype: torch.dtype
) -> bool:
    """Whether the text encoder may stay on the device; warns where a large model meets a CPU."""
    needed = weight_bytes(vae, dtype) + weight_bytes(dit, dtype)
    text_encoder = sum(path.stat().st_size for path in folder.prompt_encoder.glob("*.safetensors"))
    if device.type == "cuda":
        return check_gpu_room(device, needed, text_encoder)
    if needed > LARGE_BYTES:
        defaults = folder.defaults
        native = defaults.native_width_px, defaults.native_height_px
        needs = stream_needs(dit, vae, defaults, native, dtype)
        name = folder.dit.parent.name
        warnings.warn(warn_of_cpu(name, needed + text_encoder, needs, dtype), stacklevel=2)
    return True
