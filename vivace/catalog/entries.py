"""The models that have a name: what they are, under which licence, and where their weights come from."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from vivace.catalog.hub_files import HubPart
from vivace.catalog.ltx2_vae import (
    LTX2_CAUSAL_VAE_WEIGHTS,
    LTX2_VAE_WEIGHTS,
    VaeWeights,
    ltx2_vae_spec,
)
from vivace.catalog.model_folder import EditorDefaults, ModelFolder
from vivace.catalog.pulled import pulled_folder, read_record
from vivace.catalog.sana_prompts import sana_streaming_bidirectional_prompts, sana_streaming_prompts
from vivace.catalog.sana_streaming import (
    FRAMES_PER_CHUNK,
    sana_streaming_bidirectional_spec,
    sana_streaming_spec,
)
from vivace.core.config import Environment
from vivace.core.errors import InputError
from vivace.models.gemma_prompts import GemmaPromptSpec
from vivace.models.ltx2_vae import Ltx2VaeSpec
from vivace.models.streaming_dit import DitSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledWeights:
    """Weights inside the package."""

    folder: ModelFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class HubWeights:
    """Weights in official hub repositories, which `vivace pull` fetches and converts.

    Attributes:
        dit: The diffusion transformer's checkpoint, one file.
        video_vae: The LTX-2 video VAE, one file or several.
        text_encoder: Gemma 2 with its tokenizer; used as it is.
        dit_spec: What the checkpoint must fit.
        vae_spec: What the VAE must fit.
        prompt_spec: What surrounds an instruction.
        defaults: How the model is meant to be used.
        download_gb: Gigabytes of the diffusion transformer's file.
        num_parameters: Numbers in the diffusion transformer's file.
    """

    dit: HubPart
    video_vae: HubPart
    text_encoder: HubPart
    dit_spec: DitSpec
    vae_spec: Ltx2VaeSpec
    prompt_spec: GemmaPromptSpec
    defaults: EditorDefaults
    download_gb: float
    num_parameters: int

    @property
    def repository(self) -> str:
        """Owner and name of the repository that the model is known by."""
        return self.dit.repository

    @property
    def parts(self) -> tuple[HubPart, HubPart, HubPart]:
        """Everything to fetch."""
        return self.dit, self.video_vae, self.text_encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """A model that can be asked for by name."""

    name: str
    summary: str
    licence: str
    weights: BundledWeights | HubWeights

    @property
    def is_bundled(self) -> bool:
        """Whether it works without a download."""
        return isinstance(self.weights, BundledWeights)


TINY_EDIT = ModelEntry(
    name="tiny-edit",
    summary="edits style, light, weather and colour of a live video; made for two CPU cores",
    licence="Apache-2.0",
    weights=BundledWeights(folder=ModelFolder.bundled("tiny_edit")),
)

_SANA_LICENCE = "code Apache-2.0; for the weights see the repository's model card"
_GEMMA = HubPart(
    repository="Efficient-Large-Model/gemma-2-2b-it",
    folder="",
    patterns=("*.json", "*.safetensors", "tokenizer.model"),
)


def _vae_part(weights: VaeWeights) -> HubPart:
    return HubPart(
        repository=weights.repository, folder=weights.folder, patterns=("*.safetensors", "*.pth", "*.pt")
    )


# Source: official docs/sana_streaming.md, repository layout; sizes as the repositories list them.
SANA_STREAMING = ModelEntry(
    name="sana-streaming",
    summary="SANA-Streaming 2B, autoregressive, 1280x704, 4 steps a chunk of 24 raw frames",
    licence=_SANA_LICENCE,
    weights=HubWeights(
        dit=HubPart(
            repository="Efficient-Large-Model/SANA-Streaming",
            folder="dit",
            patterns=("sana_streaming_ar.pth",),
        ),
        video_vae=_vae_part(LTX2_CAUSAL_VAE_WEIGHTS),
        text_encoder=_GEMMA,
        dit_spec=sana_streaming_spec(),
        vae_spec=ltx2_vae_spec(),
        prompt_spec=sana_streaming_prompts(),
        defaults=EditorDefaults(
            native_width_px=1280,
            native_height_px=704,
            frames_per_chunk=FRAMES_PER_CHUNK,
            first_chunk_frames=FRAMES_PER_CHUNK,
            falling_noise=(),
            has_still_noise=False,
        ),
        download_gb=4.52,
        num_parameters=2_259_529_648,
    ),
)

SANA_STREAMING_BIDIRECTIONAL = ModelEntry(
    name="sana-streaming-bidirectional",
    summary="SANA-Streaming 2B, whole clips of 81 raw frames, 50 steps; the teacher of sana-streaming",
    licence=_SANA_LICENCE,
    weights=HubWeights(
        dit=HubPart(
            repository="Efficient-Large-Model/SANA-Streaming_bidirectional",
            folder="dit",
            patterns=("sana_bidirectional_short.pth",),
        ),
        video_vae=_vae_part(LTX2_VAE_WEIGHTS),
        text_encoder=_GEMMA,
        dit_spec=sana_streaming_bidirectional_spec(),
        vae_spec=ltx2_vae_spec(),
        prompt_spec=sana_streaming_bidirectional_prompts(),
        defaults=EditorDefaults(
            native_width_px=1280,
            native_height_px=704,
            num_denoising_steps=50,
            # 81 raw frames are one chunk
            frames_per_chunk=11,
            first_chunk_frames=11,
            falling_noise=(),
            has_still_noise=False,
            is_live=False,
        ),
        download_gb=4.32,
        num_parameters=2_159_177_648,
    ),
)

MODELS = (TINY_EDIT, SANA_STREAMING, SANA_STREAMING_BIDIRECTIONAL)


def find_entry(name: str) -> ModelEntry:
    """The model of this name.

    Raises:
        InputError: If there is none; the sentence lists the names.
    """
    for entry in MODELS:
        if entry.name == name:
            return entry
    names = [entry.name for entry in MODELS]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"unknown model {name!r}; expected one of {', '.join(names)} or a model folder{hint}")


def find_folder(name: str | Path) -> ModelFolder:
    """The weights of a model by its name, or by the path of a model folder.

    Raises:
        InputError: If the name is unknown, the folder is missing, or the weights were not pulled yet.
        WeightsError: If the folder is incomplete.
    """
    text = str(name)
    if any(text == entry.name for entry in MODELS):
        match find_entry(text).weights:
            case BundledWeights(folder=folder):
                return folder
            case HubWeights():
                return _pulled(text)
    if Path(text).is_dir():
        return ModelFolder.at(Path(text))
    if isinstance(name, Path) or "/" in text or "\\" in text:
        raise InputError(
            f"no model folder at {text}; expected a folder with dit, video_vae and prompt_encoder"
        )
    find_entry(text)
    raise AssertionError("find_entry raises for every other name")


def _pulled(name: str) -> ModelFolder:
    folder = pulled_folder(Environment.read().home, name)
    if read_record(folder) is None:
        raise InputError(
            f"the weights of {name} are not on this machine yet; fetch them once with: vivace pull {name}"
        )
    return ModelFolder.at(folder)
