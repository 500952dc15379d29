"""Compare the stages of the bundled editor: the many-step teacher, its short cuts, and the few-step student.

python -m vivace.recipes.tiny_edit_table --teacher TEACHER/weights --causal CAUSAL/weights \
    --student STUDENT/weights --clips EVALUATION --vae VAE --lpips LPIPS --out table.json

Every sampler edits the same held-out clips from the same noise and instruction; T is the programmatic target
through the VAE, and a ratio is LPIPS(edit, T) / LPIPS(source through the VAE, T).
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import tyro
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vivace.catalog.load import choose_device
from vivace.catalog.sampling import editing_sigmas
from vivace.core.errors import InputError
from vivace.core.exit_code import exit_code_of
from vivace.core.falling_noise import WEATHER
from vivace.data.clips import ClipStore
from vivace.data.edit_pairs import FAMILIES, IDENTITY, EditFamily
from vivace.data.instructions import phrasings
from vivace.diffusion.noise import stream_noise
from vivace.diffusion.sampler import shifted_sigmas
from vivace.evaluation.picture_scores import perceptual_distance
from vivace.models.perceptual import Lpips
from vivace.models.video_vae import VideoVae
from vivace.recipes.clip_sampling import stream_clip, whole_clip
from vivace.recipes.instructed_editor import InstructedEditor
from vivace.recipes.tiny_vae import fitted

Latent = Float[Tensor, "b c t h w"]
Sampler = Callable[[Latent, Latent, list[list[int]]], Latent]
TEACHER_SHIFT = 3.0
NUM_RAW_FRAMES = 49
SEED = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class StageScore:
    """One sampler on one family, averaged over clips.

    Attributes:
        ratio: LPIPS(edit, T) / LPIPS(source through the VAE, T); means are taken before dividing.
        latent_error: Mean square of the latent's difference from the target's.
        motion: Frame-to-frame change of the edit over that of T.
    """

    sampler: str
    family: str
    lpips_edit: float
    lpips_source: float
    latent_error: float
    motion: float

    @property
    def ratio(self) -> float:
        """How much of the way to T is left."""
        return self.lpips_edit / self.lpips_source


def samplers(
    teacher: InstructedEditor | None, causal: InstructedEditor | None, student: InstructedEditor | None
) -> dict[str, Sampler]:
    """Every row of the table by name."""

    def whole(editor: InstructedEditor, sigmas: Sequence[float]) -> Sampler:
        return lambda noise, source, ids: whole_clip(editor, noise, source, ids, sigmas)

    def stream(editor: InstructedEditor, sigmas: Sequence[float]) -> Sampler:
        return lambda noise, source, ids: stream_clip(editor, noise, source, ids, sigmas, "clean_pass")

    rows: dict[str, Sampler] = {}
    if teacher is not None:
        rows["teacher, 50 steps"] = whole(teacher, shifted_sigmas(50, TEACHER_SHIFT))
        rows["teacher, plain Euler, 4 steps"] = whole(teacher, shifted_sigmas(4, 1.0))
        rows["teacher, plain Euler, 2 steps"] = whole(teacher, shifted_sigmas(2, 1.0))
    if causal is not None:
        rows["causal, 50 steps"] = stream(causal, shifted_sigmas(50, TEACHER_SHIFT))
        rows["causal, 4 steps"] = stream(causal, editing_sigmas(4))
    if student is not None:
        for steps in (4, 2, 1):
            rows[f"student, {steps} steps"] = stream(student, editing_sigmas(steps))
    return rows


class Comparison:
    """Held-out clips, encoded once, and the scores of a sampler on them."""

    def __init__(self, clips: ClipStore, vae: VideoVae, lpips: Lpips, num_clips: int) -> None:
        long = [e for e in clips.entries if e.num_frames >= NUM_RAW_FRAMES]
        if not long or num_clips < 1:
            raise InputError(
                f"got {len(long)} clips of {NUM_RAW_FRAMES} raw frames and num_clips {num_clips}, "
                "expected at least one of each"
            )
        step = max(1, len(long) // num_clips)
        self.video = torch.cat(
            [fitted(clips.frames(e)[:NUM_RAW_FRAMES], 192, 320) for e in long[::step][:num_clips]]
        )
        self.vae = vae
        self.lpips = lpips
        self.source = self._encode(self.video)

    def score(self, name: str, sampler: Sampler, editor: InstructedEditor, family: EditFamily) -> StageScore:
        """One row."""
        instruction = phrasings(family, "train")[0]
        target_video = torch.cat([family.edit(clip[None], SEED) for clip in self.video])
        target = self._encode(target_video)
        frames, size = target.shape[2], (target.shape[3], target.shape[4])
        # streams are served with still noise (decision 0012); a teacher sees its clip as one chunk
        is_still = not name.startswith("teacher")
        noise = stream_noise(SEED, 0, frames, target.shape[1], size, WEATHER, is_still=is_still).to(target)
        ids = [editor.prompts.tokenize(instruction)] * len(target)
        with torch.autocast(target.device.type, dtype=torch.bfloat16):
            made = sampler(noise.expand_as(target).contiguous(), self.source, ids)
        wanted, edited, source = (self._decode(x) for x in (target, made, self.source))
        changes = [(x[:, :, 1:] - x[:, :, :-1]).abs().mean() for x in (edited, wanted)]
        return StageScore(
            sampler=name,
            family=family.name,
            lpips_edit=float(perceptual_distance(self.lpips, edited, wanted).mean()),
            lpips_source=float(perceptual_distance(self.lpips, source, wanted).mean()),
            latent_error=float(F.mse_loss(made, target)),
            motion=float(changes[0] / changes[1]),
        )

    @torch.no_grad()
    def _encode(self, video: Tensor) -> Latent:
        dtype = next(self.vae.parameters()).dtype
        return torch.cat([self.vae.encode((clip[None] * 2 - 1).to(dtype), None)[0] for clip in video]).float()

    @torch.no_grad()
    def _decode(self, latent: Latent) -> Float[Tensor, "b 3 r h w"]:
        dtype = next(self.vae.parameters()).dtype
        videos = [self.vae.decode(one[None].to(dtype), None)[0] for one in latent]
        return (torch.cat(videos).float() + 1) / 2


def as_markdown(scores: Sequence[StageScore]) -> str:
    """Means over families, one line a sampler."""
    lines = [
        "| sampler | LPIPS ratio, mean | worst family | latent error | motion edit / T |",
        "|---|---:|---|---:|---:|",
    ]
    for name in dict.fromkeys(score.sampler for score in scores):
        own = [score for score in scores if score.sampler == name]
        worst = max(own, key=lambda score: score.ratio)
        means = [
            sum(values) / len(own) for values in zip(*((s.ratio, s.latent_error, s.motion) for s in own))
        ]
        lines.append(
            f"| {name} | {means[0]:.3f} | {worst.ratio:.3f} ({worst.family}) | {means[1]:.4f} "
            f"| {means[2]:.3f} |"
        )
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Compare stages on held-out clips; any stage may be left out."""

    clips: Path
    vae: Path
    lpips: Path
    out: Path
    teacher: Path | None = None
    causal: Path | None = None
    student: Path | None = None
    num_clips: int = 4
    device: str = "cuda"


