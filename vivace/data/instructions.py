"""The sentences that ask for each edit, in a training and a held-out set, and drawing one at random."""

import random
import re
from functools import cache

from vivace.core.errors import InputError
from vivace.data import edit_pairs as pairs
from vivace.data import instructions_color as color
from vivace.data import instructions_scene as scene
from vivace.data import instructions_style as style
from vivace.data import instructions_undo as undo
from vivace.data.edit_pairs import EditFamily, FamilyPair
from vivace.data.instructions_grammar import IT, Split, Wording, sentences_of, sentences_of_pair
from vivace.data.instructions_object import wording_of_local, wording_of_taking_back
from vivace.data.local_families import LocalFamily
from vivace.data.training_pairs import ReverseFamily, TrainingFamily

WORDINGS: tuple[tuple[EditFamily, Wording], ...] = (
    (pairs.IDENTITY, scene.IDENTITY),
    (pairs.PENCIL_SKETCH, style.PENCIL_SKETCH),
    (pairs.CHARCOAL, style.CHARCOAL),
    (pairs.WATERCOLOR, style.WATERCOLOR),
    (pairs.OIL_PAINTING, style.OIL_PAINTING),
    (pairs.CARTOON, style.CARTOON),
    (pairs.ANIME, style.ANIME),
    (pairs.PIXEL_ART, style.PIXEL_ART),
    (pairs.MOSAIC, style.MOSAIC),
    (pairs.NEON_EDGES, style.NEON_EDGES),
    (pairs.HALFTONE, style.HALFTONE),
    (pairs.EMBOSS, style.EMBOSS),
    (pairs.NIGHT, scene.NIGHT),
    (pairs.GOLDEN_HOUR, scene.GOLDEN_HOUR),
    (pairs.SNOW, scene.SNOW),
    (pairs.RAIN, scene.RAIN),
    (pairs.FOG, scene.FOG),
    (pairs.FILM_NOIR, color.FILM_NOIR),
    (pairs.SEPIA, color.SEPIA),
    (pairs.BLUE, color.BLUE),
    (pairs.RED, color.RED),
    (pairs.AUTUMN, color.AUTUMN),
    (pairs.THERMAL, color.THERMAL),
    (pairs.CYBERPUNK, color.CYBERPUNK),
)

UNDO_WORDINGS: tuple[tuple[EditFamily, Wording], ...] = (
    (pairs.SNOW, undo.SNOW),
    (pairs.RAIN, undo.RAIN),
    (pairs.FOG, undo.FOG),
    (pairs.NIGHT, undo.NIGHT),
    (pairs.GOLDEN_HOUR, undo.GOLDEN_HOUR),
    (pairs.SEPIA, undo.SEPIA),
    (pairs.FILM_NOIR, undo.FILM_NOIR),
    (pairs.BLUE, undo.BLUE),
    (pairs.RED, undo.RED),
)

_THINGS = ("video", "footage", "scene", "clip", "picture", "shot", "recording", "film")
_OBJECTS = ("it", "this", *(f"{article} {thing}" for thing in _THINGS for article in ("the", "this")))
_OBJECT_PATTERN = re.compile(rf"\b(?:(?:the|this) (?:{'|'.join(_THINGS)})|this)\b")


def wording_of(family: EditFamily | LocalFamily | ReverseFamily) -> Wording:
    """The words for a family.

    Raises:
        InputError: If nobody has written any.
    """
    if isinstance(family, LocalFamily):
        return wording_of_local(family)
    if isinstance(family, ReverseFamily) and isinstance(family.of, LocalFamily):
        return wording_of_taking_back(family.of)
    plain, wordings = (family.of, UNDO_WORDINGS) if isinstance(family, ReverseFamily) else (family, WORDINGS)
    for known, wording in wordings:
        if known == plain:
            return wording
    raise InputError(f"no wording is known for the edit family {family.name!r}; add it to WORDINGS")


def phrasings(family: TrainingFamily, split: Split) -> tuple[str, ...]:
    """All sentences of one split that ask for a family or pair, in plain form ("it" is what gets edited).

    Raises:
        InputError: If the family has no wording.
    """
    return tuple(sentence.replace(IT, "it") for sentence in _sentences(family, split))


def sample_instruction(family: TrainingFamily, rng: random.Random, split: Split) -> str:
    """One sentence at random, written as people write: case, punctuation, "please", words for the video.

    Every draw from the generator depends only on its state, so equal seeds give equal sentences.

    Raises:
        InputError: If the family has no wording.
    """
    sentence = rng.choice(_sentences(family, split))
    sentence = sentence.replace(IT, "it" if rng.random() < 0.35 else rng.choice(_OBJECTS))
    manners = rng.random()
    if manners < 0.08:
        sentence = f"please {sentence}"
    elif manners < 0.14:
        sentence = f"{sentence}, please"
    case = rng.random()
    if case < 0.45:
        sentence = sentence[0].upper() + sentence[1:]
    elif case < 0.55:
        sentence = sentence.lower()
    return sentence + rng.choices(("", ".", "!"), (0.6, 0.35, 0.05))[0]


def normalised(instruction: str) -> str:
    """The instruction without what `sample_instruction` adds; equal for two that differ in dress only."""
    plain = re.sub(r"[^a-z0-9' -]", " ", instruction.lower())
    plain = re.sub(r"\bplease\b", " ", plain)
    return " ".join(_OBJECT_PATTERN.sub("it", " ".join(plain.split())).split())


@cache
def _sentences(family: TrainingFamily, split: Split) -> tuple[str, ...]:
    if isinstance(family, FamilyPair):
        return sentences_of_pair(wording_of(family.first), wording_of(family.second), split)
    return sentences_of(wording_of(family), split)
