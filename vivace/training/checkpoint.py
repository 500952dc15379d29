"""Training checkpoints that survive a kill at any moment; decides neither when to save nor what to train."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vivace.core.config import read_config, to_json, write_config
from vivace.core.errors import ConfigError, WeightsError
from vivace.models.shards import load_sharded, shard_paths, write_shards

LATEST = "latest"
CONFIG_NAME = "config.json"
STATE_NAME = "trainer.json"
PART_SUFFIX = ".part"
FOLDER_PREFIX = "train-step-"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerState:
    """Where a run stands; `elapsed_seconds` counts training time over all resumes."""

    train_step: int
    elapsed_seconds: float
    num_skipped: int
    num_skipped_in_a_row: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """All that a run needs to go on: `adam` holds first/NAME, second/NAME and step/NAME."""

    state: TrainerState
    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    adam: dict[str, Tensor]
    random: dict[str, Tensor]


def save_checkpoint(
    folder: Path, checkpoint: Checkpoint, run_config: object, *, shard_mib: float, keep: int
) -> Path:
    """Write FOLDER/train-step-N, point `latest` at it and delete all but the newest `keep`.

    Files are flushed to the disk before the folder gets its name and the pointer moves last, so that a kill
    at any moment leaves the previous checkpoint or this one, never a mixture.
    """
    final = folder / f"{FOLDER_PREFIX}{checkpoint.state.train_step:08d}"
    part = final.with_name(final.name + PART_SUFFIX)
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    groups = {"weights": checkpoint.weights, "ema": checkpoint.ema, "adam": checkpoint.adam}
    for prefix, tensors in {**groups, "random": checkpoint.random}.items():
        if tensors:
            write_shards(tensors, part, prefix, shard_mib)
    write_config(run_config, part / CONFIG_NAME)
    write_config(checkpoint.state, part / STATE_NAME)
    for path in part.iterdir():
        _flush(path)
    _flush(part)
    if final.exists():  # left by a run that was killed before it moved the pointer
        shutil.rmtree(final)
    part.rename(final)
    _flush(folder)
    _point_latest_at(final)
    _delete_old(folder, final, keep)
    return final


def find_latest(folder: Path) -> Path | None:
    """The checkpoint that `latest` names, or None where nothing was saved yet.

    Raises:
        WeightsError: If it names a checkpoint that is not there.
    """
    pointer = folder / LATEST
    if not pointer.exists():
        return None
    path = folder / pointer.read_text(encoding="utf-8").strip()
    if not (path / STATE_NAME).is_file():
        raise WeightsError(
            f"{pointer} names {path.name}, which is not a checkpoint; name another or delete it"
        )
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote, on the CPU.

    Raises:
        WeightsError: If files are missing or damaged.
        ConfigError: If the state file cannot be read.
    """
    return Checkpoint(
        state=read_config(TrainerState, path / STATE_NAME),
        weights=load_sharded(path, "weights"),
        ema=load_sharded(path, "ema") if shard_paths(path, "ema") else {},
        adam=load_sharded(path, "adam") if shard_paths(path, "adam") else {},
        random=load_sharded(path, "random"),
    )


def remove_half_written(folder: Path) -> list[str]:
    """Delete checkpoints that a killed run did not finish, and return their names."""
    found = sorted(folder.glob(f"{FOLDER_PREFIX}*{PART_SUFFIX}"))
    for path in found:
        shutil.rmtree(path)
    return [path.name for path in found]


def require_same_config(path: Path, run_config: object) -> None:
    """Compare a run's config with the one stored in checkpoint `path`.

    Raises:
        ConfigError: Naming the first key that differs.
    """
    stored = json.loads((path / CONFIG_NAME).read_text(encoding="utf-8"))
    difference = _first_difference(stored, to_json(run_config), "")
    if difference is not None:
        raise ConfigError(
            f"{path} was trained with another config: {difference}; "
            "resume with the stored config, use another output folder, or allow the change"
        )


def _first_difference(stored: Any, given: Any, where: str) -> str | None:
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in [*stored, *(key for key in given if key not in stored)]:
            inner = f"{where}.{key}" if where else key
            if key not in given or key not in stored:
                side = "stored" if key in stored else "given"
                return f"{inner} is only in the {side} config"
            difference = _first_difference(stored[key], given[key], inner)
            if difference is not None:
                return difference
        return None
    if isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        found = (_first_difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(stored, given)))
        return next((difference for difference in found if difference is not None), None)
    return None if stored == given else f"{where} is stored as {stored!r}, got {given!r}"


def _point_latest_at(path: Path) -> None:
    part = path.with_name(LATEST + PART_SUFFIX)
    part.write_text(path.name + "\n", encoding="utf-8")
    _flush(part)
    part.replace(path.with_name(LATEST))
    _flush(path.parent)


def _delete_old(folder: Path, newest: Path, keep: int) -> None:
    saved = sorted(path for path in folder.glob(f"{FOLDER_PREFIX}*") if path.suffix != PART_SUFFIX)
    # Later ones than the newest belong to a future that a resume from an earlier checkpoint has dropped.
    kept = [path for path in saved if path.name <= newest.name][-keep:]
    for path in saved:
        if path not in kept:
            shutil.rmtree(path)


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
