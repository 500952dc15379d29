"""The straight path between data and noise, and conversions along it.

x = (1 - sigma) x0 + sigma noise; velocity = dx/dsigma = noise - x0;
Euler: x += (sigma_next - sigma) velocity.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Latent = Float[Tensor, "b c t h w"]
Sigma = Float[Tensor, "b t_or_1"]


def _per_frame(sigma: Sigma) -> Float[Tensor, "b 1 t_or_1 1 1"]:
    return sigma[:, None, :, None, None]


def add_noise(clean: Latent, noise: Latent, sigma: Sigma) -> Latent:
    """The point of the path at noise level `sigma` in [0, 1].

    Source: Liu et al. 2022 (rectified flow); Lipman et al. 2022.
    """
    level = _per_frame(sigma).to(clean.dtype)
    return (1 - level) * clean + level * noise


def velocity_target(clean: Latent, noise: Latent) -> Latent:
    """What the model learns to predict."""
    return noise - clean


def clean_from_velocity(noisy: Latent, velocity: Latent, sigma: Sigma) -> Latent:
    """The data end of the path through `noisy` with slope `velocity`."""
    return noisy - _per_frame(sigma).to(noisy.dtype) * velocity


def noise_from_velocity(noisy: Latent, velocity: Latent, sigma: Sigma) -> Latent:
    """The noise end of the path through `noisy` with slope `velocity`."""
    return noisy + (1 - _per_frame(sigma).to(noisy.dtype)) * velocity


def shift_sigma(sigma: Float[Tensor, "..."], shift: float) -> Float[Tensor, "..."]:
    """Move noise levels towards 1 by the factor `shift` >= 1 (1 changes nothing).

    Source: Esser et al. 2024, section 5.3.2.
    """
    return shift * sigma / (1 + (shift - 1) * sigma)


def logit_normal_sigma(
    shape: tuple[int, ...], generator: torch.Generator, *, mean: float = 0.0, std: float = 1.0
) -> Float[Tensor, "..."]:
    """Noise levels whose logit is normal, on the generator's device.

    Source: Esser et al. 2024, section 3.1.
    """
    normal = torch.randn(shape, generator=generator, device=generator.device)
    return torch.sigmoid(mean + std * normal)
