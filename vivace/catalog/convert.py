"""Official checkpoints to model folders: our names, safetensors, once; downloads nothing."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vivace.catalog.model_folder import DIT_PREFIX, DIT_SPEC_NAME, LTX2_VAE_PREFIX, LTX2_VAE_SPEC_NAME
from vivace.core.config import write_config
from vivace.core.errors import WeightsError
from vivace.models.adapters import ltx2_vae, sana_streaming
from vivace.models.adapters.checkpoint import warn_unknown
from vivace.models.ltx2_vae import Ltx2Vae, Ltx2VaeSpec
from vivace.models.shards import write_shards
from vivace.models.streaming_dit import DitSpec, StreamingDit

SHARD_MIB = 1024.0
# what a training checkpoint may be wrapped in, from outside to inside
_WRAPPINGS = ("generator", "state_dict")


def convert_dit(checkpoint: Path, spec: DitSpec, folder: Path, *, source: str) -> None:
    """Write a SANA-Streaming transformer into `folder`; the tensors keep their precision.

    Raises:
        WeightsError: If the checkpoint is damaged, or tensors are missing or of another shape.
    """
    official = read_checkpoint(checkpoint, source)
    with torch.device("meta"):
        model = StreamingDit(spec)
    tensors = _fitting(sana_streaming.from_official(official, source), model, source)
    folder.mkdir(parents=True)
    write_shards(tensors, folder, DIT_PREFIX, SHARD_MIB)
    write_config(spec, folder / DIT_SPEC_NAME)


def convert_ltx2_vae(checkpoints: Sequence[Path], spec: Ltx2VaeSpec, folder: Path, *, source: str) -> None:
    """Write an LTX-2 video VAE, given as one file or several, into `folder`.

    Raises:
        WeightsError: If a file is damaged, or tensors are missing or of another shape.
    """
    official: dict[str, Tensor] = {}
    for path in checkpoints:
        official.update(read_checkpoint(path, source))
    with torch.device("meta"):
        model = Ltx2Vae(spec)
    tensors = _fitting(ltx2_vae.from_official(official, source), model, source)
    folder.mkdir(parents=True)
    write_shards(tensors, folder, LTX2_VAE_PREFIX, SHARD_MIB)
    write_config(spec, folder / LTX2_VAE_SPEC_NAME)


def read_checkpoint(path: Path, source: str) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file or of a PyTorch checkpoint, mapped from disk where possible.

    Of a training checkpoint, the inference weights (`generator`, `state_dict`). No code in the file is run.

    Raises:
        WeightsError: If the file is damaged or holds something else.
    """
    try:
        stored = load_file(path) if _is_safetensors(path) else _load_tensors_only(path)
    except SafetensorError as error:
        raise WeightsError(f"{source} is damaged ({error}); pull it again") from None
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{source} holds more than tensors, which is not read because it could run code; use the "
            "official file"
        ) from None
    except (RuntimeError, EOFError, ValueError) as error:
        reason = (str(error).strip() or "empty").splitlines()[0]
        raise WeightsError(
            f"{source} is damaged or no PyTorch checkpoint ({reason}); pull it again"
        ) from None
    for name in _WRAPPINGS:
        if isinstance(stored, Mapping) and isinstance(stored.get(name), Mapping):
            stored = stored[name]
    if not isinstance(stored, Mapping) or not stored:
        raise WeightsError(f"{source} holds no named tensors; expected an official checkpoint")
    return {str(name): item for name, item in stored.items() if isinstance(item, Tensor)}


def _is_safetensors(path: Path) -> bool:
    # files are named by their digest here, so only the content tells: 8 bytes of header length, then JSON
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and start[:2] != b"PK"


def _load_tensors_only(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _fitting(tensors: Mapping[str, Tensor], model: nn.Module, source: str) -> dict[str, Tensor]:
    """What `model` needs, in its order; anything else is left out with a warning."""
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise WeightsError(
            f"{source} lacks {missing[0]} ({len(missing)} of {len(wanted)} tensors are missing); it is "
            "incomplete, or belongs to another model"
        )
    for name, like in wanted.items():
        if tensors[name].shape != like.shape:
            raise WeightsError(
                f"{source}: {name} has shape {list(tensors[name].shape)}, expected {list(like.shape)}; it "
                "belongs to another model"
            )
        if not tensors[name].is_floating_point():
            raise WeightsError(f"{source}: {name} holds {tensors[name].dtype}, expected numbers with a point")
    warn_unknown([name for name in tensors if name not in wanted], source)
    return {name: tensors[name] for name in wanted}
