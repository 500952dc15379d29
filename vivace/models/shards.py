"""Named tensors as safetensors files of bounded size; knows nothing of optimisers or of models' layouts."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vivace.core.errors import WeightsError

StoredDtype = Literal["fp32", "bf16"]

DEFAULT_SHARD_MIB = 15.0
HEADER_BYTES_PER_TENSOR = 160
HEADER_BYTES = 64
PIECE = re.compile(r"(?P<name>.+)#(?P<index>\d{5})-of-(?P<count>\d{5})")


def as_dtype(dtype: StoredDtype) -> torch.dtype:
    """The torch type of a stored type's name."""
    return torch.bfloat16 if dtype == "bf16" else torch.float32


def export_weights(
    source: nn.Module | Mapping[str, Tensor],
    path_prefix: Path,
    dtype: StoredDtype,
    *,
    shard_mib: float = DEFAULT_SHARD_MIB,
) -> list[Path]:
    """Write inference weights as PREFIX-00001-of-0000N.safetensors and return the files.

    Args:
        source: A module, or its state dict (for example with averaged weights).
        path_prefix: Folder and name; `weights/dit` gives `weights/dit-00001-of-00002.safetensors`.
        dtype: Type of the floating tensors in the files; other tensors keep theirs.
        shard_mib: Largest file in MiB.

    Raises:
        WeightsError: If one row of a tensor alone is larger than a file may be.
    """
    tensors = source.state_dict() if isinstance(source, nn.Module) else source
    wanted = as_dtype(dtype)
    cast = {name: item.to(wanted) if item.is_floating_point() else item for name, item in tensors.items()}
    path_prefix.parent.mkdir(parents=True, exist_ok=True)
    return write_shards(cast, path_prefix.parent, path_prefix.name, shard_mib)


def write_shards(tensors: Mapping[str, Tensor], folder: Path, prefix: str, shard_mib: float) -> list[Path]:
    """Write tensors, exactly as they are, in files of at most `shard_mib` MiB; older shards of the prefix go.

    Raises:
        WeightsError: If one row of a tensor alone is larger than a file may be.
    """
    limit = int(shard_mib * 2**20) - HEADER_BYTES
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in _pieces(tensors, limit):
        size = _stored_bytes(name, tensor)
        if shards[-1] and used + size > limit:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += size
    paths = [folder / f"{prefix}-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for path, shard in zip(paths, shards):
        part = path.with_name(path.name + ".part")
        # A copy, because safetensors refuses tensors that share memory (tied weights).
        save_file(
            {name: item.detach().to("cpu", copy=True).contiguous() for name, item in shard.items()}, part
        )
        part.replace(path)
    for old in shard_paths(folder, prefix):
        if old not in paths:
            old.unlink()
    return paths


def load_sharded(folder: Path, prefix: str) -> dict[str, Tensor]:
    """All tensors of PREFIX-*-of-*.safetensors in `folder`, on the CPU.

    Raises:
        WeightsError: If no file or not every file of the set is there, or one is damaged.
    """
    paths = shard_paths(folder, prefix)
    if not paths:
        raise WeightsError(f"no {prefix}-00001-of-*.safetensors in {folder}; expected weights there")
    count = int(paths[0].stem[-5:])
    if [path.name for path in paths] != [
        f"{prefix}-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)
    ]:
        names = [path.name for path in paths]
        raise WeightsError(
            f"got {names} in {folder}, expected one complete set of {count} files; copy it again"
        )
    stored: dict[str, Tensor] = {}
    for path in paths:
        try:
            stored.update(load_file(path))
        except SafetensorError as error:
            raise WeightsError(f"{path} is damaged ({error}); copy or write it again") from None
    return _joined(stored)


def shard_paths(folder: Path, prefix: str) -> list[Path]:
    """The files of `prefix` in `folder`, sorted by name."""
    pattern = re.compile(re.escape(prefix) + r"-\d{5}-of-\d{5}\.safetensors")
    return sorted(path for path in folder.glob("*.safetensors") if pattern.fullmatch(path.name))


def _stored_bytes(name: str, tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size() + len(name.encode()) + HEADER_BYTES_PER_TENSOR


def _pieces(tensors: Mapping[str, Tensor], limit: int) -> Iterator[tuple[str, Tensor]]:
    """Tensors in order; one that no file can hold comes as runs of rows named NAME#00001-of-0000N."""
    for name, tensor in tensors.items():
        if _stored_bytes(name, tensor) <= limit:
            yield name, tensor
            continue
        room = limit - len(name.encode()) - HEADER_BYTES_PER_TENSOR - len("#00001-of-00002")
        row_bytes = tensor.numel() * tensor.element_size() // (tensor.shape[0] if tensor.dim() else 1)
        num_rows = room // row_bytes
        if num_rows < 1:
            raise WeightsError(
                f"a row of {name} has {row_bytes} bytes, expected at most {max(room, 0)}; allow larger shards"
            )
        pieces = tensor.split(num_rows)
        for i, piece in enumerate(pieces):
            yield f"{name}#{i + 1:05d}-of-{len(pieces):05d}", piece


def _joined(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    rows: dict[str, list[Tensor]] = {}
    for name, tensor in stored.items():
        piece = PIECE.fullmatch(name)
        if piece is None:
            tensors[name] = tensor
        else:
            rows.setdefault(piece["name"], []).append(tensor)
    return {**tensors, **{name: torch.cat(items) for name, items in rows.items()}}
