"""Features of Gemma 2 are those of a direct call, chosen as the official pipeline chooses them."""

import shutil
from concurrent.futures import Future
from pathlib import Path
from threading import Event

import pytest
import torch

pytest.importorskip("transformers")

from transformers import AutoModel, AutoTokenizer

from vivace.catalog.sana_prompts import sana_streaming_bidirectional_prompts, sana_streaming_prompts
from vivace.core.errors import ConfigError, InputError, WeightsError
from vivace.models import gemma_prompts
from vivace.models.gemma_prompts import GemmaFeatures, GemmaPrompts, GemmaPromptSpec

CPU = torch.device("cpu")
WORDS = "make the scene a quiet snowy night with more detail"


@pytest.fixture(scope="module")
def parts(gemma_folder: Path):
    return AutoModel.from_pretrained(gemma_folder).eval(), AutoTokenizer.from_pretrained(gemma_folder)


@pytest.fixture
def prompts(gemma_folder: Path):
    encoder = load(gemma_folder)
    yield encoder
    encoder.close()


def load(folder: Path, spec: GemmaPromptSpec | None = None) -> GemmaPrompts:
    spec = spec or sana_streaming_prompts()
    return GemmaPrompts.load(folder, spec, device=CPU, dtype=torch.float32, stays=True)


