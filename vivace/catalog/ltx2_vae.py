"""The released LTX-2 video VAE and its causal decoder: sizes, where the weights are, and how they load."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vivace.core.errors import WeightsError
from vivace.models.adapters.checkpoint import fill
from vivace.models.adapters.ltx2_vae import from_official
from vivace.models.ltx2_vae import GrowStageSpec, Ltx2Vae, Ltx2VaeSpec, ShrinkStageSpec

CONFIG_NAME = "config.json"
CLASS_NAMES = ("AutoencoderKLLTX2Video", "AutoencoderKLCausalLTX2Video")
STRIDES = {"spatial": (1, 2, 2), "temporal": (2, 1, 1), "spatiotemporal": (2, 2, 2)}


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeWeights:
    """A folder of a hub repository that holds a VAE in diffusers' layout.

    Attributes:
        repository: Owner and name on the Hugging Face hub.
        folder: Folder with `config.json` and one or more safetensors files.
        decodes_causally: Whether the decoder was trained to see no later frame. The one that was not gives
            worse pictures when it streams: PSNR 24.7 instead of 32.1 (SANA-Streaming, table of decoders).
    """

    repository: str
    folder: str
    decodes_causally: bool


# Source: official docs/sana_streaming.md; the encoder is the same in both.
LTX2_VAE_WEIGHTS = VaeWeights(repository="Lightricks/LTX-2", folder="vae", decodes_causally=False)
LTX2_CAUSAL_VAE_WEIGHTS = VaeWeights(
    repository="Efficient-Large-Model/SANA-Streaming", folder="ltx2_causal_vae_0516", decodes_causally=True
)


def ltx2_vae_spec() -> Ltx2VaeSpec:
    """Both releases: 1.22 B parameters, 128 latent channels, strides 8 in time and 32 in space.

    Source: defaults of the official class, and names and shapes of its state dict.
    """
    return Ltx2VaeSpec()


def load_ltx2_vae(folder: Path, *, decoder_folder: Path | None = None, dtype: torch.dtype) -> Ltx2Vae:
    """The VAE of a pulled folder, in evaluation mode on the CPU.

    Args:
        folder: Folder in diffusers' layout.
        decoder_folder: Another such folder, of which only the decoder is taken.
        dtype: Type of the weights in memory.

    Raises:
        WeightsError: If a file is missing or damaged, or the folder holds another model.
    """
    spec = read_ltx2_spec(folder)
    tensors = from_official(_read_tensors(folder), folder.name)
    if decoder_folder is not None:
        if read_ltx2_spec(decoder_folder) != spec:
            raise WeightsError(
                f"{decoder_folder.name} has another size than {folder.name}; name a matching one"
            )
        decoder = from_official(_read_tensors(decoder_folder), decoder_folder.name)
        tensors |= {name: tensor for name, tensor in decoder.items() if name.startswith("decoder.")}
    with torch.device("meta"):
        vae = Ltx2Vae(spec).to(dtype)
    vae = vae.to_empty(device="cpu")
    fill(vae, tensors, folder.name)
    return vae.eval().requires_grad_(False)


def read_ltx2_spec(folder: Path) -> Ltx2VaeSpec:
    """The sizes that a folder's `config.json` names; what it leaves out is the official class's default.

    Raises:
        WeightsError: If there is none, it is damaged, or it asks for parts that this VAE does not have.
    """
    path = folder / CONFIG_NAME
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"no {CONFIG_NAME} in {folder}; pull the model again") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise WeightsError(f"{path} is damaged; pull the model again") from None
    if not isinstance(config, dict) or config.get("_class_name") not in CLASS_NAMES:
        raise WeightsError(f"{path} describes another model; expected an LTX-2 video VAE ({CLASS_NAMES[0]})")
    try:
        return _spec_of(config)
    except (KeyError, TypeError, IndexError) as error:
        raise WeightsError(f"{path}: {error} is not what an LTX-2 video VAE has; pull it again") from None


def _spec_of(config: Mapping[str, Any]) -> Ltx2VaeSpec:
    for name, wanted in (("timestep_conditioning", False), ("patch_size", 4), ("patch_size_t", 1)):
        if config.get(name, wanted) != wanted:
            raise TypeError(f"{name} {config[name]!r}")
    parts = (
        ("decoder_inject_noise", False),
        ("spatio_temporal_scaling", True),
        ("decoder_spatio_temporal_scaling", True),
        ("upsample_type", "spatiotemporal"),
        ("upsample_residual", True),
        ("upsample_factor", 2),
    )
    for name, wanted in parts:
        if set(config.get(name, (wanted,))) != {wanted}:
            raise TypeError(f"{name} {config[name]!r}")
    for name in ("encoder_spatial_padding_mode", "decoder_spatial_padding_mode"):
        if config.get(name, "zeros") not in ("zeros", "reflect"):
            raise TypeError(f"{name} {config[name]!r}")
    widths = config.get("block_out_channels", (256, 512, 1024, 2048))
    blocks = config.get("layers_per_block", (4, 6, 6, 2, 2))
    kinds = config.get("downsample_type", ("spatial", "temporal", "spatiotemporal", "spatiotemporal"))
    decoder_widths = config.get("decoder_block_out_channels", (256, 512, 1024))[::-1]
    decoder_blocks = config.get("decoder_layers_per_block", (5, 5, 5, 5))[::-1]
    return Ltx2VaeSpec(
        latent_channels=config.get("latent_channels", 128),
        encoder=tuple(
            ShrinkStageSpec(num_blocks=number, out_channels=width, stride=STRIDES[kind])
            for number, width, kind in zip(blocks, widths, kinds)
        ),
        encoder_middle_blocks=blocks[-1],
        decoder_channels=decoder_widths[0],
        decoder_middle_blocks=decoder_blocks[0],
        decoder=tuple(
            GrowStageSpec(num_blocks=number, out_channels=width // 2)
            for number, width in zip(decoder_blocks[1:], decoder_widths)
        ),
        encoder_padding=config.get("encoder_spatial_padding_mode", "zeros"),
        decoder_padding=config.get("decoder_spatial_padding_mode", "reflect"),
        scaling_factor=config.get("scaling_factor", 1.0),
    )


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(f"no safetensors file in {folder}; pull the model again")
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            tensors |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{file} is damaged or half downloaded ({error}); pull it again") from None
    return tensors
