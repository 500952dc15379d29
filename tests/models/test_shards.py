"""Weights come back from bounded files exactly, whatever their types and sizes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from vivace.core.errors import WeightsError
from vivace.models.shards import export_weights, load_sharded, write_shards

KIB = 1 / 1024


def test_shards_stay_under_the_limit_and_come_back_exactly(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {f"layer.{i}.weight": torch.randn(7 * i + 1, 9, generator=generator) for i in range(40)}
    tensors["table"] = torch.randn(1000, 16, generator=generator)  # alone larger than a file
    tensors["count"] = torch.tensor(5)
    tensors["half"] = torch.randn(3, generator=generator).to(torch.bfloat16)
    tensors["image"] = torch.randn(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last)
    paths = write_shards(tensors, tmp_path, "dit", 16 * KIB)
    assert len(paths) > 5
    assert [path.name for path in paths][:1] == [f"dit-00001-of-{len(paths):05d}.safetensors"]
    assert all(path.stat().st_size <= 16 * 1024 for path in paths)
    loaded = load_sharded(tmp_path, "dit")
    assert loaded.keys() == tensors.keys()
    assert all(
        torch.equal(loaded[name], item) and loaded[name].dtype == item.dtype for name, item in tensors.items()
    )


def test_the_default_limit_is_15_mib(tmp_path: Path) -> None:
    paths = export_weights({f"{i}": torch.zeros(1024, 1024) for i in range(8)}, tmp_path / "a", "fp32")
    assert len(paths) == 3
    assert all(path.stat().st_size <= 15 * 2**20 for path in paths)


def test_an_export_casts_floating_tensors_only_and_takes_tied_weights(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    paths = export_weights(model, tmp_path / "new" / "vae", "bf16")
    assert [path.name for path in paths] == ["vae-00001-of-00001.safetensors"]
    stored = load_file(paths[0])
    assert stored.keys() == model.state_dict().keys()
    assert stored["0.weight"].dtype == torch.bfloat16
    assert stored["1.num_batches_tracked"].dtype == torch.int64
    model.load_state_dict(load_sharded(tmp_path / "new", "vae"), strict=True)


def test_a_smaller_export_leaves_no_old_file_and_other_prefixes_alone(tmp_path: Path) -> None:
    big = {f"{i}": torch.zeros(1024) for i in range(8)}
    write_shards(big, tmp_path, "dit", 8 * KIB)
    write_shards(big, tmp_path, "dit-small", 8 * KIB)
    write_shards({"0": torch.ones(3)}, tmp_path, "dit", 8 * KIB)
    assert load_sharded(tmp_path, "dit").keys() == {"0"}
    assert load_sharded(tmp_path, "dit-small").keys() == big.keys()


def test_a_missing_file_of_a_set_is_one_clear_sentence(tmp_path: Path) -> None:
    paths = write_shards({f"{i}": torch.zeros(1024) for i in range(8)}, tmp_path, "dit", 8 * KIB)
    paths[1].unlink()
    with pytest.raises(WeightsError, match=f"expected one complete set of {len(paths)} files"):
        load_sharded(tmp_path, "dit")
    with pytest.raises(WeightsError, match=r"no vae-00001-of-\*\.safetensors in"):
        load_sharded(tmp_path, "vae")


def test_a_row_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="a row of wide has 40000 bytes"):
        write_shards({"wide": torch.zeros(2, 10_000)}, tmp_path, "dit", 8 * KIB)
    with pytest.raises(WeightsError, match="a row of scalars has"):
        write_shards({"scalars": torch.zeros(())}, tmp_path, "dit", 0.1 * KIB)
