"""Loading a pulled VAE folder in diffusers' layout."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tiny_ltx2 import SPEC, SPEC_OF_DIFFUSERS, tiny_vae
from vivace.catalog.ltx2_vae import load_ltx2_vae, ltx2_vae_spec, read_ltx2_spec
from vivace.core.errors import WeightsError
from vivace.models.adapters.ltx2_vae import to_official

TINY = {"_class_name": "AutoencoderKLLTX2Video", **SPEC_OF_DIFFUSERS}


def write_folder(folder: Path, seed: int = 0, **changes: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**TINY, **changes}))
    tensors = {name: tensor.contiguous() for name, tensor in to_official(tiny_vae(seed).state_dict()).items()}
    half = len(tensors) // 2
    items = list(tensors.items())
    save_file(dict(items[:half]), folder / "diffusion_pytorch_model-00001-of-00002.safetensors")
    save_file(dict(items[half:]), folder / "diffusion_pytorch_model-00002-of-00002.safetensors")
    return folder


def test_a_folder_gives_the_vae_that_was_stored(tmp_path):
    folder = write_folder(tmp_path / "vae")
    assert read_ltx2_spec(folder) == SPEC
    vae = load_ltx2_vae(folder, dtype=torch.float32)
    latent = torch.randn(1, 8, 2, 2, 2)
    assert torch.equal(vae.decode(latent, None)[0], tiny_vae().decode(latent, None)[0])
    assert not any(parameter.requires_grad for parameter in vae.parameters())


def test_the_decoder_may_come_from_another_folder(tmp_path):
    folder, causal = write_folder(tmp_path / "vae"), write_folder(tmp_path / "causal", seed=7)
    vae = load_ltx2_vae(folder, decoder_folder=causal, dtype=torch.bfloat16)
    assert torch.equal(vae.encoder.leave.weight, tiny_vae().encoder.leave.weight.bfloat16())
    assert torch.equal(vae.decoder.leave.weight, tiny_vae(7).decoder.leave.weight.bfloat16())
    assert torch.equal(vae.latent_mean, tiny_vae().latent_mean.bfloat16())


def test_a_config_that_names_only_its_class_is_the_released_one(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKLCausalLTX2Video"}))
    assert read_ltx2_spec(tmp_path) == ltx2_vae_spec()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestep_conditioning": True}, "timestep_conditioning True"),
        ({"decoder_inject_noise": [False, True]}, "decoder_inject_noise"),
        ({"downsample_type": ["sideways"] * 4}, "sideways"),
        ({"decoder_spatial_padding_mode": "replicate"}, "replicate"),
        ({"_class_name": "AutoencoderKLWan"}, "another model"),
    ],
)
def test_a_folder_of_another_kind_of_vae_is_refused(tmp_path, change, message):
    with pytest.raises(WeightsError, match=message):
        load_ltx2_vae(write_folder(tmp_path / "vae", **change), dtype=torch.float32)


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="pull the model again"):
        read_ltx2_spec(tmp_path)
    folder = write_folder(tmp_path / "vae")
    shard = folder / "diffusion_pytorch_model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="half downloaded"):
        load_ltx2_vae(folder, dtype=torch.float32)
    shard.unlink()
    with pytest.raises(WeightsError, match=r"lacks .*of 60 tensors are missing"):
        load_ltx2_vae(folder, dtype=torch.float32)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        read_ltx2_spec(folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    (folder / "config.json").write_text(json.dumps(TINY))
    with pytest.raises(WeightsError, match="no safetensors file"):
        load_ltx2_vae(folder, dtype=torch.float32)


def test_a_decoder_of_another_size_is_refused(tmp_path):
    folder = write_folder(tmp_path / "vae")
    other = write_folder(tmp_path / "other", decoder_block_out_channels=[8, 16, 64])
    with pytest.raises(WeightsError, match="another size"):
        load_ltx2_vae(folder, decoder_folder=other, dtype=torch.float32)
