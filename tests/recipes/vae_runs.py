"""What runs of VAE recipes are tested with: two small clips and an untrained perceptual distance."""

import numpy as np
import torch

from vivace.data.clips import ClipStore
from vivace.models.perceptual import Lpips


def small_store() -> ClipStore:
    """A clip of 9 raw frames and a still."""
    clip = np.random.default_rng(0).integers(0, 256, (9, 40, 48, 3), dtype=np.uint8)
    return ClipStore([("a", "clip", clip), ("b", "still", clip[:1])])


def small_lpips() -> Lpips:
    """Random weights."""
    torch.manual_seed(1)
    return Lpips()
