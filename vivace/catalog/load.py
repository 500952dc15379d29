"""Builds a ready editing pipeline from a model's weights on a chosen device, precision and thread count."""

from pathlib import Path
from typing import Literal

import torch

from vivace.catalog.allocator import keep_freed_memory
from vivace.catalog.entries import find_folder
from vivace.catalog.model_folder import DIT_PREFIX, DIT_SPEC_NAME, ModelFolder
from vivace.core.config import Environment, read_config
from vivace.core.errors import InputError, WeightsError
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.shards import load_sharded
from vivace.models.streaming_dit import DitSpec, StreamingDit
from vivace.models.video_vae import SPEC_NAME as VAE_SPEC_NAME
from vivace.models.video_vae import VideoVae, VideoVaeSpec
from vivace.pipelines.edit import EditPipeline

Precision = Literal["auto", "fp32", "bf16"]
Weights = Literal["stored", "random"]


def load_pipeline(
    name: str | Path, device: str | torch.device = "auto", dtype: Precision = "auto"
) -> EditPipeline:
    """A model by its name in the catalogue, or by the path of a model folder.

    Args:
        name: For example `tiny-edit`, or a folder with `dit`, `video_vae` and `prompt_encoder`.
        device: `auto` (the first GPU if there is one), `cpu`, `cuda` or `cuda:1`.
        dtype: `auto` is bf16 on GPUs and on CPUs that compute in it natively, else fp32.

    Raises:
        InputError: If the model or device is unknown or not there.
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
) -> EditPipeline:
    """As `load_pipeline`; `weights="random"` reads the specs only, which is enough to measure speed.

    The prompt encoder is always read: it is small, and its tokenizer is data.
    """
    place = choose_device(device)
    if place.type == "cpu":
        keep_freed_memory()
    vae, dit = _stored(folder) if weights == "stored" else _random(folder)
    prompts = PromptEncoder.load(folder.prompt_encoder)
    wanted = 2 * vae.spec.latent_channels, vae.spec.latent_channels, prompts.spec.dim
    given = dit.spec.in_channels, dit.spec.out_channels, dit.spec.text_dim
    if given != wanted:
        raise WeightsError(
            f"{folder.dit} takes and gives {given[:2]} channels and reads {given[2]} text features, but its "
            f"VAE and prompt encoder have {wanted[:2]} and {wanted[2]}; use parts that were trained together"
        )
    return EditPipeline(
        vae,
        dit,
        prompts,
        device=place,
        dtype=choose_dtype(dtype, place),
        falling_noise=folder.defaults.falling_noise,
    )


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
    """The floating-point type to compute in; `auto` asks the hardware."""
    if wanted == "auto":
        return torch.bfloat16 if device.type == "cuda" or has_native_bf16() else torch.float32
    return torch.bfloat16 if wanted == "bf16" else torch.float32


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


def _stored(folder: ModelFolder) -> tuple[VideoVae, StreamingDit]:
    dit = StreamingDit(read_config(DitSpec, folder.dit / DIT_SPEC_NAME))
    try:
        dit.load_state_dict(load_sharded(folder.dit, DIT_PREFIX))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"the weights in {folder.dit} do not fit {DIT_SPEC_NAME}: {reason}") from None
    return VideoVae.load(folder.video_vae), dit


def _random(folder: ModelFolder) -> tuple[VideoVae, StreamingDit]:
    vae = VideoVae(read_config(VideoVaeSpec, folder.video_vae / VAE_SPEC_NAME))
    return vae, StreamingDit(read_config(DitSpec, folder.dit / DIT_SPEC_NAME))
