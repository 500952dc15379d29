"""LTX-2 video VAE: our classes reproduce the official numbers, streaming and looking ahead."""

import pytest
import torch
from torch import Tensor

from tiny_ltx2 import SPEC, SPEC_OF_DIFFUSERS
from vivace.models.adapters.checkpoint import fill
from vivace.models.adapters.ltx2_vae import causal_taps, from_official, to_official
from vivace.models.ltx2_vae import Ltx2Vae

TOLERANCE = 1e-5
NAME = "sana_H_ltx2_causal_vae"


def assert_same(ours: Tensor, expected: Tensor) -> None:
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max().item() <= TOLERANCE


def official_weights(file: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "weights."
    return {name.removeprefix(prefix): value for name, value in file.items() if name.startswith(prefix)}


def load(official: dict[str, Tensor]) -> Ltx2Vae:
    vae = Ltx2Vae(SPEC)
    fill(vae, from_official(official), NAME)
    return vae.eval().requires_grad_(False)


def test_encoding_reproduces_the_official_moments_and_normalised_latents(golden):
    file = golden(NAME)
    vae = load(official_weights(file))
    moments, _ = vae.encoder(file["video"], None, with_log_variance=True)
    assert_same(moments[:, :-1], file["expected.encode_mode"])
    assert_same(moments[:, -1:].expand(-1, 8, -1, -1, -1), file["expected.encode_logvar"])
    whole = file["expected.encode_whole_nocache_moments"]
    assert_same(moments, whole[:, : moments.shape[1]])
    assert_same(vae.encode(file["video"], None)[0], file["expected.normalised_latents"])


def test_encoding_frame_by_frame_reproduces_the_official_stream(golden):
    file = golden(NAME)
    vae = load(official_weights(file))
    state, parts = None, []
    for start, stop in ((0, 1), (1, 9), (9, 17)):
        mode, state = vae.encoder(file["video"][:, :, start:stop], state)
        parts.append(mode)
    assert_same(torch.cat(parts, dim=2), file["expected.encode_streaming_mode"])


@pytest.mark.parametrize("sizes", [(3,), (1, 1, 1), (1, 2), (2, 1)])
def test_decoding_in_any_pushes_reproduces_the_official_causal_decode(golden, sizes):
    file = golden(NAME)
    vae = load(official_weights(file))
    state, parts = None, []
    for latent in file["z"].split(sizes, dim=2):
        video, state = vae.decoder(latent, state)
        assert video.shape[2] == vae.grid.num_raw_frames(latent.shape[2], sum(p.shape[2] for p in parts))
        parts.append(video)
    assert_same(torch.cat(parts, dim=2), file["expected.decode_causal_whole"])


def test_decoding_normalised_latents_reproduces_the_official_streaming_decoder(golden):
    file = golden(NAME)
    vae = load(official_weights(file))
    video, _ = vae.decode(file["z"], None)
    assert_same(video[:, :, ::4], file["expected.decode_streaming_normalised_in_every4"].clamp(-1, 1))


def test_the_initial_causal_decoder_has_the_official_taps(golden):
    file = golden(NAME)
    official = official_weights(file)
    vae = load(official)
    remapped = causal_taps(vae.state_dict())
    assert torch.equal(remapped["decoder.enter.weight"], file["expected.tap_remap_example"])
    assert torch.equal(remapped["encoder.enter.weight"], official["encoder.conv_in.conv.weight"])
    vae.load_state_dict(remapped)
    video, _ = vae.decoder(file["z"], None)
    assert_same(video[:, :, ::4], file["expected.decode_causal_whole_after_tap_remap_every4"])


def test_official_names_survive_the_round_trip(golden):
    official = official_weights(golden(NAME))
    back = to_official(from_official(official))
    assert back.keys() == official.keys()
    assert all(torch.equal(back[name], official[name]) for name in official)


@torch.no_grad()
def test_diffusers_agrees_in_both_directions_of_time():
    diffusers = pytest.importorskip("diffusers", reason="diffusers is a second oracle and not a dependency")
    torch.manual_seed(0)
    theirs = diffusers.AutoencoderKLLTX2Video(**SPEC_OF_DIFFUSERS).eval()
    vae = Ltx2Vae(SPEC).eval()
    fill(vae, from_official(theirs.state_dict()), "diffusers")
    video, latent = torch.randn(1, 3, 17, 64, 64), torch.randn(1, 8, 3, 2, 2)
    assert_same(vae.encoder(video, None)[0], theirs.encode(video).latent_dist.mode())
    assert_same(vae.decoder(latent, None)[0], theirs.decoder(latent, None, causal=True))
    assert_same(vae.decoder(latent, None, looks_ahead=True)[0], theirs.decoder(latent, None, causal=False))
