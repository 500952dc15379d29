from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vivace.core.errors import WeightsError
from vivace.models.perceptual import Lpips


def random_lpips() -> Lpips:
    torch.manual_seed(0)
    return Lpips()


def save(lpips: Lpips, path: Path) -> None:
    save_file({name: x.contiguous() for name, x in lpips.state_dict().items()}, path)


def picture() -> torch.Tensor:
    smooth = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(smooth, size=(64, 64), mode="bicubic").clamp(-1, 1)


def test_a_picture_is_at_distance_zero_of_itself() -> None:
    assert torch.equal(random_lpips()(picture(), picture()), torch.zeros(2))


def test_more_noise_is_further_away() -> None:
    lpips, a = random_lpips(), picture()
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
    distances = [lpips(a, a + level * noise) for level in (0.02, 0.1, 0.5, 2.0)]
    for near, far in pairwise(distances):
        assert (near < far).all()


def test_the_distance_is_symmetric_and_one_for_each_pair() -> None:
    lpips, a = random_lpips(), picture()
    b = a.flip(-1)
    both = lpips(a, b)
    torch.testing.assert_close(both, lpips(b, a))
    torch.testing.assert_close(both[1:], lpips(a[1:], b[1:]))


def test_a_region_counts_beside_the_whole_picture() -> None:
    lpips, a = random_lpips(), picture()
    b = a.flip(-1)
    region = torch.zeros(2, 1, 64, 64)
    torch.testing.assert_close(lpips.with_regions(a, b, region, 3.0), lpips(a, b))
    whole = torch.ones(2, 1, 64, 64)
    torch.testing.assert_close(lpips.with_regions(a, b, whole, 3.0), 4 * lpips(a, b))
    # what differs on the left alone counts where the region is there
    half = torch.where(torch.arange(64) < 32, b, a)
    left, right = region.clone(), region.clone()
    left[..., :32], right[..., 32:] = 1, 1
    assert (lpips.with_regions(a, half, left, 1.0) > 1.5 * lpips.with_regions(a, half, right, 1.0)).all()


def test_it_gives_gradients_to_pictures_and_none_to_its_weights() -> None:
    lpips, a = random_lpips(), picture()
    b = a.flip(-1).requires_grad_()
    lpips(a, b).sum().backward()
    assert b.grad is not None
    assert b.grad.abs().sum() > 0
    assert all(p.grad is None for p in lpips.parameters())


def test_saved_weights_load_equal(tmp_path: Path) -> None:
    lpips, a = random_lpips(), picture()
    save(lpips, tmp_path / "lpips.safetensors")
    loaded = Lpips.load(tmp_path / "lpips.safetensors")
    assert torch.equal(loaded(a, a.flip(-1)), lpips(a, a.flip(-1)))


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lpips.safetensors"
    save(random_lpips(), path)
    tensors = load_file(path)
    tensors.pop("heads.0")
    save_file(tensors, path)
    with pytest.raises(WeightsError, match="does not hold"):
        Lpips.load(path)
    with pytest.raises(WeightsError, match="no LPIPS"):
        Lpips.load(tmp_path / "missing.safetensors")
