import torch

from vivace.diffusion.flow import (
    add_noise,
    clean_from_velocity,
    logit_normal_sigma,
    noise_from_velocity,
    shift_sigma,
    velocity_target,
)


def test_velocity_and_both_ends_of_the_path_convert_into_each_other():
    clean, noise = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 4, 5, 6)
    sigma = torch.rand(2, 4)
    x, velocity = add_noise(clean, noise, sigma), velocity_target(clean, noise)
    torch.testing.assert_close(clean_from_velocity(x, velocity, sigma), clean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(noise_from_velocity(x, velocity, sigma), noise, rtol=1e-5, atol=1e-5)


def test_the_path_starts_at_the_data_and_ends_in_noise():
    clean, noise = torch.randn(1, 2, 3, 4, 4), torch.randn(1, 2, 3, 4, 4)
    assert torch.equal(add_noise(clean, noise, torch.zeros(1, 1)), clean)
    assert torch.equal(add_noise(clean, noise, torch.ones(1, 1)), noise)


def test_shifting_keeps_the_ends_and_moves_the_middle_up():
    sigma = torch.tensor([0.0, 0.5, 1.0])
    assert shift_sigma(sigma, 3.0).tolist() == [0.0, 0.75, 1.0]
    assert torch.equal(shift_sigma(sigma, 1.0), sigma)


def test_logit_normal_levels_are_centred_and_inside_the_interval():
    sigma = logit_normal_sigma((20_000,), torch.Generator().manual_seed(1))
    assert sigma.min() > 0
    assert sigma.max() < 1
    assert abs(sigma.mean().item() - 0.5) < 0.01
