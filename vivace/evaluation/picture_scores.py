"""How alike two videos are, frame by frame: PSNR, SSIM and LPIPS; owns no motion and no model."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vivace.core.shapes import Video
from vivace.models.perceptual import Lpips

LPIPS_BATCH = 16
LARGEST_PSNR_DB = 100.0


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoScores:
    """Means over raw frames; `motion_error_levels` is the error of frame-to-frame changes in 255ths."""

    psnr_db: float
    ssim: float
    lpips: float
    motion_error_levels: float


def pictures(video: Video) -> Float[Tensor, "n c h w"]:
    """Time folded into the batch."""
    return rearrange(video, "b c r h w -> (b r) c h w")


def peak_signal_to_noise(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
    """PSNR in dB of pictures in [0, 1]; 100 dB for equal ones."""
    error = (a - b).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp_min(10 ** (-LARGEST_PSNR_DB / 10)))


def structural_similarity(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
    """SSIM of pictures in [0, 1] with the usual 11 px Gaussian window.

    Source: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004.
    """
    steps = torch.arange(11, device=a.device) - 5.0
    line = torch.exp(-steps.square() / (2 * 1.5**2))
    window = torch.outer(line, line)
    channels = a.shape[1]
    kernel = (window / window.sum()).expand(channels, 1, 11, 11)
    moments = [F.conv2d(x, kernel, groups=channels) for x in (a, b, a * a, b * b, a * b)]
    mean_a, mean_b, aa, bb, ab = moments
    var_a, var_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean(dim=(1, 2, 3))


@torch.no_grad()
def perceptual_distance(lpips: Lpips, a: Video, b: Video) -> Float[Tensor, "n"]:
    """LPIPS of every pair of raw frames, videos in [0, 1] and at least 32 px a side."""
    pairs = zip(pictures(a).split(LPIPS_BATCH), pictures(b).split(LPIPS_BATCH), strict=True)
    return torch.cat([lpips(x * 2 - 1, y * 2 - 1) for x, y in pairs])


@torch.no_grad()
def video_scores(video: Video, other: Video, lpips: Lpips) -> VideoScores:
    """All scores of two videos in [0, 1]."""
    a, b = pictures(video), pictures(other)
    error = other - video
    return VideoScores(
        psnr_db=float(peak_signal_to_noise(a, b).mean()),
        ssim=float(structural_similarity(a, b).mean()),
        lpips=float(perceptual_distance(lpips, video, other).mean()),
        motion_error_levels=float((error[:, :, 1:] - error[:, :, :-1]).abs().mean() * 255),
    )
