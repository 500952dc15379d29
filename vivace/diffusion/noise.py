"""Noise of a stream as a function of its seed and the absolute latent frame, never of generator order."""

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.core.seeds import mix_seed


def stream_noise(
    seed: int, start: int, num_frames: int, channels: int, size: tuple[int, int]
) -> Float[Tensor, "1 c t h w"]:
    """Standard normal noise of latent frames `start` onwards, fp32 on the CPU.

    How frames are grouped into chunks, batched or repeated does not change a value.
    """
    frames = []
    for frame in range(start, start + num_frames):
        generator = torch.Generator().manual_seed(mix_seed(seed, frame))
        frames.append(torch.randn(channels, *size, generator=generator))
    return torch.stack(frames, dim=1)[None]
