"""Whether an editor understands what is said: every phrasing on one small short clip; owns no average."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from vivace.catalog.editor import Editor
from vivace.data.edit_pairs import FAMILIES, EditFamily
from vivace.data.instructions_grammar import Split
from vivace.evaluation.fidelity import EditSettings, edited
from vivace.evaluation.footage import as_video, reconstruct
from vivace.evaluation.picture_scores import perceptual_distance
from vivace.models.perceptual import Lpips


@dataclass(frozen=True, slots=True)
class Phrasing:
    """A sentence and the family that it asks for."""

    family: EditFamily
    split: Split
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class InstructionRow:
    """What one phrasing gave on one clip.

    Attributes:
        nearest: The family whose target lies closest to the edit.
        ratio: LPIPS of the edit to the target of the family that was asked for, as a share of that of the
            source; None where that target is the source.
    """

    clip: str
    split: Split
    family: str
    words: str
    nearest: str
    ratio: float | None

    @property
    def is_understood(self) -> bool:
        """Whether the edit is closest to what was asked for."""
        return self.nearest == self.family


def measure_instructions(
    editor: Editor,
    lpips: Lpips,
    clip_name: str,
    frames: UInt8[Tensor, "r h w c"],
    phrasings: Sequence[Phrasing],
    settings: EditSettings,
    on_row: Callable[[InstructionRow], None] | None = None,
) -> list[InstructionRow]:
    """Edit a short clip with every phrasing and ask which family's target the last raw frame is closest to.

    Targets pass through the VAE and have no falling particles, whose places are random. Squared differences
    of latents would be cheaper but take every edit that is a little too smooth for the source itself.
    """
    source = as_video(frames)
    vae = editor.pipeline.vae
    targets = torch.cat([reconstruct(vae, family.edit.base(source))[:, :, -1:] for family in FAMILIES])
    names = [family.name for family in FAMILIES]
    untouched = reconstruct(vae, source)[:, :, -1:].expand_as(targets)
    reach = perceptual_distance(lpips, untouched, targets)
    rows: list[InstructionRow] = []
    for phrasing in phrasings:
        result = as_video(edited(editor, frames, phrasing.words, settings)[-1:])
        distance = perceptual_distance(lpips, result.expand_as(targets), targets)
        own = names.index(phrasing.family.name)
        row = InstructionRow(
            clip=clip_name,
            split=phrasing.split,
            family=phrasing.family.name,
            words=phrasing.words,
            nearest=names[int(distance.argmin())],
            ratio=float(distance[own] / reach[own]) if reach[own] > 1e-6 else None,
        )
        rows.append(row)
        if on_row is not None:
            on_row(row)
    return rows
