"""Does the noun decide which of two things an editor changes? Counts it on twins of held-out footage.

python -m vivace.recipes.tiny_edit_nouns --weights RUN/weights --clips EVALUATION --vae VAE

One latent frame a scene and each of its two edits, in the sampler's own steps. An edit counts as right if the
latent changes more where the named thing is than where the other one is; chance is a half.
"""

import random
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from jaxtyping import Bool, Float
from torch import Tensor

from vivace.catalog.load import choose_device
from vivace.core.errors import InputError
from vivace.core.exit_code import exit_code_of
from vivace.core.seeds import mix_seed
from vivace.data.clips import ClipStore
from vivace.data.local_families import LOCAL_FAMILIES, EditPair, LocalFamily, LocalKind, rivals_of, twin_pairs
from vivace.diffusion.sampler import SANA_STREAMING_4_STEPS
from vivace.models.video_vae import VideoVae
from vivace.recipes.clip_sampling import stream_clip
from vivace.recipes.instructed_editor import InstructedEditor, InstructionBank

HEIGHT_PX, WIDTH_PX = 192, 320


@dataclass(frozen=True, slots=True)
class NamedEdit:
    """A scene under one of its two nouns; the masks are latent places of one thing alone."""

    family: LocalFamily
    source: Float[Tensor, "1 c 1 h w"]
    named: Bool[Tensor, "1 1 1 h w"]
    other: Bool[Tensor, "1 1 1 h w"]


@torch.no_grad()
def named_edits(
    kind: LocalKind, num_scenes: int, clips: ClipStore, vae: VideoVae, seed: int
) -> list[NamedEdit]:
    """Both edits of each scene; scenes in which one thing hides the other are left out.

    Raises:
        InputError: If no scene is left.
    """
    families = [family for family in LOCAL_FAMILIES if family.kind == kind and rivals_of(family)]
    edits: list[NamedEdit] = []
    for scene in range(num_scenes):
        rng = random.Random(mix_seed(seed, scene))
        family = rng.choice(families)
        pair_of_families = family, rng.choice(rivals_of(family))
        footage = clips.sample(rng.getrandbits(30), 1, 1, HEIGHT_PX, WIDTH_PX)
        pairs = twin_pairs(pair_of_families, footage, rng.getrandbits(30))
        video = (pairs[0].source * 2 - 1).to(next(vae.parameters()).dtype)
        source = vae.encode(video, None)[0].float()
        a, b = (_places(pair, source) for pair in pairs)
        if (a & ~b).any() and (b & ~a).any():
            edits.append(NamedEdit(pair_of_families[0], source, a & ~b, b & ~a))
            edits.append(NamedEdit(pair_of_families[1], source, b & ~a, a & ~b))
    if not edits:
        raise InputError(f"got {num_scenes} scenes, none of which shows two things; ask for more")
    return edits


def _places(pair: EditPair, latent: Tensor) -> Bool[Tensor, "1 1 1 h w"]:
    assert pair.mask is not None
    size = latent.shape[-2], latent.shape[-1]
    return F.adaptive_max_pool2d(pair.mask[:, :, 0].float(), size)[:, :, None] > 0


@torch.no_grad()
def share_right(editor: InstructedEditor, edits: list[NamedEdit], bank: InstructionBank, seed: int) -> float:
    """Share of the edits, in [0, 1], that change the named thing more than the other."""
    rng = random.Random(seed)
    ids = [bank.draw(edit.family, rng) for edit in edits]
    source = torch.cat([edit.source for edit in edits])
    generator = torch.Generator(source.device).manual_seed(seed)
    noise = torch.randn(source.shape, generator=generator, device=source.device)
    made = stream_clip(editor, noise, source, ids, SANA_STREAMING_4_STEPS, "last_step")
    change = (made - source).square().mean(1, keepdim=True).split(1)
    right = [x[edit.named].mean() > x[edit.other].mean() for x, edit in zip(change, edits)]
    return sum(map(bool, right)) / len(edits)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Count how often the noun decides.

    Attributes:
        weights: Folder of a stage's weights.
        clips: Folder of clips that are never trained on.
        vae: Folder of the video VAE.
        scenes: Scenes of each kind, two edits each.
    """

    weights: Path
    clips: Path
    vae: Path
    scenes: int = 100
    seed: int = 0
    device: str = "auto"


def main(arguments: Arguments) -> None:
    """Print one line for removals and one for recolourings."""
    device = choose_device(arguments.device)
    vae = VideoVae.load(arguments.vae, torch.float32).to(device)
    editor = InstructedEditor.load(arguments.weights).to(device).eval()
    clips = ClipStore.load(arguments.clips, device)
    bank = InstructionBank.build(editor.prompts, 60, arguments.seed)
    kinds: tuple[LocalKind, ...] = ("remove", "recolor")
    for kind in kinds:
        edits = named_edits(kind, arguments.scenes, clips, vae, arguments.seed)
        share = share_right(editor, edits, bank, arguments.seed)
        print(f"{kind}: {100 * share:.0f} % of {len(edits)} edits change the named thing more", flush=True)


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(tyro.cli(Arguments)), "tiny_edit_nouns"))
