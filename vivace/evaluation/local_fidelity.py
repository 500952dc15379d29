"""How close a local or reverse edit comes to its target inside the edited region, and what it does outside.

Owns the region's distance and one row a clip; owns no averages.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from vivace.catalog.editor import Editor
from vivace.core.errors import InputError
from vivace.core.shapes import Video
from vivace.data.local_families import LocalFamily
from vivace.data.training_pairs import ReverseFamily, make_training_pair, training_family_named
from vivace.evaluation.fidelity import EditSettings, Frames, PreparedClip, edited
from vivace.evaluation.footage import as_video, reconstruct
from vivace.evaluation.inpainting import inpainted
from vivace.evaluation.opencv import has_opencv
from vivace.evaluation.picture_scores import LPIPS_BATCH, perceptual_distance, pictures
from vivace.models.perceptual import Lpips, region_mean

# The VAE spreads an edge by about this much in pictures 192 px high; the region is grown by it.
MARGIN_PX, MARGIN_SIDE_PX = 4, 192

Region = Bool[Tensor, "b 1 r h w"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalRow:
    """One local or reverse family on one clip. T is the programmatic target through the VAE.

    Attributes:
        seed: What drew the scene.
        share: Of the picture that is meant to change, in [0, 1]; 1 for reverse edits.
        inside_edit: LPIPS of the edit to T in the region.
        inside_source: LPIPS of the source, through the VAE, to T in the region: what doing nothing costs.
        outside_edit: LPIPS of the edit to the source through the VAE outside of the region; None for edits
            of the whole picture.
        outside_vae: LPIPS of the source through the VAE to the source there: what the VAE alone costs.
        inside_inpainted: LPIPS to T in the region of an inpainter that is told it (`inpainting.py`), through
            the VAE; None where nothing is removed or OpenCV is not installed.
    """

    clip: str
    family: str
    instruction: str
    seed: int
    num_frames: int
    share: float
    inside_edit: float
    inside_source: float
    outside_edit: float | None
    outside_vae: float | None
    inside_inpainted: float | None = None

    @property
    def ratio(self) -> float | None:
        """LPIPS to T of the edit as a share of that of doing nothing; None where T is the source."""
        return None if self.inside_source < 1e-6 else self.inside_edit / self.inside_source

    @property
    def inpainted_ratio(self) -> float | None:
        """The same ratio of the inpainter that is told the region; None where there is none."""
        if self.inside_inpainted is None or self.inside_source < 1e-6:
            return None
        return self.inside_inpainted / self.inside_source

    @property
    def outside_excess(self) -> float | None:
        """By how much the edit changes what it should leave alone, beyond what the VAE changes."""
        if self.outside_edit is None or self.outside_vae is None:
            return None
        return self.outside_edit - self.outside_vae


def local_or_reverse_named(name: str) -> LocalFamily | ReverseFamily:
    """The local or reverse family of this name.

    Raises:
        InputError: If there is none, or it edits the whole picture.
    """
    family = training_family_named(name)
    if not isinstance(family, LocalFamily | ReverseFamily):
        raise InputError(f"got {name!r}, which edits the whole picture; expected a local or reverse family")
    return family


def grown(region: Region) -> Region:
    """The region and what lies at most 4 px (of 192) from it, where the VAE mixes both sides."""
    margin = max(1, round(MARGIN_PX * min(region.shape[-2:]) / MARGIN_SIDE_PX))
    flat = pictures(region.float())
    wide = F.max_pool2d(flat, 2 * margin + 1, stride=1, padding=margin)
    return wide.view(region.shape[0], region.shape[2], 1, *region.shape[-2:]).transpose(1, 2) > 0.5


@torch.no_grad()
def region_distance(lpips: Lpips, a: Video, b: Video, region: Region) -> float:
    """LPIPS of two videos in [0, 1] where the region is True, mean over the raw frames that have any.

    Outside the region both videos show `b`, so that nothing there counts although features see around
    themselves; in each layer the distance is averaged with the share of the region in each place as weight.

    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018,
    equation 1, whose mean over places is restricted (`region_mean`).
    """
    pasted = torch.where(region, a, b)
    shares = pictures(region.float())
    totals: list[Float[Tensor, "n"]] = []
    parts = zip(*(pictures(video).split(LPIPS_BATCH) for video in (pasted, b, region.float())), strict=True)
    for x, y, weight in parts:
        totals.append(region_mean(lpips.maps(x * 2 - 1, y * 2 - 1), weight))
    present = shares.amax((1, 2, 3)) > 0
    if not present.any():
        raise InputError("got a region without a pixel, expected at least one to measure a distance in")
    return float(torch.cat(totals)[present].mean())


def measure_local(
    editor: Editor,
    lpips: Lpips,
    clip: PreparedClip,
    family: LocalFamily | ReverseFamily,
    instruction: str,
    settings: EditSettings,
) -> tuple[LocalRow, UInt8[np.ndarray, "h w c"]]:
    """The scores of one family on one clip, and source, edit and target of the last raw frame, stacked."""
    vae = editor.pipeline.vae
    pair = make_training_pair(clip.source, family, settings.seed)
    frames = _frames(pair.source)
    source = as_video(frames)
    result = edited(editor, frames, instruction, settings)
    edit, target, decoded = as_video(result), reconstruct(vae, pair.target), reconstruct(vae, source)
    outside: tuple[float | None, float | None] = (None, None)
    told: float | None = None
    if pair.mask is None:
        inside = (
            float(perceptual_distance(lpips, edit, target).mean()),
            float(perceptual_distance(lpips, decoded, target).mean()),
        )
    else:
        region = grown(pair.mask)
        rest = ~region
        inside = region_distance(lpips, edit, target, region), region_distance(lpips, decoded, target, region)
        if rest.any():
            outside = (
                region_distance(lpips, edit, decoded, rest),
                region_distance(lpips, decoded, source, rest),
            )
        if isinstance(family, LocalFamily) and family.kind == "remove" and has_opencv():
            filled = reconstruct(vae, as_video(inpainted(frames, pair.mask[0, 0])))
            told = region_distance(lpips, filled, target, region)
    row = LocalRow(
        clip=clip.name,
        family=family.name,
        instruction=instruction,
        seed=settings.seed,
        num_frames=frames.shape[0],
        share=1.0 if pair.mask is None else float(pair.mask.float().mean()),
        inside_edit=inside[0],
        inside_source=inside[1],
        outside_edit=outside[0],
        outside_vae=outside[1],
        inside_inpainted=told,
    )
    stacked = torch.cat([frames[-1], result[-1], _frames(pair.target)[-1]])
    return row, stacked.numpy()


def _frames(video: Video) -> Frames:
    return (video[0].permute(1, 2, 3, 0) * 255).round().byte().contiguous()
