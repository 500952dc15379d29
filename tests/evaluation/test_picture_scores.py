import pytest
import torch

from vivace.evaluation.picture_scores import (
    peak_signal_to_noise,
    perceptual_distance,
    structural_similarity,
    video_scores,
)


def test_structural_similarity_is_one_for_equal_pictures_and_falls_with_noise() -> None:
    a = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
    values = [float(structural_similarity(a, a + level * noise)) for level in (0, 0.05, 0.3)]
    assert values[0] == pytest.approx(1)
    assert values[0] > values[1] > values[2]


def test_structural_similarity_of_flat_pictures_is_the_closed_form() -> None:
    a, b = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert float(structural_similarity(a, b)) == pytest.approx(expected, abs=1e-4)


def test_psnr_is_of_each_picture_and_capped() -> None:
    a = torch.full((2, 3, 4, 4), 0.5)
    b = a.clone()
    b[1] += 0.1
    torch.testing.assert_close(peak_signal_to_noise(a, b), torch.tensor([100.0, 20.0]), atol=1e-3, rtol=0)


def test_perceptual_distance_keeps_the_order_of_frames_across_its_batches(lpips) -> None:
    video = torch.rand(1, 3, 20, 32, 32)
    other = video.clone()
    other[:, :, 18] = 0
    distance = perceptual_distance(lpips, video, other)
    assert distance.shape == (20,)
    assert distance.nonzero().flatten().tolist() == [18]


def test_scores_of_a_known_error(lpips) -> None:
    video = torch.full((1, 3, 5, 32, 32), 0.5)
    result = video_scores(video, video + 0.1, lpips)
    assert result.psnr_db == pytest.approx(20, abs=1e-3)
    assert result.motion_error_levels == pytest.approx(0, abs=1e-4)
