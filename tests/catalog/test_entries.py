"""Models by name: unknown ones are named, pullable ones are explained, folders are checked."""

import json
import shutil

import pytest

from vivace.catalog.entries import MODELS, HubWeights, find_entry, find_folder
from vivace.catalog.model_folder import BUNDLED, DEFAULTS_NAME, EditorDefaults, ModelFolder
from vivace.core.errors import ConfigError, InputError, WeightsError


def test_names_are_unique_and_each_model_has_a_licence_and_a_source():
    assert len({entry.name for entry in MODELS}) == len(MODELS)
    assert all(entry.licence and entry.summary for entry in MODELS)
    assert [entry.name for entry in MODELS if entry.is_bundled] == ["tiny-edit"]
    assert all("/" in e.weights.repository for e in MODELS if isinstance(e.weights, HubWeights))


def test_an_unknown_name_lists_the_names_and_guesses():
    with pytest.raises(InputError, match=r"tiny-edit, sana-streaming.*did you mean tiny-edit\?"):
        find_entry("tiny-edti")
    with pytest.raises(InputError, match="unknown model 'x'"):
        find_folder("x")


def test_weights_that_were_not_pulled_are_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("VIVACE_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"not on this machine yet; .* vivace pull sana-streaming$"):
        find_folder("sana-streaming")


def test_each_part_of_a_pullable_model_is_the_file_that_was_meant():
    for entry in MODELS:
        if not isinstance(entry.weights, HubWeights):
            continue
        dit, vae, text = entry.weights.parts
        (name,) = dit.patterns
        assert dit.holds(f"dit/{name}")
        assert not dit.holds(name)
        assert vae.holds(f"{vae.folder}/diffusion_pytorch_model.safetensors")
        assert not vae.holds("transformer/diffusion_pytorch_model.safetensors")
        assert text.holds("tokenizer.json")
        assert text.holds("model-00001-of-00002.safetensors")
        assert not text.holds("README.md")
        assert not text.holds("onnx/config.json")
        spec = entry.weights.dit_spec
        assert spec.out_channels == entry.weights.vae_spec.latent_channels
        assert spec.text_dim == 2304


def test_a_bundled_model_lies_inside_the_package():
    folder = find_folder("tiny-edit")
    assert folder.dit == BUNDLED / "tiny_edit"
    assert folder.defaults == EditorDefaults(least_denoising_steps=2, commit="last_step")
    assert folder.defaults.native_area_px == 320 * 192


def test_a_model_folder_needs_its_three_parts(toy_folder, tmp_path):
    folder = find_folder(str(toy_folder))
    assert folder == ModelFolder.at(toy_folder)
    assert folder.defaults.native_width_px == 64
    for missing in ("dit", "video_vae", "prompt_encoder"):
        copy = shutil.copytree(toy_folder, tmp_path / missing)
        shutil.rmtree(copy / missing)
        with pytest.raises(WeightsError, match=missing):
            find_folder(copy)
    with pytest.raises(InputError, match="no model folder"):
        find_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no model folder"):
        find_folder("some/where")


def test_the_bundled_model_says_how_few_steps_do():
    assert find_folder("tiny-edit").defaults.least_denoising_steps == 2
    # weights that were trained for one number of steps know nothing of others
    assert EditorDefaults().least_denoising_steps is None


def test_defaults_beside_the_parts_are_optional_and_checked(toy_folder, tmp_path):
    copy = shutil.copytree(toy_folder, tmp_path / "model")
    (copy / DEFAULTS_NAME).write_text(json.dumps({"num_denoising_steps": 0}))
    with pytest.raises(ConfigError, match="at least 1"):
        find_folder(copy)
    (copy / DEFAULTS_NAME).write_text(json.dumps({"least_denoising_steps": 0}))
    with pytest.raises(ConfigError, match="at least 1"):
        find_folder(copy)
    (copy / DEFAULTS_NAME).write_text(json.dumps({"least_denoising_steps": 3}))
    assert find_folder(copy).defaults.least_denoising_steps == 3
    (copy / DEFAULTS_NAME).unlink()
    assert find_folder(copy).defaults == EditorDefaults()


def test_size_and_parameters_come_from_the_files(toy_folder, tmp_path):
    folder = ModelFolder.at(toy_folder)
    # bf16 and fp16 files hold two bytes a number, the VAE's fp32 four, plus headers and the tokenizer
    assert 10_000 < folder.num_parameters() < 100_000
    assert 2 * folder.num_parameters() < folder.num_bytes() < 200_000
    damaged = shutil.copytree(toy_folder, tmp_path / "damaged")
    (weights,) = (damaged / "dit").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(WeightsError, match="damaged"):
        ModelFolder.at(damaged).num_parameters()
