"""A checkpoint is whole or absent, whatever moment the run was killed at."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vivace.core.errors import ConfigError, WeightsError
from vivace.training import checkpoint as module
from vivace.training.checkpoint import (
    Checkpoint,
    TrainerState,
    find_latest,
    load_checkpoint,
    remove_half_written,
    require_same_config,
    save_checkpoint,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    """A nested part of a config."""

    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Stands for a recipe's settings."""

    rate: float = 0.1
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True, kw_only=True, slots=True)
class LongerConfig:
    """The same with one key more and another name."""

    rate: float = 0.1
    inner: Inner = field(default_factory=Inner)
    more: int = 1


def make(train_step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(train_step)
    tensors: dict[str, Tensor] = {"a.weight": torch.randn(5, 3, generator=generator), "a.bias": torch.ones(3)}
    return Checkpoint(
        state=TrainerState(
            train_step=train_step, elapsed_seconds=0.1 * train_step, num_skipped=2, num_skipped_in_a_row=1
        ),
        weights=tensors,
        ema={name: item / 3 for name, item in tensors.items()},
        adam={"step/a.weight": torch.tensor(7.0), "first/a.weight": torch.ones(5, 3, dtype=torch.bfloat16)},
        random={"cpu": torch.get_rng_state()},
    )


def save(folder: Path, train_step: int, keep: int = 2) -> Path:
    return save_checkpoint(folder, make(train_step), RunConfig(), shard_mib=15.0, keep=keep)


def assert_same(left: Checkpoint, right: Checkpoint) -> None:
    assert left.state == right.state
    for one, other in ((left.weights, right.weights), (left.ema, right.ema), (left.adam, right.adam)):
        assert one.keys() == other.keys()
        assert all(
            torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
        )


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = save(tmp_path, 3)
    assert find_latest(tmp_path) == path
    assert_same(load_checkpoint(path), make(3))
    assert json.loads((path / "config.json").read_text())["rate"] == 0.1
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_without_checkpoints_has_no_latest(tmp_path: Path) -> None:
    assert find_latest(tmp_path / "nothing") is None


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("writes_before_kill", range(12))
def test_a_kill_at_any_write_leaves_the_old_checkpoint_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes_before_kill: int
) -> None:
    save(tmp_path, 1)
    remaining = [writes_before_kill]
    flush = module._flush

    def flush_or_die(path: Path) -> None:
        if remaining[0] == 0:
            raise Killed
        remaining[0] -= 1
        flush(path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_flush", flush_or_die)
        was_killed = False
        try:
            save(tmp_path, 2)
        except Killed:
            was_killed = True
    assert was_killed == (writes_before_kill < 10)  # 6 files, folder, parent, pointer, parent
    latest = find_latest(tmp_path)
    assert latest is not None
    # The ninth flush is the pointer's own; the pointer moves after it.
    expected = 1 if writes_before_kill < 9 else 2
    assert_same(load_checkpoint(latest), make(expected))
    remove_half_written(tmp_path)
    assert not list(tmp_path.glob("train-step-*.part"))
    save(tmp_path, 2)
    again = find_latest(tmp_path)
    assert again is not None
    assert_same(load_checkpoint(again), make(2))


def test_a_half_written_checkpoint_is_ignored_and_removed(tmp_path: Path) -> None:
    good = save(tmp_path, 1)
    half = tmp_path / "train-step-00000009.part"
    half.mkdir()
    (half / "weights-00001-of-00002.safetensors").write_bytes(b"cut")
    assert find_latest(tmp_path) == good
    assert remove_half_written(tmp_path) == [half.name]
    assert not half.exists()
    assert good.exists()


def test_old_checkpoints_and_those_of_a_dropped_future_go(tmp_path: Path) -> None:
    for train_step in (1, 2, 9):
        save(tmp_path, train_step)
    (tmp_path / "latest").write_text("train-step-00000002\n")
    save(tmp_path, 3)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["latest", "train-step-00000002", "train-step-00000003"]


def test_a_pointer_to_nothing_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("train-step-00000004\n")
    with pytest.raises(WeightsError, match="names train-step-00000004, which is not a checkpoint"):
        find_latest(tmp_path)


def test_a_damaged_file_is_one_clear_sentence(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    file = path / "ema-00001-of-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(WeightsError, match=r"ema-00001-of-00001.safetensors is damaged"):
        load_checkpoint(path)


def test_the_first_key_that_differs_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    require_same_config(path, RunConfig())
    with pytest.raises(ConfigError, match=r"another config: rate is stored as 0.1, got 0.2"):
        require_same_config(path, RunConfig(rate=0.2, inner=Inner(sizes=(1, 3))))
    with pytest.raises(ConfigError, match=r"inner\.sizes\[1\] is stored as 2, got 3"):
        require_same_config(path, RunConfig(inner=Inner(sizes=(1, 3))))
    with pytest.raises(ConfigError, match=r"inner\.sizes is stored as \[1, 2\], got \[1\]"):
        require_same_config(path, RunConfig(inner=Inner(sizes=(1,))))
    with pytest.raises(ConfigError, match=r"kind is stored as 'RunConfig', got 'LongerConfig'"):
        require_same_config(path, LongerConfig())
    config = path / "config.json"
    config.write_text(config.read_text().replace('"RunConfig"', '"LongerConfig"'))
    with pytest.raises(ConfigError, match=r"more is only in the given config"):
        require_same_config(path, LongerConfig())
