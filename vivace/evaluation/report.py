"""What an evaluation found, as typed values that go to JSON, and the averages over them; owns no layout."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from vivace.core.errors import ConfigError
from vivace.data.edit_pairs import FAMILIES, IDENTITY, family_named
from vivace.data.instructions_grammar import Split
from vivace.data.training_pairs import REVERSE_FAMILIES
from vivace.evaluation.drift import DriftRow
from vivace.evaluation.fidelity import EditSettings, FidelityRow, StillRow
from vivace.evaluation.instruction_accuracy import InstructionRow
from vivace.evaluation.local_fidelity import LocalRow, local_or_reverse_named
from vivace.evaluation.picture_scores import VideoScores

Part = Literal["reconstruction", "fidelity", "local", "still", "instructions", "drift"]
PARTS: tuple[Part, ...] = ("reconstruction", "fidelity", "local", "still", "instructions", "drift")
# Every kind of local edit with several of its objects, colours and places, and every global edit taken back.
LOCAL_UNDER_TEST = (
    "add_red_balloon_right",
    "add_green_balloon_left",
    "add_blue_ball_left",
    "add_red_ball_middle",
    "add_yellow_star_top",
    "add_red_heart_middle",
    "remove_object",
    "remove_ball",
    "remove_balloon",
    "remove_butterfly",
    "remove_star",
    "remove_heart",
    "remove_kite",
    "remove_box",
    "recolor_object_green",
    "recolor_ball_red",
    "recolor_balloon_blue",
    "recolor_box_yellow",
    "blur_background",
    "gray_background",
    "dark_background",
    *(family.name for family in REVERSE_FAMILIES),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """What is measured; sizes in pixels, lengths in raw frames.

    Attributes:
        parts: Which tables are made.
        families: Names of families or pairs whose fidelity is measured.
        local_families: Names of local and reverse families, for the part `local`.
        scenes: Scenes of each local family that draws something into its source, one seed each: which things
            there are, where and how they move.
        num_frames: Most raw frames of a clip, for reconstruction and fidelity.
        editing: Steps, commit and seed; the seed places particles too.
        still_families: Families whose flicker is measured, on the first clip.
        instruction_frames: Raw frames that every phrasing edits, at `small_width_px` x `small_height_px`.
        instruction_clips: How many clips every phrasing edits.
        train_phrasings: Phrasings drawn of each family from those of training; held-out ones are all used.
        drift_frames: Raw frames of the long stream; ten minutes at 24 frames a second are 14,400.
    """

    parts: tuple[Part, ...] = PARTS
    families: tuple[str, ...] = tuple(family.name for family in FAMILIES if family is not IDENTITY)
    local_families: tuple[str, ...] = LOCAL_UNDER_TEST
    scenes: int = 1
    width_px: int = 320
    height_px: int = 192
    num_frames: int = 17
    editing: EditSettings = field(default_factory=EditSettings)
    still_families: tuple[str, ...] = ("oil_painting", "neon_edges", "night")
    still_frames: int = 33
    small_width_px: int = 160
    small_height_px: int = 96
    instruction_frames: int = 5
    instruction_clips: int = 1
    train_phrasings: int = 20
    drift_families: tuple[str, ...] = ("watercolor", "night")
    drift_frames: int = 1000
    drift_round_frames: int = 100

    def __post_init__(self) -> None:
        numbers = (
            self.num_frames,
            self.scenes,
            self.instruction_frames,
            self.instruction_clips,
            self.train_phrasings,
        )
        if min(numbers) < 1 or min(self.still_frames, self.drift_round_frames) < 4:
            raise ConfigError(
                "EvaluationConfig: numbers of frames, scenes, clips and phrasings must be at least 1"
            )
        for name in (*self.families, *self.still_families, *self.drift_families):
            family_named(name)
        for name in self.local_families:
            local_or_reverse_named(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconstructionRow:
    """The source of one clip against itself through the VAE."""

    clip: str
    num_frames: int
    scores: VideoScores


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationReport:
    """Every measurement, one row each; parts that were not asked for are empty."""

    model: str
    precision: str
    num_denoising_steps: int
    config: EvaluationConfig
    seconds: float
    reconstruction: tuple[ReconstructionRow, ...] = ()
    fidelity: tuple[FidelityRow, ...] = ()
    local: tuple[LocalRow, ...] = ()
    still: tuple[StillRow, ...] = ()
    instructions: tuple[InstructionRow, ...] = ()
    drift: tuple[DriftRow, ...] = ()

    @property
    def mean_ratio(self) -> float | None:
        """Mean over families of `FidelityRow.ratio`."""
        return mean(mean(row.ratio for row in rows) for rows in self.fidelity_of_families().values())

    def fidelity_of_families(self) -> dict[str, list[FidelityRow]]:
        """The fidelity rows of each family, in the order measured."""
        groups: dict[str, list[FidelityRow]] = {}
        for row in self.fidelity:
            groups.setdefault(row.family, []).append(row)
        return groups

    def local_of_families(self) -> dict[str, list[LocalRow]]:
        """The local rows of each family, in the order measured."""
        groups: dict[str, list[LocalRow]] = {}
        for row in self.local:
            groups.setdefault(row.family, []).append(row)
        return groups

    def accuracy(self, split: Split, family: str | None = None) -> float | None:
        """Share of phrasings that were understood; None where none were tried."""
        return mean(float(row.is_understood) for row in self.instruction_rows(split, family))

    def instruction_ratio(self, split: Split, family: str | None = None) -> float | None:
        """Mean of `InstructionRow.ratio`."""
        return mean(row.ratio for row in self.instruction_rows(split, family))

    def instruction_rows(self, split: Split, family: str | None = None) -> list[InstructionRow]:
        """The rows of one split, of one family or all."""
        rows = [row for row in self.instructions if row.split == split]
        return rows if family is None else [row for row in rows if row.family == family]

    def taken_for(self, split: Split, family: str) -> list[tuple[str, int]]:
        """What a family's misread phrasings gave instead, the most frequent first."""
        rows = self.instruction_rows(split, family)
        return Counter(row.nearest for row in rows if not row.is_understood).most_common()


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is there; None of nothing."""
    present = [value for value in values if value is not None]
    return fmean(present) if present else None
