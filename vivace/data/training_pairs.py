"""Every family a training pair can be made of, global, combined, local and reverse, behind one contract."""

from dataclasses import dataclass

from vivace.core.errors import InputError
from vivace.core.shapes import Video
from vivace.data import edit_pairs as pairs
from vivace.data.edit_pairs import FAMILIES, PAIRS, EditFamily, FamilyPair, make_pair
from vivace.data.local_families import LOCAL_FAMILIES, EditPair, LocalFamily


@dataclass(frozen=True, kw_only=True, slots=True)
class ReverseFamily:
    """Taking an edit back: its source and target swapped; the words say what is taken back."""

    of: EditFamily | LocalFamily

    @property
    def name(self) -> str:
        """As in `undo_snow`."""
        return f"undo_{self.of.name}"


TrainingFamily = EditFamily | FamilyPair | LocalFamily | ReverseFamily

REVERSIBLE: tuple[EditFamily, ...] = (
    pairs.SNOW,
    pairs.RAIN,
    pairs.FOG,
    pairs.NIGHT,
    pairs.GOLDEN_HOUR,
    pairs.SEPIA,
    pairs.FILM_NOIR,
    pairs.BLUE,
    pairs.RED,
)
REVERSE_FAMILIES: tuple[ReverseFamily, ...] = tuple(ReverseFamily(of=family) for family in REVERSIBLE)
ALL: tuple[TrainingFamily, ...] = (*FAMILIES, *PAIRS, *LOCAL_FAMILIES, *REVERSE_FAMILIES)


def reverse_of(family: TrainingFamily) -> TrainingFamily:
    """The family that leads back, where picture and words decide what to go back to.

    The reverse of a reverse is the family itself. A drawing cannot be turned back into what was drawn, and
    the place of something that was taken away, or the colour that something had, is in no picture.

    Raises:
        InputError: If there is none.
    """
    if isinstance(family, ReverseFamily):
        return family.of
    if isinstance(family, EditFamily):
        if family is pairs.IDENTITY:
            return family
        if family in REVERSIBLE:
            return ReverseFamily(of=family)
    if isinstance(family, LocalFamily) and family.kind == "add":
        return ReverseFamily(of=family)
    names = ", ".join(each.name for each in REVERSIBLE)
    raise InputError(
        f"got {family.name!r}, which cannot be taken back; expected an addition or one of: {names}"
    )


def training_family_named(name: str) -> TrainingFamily:
    """The family of this name: `snow`, `snow+night`, `add_red_ball_left`, `undo_snow`.

    Raises:
        InputError: If there is none.
    """
    for family in ALL:
        if family.name == name:
            return family
    raise InputError(f"got the edit family {name!r}, expected one of: {', '.join(each.name for each in ALL)}")


def make_training_pair(video: Video, family: TrainingFamily, seed: int, first_frame: int = 0) -> EditPair:
    """Source, target and edited region that belong to footage; same shape, dtype and device.

    Args:
        video: Footage, sRGB in [0, 1].
        family: What is asked for.
        seed: Places particles, and draws the objects that local families find in their source: stream `i` of
            the batch has those of seed + i.
        first_frame: Absolute index of the first raw frame, so that what moves goes on across pieces.

    Raises:
        InputError: If the video is not `b 3 r h w` of floating point.
    """
    if isinstance(family, ReverseFamily):
        pair = make_training_pair(video, family.of, seed, first_frame)
        return EditPair(pair.target, pair.source, pair.mask)
    if isinstance(family, LocalFamily):
        return family(video, seed, first_frame)
    return EditPair(video, make_pair(video, family, seed, first_frame))
