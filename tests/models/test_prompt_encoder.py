"""The bundled prompt encoder: meaning, independence of the batch, bad prompts, files; and strict loading."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import vivace
from vivace.core.config import from_json, to_json
from vivace.core.errors import ConfigError, InputError, WeightsError
from vivace.models.prompt_encoder import PromptEncoder, PromptEncoderSpec

BUNDLED = Path(vivace.__file__).parent / "catalog" / "weights" / "prompt_encoder"

SAME_MEANING = [
    ("make it a snowy night", "turn the scene into a night with falling snow"),
    ("turn it into a pencil sketch", "make it look like a hand-drawn pencil drawing"),
    ("make it look like a watercolor painting", "render the scene in watercolor"),
    ("add heavy rain", "make it rain hard"),
    ("make everything red", "tint the whole picture red"),
    ("turn it into an oil painting", "as if painted with oil on canvas"),
    ("make it foggy", "cover the scene in thick fog"),
    ("black and white old movie", "make it look like an old monochrome film"),
]
# The hardest pair: for the teacher watercolor lies as near to pencil drawing (margin 0.005); here 0.06.
MARGIN = 0.04
MEAN_MARGIN = 0.2


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    return PromptEncoder.load(BUNDLED)


def margins(encoder: PromptEncoder) -> torch.Tensor:
    """How much closer each first phrasing is to its paraphrase than to the nearest other instruction."""
    cosines = (
        encoder.sentence([a for a, _ in SAME_MEANING]) @ encoder.sentence([b for _, b in SAME_MEANING]).T
    )
    nearest_other = (cosines - 2 * torch.eye(len(cosines))).amax(dim=1)
    return cosines.diagonal() - nearest_other


@pytest.mark.parametrize("row", range(len(SAME_MEANING)))
def test_a_paraphrase_lands_closer_than_every_other_instruction(encoder: PromptEncoder, row: int) -> None:
    assert margins(encoder)[row] > MARGIN


def test_paraphrases_are_told_apart_by_a_wide_margin_on_average(encoder: PromptEncoder) -> None:
    assert margins(encoder).mean() > MEAN_MARGIN


def test_the_summary_token_also_tells_paraphrases_from_other_instructions(encoder: PromptEncoder) -> None:
    summaries = [
        torch.nn.functional.normalize(encoder.encode(column).tokens[:, 0], dim=-1)
        for column in zip(*SAME_MEANING)
    ]
    cosines = summaries[0] @ summaries[1].T
    assert cosines.argmax(dim=1).tolist() == list(range(len(SAME_MEANING)))


def test_typos_case_and_manners_move_a_prompt_little(encoder: PromptEncoder) -> None:
    clean, *changed = encoder.sentence(
        [
            "turn the video into a watercolor painting",
            "TURN THE VIDEO INTO A WATERCOLOR PAINTING",
            "please turn the video into a watercolor painting!",
            "trun the video into a watercolor paintng",
            "turn video into watercolor painting",
        ]
    )
    assert torch.equal(changed[0], clean)
    assert min(float(vector @ clean) for vector in changed) > 0.8


def test_sentence_vectors_have_unit_length_and_the_width_of_the_teacher(encoder: PromptEncoder) -> None:
    vectors = encoder.sentence(["add snow", "a very long road through the hills at sunset"])
    assert vectors.shape == (2, 384)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2))


def test_features_do_not_depend_on_the_other_prompts_of_the_batch(encoder: PromptEncoder) -> None:
    prompts = ["add snow", "turn the quiet street into a busy market at night, in the rain", "red"]
    together = encoder.encode(prompts)
    sentences = encoder.sentence(prompts)
    for row, prompt in enumerate(prompts):
        alone = encoder.encode([prompt])
        assert torch.equal(alone.tokens[0], together.tokens[row])
        assert torch.equal(alone.mask[0], together.mask[row])
        assert torch.equal(encoder.sentence([prompt])[0], sentences[row])


def test_features_are_padded_to_a_fixed_number_of_tokens_with_zeros(encoder: PromptEncoder) -> None:
    features = encoder.encode(["add snow", "make it look like a watercolor painting"])
    assert features.tokens.shape == (2, 32, 192)
    assert features.mask.sum(dim=1).tolist() == [3, 8]
    assert features.mask[:, 0].all()
    assert features.tokens[~features.mask].abs().max() == 0
    assert features.tokens[features.mask].std() > 0.1
    assert not features.tokens.requires_grad


def test_the_padded_forward_of_training_equals_encode(encoder: PromptEncoder) -> None:
    prompts = ["add snow", "make it look like a watercolor painting of a harbour"]
    ids, mask = encoder.pad_ids([encoder.tokenize(prompt) for prompt in prompts])
    with torch.no_grad():
        padded = encoder(ids, mask)
    features = encoder.encode(prompts)
    torch.testing.assert_close(padded, features.tokens[:, : padded.shape[1]], rtol=0, atol=2e-5)


def test_the_ids_behind_the_mask_change_nothing(encoder: PromptEncoder) -> None:
    ids, mask = encoder.pad_ids([encoder.tokenize("add snow"), encoder.tokenize("add a red car to the road")])
    scribbled = torch.where(mask, ids, 17)
    with torch.no_grad():
        assert torch.equal(encoder(ids, mask), encoder(scribbled, mask))


def test_words_beyond_the_last_token_are_ignored(encoder: PromptEncoder) -> None:
    start = "snow on the roof and " * 8
    assert len(encoder.tokenize(start)) == encoder.spec.num_tokens
    first, second = encoder.encode([start + "a red car", start + "a pencil sketch"]).tokens
    assert torch.equal(first, second)


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t", "snow " * 121, "雪の夜", "❄️❄️"])
def test_a_prompt_that_cannot_be_read_is_refused_in_one_sentence(encoder: PromptEncoder, prompt: str) -> None:
    for read in (encoder.encode, encoder.sentence):
        with pytest.raises(InputError, match="the prompt") as refusal:
            read(["add snow", prompt])
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("prompts", ["add snow", [], ()])
def test_a_bare_string_or_no_prompt_is_refused(encoder: PromptEncoder, prompts: object) -> None:
    with pytest.raises(InputError, match="expected a list"):
        encoder.encode(prompts)  # pyright: ignore[reportArgumentType]


def test_the_bundled_files_are_small() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) <= 5 * 2**20
    assert sorted(path.name for path in BUNDLED.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_saving_and_loading_keeps_every_feature(encoder: PromptEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "copy")
    again = PromptEncoder.load(tmp_path / "copy")
    assert again.spec == encoder.spec
    assert torch.equal(again.encode(["a foggy morning"]).tokens, encoder.encode(["a foggy morning"]).tokens)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (BUNDLED / name).read_bytes()


def test_the_spec_survives_json() -> None:
    spec = PromptEncoderSpec(num_layers=3, ffn_dim=96)
    assert from_json(PromptEncoderSpec, json.loads(json.dumps(to_json(spec)))) == spec
    with pytest.raises(ConfigError, match="num_layers"):
        from_json(PromptEncoderSpec, {"num_layer": 3})


@pytest.mark.parametrize("wrong", [{"num_tokens": 1}, {"num_layers": 0}, {"num_heads": 5}, {"vocab_size": 3}])
def test_a_spec_that_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        PromptEncoderSpec(**wrong)


def test_a_tokenizer_of_another_size_is_refused(encoder: PromptEncoder) -> None:
    with pytest.raises(ConfigError, match="tokenizer"):
        PromptEncoder(dataclasses.replace(encoder.spec, vocab_size=77), encoder.tokenizer)


@pytest.mark.parametrize("damage", ["missing tensor", "unknown tensor", "other shape"])
def test_weights_that_do_not_fit_are_refused(encoder: PromptEncoder, tmp_path: Path, damage: str) -> None:
    encoder.save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if damage == "missing tensor":
        del weights["norm.weight"]
    elif damage == "unknown tensor":
        weights["stranger"] = torch.zeros(1)
    else:
        weights["norm.weight"] = torch.zeros(7)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"norm\.weight|stranger"):
        PromptEncoder.load(tmp_path)


def test_a_folder_without_weights_is_refused(encoder: PromptEncoder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        PromptEncoder.load(tmp_path)
    encoder.save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        PromptEncoder.load(tmp_path)
