import random

import pytest

from vivace.core.errors import InputError
from vivace.data.edit_pairs import FAMILIES, PAIRS, SNOW, EditFamily
from vivace.data.instructions import normalised, phrasings
from vivace.data.local_families import LOCAL_FAMILIES, LOCAL_GROUPS
from vivace.data.more_phrasings import more_phrasings, sample_phrasing
from vivace.data.training_pairs import REVERSE_FAMILIES, reverse_of, training_family_named

TAKEN_BACK = tuple(reverse_of(family) for family in LOCAL_GROUPS[0])
SINGLE = (*FAMILIES, *LOCAL_FAMILIES, *REVERSE_FAMILIES, *TAKEN_BACK)


def test_every_family_has_many_sentences_that_no_other_family_has():
    seen: dict[str, str] = {}
    for family in SINGLE:
        sentences = {normalised(sentence) for sentence in more_phrasings(family)}
        assert len(sentences) >= (90 if family in FAMILIES else 60), family.name
        for sentence in sentences:
            assert seen.setdefault(sentence, family.name) == family.name, sentence


def test_no_sentence_is_a_held_out_one_and_none_asks_in_training_for_something_else():
    everything = (*SINGLE, *PAIRS)
    held_out = {normalised(sentence) for family in everything for sentence in phrasings(family, "held_out")}
    owner = {
        normalised(sentence): family.name for family in everything for sentence in phrasings(family, "train")
    }
    for family in SINGLE:
        for sentence in map(normalised, more_phrasings(family)):
            assert sentence not in held_out, sentence
            assert owner.get(sentence, family.name) == family.name, sentence


def test_a_local_sentence_names_what_the_family_names_and_nothing_stays_open():
    for family in LOCAL_FAMILIES:
        for sentence in more_phrasings(family):
            assert not set("{}()|") & set(sentence)
            assert sentence == " ".join(sentence.split())
    assert all("green" in each for each in more_phrasings(training_family_named("add_green_ball_left")))
    assert any("balloon" in each and "red" not in each for each in
               more_phrasings(training_family_named("add_red_balloon_right")))  # fmt: skip
    assert all("cube" in each or "box" in each or "crate" in each
               for each in more_phrasings(training_family_named("remove_box")))  # fmt: skip


def test_a_pair_names_both_of_its_parts():
    rng = random.Random(0)
    for pair in PAIRS:
        sentence = sample_phrasing(pair, rng)
        assert any(part in sentence for part in more_phrasings(pair.first))
        assert any(part in sentence for part in more_phrasings(pair.second))


def test_a_family_without_sentences_is_refused():
    with pytest.raises(InputError, match="'stranger'"):
        more_phrasings(EditFamily(name="stranger", kind="style", edit=SNOW.edit))
