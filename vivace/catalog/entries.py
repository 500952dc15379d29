"""The models that have a name: what they are, under which licence, and where their weights come from."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from vivace.catalog.model_folder import ModelFolder
from vivace.core.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledWeights:
    """Weights inside the package."""

    folder: ModelFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class HubWeights:
    """Weights in an official hub repository.

    Attributes:
        repository: Owner and name on the Hugging Face hub.
        files: Files and folders of it that the model needs.
        also_needs: Further repositories, for the text encoder and the VAE.
        download_gb: Gigabytes of the diffusion transformer's file; an estimate of two bytes a parameter where
            nobody has published the size.
        num_parameters: Numbers in the diffusion transformer's file.
    """

    repository: str
    files: tuple[str, ...]
    also_needs: tuple[str, ...]
    download_gb: float
    num_parameters: int


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
_SANA_ENCODER = "Efficient-Large-Model/gemma-2-2b-it"

# Sizes: the bidirectional repository lists 4.32 GB; the other is its number of parameters in bf16.
SANA_STREAMING = ModelEntry(
    name="sana-streaming",
    summary="SANA-Streaming 2B, autoregressive, 1280x704, 4 steps a chunk of 24 raw frames",
    licence=_SANA_LICENCE,
    weights=HubWeights(
        repository="Efficient-Large-Model/SANA-Streaming",
        files=("dit/sana_streaming_ar.pth", "ltx2_causal_vae_0516"),
        also_needs=(_SANA_ENCODER,),
        download_gb=4.5,
        num_parameters=2_259_529_648,
    ),
)

SANA_STREAMING_BIDIRECTIONAL = ModelEntry(
    name="sana-streaming-bidirectional",
    summary="SANA-Streaming 2B, whole clips of 81 raw frames, 50 steps; the teacher of sana-streaming",
    licence=_SANA_LICENCE,
    weights=HubWeights(
        repository="Efficient-Large-Model/SANA-Streaming_bidirectional",
        files=("dit/sana_bidirectional_short.pth",),
        also_needs=(_SANA_ENCODER, "Lightricks/LTX-2"),
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
        InputError: If the name is unknown, the folder is missing, or the weights are not bundled.
        WeightsError: If the folder is incomplete.
    """
    text = str(name)
    if any(text == entry.name for entry in MODELS):
        weights = find_entry(text).weights
        if isinstance(weights, HubWeights):
            raise InputError(
                f"the weights of {text} are not bundled and this version cannot pull them from "
                f"{weights.repository} yet; use tiny-edit"
            )
        return weights.folder
    if Path(text).is_dir():
        return ModelFolder.at(Path(text))
    if isinstance(name, Path) or "/" in text or "\\" in text:
        raise InputError(
            f"no model folder at {text}; expected a folder with dit, video_vae and prompt_encoder"
        )
    find_entry(text)
    raise AssertionError("find_entry raises for every other name")
