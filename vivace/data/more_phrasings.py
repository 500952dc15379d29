"""Further ways to ask for each edit, one a line in `more_phrasings.txt`: breadth for a prompt encoder."""

import random
from functools import cache
from importlib.resources import files

from vivace.core.errors import InputError
from vivace.data.edit_pairs import EditFamily, FamilyPair

_JOINTS = (" and ", ", ", " with ", " plus ", ", also ", " and then ")


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


def more_phrasings(family: EditFamily) -> tuple[str, ...]:
    """All further sentences for a family; none of them is held out anywhere.

    Raises:
        InputError: If the family has none.
    """
    sections = _sections()
    if family.name not in sections:
        raise InputError(
            f"no further phrasings are known for {family.name!r}; add them to more_phrasings.txt"
        )
    return sections[family.name]


def sample_phrasing(family: EditFamily | FamilyPair, rng: random.Random) -> str:
    """One further sentence at random; for a pair, one of each part joined in either order."""
    if isinstance(family, EditFamily):
        return rng.choice(more_phrasings(family))
    parts = [rng.choice(more_phrasings(part)) for part in (family.first, family.second)]
    rng.shuffle(parts)
    return rng.choice(_JOINTS).join(parts)
