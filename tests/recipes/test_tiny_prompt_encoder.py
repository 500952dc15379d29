"""The distillation recipe on a toy corpus with an invented teacher, and its corruption of sentences."""

import random
from dataclasses import replace
from pathlib import Path

import torch

from toy_corpus import SPEC, toy_corpus
from vivace.models.prompt_encoder import PromptEncoder
from vivace.recipes.tiny_prompt_encoder import (
    DistilObjective,
    TinyPromptEncoderConfig,
    corrupt,
    misspell,
    new_student,
    tiny_prompt_encoder,
    train,
)


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
