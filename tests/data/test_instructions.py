import random

import pytest

from vivace.core.errors import InputError
from vivace.data.edit_pairs import FAMILIES, IDENTITY, PAIRS, SNOW, EditFamily
from vivace.data.instructions import normalised, phrasings, sample_instruction
from vivace.data.instructions_grammar import expand
from vivace.data.local_families import LOCAL_GROUPS
from vivace.data.training_pairs import ALL, REVERSE_FAMILIES, reverse_of

EVERYTHING = (*ALL, *(reverse_of(family) for family in LOCAL_GROUPS[0]))


def test_a_grammar_line_stands_for_every_choice_of_its_alternatives():
    assert expand("(draw|paint) it (now|)") == ("draw it now", "draw it", "paint it now", "paint it")
    assert expand("as it is") == ("as it is",)


@pytest.mark.parametrize("family", EVERYTHING, ids=lambda family: family.name)
def test_each_family_has_enough_phrasings_and_the_splits_share_none(family):
    train = {normalised(sentence) for sentence in phrasings(family, "train")}
    held_out = {normalised(sentence) for sentence in phrasings(family, "held_out")}
    assert len(train) >= 60
    assert len(held_out) >= 12
    assert not train & held_out
    assert all(
        sentence and sentence == sentence.strip() and "<" not in sentence for sentence in train | held_out
    )


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_no_sentence_asks_for_two_different_edits(split):
    owner: dict[str, str] = {}
    for family in EVERYTHING:
        for sentence in phrasings(family, split):
            key = normalised(sentence)
            assert owner.setdefault(key, family.name) == family.name, sentence


def test_no_held_out_sentence_of_a_family_is_a_train_sentence_of_another():
    train = {normalised(sentence) for family in EVERYTHING for sentence in phrasings(family, "train")}
    held_out = {normalised(sentence) for family in EVERYTHING for sentence in phrasings(family, "held_out")}
    assert not train & held_out


@pytest.mark.parametrize(
    "family",
    [*FAMILIES, PAIRS[0], *REVERSE_FAMILIES, *(group[0] for group in LOCAL_GROUPS)],
    ids=lambda family: family.name,
)
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_a_sampled_instruction_is_a_phrasing_of_its_split_under_its_dressing(family, split):
    known = {normalised(sentence) for sentence in phrasings(family, split)}
    rng = random.Random(1)
    for _ in range(60):
        sentence = sample_instruction(family, rng, split)
        assert normalised(sentence) in known, sentence


def test_sampling_repeats_with_the_seed_and_varies():
    def draw(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [sample_instruction(SNOW, rng, "train") for _ in range(100)]

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
    assert len(set(draw(0))) > 60


def test_normalisation_removes_the_dressing_only():
    assert normalised("Please, turn THE VIDEO into a pencil sketch!") == "turn it into a pencil sketch"
    assert normalised("turn this clip into a sketch, please.") == normalised("turn it into a sketch")
    assert normalised("make it blue") != normalised("make it red")


def test_a_family_without_words_is_refused():
    stranger = EditFamily(name="stranger", kind="style", edit=SNOW.edit)
    with pytest.raises(InputError, match="'stranger'"):
        phrasings(stranger, "train")
    assert phrasings(IDENTITY, "train")
