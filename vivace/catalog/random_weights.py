"""Networks with random weights, made on the device itself: enough to measure speed and memory."""

from typing import TypeVar

import torch
from torch import nn

from vivace.models.ltx2_vae import Ltx2Vae, Ltx2VaeSpec
from vivace.models.streaming_dit import DitSpec, StreamingDit

# a little below what keeps the scale, so that deep stacks stay finite in bf16
GAIN = 0.7
Network = TypeVar("Network", bound=nn.Module)


def random_dit(spec: DitSpec, device: torch.device, dtype: torch.dtype, seed: int = 0) -> StreamingDit:
    """A transformer in evaluation mode in which every layer does something."""
    with torch.device("meta"):
        dit = StreamingDit(spec)
    return _filled(dit, device, dtype, seed)


def random_ltx2_vae(spec: Ltx2VaeSpec, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Ltx2Vae:
    """A video VAE in evaluation mode with latents of unit statistics."""
    with torch.device("meta"):
        vae = Ltx2Vae(spec)
    _filled(vae, device, dtype, seed)
    vae.latent_mean.zero_()
    vae.latent_std.fill_(1)
    return vae


@torch.no_grad()
def _filled(module: Network, device: torch.device, dtype: torch.dtype, seed: int) -> Network:
    module.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            # our temporal taps are stored as tap, in, out
            is_temporal = name.endswith("temporal")
            fan_in = parameter.shape[0] * parameter.shape[1] if is_temporal else parameter[0].numel()
            parameter.normal_(std=GAIN * fan_in**-0.5, generator=generator)
        elif name.endswith("weight"):
            parameter.fill_(1)
        else:
            parameter.zero_()
    return module.eval().requires_grad_(False)
