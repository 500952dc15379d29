"""The distillation recipe on a toy corpus with an invented teacher, and its corruption of sentences."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from toy_corpus import SENTENCES, SPEC, toy_corpus
from vivace.core.errors import InputError
from vivace.models.prompt_encoder import PromptEncoder
from vivace.recipes import teacher_corpus
from vivace.recipes.teacher_corpus import TeacherCorpus, train_tokenizer
from vivace.recipes.tiny_prompt_encoder import (
    DistilObjective,
    TinyPromptEncoderConfig,
    continued_student,
    corrupt,
    main,
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


def test_a_run_goes_on_from_saved_weights(tmp_path: Path) -> None:
    corpus = toy_corpus()
    corpus.save(tmp_path / "data")
    first, _ = train(toy_config(30), tmp_path / "data", tmp_path / "first", "cpu")
    config = toy_config(1)
    config = replace(config, trainer=replace(config.trainer, learning_rate=1e-9))
    encoder = tmp_path / "first" / "encoder"
    second, _ = train(config, tmp_path / "data", tmp_path / "second", "cpu", start_from=encoder)
    for name, weight in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], weight, atol=1e-3, rtol=1e-3)
    fresh = new_student(config, corpus)
    assert not torch.allclose(fresh.to_sentence.weight, second.to_sentence.weight, atol=1e-3)


def test_weights_that_do_not_fit_the_corpus_are_refused(tmp_path: Path) -> None:
    corpus, config = toy_corpus(), toy_config(1)
    new_student(config, corpus).save(tmp_path)
    other = replace(corpus, tokenizer=train_tokenizer(SENTENCES, SPEC.vocab_size, ["aquarelle", "etching"]))
    with pytest.raises(InputError, match=r"another tokenizer.*--tokenizer"):
        continued_student(config, other, tmp_path)
    with pytest.raises(InputError, match="expected PromptEncoderSpec"):
        continued_student(replace(config, spec=replace(SPEC, num_tokens=16)), corpus, tmp_path)


def test_a_corpus_for_bundled_weights_keeps_their_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def invented(teacher: Path, sentences: list[str]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(len(sentences))
        return F.normalize(torch.randn(len(sentences), 384, generator=generator), dim=-1)

    bundled = Path(teacher_corpus.__file__).parents[1] / "catalog/weights/prompt_encoder"
    (tmp_path / "sentences.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    monkeypatch.setattr(teacher_corpus, "teacher_vectors", invented)
    given = ["--data", f"{tmp_path}/data", "--teacher", "here", "--sentences", f"{tmp_path}/sentences.txt"]
    monkeypatch.setattr("sys.argv", ["recipe", *given, "--tokenizer", f"{bundled}/tokenizer.json"])
    main()
    corpus = TeacherCorpus.load(tmp_path / "data")
    assert corpus.sentences == SENTENCES
    continued_student(tiny_prompt_encoder(1.0, is_on_gpu=False), corpus, bundled)


def test_words_to_keep_whole_are_refused_beside_a_given_tokenizer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", "d", "--teacher", "t", "--sentences", "s", "--tokenizer", "k", "--whole-words", "w"]
    monkeypatch.setattr("sys.argv", ["recipe", *given])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "--whole-words is for a new tokenizer" in capsys.readouterr().err
