"""The small grammar in which wordings are written, and sentences built from it; no family's words live here.

A line such as `(paint|redraw) <it> in watercolor` stands for every choice of alternatives, of which one
may be empty. `<it>` is the thing that is edited.
"""

import itertools
import re
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "held_out"]
IT = "<it>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What one split may say about one family.

    Attributes:
        names: Noun phrases of the result with their article: `a pencil sketch`.
        sentences: Whole requests: `cover <it> with snow`.
        commands: Short requests that may be joined by "and": `let it snow`.
        modifiers: What may stand before another family's name: `snowy`.
        tails: What may stand after another family's name: `in falling snow`.
    """

    names: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    modifiers: tuple[str, ...] = ()
    tails: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """Everything that may be said about one family; the two splits share no sentence."""

    train: Words
    held_out: Words

    def words(self, split: Split) -> Words:
        """The words of one split."""
        return self.train if split == "train" else self.held_out


_NAME_TEMPLATES: dict[Split, tuple[str, ...]] = {
    "train": (
        "turn <it> into {name}",
        "make <it> look like {name}",
        "make <it> {name}",
        "{bare}",
        "convert <it> to {name}",
        "transform <it> into {name}",
        "I want {name}",
        "change <it> to {name}",
        "show <it> as {name}",
        "redo <it> as {name}",
        "edit <it> so that it looks like {name}",
        "can you make {name} out of <it>",
    ),
    "held_out": (
        "could <it> become {name}",
        "reimagine <it> as {name}",
        "let <it> appear as {name}",
        "I would love to see <it> as {name}",
        "how about {name}",
        "rework <it> until you get {name}",
    ),
}
_JOINTS: dict[Split, tuple[str, ...]] = {
    "train": ("{a} and {b}", "{b} and {a}", "{a}, then {b}"),
    "held_out": ("{a} and also {b}", "{b} while you {a}"),
}
_ALTERNATIVES = re.compile(r"\(([^()]*)\)")


def expand(line: str) -> tuple[str, ...]:
    """All sentences that a grammar line stands for."""
    parts = [part.split("|") if i % 2 else [part] for i, part in enumerate(_ALTERNATIVES.split(line))]
    return tuple(" ".join("".join(choice).split()) for choice in itertools.product(*parts))


def _expand_all(lines: tuple[str, ...]) -> list[str]:
    return [sentence for line in lines for sentence in expand(line)]


def _without_article(name: str) -> str:
    return re.sub(r"^(an?|the) ", "", name)


def _with_article(bare: str) -> str:
    return f"{'an' if bare[0].lower() in 'aeiou' else 'a'} {bare}"


def _named(names: list[str], split: Split) -> list[str]:
    return [
        template.format(name=name, bare=_without_article(name))
        for name in names
        for template in _NAME_TEMPLATES[split]
    ]


def sentences_of(wording: Wording, split: Split) -> tuple[str, ...]:
    """All sentences that ask for one family, with `<it>` still in them."""
    words = wording.words(split)
    found = (
        _expand_all(words.sentences) + _expand_all(words.commands) + _named(_expand_all(words.names), split)
    )
    return tuple(dict.fromkeys(found))


def sentences_of_pair(first: Wording, second: Wording, split: Split) -> tuple[str, ...]:
    """All sentences that ask for `second` on top of `first`, with `<it>` still in them."""
    one, two = first.words(split), second.words(split)
    names = [f"{name} {tail}" for name in _expand_all(one.names) for tail in _expand_all(two.tails)]
    for modifier, name in itertools.product(_expand_all(one.modifiers), _expand_all(two.names)):
        if re.match(r"an? ", name):
            names.append(_with_article(f"{modifier} {_without_article(name)}"))
    joined = [
        joint.format(a=a, b=b)
        for a, b in itertools.product(_expand_all(one.commands), _expand_all(two.commands))
        for joint in _JOINTS[split]
    ]
    return tuple(dict.fromkeys(_named(names, split) + joined))
