"""Further ways to ask for each edit, one a line in `more_phrasings.txt`: breadth for a prompt encoder.

Lines of local families hold places for what a family names; a line may have alternatives, as in the grammar.
"""

import random
from functools import cache
from importlib.resources import files

from vivace.core.errors import InputError
from vivace.data.edit_pairs import FamilyPair
from vivace.data.instructions_grammar import expand
from vivace.data.local_families import ADDITIONS, LocalFamily, Place, Shape
from vivace.data.training_pairs import ReverseFamily, TrainingFamily

_JOINTS = (" and ", ", ", " with ", " plus ", ", also ", " and then ")
_NOUNS: dict[Shape | None, str] = {
    None: "object|thing|item",
    "ball": "ball|rubber ball|toy ball",
    "balloon": "balloon|party balloon|helium balloon",
    "star": "star|shiny star",
    "heart": "heart|love heart",
    "kite": "kite|paper kite",
    "box": "box|cube|crate",
    "butterfly": "butterfly",
}
_PLACES: dict[Place, str] = {
    "left": "left|on the left half|at left|over on the left",
    "right": "right|on the right half|at right|over on the right",
    "middle": "middle|center|in the middle of the screen",
    "top": "top|at the very top|overhead|up high",
}


@cache
def _sections() -> dict[str, tuple[str, ...]]:
    lines: dict[str, list[str]] = {}
    name = ""
    text = files("vivace.data").joinpath("more_phrasings.txt").read_text(encoding="utf-8")
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            name = line.strip("[]")
            lines[name] = []
        elif line:
            lines[name].append(line)
    return {name: tuple(sentences) for name, sentences in lines.items()}


@cache
def more_phrasings(family: TrainingFamily) -> tuple[str, ...]:
    """All further sentences for a family that is not a pair; none of them is held out anywhere.

    Raises:
        InputError: If the family has none.
    """
    sections = _sections()
    values: dict[str, str] = {}
    names = [family.name]
    is_taken_back = isinstance(family, ReverseFamily) and isinstance(family.of, LocalFamily)
    local = family.of if isinstance(family, ReverseFamily) else family
    if isinstance(local, LocalFamily):
        values = _values(local, is_taken_back=is_taken_back)
        names = ["remove" if is_taken_back else local.background or local.kind]
        names += [local.name] if local.name in sections else []
    if names[0] not in sections:
        raise InputError(
            f"no further phrasings are known for {family.name!r}; add them to more_phrasings.txt"
        )
    lines = [_fill(line, values) for name in names for line in sections[name]]
    sentences = [sentence for line in lines for sentence in expand(line)]
    return tuple(dict.fromkeys(sentence.replace(" ,", ",").rstrip(",") for sentence in sentences))


def sample_phrasing(family: TrainingFamily, rng: random.Random) -> str:
    """One further sentence at random; for a pair, one of each part joined in either order."""
    if not isinstance(family, FamilyPair):
        return rng.choice(more_phrasings(family))
    parts = [rng.choice(more_phrasings(part)) for part in (family.first, family.second)]
    rng.shuffle(parts)
    return rng.choice(_JOINTS).join(parts)


def _values(family: LocalFamily, *, is_taken_back: bool) -> dict[str, str]:
    """What stands for each placeholder, as alternatives of the grammar; defaults may stay unsaid."""
    noun = f"({_NOUNS[family.shape]})"
    if family.kind != "add":
        return {"{object}": noun, "{color}": family.color or ""}
    assert family.shape is not None
    assert family.place is not None
    addition = ADDITIONS[family.shape]
    color = f"{family.color}|plain {family.color}"
    place = _PLACES[family.place] + ("|" if family.place == addition.places[0] else "")
    if is_taken_back:
        return {"{object}": f"{family.color} {noun} ({place})"}
    color += "|" if family.color == addition.colors[0] else ""
    return {"{a}": f"a ({color}) {noun}", "{place}": f"({place})"}


def _fill(line: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        line = line.replace(placeholder, value)
    return line
