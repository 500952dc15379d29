"""How close an edit comes to the programmatic target of its family, on one clip; owns no averages."""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from vivace.catalog.editor import Editor
from vivace.core.shapes import Video
from vivace.data.edit_pairs import EditFamily, FamilyPair
from vivace.evaluation.footage import as_video, reconstruct
from vivace.evaluation.motion import (
    PARTICLE_WINDOW,
    Flow,
    Visible,
    fall_speed,
    optical_flow,
    particle_share,
    scene_without_particles,
    still_flicker,
    warp_error,
)
from vivace.evaluation.picture_scores import perceptual_distance
from vivace.models.perceptual import Lpips
from vivace.pipelines.stream import CommitMode

Frames = UInt8[Tensor, "r h w c"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EditSettings:
    """How the editor runs while it is measured; None is the model's own choice."""

    seed: int = 0
    num_denoising_steps: int | None = None
    commit: CommitMode | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FidelityRow:
    """One family on one clip. T is the programmatic target, without particles, through the VAE.

    Where a family has particles, LPIPS compares what `scene_without_particles` leaves, on all sides.

    Attributes:
        lpips_edit: LPIPS of the edit to T.
        lpips_source: LPIPS of the source, through the VAE, to T: what doing nothing would cost.
        lpips_floor: LPIPS of the target with its particles to T, what a perfect edit would have; None for
            families without.
        warp_edit: Warp error of the edit in 255ths; None without optical flow, and where particles fall.
        warp_target: Warp error of T.
        particles_edit: `particle_share` of the edit less that of T; None for families without particles.
        particles_target: The same of the target with its particles.
        fall_edit: `fall_speed` of the edit in pixels a raw frame; None for families without particles.
        fall_target: The same of the target with its particles.
    """

    clip: str
    family: str
    instruction: str
    num_frames: int
    lpips_edit: float
    lpips_source: float
    lpips_floor: float | None
    warp_edit: float | None
    warp_target: float | None
    particles_edit: float | None
    particles_target: float | None
    fall_edit: float | None = None
    fall_target: float | None = None

    @property
    def ratio(self) -> float | None:
        """LPIPS to T of the edit as a share of that of doing nothing; None where T is the source."""
        return None if self.lpips_source < 1e-6 else self.lpips_edit / self.lpips_source

    @property
    def floor_ratio(self) -> float | None:
        """What `ratio` would be for the target with its particles; None for families without."""
        return None if self.lpips_floor is None else self.lpips_floor / max(self.lpips_source, 1e-6)

    @property
    def warp_ratio(self) -> float | None:
        """Warp error of the edit over that of T."""
        return None if self.warp_edit is None or not self.warp_target else self.warp_edit / self.warp_target


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """What every family on this clip is measured with."""

    name: str
    frames: Frames
    source: Video
    decoded: Video
    flow: tuple[Flow, Visible] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StillRow:
    """Flicker of an edited scene that does not move, in 255ths; family None is the VAE alone."""

    clip: str
    family: str | None
    num_frames: int
    flicker_mean: float
    flicker_max: float


def prepare_clip(editor: Editor, name: str, frames: Frames, *, use_flow: bool) -> PreparedClip:
    """Decode the source through the VAE and find its motion once."""
    source = as_video(frames)
    decoded = reconstruct(editor.pipeline.vae, source)
    return PreparedClip(name, frames, source, decoded, optical_flow(frames) if use_flow else None)


def edited(editor: Editor, frames: Frames, instruction: str, settings: EditSettings) -> Frames:
    """The frames as the editor gives them, streamed, at their own size."""
    size = frames.shape[2], frames.shape[1]
    with editor.open(
        instruction,
        size=size,
        seed=settings.seed,
        num_denoising_steps=settings.num_denoising_steps,
        commit=settings.commit,
    ) as live:
        parts = [torch.as_tensor(live.push(frames)), torch.as_tensor(live.finish())]
    return torch.cat(parts)


def measure_fidelity(
    editor: Editor,
    lpips: Lpips,
    clip: PreparedClip,
    family: EditFamily | FamilyPair,
    instruction: str,
    settings: EditSettings,
) -> tuple[FidelityRow, Frames]:
    """The scores of one family on one clip, and the edited frames."""
    vae = editor.pipeline.vae
    target = reconstruct(vae, family.edit.base(clip.source))
    frames = edited(editor, clip.frames, instruction, settings)
    result = as_video(frames)
    warps: tuple[float | None, float | None] = (None, None)
    if clip.flow is not None and family.edit.particles is None:
        warps = warp_error(result, *clip.flow), warp_error(target, *clip.flow)
    compared = (result, clip.decoded, target)
    floor: float | None = None
    particles: tuple[float | None, float | None] = (None, None)
    falls: tuple[float | None, float | None] = (None, None)
    if family.edit.particles is not None and clip.source.shape[2] >= PARTICLE_WINDOW:
        full = reconstruct(vae, family.edit(clip.source, settings.seed))
        # T has the light of the edit, so that its moving things count as much
        without = particle_share(target)
        particles = particle_share(result) - without, particle_share(full) - without
        falls = fall_speed(result, target), fall_speed(full, target)
        compared = tuple(scene_without_particles(video) for video in compared)
        floor = float(perceptual_distance(lpips, scene_without_particles(full), compared[2]).mean())
    edit_scene, source_scene, target_scene = compared
    row = FidelityRow(
        clip=clip.name,
        family=family.name,
        instruction=instruction,
        num_frames=clip.source.shape[2],
        lpips_edit=float(perceptual_distance(lpips, edit_scene, target_scene).mean()),
        lpips_source=float(perceptual_distance(lpips, source_scene, target_scene).mean()),
        lpips_floor=floor,
        warp_edit=warps[0],
        warp_target=warps[1],
        particles_edit=particles[0],
        particles_target=particles[1],
        fall_edit=falls[0],
        fall_target=falls[1],
    )
    return row, frames


def measure_still(
    editor: Editor,
    clip: PreparedClip,
    family: EditFamily | FamilyPair | None,
    instruction: str,
    settings: EditSettings,
    num_frames: int,
) -> StillRow:
    """Flicker over the second half of a stream that shows the first raw frame of a clip again and again."""
    frames = clip.frames[:1].expand(num_frames, -1, -1, -1).contiguous()
    if family is None:
        result = reconstruct(editor.pipeline.vae, as_video(frames))
    else:
        result = as_video(edited(editor, frames, instruction, settings))
    mean, largest = still_flicker(result[:, :, num_frames // 2 :])
    return StillRow(
        clip=clip.name,
        family=None if family is None else family.name,
        num_frames=num_frames - num_frames // 2,
        flicker_mean=mean,
        flicker_max=largest,
    )
