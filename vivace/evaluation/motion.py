"""Steadiness over time: optical flow, warp error, flicker, falling particles; compares no pictures."""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from vivace.core.shapes import Video
from vivace.evaluation.opencv import require_opencv

Flow = Float[Tensor, "r 2 h w"]
Visible = Bool[Tensor, "r h w"]

# A particle is brighter than the pixel's own median in time by at least this, in [0, 1].
PARTICLE_CONTRAST = 0.06
PARTICLE_WINDOW = 5
SCENE_SIDE_PX = 48
# Below this mean product of brightness there are no particles to follow.
MIN_AGREEMENT = 2e-6


def optical_flow(frames: UInt8[Tensor, "r h w c"]) -> tuple[Flow, Visible]:
    """Where each pixel of every raw frame but the first was one frame before, and where that can be trusted.

    A flow (dx, dy) in pixels leads from frame r + 1 back to frame r. A pixel is visible in both where the two
    directions of the flow undo each other.

    Raises:
        InputError: If OpenCV is not installed.

    Source: Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016; the consistency test of
    Sundaram et al., Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow, 2010.
    """
    require_opencv("optical flow")
    import cv2  # pyright: ignore[reportMissingImports]

    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(np.ascontiguousarray(x), cv2.COLOR_RGB2GRAY) for x in frames.cpu().numpy()]
    steps = list(pairwise(grey))
    back = torch.from_numpy(np.stack([search.calc(after, before, None) for before, after in steps]))
    ahead = torch.from_numpy(np.stack([search.calc(before, after, None) for before, after in steps]))
    back, ahead = back.permute(0, 3, 1, 2).contiguous(), ahead.permute(0, 3, 1, 2).contiguous()
    returned, is_inside = warp(ahead, back)
    length = back.square().sum(1) + returned.square().sum(1)
    is_consistent = (back + returned).square().sum(1) < 0.01 * length + 0.5
    return back, is_consistent & is_inside


def warp(x: Float[Tensor, "r c h w"], flow: Flow) -> tuple[Float[Tensor, "r c h w"], Visible]:
    """`x` looked up at every pixel's own place plus its flow, bilinearly; and which places lie inside."""
    _, _, height, width = x.shape
    rows = torch.arange(height, device=x.device).view(1, -1, 1) + flow[:, 1]
    columns = torch.arange(width, device=x.device).view(1, 1, -1) + flow[:, 0]
    is_inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
    grid = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], dim=-1)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=True), is_inside


def warp_error(video: Video, flow: Flow, is_visible: Visible) -> float:
    """Mean change in 255ths along the flow of what stays visible from one raw frame to the next, else 0.

    The flow is that of the source, so a number tells only beside that of another video with the same motion.

    Source: Lai et al., Learning Blind Video Temporal Consistency, 2018, section 4.
    """
    frames = video[0].transpose(0, 1)
    before, _ = warp(frames[:-1], flow)
    change = (frames[1:] - before).abs().mean(dim=1)
    return float((change * is_visible).sum() / is_visible.sum().clamp_min(1) * 255)


def still_flicker(video: Video) -> tuple[float, float]:
    """Mean and largest change from one raw frame to the next, in 255ths, where the scene does not move."""
    change = (video[:, :, 1:] - video[:, :, :-1]).abs() * 255
    return float(change.mean()), float(change.max())


def without_particles(video: Video) -> Video:
    """Every pixel's median over five raw frames: what passes quickly, like flakes and streaks, is gone.

    Four raw frames shorter. Moving things blur a little, so compare only with a video treated alike.
    """
    return video.unfold(2, PARTICLE_WINDOW, 1).median(dim=-1).values


def scene_without_particles(video: Video) -> Video:
    """The scene behind falling particles, coarse: without what passes quickly, averaged over squares.

    The smaller side becomes about 48 px. At full size a median over time leaves specks enough for LPIPS to
    put a target with particles further from the one without than the untouched source; coarse, it is
    close.
    """
    factor = max(1, min(video.shape[-2:]) // SCENE_SIDE_PX)
    return F.avg_pool3d(without_particles(video), (1, factor, factor))


def fall_speed(video: Video, scene: Video) -> float | None:
    """How far what passes quickly moves down in one raw frame, in pixels; None where nothing passes.

    At least six raw frames are needed to see it move; None for shorter videos.

    What is brighter than its own median in time is correlated with itself one raw frame later, and the same
    correlation of `scene`, the video without particles, is taken off, because moving things and cameras
    correlate too. The answer is the mean of the steps down that correlate at least half as well as the best;
    where particles fall at several speeds, that is the speed of most of them.
    """
    if video.shape[2] <= PARTICLE_WINDOW:
        return None
    agreement = _agreement(video) - _agreement(scene)
    height, width = agreement.shape
    most, aside = max(2, height // 3), max(1, width // 16)
    down = agreement.roll(most, 0)[: 2 * most + 1].roll(aside, 1)[:, : 2 * aside + 1].amax(dim=1)
    best = float(down.max())
    if best < MIN_AGREEMENT:
        return None
    weight = (down - best / 2).clamp_min(0)
    steps = torch.arange(-most, most + 1, dtype=weight.dtype, device=weight.device)
    return float((steps * weight).sum() / weight.sum())


def _agreement(video: Video) -> Float[Tensor, "h w"]:
    """Mean product of the particle plane with that of the next raw frame moved by each (down, right)."""
    middle = video[:, :, PARTICLE_WINDOW // 2 : video.shape[2] - PARTICLE_WINDOW // 2]
    bright = (middle.mean(dim=1) - without_particles(video).mean(dim=1) - PARTICLE_CONTRAST).clamp_min(0)[0]
    height, width = bright.shape[-2:]
    # Twice the size, so that nothing wraps around.
    waves = torch.fft.rfft2(bright, s=(2 * height, 2 * width))
    product = torch.fft.irfft2(waves[:-1].conj() * waves[1:], s=(2 * height, 2 * width))
    return product.mean(dim=0) / (height * width)


def particle_share(video: Video) -> float:
    """Share of pixels that are brighter than their own median over five raw frames.

    That is what passing flakes and streaks do; so do moving things and cameras, therefore subtract the share
    of the same video without particles.
    """
    middle = video[:, :, PARTICLE_WINDOW // 2 : video.shape[2] - PARTICLE_WINDOW // 2]
    brighter = middle.mean(dim=1) - without_particles(video).mean(dim=1)
    return float((brighter > PARTICLE_CONTRAST).float().mean())
