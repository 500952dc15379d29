from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vae_runs import small_lpips, small_store
from vivace.core.config import from_json, to_json
from vivace.core.errors import InputError
from vivace.models.video_vae import VaeStageSpec, VideoVae, VideoVaeSpec
from vivace.recipes.tiny_decoder import (
    LIGHT_DECODER,
    Arguments,
    GivenLatents,
    main,
    tiny_decoder,
    train_decoder,
    with_decoder,
)
from vivace.recipes.tiny_vae import TinyVaeConfig

STAGE = VaeStageSpec(width=4, num_blocks=1, has_memory=True)
DEEP = VaeStageSpec(width=4, num_blocks=3, has_memory=True)
SPEC = VideoVaeSpec(latent_channels=4, encoder=(STAGE, STAGE, STAGE), decoder=(STAGE, STAGE, DEEP, STAGE))
LIGHT = (STAGE, STAGE, replace(DEEP, num_blocks=2), replace(STAGE, width=6))


def old_vae() -> VideoVae:
    torch.manual_seed(0)
    vae = VideoVae(SPEC).eval()
    vae.set_latent_statistics(torch.rand(4), torch.rand(4) + 0.5)
    return vae


def small_run(num_train_steps: int = 2) -> TinyVaeConfig:
    run = tiny_decoder(old_vae(), 5.0)
    trainer = replace(
        run.trainer,
        num_train_steps=num_train_steps,
        warmup_steps=0,
        log_every=1,
        autocast="none",
        ema_decay=None,
    )
    spec = replace(run.spec, decoder=LIGHT)
    return replace(run, trainer=trainer, spec=spec, batch=4, num_raw_frames=5, crop_px=32, edit_groups=2)


def test_a_new_decoder_starts_from_what_it_shares():
    old = old_vae()
    new = with_decoder(old, LIGHT)
    state = new.state_dict()
    for name, given in old.state_dict().items():
        if name in state and state[name].shape == given.shape:
            assert torch.equal(state[name], given), name
    assert len(new.decoder.at_4.blocks) == 2
    assert new.decoder.leave.conv.weight.shape != old.decoder.leave.conv.weight.shape
    assert not any(p.requires_grad for p in new.encoder.parameters())
    video = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    assert torch.equal(*(vae.encode(video, None)[0] for vae in (old, new)))
    same = with_decoder(old, SPEC.decoder)
    latent = torch.randn(1, 4, 2, 2, 2)
    assert torch.equal(*(vae.decode(latent, None)[0] for vae in (old, same)))


def test_given_latents_are_decoded_as_the_vae_does_and_leave_gradients_to_the_decoder_alone():
    old = old_vae()
    new = with_decoder(old, SPEC.decoder)
    video = torch.rand(2, 3, 5, 32, 32) * 2 - 1
    decoded, latent = GivenLatents(old, new.decoder)(video, torch.zeros(2, 4, 2, 2, 2))
    wanted, _ = old.encode(video, None)
    assert torch.equal(latent, wanted)
    torch.testing.assert_close(decoded.clamp(-1, 1), old.decode(wanted, None)[0])
    decoded.mean().backward()
    assert new.decoder.leave.conv.weight.grad is not None
    assert new.encoder.leave.conv.weight.grad is None


def test_two_train_steps_change_the_decoder_and_keep_the_latents(tmp_path: Path):
    old = old_vae()
    start = with_decoder(old, LIGHT).state_dict()
    train_decoder(small_run(), old, small_store(), small_lpips(), tmp_path, use_compile=False)
    trained = VideoVae.load(tmp_path)
    assert trained.spec.decoder == LIGHT
    changed = {n for n, x in trained.state_dict().items() if not torch.equal(x, start[n].bfloat16().float())}
    assert changed
    assert all(name.startswith("decoder") for name in changed)
    assert {n for n in start if n.startswith("decoder") and n.endswith("conv.weight")} <= changed


def test_the_run_keeps_the_latents_of_the_old_vae_and_survives_json():
    run = tiny_decoder(old_vae(), 3.0)
    assert (run.spec.encoder, run.spec.latent_channels) == (SPEC.encoder, SPEC.latent_channels)
    assert run.spec.decoder == LIGHT_DECODER
    assert run.weights.scale == 0
    assert from_json(TinyVaeConfig, to_json(run)) == run


def test_a_run_does_not_write_over_the_vae_that_it_starts_from(tmp_path: Path):
    given = Arguments(start_from=tmp_path, data=tmp_path, lpips=tmp_path, out=tmp_path / "x" / "..")
    with pytest.raises(InputError, match="for both folders"):
        main(given)
