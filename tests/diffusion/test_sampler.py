import pytest
import torch

from vivace.core.errors import ConfigError
from vivace.diffusion.sampler import SANA_STREAMING_4_STEPS, check_sigmas, sample, shifted_sigmas
from vivace.layers.modulation import NUM_TIMESTEPS


def gaussian_velocity(mean: float, std: float):
    """Exact velocity of the flow from N(0, 1) at sigma 1 to N(mean, std^2) at sigma 0."""

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        variance = (1 - sigma) ** 2 * std**2 + sigma**2
        score_part = (x - (1 - sigma) * mean) / variance
        clean = mean + (1 - sigma) * std**2 * score_part
        noise = sigma * score_part
        return noise - clean

    return denoise


def test_a_point_mass_is_reached_exactly_in_any_number_of_steps():
    noise = torch.randn(1, 2, 3, 4, 4, dtype=torch.float64)
    for sigmas in ((1.0,), SANA_STREAMING_4_STEPS, shifted_sigmas(7, 3.0)):
        out = sample(gaussian_velocity(1.5, 0.0), noise, sigmas)
        torch.testing.assert_close(out, torch.full_like(out, 1.5), rtol=1e-12, atol=1e-12)


def test_many_steps_reach_the_known_solution_of_a_gaussian_and_the_error_falls_linearly():
    noise = torch.randn(1, 2, 3, 4, 4, dtype=torch.float64)
    exact = 0.7 + 0.4 * noise
    errors = [
        (sample(gaussian_velocity(0.7, 0.4), noise, shifted_sigmas(k, 1.0)) - exact).abs().max().item()
        for k in (50, 100, 200)
    ]
    assert errors[2] < 0.02
    assert 1.7 < errors[0] / errors[1] < 2.3
    assert 1.7 < errors[1] / errors[2] < 2.3


def test_the_official_list_is_close_to_shifting_even_steps_by_eight():
    even = shifted_sigmas(4, 8.0)
    assert all(abs(ours - official) < 0.02 for ours, official in zip(even, SANA_STREAMING_4_STEPS))


def test_whole_timesteps_survive_the_way_through_sigma():
    steps = torch.arange(1001, dtype=torch.float32)
    back = torch.tensor([step / NUM_TIMESTEPS for step in range(1001)]) * NUM_TIMESTEPS
    torch.testing.assert_close(back, steps, rtol=1.2e-7, atol=0)
    listed = torch.tensor(SANA_STREAMING_4_STEPS) * NUM_TIMESTEPS
    assert listed.tolist() == [1000, 961, 893, 743]


@pytest.mark.parametrize("sigmas", [(), (0.5, 0.5), (0.5, 0.7), (1.1,), (1.0, 0.0)])
def test_a_list_that_does_not_fall_within_the_interval_is_refused(sigmas):
    with pytest.raises(ConfigError, match="strictly falling"):
        check_sigmas(sigmas)