def main(arguments: Arguments) -> None:
    """Write all scores as JSON, anew after each sampler, and print the table; a line a family on stderr."""
    folders = {"teacher": arguments.teacher, "causal": arguments.causal, "student": arguments.student}
    if not any(folders.values()):
        raise InputError("got no stage to compare, expected --teacher, --causal or --student")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    device = choose_device(arguments.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    vae = VideoVae.load(arguments.vae, dtype).to(device).requires_grad_(False)
    lpips = Lpips.load(arguments.lpips).to(device)
    comparison = Comparison(ClipStore.load(arguments.clips, device), vae, lpips, arguments.num_clips)
    editors = {
        name: None if folder is None else InstructedEditor.load(folder).to(device).eval()
        for name, folder in folders.items()
    }
    scores: list[StageScore] = []
    for name, sampler in samplers(**editors).items():
        editor = editors[name.split(",")[0]]
        assert editor is not None
        for family in FAMILIES:
            if family is not IDENTITY:
                scores.append(comparison.score(name, sampler, editor, family))
                print(f"{name}: {family.name}: ratio {scores[-1].ratio:.3f}", file=sys.stderr, flush=True)
        print(as_markdown(scores).splitlines()[-1], flush=True)
        rows = [{**asdict(score), "ratio": score.ratio} for score in scores]
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    print(as_markdown(scores))


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(tyro.cli(Arguments)), "tiny_edit_table"))
