import pytest
import torch

from vivace.core.errors import WeightsError
from vivace.models.perceptual import Lpips
from vivace.recipes.lpips_weights import INSIDE, convert, write_lpips


def stored(lpips: Lpips) -> dict[str, list]:
    """The layout of the package's file."""
    trunk = [{"weight": conv.weight, "bias": conv.bias, "stride": 1} for conv in lpips.trunk]
    return {"trunk": trunk, "lin": [head.view(1, -1, 1, 1) for head in lpips.heads]}


def test_a_converted_file_loads_and_measures_alike(tmp_path, monkeypatch) -> None:
    torch.manual_seed(0)
    lpips = Lpips()
    (tmp_path / INSIDE).parent.mkdir(parents=True)
    torch.save(stored(lpips), tmp_path / INSIDE)
    monkeypatch.setattr("vivace.recipes.lpips_weights.fetch", lambda package, cache: tmp_path)
    loaded = Lpips.load(write_lpips(tmp_path / "out" / "lpips.safetensors", tmp_path))
    a, b = torch.rand(2, 1, 3, 48, 48)
    torch.testing.assert_close(loaded(a, b), lpips(a, b), rtol=1e-2, atol=1e-4)


def test_another_file_is_refused(tmp_path) -> None:
    torch.save({"trunk": []}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="not laid out"):
        convert(tmp_path / "a.pt")
    torch.save({"trunk": [], "lin": []}, tmp_path / "b.pt")
    with pytest.raises(WeightsError, match="does not hold"):
        convert(tmp_path / "b.pt")
