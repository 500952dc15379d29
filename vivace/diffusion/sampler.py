"""Explicit sigma lists and the Euler loop; few-step lists of the released models."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from vivace.core.errors import ConfigError

Latent = Float[Tensor, "b c t h w"]
Denoise = Callable[[Latent, float], Latent]

SANA_STREAMING_4_STEPS = (1.0, 0.961, 0.893, 0.743)  # official V2V timesteps 1000, 961, 893, 743
SANA_STREAMING_2_STEPS = (1.0, 0.743)  # official V2V timesteps 1000, 743


def shifted_sigmas(num_denoising_steps: int, shift: float) -> tuple[float, ...]:
    """Evenly spaced noise levels from 1 downwards, moved towards 1 by `shift`; the final 0 is not listed."""
    if num_denoising_steps < 1:
        raise ConfigError(f"got {num_denoising_steps} denoising steps, expected at least 1")
    even = [1 - i / num_denoising_steps for i in range(num_denoising_steps)]
    return tuple(shift * sigma / (1 + (shift - 1) * sigma) for sigma in even)


def check_sigmas(sigmas: Sequence[float]) -> tuple[float, ...]:
    """The list itself, if it falls strictly and stays in (0, 1].

    Raises:
        ConfigError: Otherwise.
    """
    levels = tuple(sigmas)
    falls = all(later < earlier for earlier, later in pairwise(levels))
    if not levels or not falls or levels[0] > 1 or levels[-1] <= 0:
        raise ConfigError(f"got noise levels {levels}, expected a strictly falling list within (0, 1]")
    return levels


def euler_step(noisy: Latent, velocity: Latent, sigma: float, sigma_next: float) -> Latent:
    """One Euler step from `sigma` to `sigma_next`."""
    return noisy + (sigma_next - sigma) * velocity


def sample(denoise: Denoise, noise: Latent, sigmas: Sequence[float]) -> Latent:
    """Follow the flow from noise to data; `denoise(x, sigma)` returns the velocity.

    Source: Euler integration of the flow-matching ODE, as in the official SANA-Streaming sampler.
    """
    levels = check_sigmas(sigmas)
    x = noise
    for sigma, sigma_next in zip(levels, (*levels[1:], 0.0)):
        x = euler_step(x, denoise(x, sigma), sigma, sigma_next)
    return x
