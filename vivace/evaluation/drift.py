"""Whether a long stream changes its looks: the same source frames early and late in one stream."""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from vivace.catalog.editor import Editor
from vivace.core.errors import InputError
from vivace.core.shapes import Video
from vivace.data.edit_pairs import EditFamily, FamilyPair
from vivace.evaluation.fidelity import EditSettings
from vivace.evaluation.footage import as_video, ping_pong, reconstruct
from vivace.evaluation.picture_scores import perceptual_distance
from vivace.models.perceptual import Lpips

PUSH_FRAMES = 40
LPIPS_STRIDE = 5
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True, slots=True)
class LookStatistics:
    """Means over raw frames in [0, 1]: brightness, contrast, colourfulness, fine detail, and LPIPS to T."""

    luma: float
    contrast: float
    saturation: float
    detail: float
    lpips_edit: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftRow:
    """The same stretch of a clip early and late in one endless stream."""

    clip: str
    family: str
    early_frame: int
    late_frame: int
    num_frames: int
    early: LookStatistics
    late: LookStatistics


def look_statistics(video: Video, target: Video, lpips: Lpips) -> LookStatistics:
    """Statistics of an edited video and, on every fifth raw frame, its LPIPS to the target."""
    weights = torch.tensor(LUMA, device=video.device).view(1, 3, 1, 1, 1)
    luma = (video * weights).sum(1)
    corner = luma[..., 1:, 1:]
    detail = (corner - luma[..., :-1, 1:]).abs() + (corner - luma[..., 1:, :-1]).abs()
    seen = slice(None, None, LPIPS_STRIDE)
    return LookStatistics(
        luma=float(luma.mean()),
        contrast=float(luma.std(dim=(-2, -1)).mean()),
        saturation=float((video.amax(1) - video.amin(1)).mean()),
        detail=float(detail.mean()),
        lpips_edit=float(perceptual_distance(lpips, video[:, :, seen], target[:, :, seen]).mean()),
    )


def measure_drift(
    editor: Editor,
    lpips: Lpips,
    clip_name: str,
    frames: UInt8[Tensor, "r h w c"],
    family: EditFamily | FamilyPair,
    instruction: str,
    settings: EditSettings,
    *,
    num_frames: int,
    early_frame: int = 100,
) -> DriftRow:
    """Play a clip forwards and backwards for `num_frames` raw frames and compare two of its rounds.

    The early round starts with the first one at or after `early_frame`, the late one is the last whole round;
    both show the same source frames in the same order. T is the target of one round through the VAE, without
    particles.

    Raises:
        InputError: If the clip has one frame, or the stream is too short for two different rounds.
    """
    period = 2 * (frames.shape[0] - 1)
    if not period:
        raise InputError(f"got a clip of one frame ({clip_name}), expected at least two to measure drift")
    early = -(-early_frame // period) * period
    late = num_frames // period * period - period
    if late <= early:
        raise InputError(
            f"got {num_frames} raw frames for rounds of {period}, expected at least {early + 2 * period}"
        )
    size = frames.shape[2], frames.shape[1]
    steps, commit = settings.num_denoising_steps, settings.commit
    kept: dict[int, Tensor] = {}
    done = 0
    with editor.open(
        instruction, size=size, seed=settings.seed, num_denoising_steps=steps, commit=commit
    ) as live:
        for start in range(0, late + period, PUSH_FRAMES):
            indices = range(start, min(start + PUSH_FRAMES, late + period))
            push = frames[[ping_pong(index, frames.shape[0]) for index in indices]]
            results = [torch.as_tensor(live.push(push))]
            if indices.stop == late + period:
                results.append(torch.as_tensor(live.finish()))
            for picture in torch.cat(results):
                if early <= done < early + period or done >= late:
                    kept[done] = picture
                done += 1
    source = as_video(frames[[ping_pong(index, frames.shape[0]) for index in range(period)]])
    target = reconstruct(editor.pipeline.vae, family.edit.base(_in_groups(source)))[:, :, :period]
    looks = [
        look_statistics(as_video(torch.stack([kept[first + i] for i in range(period)])), target, lpips)
        for first in (early, late)
    ]
    return DriftRow(
        clip=clip_name,
        family=family.name,
        early_frame=early,
        late_frame=late,
        num_frames=period,
        early=looks[0],
        late=looks[1],
    )


def _in_groups(video: Video) -> Video:
    """The video with its last frame repeated until the VAE can take it as one clip."""
    missing = -(video.shape[2] - 1) % 4
    return torch.cat([video, *([video[:, :, -1:]] * missing)], dim=2)
