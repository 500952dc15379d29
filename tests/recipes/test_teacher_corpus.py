"""What a corpus keeps of the teacher, its tokenizer, and corpora that are refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from toy_corpus import SENTENCES, SPEC, toy_corpus
from vivace.core.errors import InputError
from vivace.recipes.teacher_corpus import TeacherCorpus, read_tokenizer, train_tokenizer


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


def test_a_folder_without_a_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sentences\.txt\.gz"):
        TeacherCorpus.load(tmp_path)


def test_sentences_and_vectors_must_be_as_many(tmp_path: Path) -> None:
    corpus = toy_corpus()
    replace(corpus, sentences=corpus.sentences[:-1]).save(tmp_path)
    with pytest.raises(InputError, match="39 sentences and 40 vectors"):
        TeacherCorpus.load(tmp_path)


def test_the_tokenizer_of_an_encoder_reads_back(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(SENTENCES, SPEC.vocab_size, ["watercolour"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    read = read_tokenizer(tmp_path / "tokenizer.json", SPEC.vocab_size)
    assert read.encode("Watercolour car").ids == tokenizer.encode("Watercolour car").ids


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_tokenizer(tmp_path / "tokenizer.json", SPEC.vocab_size)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="is not a tokenizer"):
        read_tokenizer(tmp_path / "tokenizer.json", SPEC.vocab_size)
    train_tokenizer(SENTENCES, SPEC.vocab_size, []).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="has 120 entries, expected 6000"):
        read_tokenizer(tmp_path / "tokenizer.json", 6000)
