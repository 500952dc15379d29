"""Noise of a stream as a function of its seed and the absolute latent frame, never of generator order."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.core.errors import ConfigError
from vivace.core.falling_noise import FallingNoise
from vivace.core.seeds import mix_seed


def stream_noise(
    seed: int,
    start: int,
    num_frames: int,
    channels: int,
    size: tuple[int, int],
    falling: Sequence[FallingNoise] = (),
    *,
    is_still: bool = False,
) -> Float[Tensor, "1 c t h w"]:
    """Standard normal noise of latent frames `start` onwards, fp32 on the CPU.

    How frames are grouped into chunks, batched or repeated does not change a value. The first channels are
    those of `falling`, group after group; the others are independent from frame to frame, or, if `is_still`,
    the same in all.

    Raises:
        ConfigError: If the falling groups have more channels than there are.
    """
    num_falling = sum(group.num_channels for group in falling)
    if num_falling > channels:
        raise ConfigError(
            f"got {num_falling} falling noise channels, expected at most the {channels} there are"
        )
    frames = []
    for frame in range(start, start + num_frames):
        generator = torch.Generator().manual_seed(mix_seed(seed, 0 if is_still else frame))
        frames.append(torch.randn(channels, *size, generator=generator))
    noise = torch.stack(frames, dim=1)
    if falling:
        noise[:num_falling] = falling_noise(seed, start, num_frames, size, falling)
    return noise[None]


def falling_noise(
    seed: int, start: int, num_frames: int, size: tuple[int, int], falling: Sequence[FallingNoise]
) -> Float[Tensor, "c t h w"]:
    """The channels of all falling groups alone."""
    return torch.cat([group.frames(seed, start, num_frames, size) for group in falling])
