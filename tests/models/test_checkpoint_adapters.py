import pytest
import torch

from tiny_ltx2 import SPEC, tiny_vae
from vivace.core.errors import WeightsError
from vivace.models.adapters.checkpoint import UnknownTensorWarning, fill
from vivace.models.adapters.ltx2_vae import from_official, to_official
from vivace.models.ltx2_vae import Ltx2Vae


def official() -> dict[str, torch.Tensor]:
    return to_official(tiny_vae(seed=3).state_dict())


def test_a_whole_checkpoint_fills_every_tensor_also_under_prefixes():
    vae, wanted = Ltx2Vae(SPEC), tiny_vae(seed=3).state_dict()
    for prefix in ("", "model.", "module.vae."):
        fill(vae, from_official({prefix + name: tensor for name, tensor in official().items()}), "file")
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in vae.state_dict().items())


def test_a_missing_tensor_is_refused_and_nothing_changes():
    vae = Ltx2Vae(SPEC)
    before = vae.decoder.leave.bias.clone()
    tensors = official()
    tensors["decoder.conv_out.conv.bias"] += 1
    del tensors["encoder.conv_in.conv.weight"]
    with pytest.raises(WeightsError, match=r"file lacks encoder\.enter\.weight \(1 of 60"):
        fill(vae, from_official(tensors), "file")
    assert torch.equal(vae.decoder.leave.bias, before)


def test_a_tensor_of_another_shape_is_refused():
    tensors = official()
    tensors["encoder.conv_in.conv.weight"] = torch.zeros(8, 48, 3, 3, 1)
    with pytest.raises(
        WeightsError, match=r"enter\.weight has shape \[8, 48, 3, 3, 1\], expected \[8, 48, 3, 3, 3\]"
    ):
        fill(Ltx2Vae(SPEC), from_official(tensors), "file")


def test_unknown_tensors_warn_once_and_known_useless_ones_are_silent():
    tensors = {**official(), "vae.per_channel_statistics.mean-of-stds": torch.zeros(())}
    from_official(tensors)
    strange = {**tensors, "decoder.lora.weight": torch.zeros(1), "decoder.lora.bias": torch.zeros(1)}
    with pytest.warns(UnknownTensorWarning, match=r"decoder\.lora\.weight and 1 more"):
        ours = from_official(strange, "file")
    fill(Ltx2Vae(SPEC), ours, "file")
    with pytest.warns(UnknownTensorWarning, match="other"):
        fill(Ltx2Vae(SPEC), {**ours, "other": torch.zeros(1)}, "file")


def test_a_causal_decoder_replaces_only_the_decoder():
    encoder_release, decoder_release = official(), to_official(tiny_vae(seed=4).state_dict())
    decoder = {n: t for n, t in from_official(decoder_release).items() if n.startswith("decoder.")}
    vae = Ltx2Vae(SPEC)
    fill(vae, {**from_official(encoder_release), **decoder}, "both")
    assert torch.equal(vae.encoder.enter.weight, tiny_vae(seed=3).encoder.enter.weight)
    assert torch.equal(vae.decoder.enter.weight, tiny_vae(seed=4).decoder.enter.weight)


def test_values_are_taken_into_the_dtype_of_the_module():
    vae = Ltx2Vae(SPEC).bfloat16()
    fill(vae, from_official(official()), "file")
    assert vae.encoder.enter.weight.dtype == torch.bfloat16
    expected = official()["encoder.conv_in.conv.weight"].bfloat16()
    assert torch.equal(vae.encoder.enter.weight, expected)
    assert vae.encoder.enter.weight.is_contiguous(memory_format=torch.channels_last_3d)
