import random

from vivace.data.edit_pairs import FAMILIES, PAIRS
from vivace.data.instructions import normalised, phrasings
from vivace.data.more_phrasings import more_phrasings, sample_phrasing


def test_every_family_has_many_sentences_that_no_other_family_has():
    seen: dict[str, str] = {}
    for family in FAMILIES:
        sentences = {normalised(sentence) for sentence in more_phrasings(family)}
        assert len(sentences) >= 90, family.name
        for sentence in sentences:
            assert seen.setdefault(sentence, family.name) == family.name, sentence


def test_no_sentence_is_a_held_out_one():
    held_out = {
        normalised(sentence) for family in (*FAMILIES, *PAIRS) for sentence in phrasings(family, "held_out")
    }
    both = held_out & {normalised(sentence) for family in FAMILIES for sentence in more_phrasings(family)}
    assert not both


def test_a_pair_names_both_of_its_parts():
    rng = random.Random(0)
    for pair in PAIRS:
        sentence = sample_phrasing(pair, rng)
        assert any(part in sentence for part in more_phrasings(pair.first))
        assert any(part in sentence for part in more_phrasings(pair.second))
