"""The distillation recipe on a toy corpus with an invented teacher, and its corruption of sentences."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from vivace.core.errors import InputError
from vivace.models.prompt_encoder import PromptEncoder, PromptEncoderSpec
from vivace.recipes.tiny_prompt_encoder import (
    DistilObjective,
    TeacherCorpus,
    TinyPromptEncoderConfig,
    corrupt,
    misspell,
    new_student,
    tiny_prompt_encoder,
    train,
    train_tokenizer,
)

THINGS = ("car", "house", "street", "cloud", "river", "window", "dancer", "forest")
COLORS = ("red", "green", "blue", "golden", "purple")
SENTENCES = tuple(f"make the {thing} {color}" for thing in THINGS for color in COLORS)
SPEC = PromptEncoderSpec(
    vocab_size=120, embedding_dim=32, dim=32, num_layers=1, num_heads=2, ffn_dim=32, num_tokens=12
)


def toy_corpus() -> TeacherCorpus:
    generator = torch.Generator().manual_seed(0)
    tokenizer = train_tokenizer(SENTENCES, SPEC.vocab_size, ["watercolour"])
    vectors = F.normalize(torch.randn(len(SENTENCES), 384, generator=generator), dim=-1)
    entries = torch.randn(SPEC.vocab_size, 384, generator=generator)
    return TeacherCorpus.build(SENTENCES, vectors, tokenizer, entries, SPEC)


def toy_config(num_train_steps: int) -> TinyPromptEncoderConfig:
    full = tiny_prompt_encoder(1.0, is_on_gpu=False)
    trainer = replace(
        full.trainer, num_train_steps=num_train_steps, budget_minutes=None, warmup_steps=1, ema_decay=None
    )
    return replace(full, spec=SPEC, trainer=trainer, batch_size=16, num_heldout=8, num_length_groups=2)


def test_two_train_steps_leave_an_encoder_that_loads(tmp_path: Path) -> None:
    toy_corpus().save(tmp_path / "data")
    model, result = train(toy_config(2), tmp_path / "data", tmp_path / "out", "cpu")
    assert result.train_steps == 2
    assert result.is_finished
    loaded = PromptEncoder.load(tmp_path / "out" / "encoder")
    difference = loaded.sentence(["make the car red"]) - model.eval().sentence(["make the car red"])
    assert difference.abs().max() < 2e-3  # weights are stored in fp16


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    corpus = toy_corpus()
    config = toy_config(60)
    objective = DistilObjective(config, corpus)
    before = objective(new_student(config, corpus), 1000, 0).total.item()
    corpus.save(tmp_path / "data")
    model, _ = train(config, tmp_path / "data", tmp_path / "out", "cpu")
    assert objective(model, 1000, 0).total.item() < 0.9 * before


def test_a_batch_is_a_function_of_its_place_in_the_run() -> None:
    corpus = toy_corpus()
    config = toy_config(2)
    model = new_student(config, corpus)
    first, again = (DistilObjective(config, corpus)(model, 7, 0).total for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, DistilObjective(config, corpus)(model, 8, 0).total)


def test_the_first_sentences_are_held_out() -> None:
    corpus = toy_corpus()
    config = toy_config(2)
    poisoned = replace(corpus, sentences=("",) * config.num_heldout + corpus.sentences[config.num_heldout :])
    objective = DistilObjective(config, poisoned)
    model = new_student(config, corpus)
    for train_step in range(12):
        assert objective(model, train_step, 0).total.isfinite()


def test_packed_vectors_stay_close_to_the_originals(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    # A spectrum that falls like that of real sentence vectors.
    spectrum = torch.linspace(1, 0, 384).square()
    vectors = F.normalize(torch.randn(2000, 384, generator=generator) * spectrum + 0.02, dim=-1)
    tokenizer = train_tokenizer(SENTENCES, SPEC.vocab_size, [])
    entries = torch.randn(SPEC.vocab_size, 384, generator=generator)
    corpus = TeacherCorpus.build([f"number {row}" for row in range(2000)], vectors, tokenizer, entries, SPEC)
    corpus.save(tmp_path)
    read = TeacherCorpus.load(tmp_path).vectors(torch.arange(2000), torch.device("cpu"))
    torch.testing.assert_close(read.norm(dim=-1), torch.ones(2000))
    assert (read * vectors).sum(-1).mean() > 0.98


def test_the_tokenizer_has_its_exact_size_and_never_splits_whole_words() -> None:
    tokenizer = train_tokenizer(SENTENCES, SPEC.vocab_size, ["watercolour"])
    assert tokenizer.get_vocab_size() == SPEC.vocab_size
    assert tokenizer.encode("Watercolour window").tokens == ["[SUM]", "watercolour", "window"]


def test_corrupted_sentences_stay_readable_and_depend_only_on_the_seed() -> None:
    sentence = "turn the video into a watercolor painting"
    changed = [corrupt(sentence, random.Random(seed)) for seed in range(200)]
    assert changed == [corrupt(sentence, random.Random(seed)) for seed in range(200)]
    assert len(set(changed)) > 50
    assert all(abs(len(text) - len(sentence)) <= 22 and text.strip() for text in changed)
    assert all(corrupt(text, random.Random(3)) for text in ("fog", "a b c d", "..."))


def test_a_misspelled_word_differs_by_one_slip() -> None:
    slips = {misspell("snow", random.Random(seed)) for seed in range(300)}
    assert {"sonw", "snw", "snnow"} <= slips
    assert misspell("red", random.Random(0)) == "red"


def test_a_folder_without_a_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sentences\.txt\.gz"):
        TeacherCorpus.load(tmp_path)


def test_sentences_and_vectors_must_be_as_many(tmp_path: Path) -> None:
    corpus = toy_corpus()
    replace(corpus, sentences=corpus.sentences[:-1]).save(tmp_path)
    with pytest.raises(InputError, match="39 sentences and 40 vectors"):
        TeacherCorpus.load(tmp_path)