@torch.inference_mode()
def direct(parts, text: str, num_kept: int, max_length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the facts about the official pipeline say, on unpadded ids: padding is added here by hand."""
    model, tokenizer = parts
    ids = tokenizer(text)["input_ids"][:max_length]
    mask = [1] * len(ids) + [0] * (max_length - len(ids))
    ids += [tokenizer.pad_token_id] * (max_length - len(ids))
    hidden = model(input_ids=torch.tensor([ids]), attention_mask=torch.tensor([mask])).last_hidden_state
    rows = [0, *range(max_length - num_kept + 1, max_length)]
    return hidden[:, rows], torch.tensor([mask], dtype=torch.bool)[:, rows]


def test_the_instruction_stands_in_front_and_300_tokens_are_kept(parts, prompts):
    instruction = "\n".join(sana_streaming_prompts().instruction)
    assert instruction.endswith("User Prompt: ")
    assert len(sana_streaming_prompts().instruction) == 5
    max_length = len(parts[1](instruction)["input_ids"]) + 300 - 2
    for words in (WORDS, "snow", "x " * 400):
        found = prompts.encode([words])
        tokens, mask = direct(parts, instruction + words.strip(), 300, max_length)
        assert found.tokens.shape == (1, 300, 32)
        assert torch.equal(found.mask, mask)
        assert torch.equal(found.tokens, tokens)


def test_only_start_prefix_end_and_words_count(prompts):
    mask = prompts.encode(["one two three"]).mask[0]
    # the start, the last token of the prefix, three words; the rest is padding on the right
    assert mask[:5].all()
    assert not mask[5:].any()
    assert prompts.encode(["w " * 500]).mask.all()


def test_padding_never_reaches_the_tokens_that_count(gemma_folder, parts):
    model, tokenizer = parts
    spec = sana_streaming_prompts()
    text = "\n".join(spec.instruction) + WORDS
    with torch.inference_mode():
        alone = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    found = load(gemma_folder).encode([WORDS])
    counted = found.tokens[0][found.mask[0]]
    torch.testing.assert_close(counted[1:], alone[1 - counted.shape[0] :], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(counted[0], alone[0], rtol=1e-4, atol=1e-5)


def test_a_negative_prompt_has_no_instruction_and_may_be_empty(parts, prompts):
    for words in ("", "blurry"):
        found = prompts.submit(words, instructed=False).result()
        tokens, mask = direct(parts, words, 300, 300)
        assert torch.equal(found.tokens, tokens)
        assert torch.equal(found.mask, mask)


def test_the_bidirectional_model_reads_a_motion_score(gemma_folder, prompts):
    spec = sana_streaming_bidirectional_prompts()
    scored = load(gemma_folder, spec).encode(["snow"])
    assert torch.equal(scored.tokens, prompts.encode(["snow motion score: 10."]).tokens)


def test_several_prompts_are_the_single_ones(prompts):
    joined = prompts.encode(["snow", "rain in the night"])
    assert torch.equal(joined.tokens[1:], prompts.encode(["rain in the night"]).tokens)
    assert joined.mask.shape == (2, 300)


def test_encoding_does_not_block_and_equal_words_share_the_work(prompts, monkeypatch):
    gate, runs = Event(), []
    features = prompts._features

    def slow(words: str, instructed: bool) -> GemmaFeatures:
        runs.append(words)
        assert gate.wait(10)
        return features(words, instructed)

    monkeypatch.setattr(prompts, "_features", slow)
    first = prompts.submit(" snow ")
    assert isinstance(first, Future)
    assert not first.done()
    assert prompts.submit("snow") is first
    other = prompts.submit("rain")
    gate.set()
    assert first.result(10).tokens.shape == other.result(10).tokens.shape
    assert prompts.submit("snow") is first
    assert runs == ["snow", "rain"]


def test_the_oldest_words_are_forgotten_first(prompts, monkeypatch):
    monkeypatch.setattr(gemma_prompts, "NUM_KEPT", 2)
    snow, rain = prompts.submit("snow"), prompts.submit("rain")
    assert prompts.submit("snow") is snow
    prompts.submit("fog")
    assert prompts.submit("snow") is snow
    assert prompts.submit("rain") is not rain


def test_a_failure_is_not_remembered(prompts, monkeypatch):
    def fails(*_: object) -> None:
        raise RuntimeError("lost device")

    with monkeypatch.context() as patch:
        patch.setattr(prompts, "_features", fails)
        with pytest.raises(RuntimeError, match="lost device"):
            prompts.encode(["snow"])
    assert prompts.encode(["snow"]).mask.any()


def test_weights_that_visit_a_device_rest_unchanged_where_they_were(gemma_folder, monkeypatch):
    resting = GemmaPrompts.load(
        gemma_folder, sana_streaming_prompts(), device=CPU, dtype=torch.float32, stays=False
    )
    before = [parameter.data_ptr() for parameter in resting._model.parameters()]
    visits: list[list[int]] = []
    features = resting._features
    # a device whose memory is not that of the CPU
    monkeypatch.setattr(torch.Tensor, "to", _copying(torch.Tensor.to))

    def seen(words: str, instructed: bool) -> GemmaFeatures:
        visits.append([parameter.data_ptr() for parameter in resting._model.parameters()])
        return features(words, instructed)

    monkeypatch.setattr(resting, "_features", seen)
    found = resting.encode(["snow"])
    assert not set(visits[0]) & set(before)
    assert [parameter.data_ptr() for parameter in resting._model.parameters()] == before
    monkeypatch.undo()
    assert torch.equal(found.tokens, load(gemma_folder).encode(["snow"]).tokens)


def _copying(to):
    return lambda tensor, *args, **kwargs: to(tensor, *args, **{**kwargs, "copy": True})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_encoder_can_stay_or_visit(gemma_folder):
    cuda = torch.device("cuda")
    wanted = load(gemma_folder).encode([WORDS])
    for stays in (True, False):
        encoder = GemmaPrompts.load(
            gemma_folder, sana_streaming_prompts(), device=cuda, dtype=torch.float32, stays=stays
        )
        found = encoder.encode([WORDS])
        assert next(encoder._model.parameters()).is_cuda == stays
        assert torch.equal(found.mask, wanted.mask)
        # what padding reads is undefined where its window holds nothing but padding
        ours, theirs = found.tokens[found.mask], wanted.tokens[wanted.mask]
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_words_that_cannot_be_used_are_refused_at_once(prompts):
    with pytest.raises(InputError, match="the prompt is empty"):
        prompts.submit("  ")
    with pytest.raises(InputError, match="has 4001 characters, expected at most 4000"):
        prompts.encode(["x" * 4001])
    with pytest.raises(ConfigError, match="at least 3 and 1"):
        GemmaPromptSpec(num_tokens=2)


def test_files_that_are_missing_or_damaged_are_named(gemma_folder, tmp_path):
    with pytest.raises(WeightsError, match="there is no text encoder in"):
        load(tmp_path)
    copy = shutil.copytree(gemma_folder, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(WeightsError, match=r"cannot be read .*pull the model again") as caught:
        load(copy)
    assert "\n" not in str(caught.value)


def test_without_transformers_the_sentence_names_the_extra(gemma_folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'vivace\[sana\]'"):
        load(gemma_folder)
