from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vivace.core.config import from_json, to_json
from vivace.data.clips import ClipStore
from vivace.models.perceptual import Lpips
from vivace.models.video_vae import VaeStageSpec, VideoVae, VideoVaeSpec
from vivace.recipes.tiny_decoder import (
    DecoderRun,
    decoder_batch,
    decoder_run,
    train_decoder,
    with_decoder,
)

STAGE = VaeStageSpec(width=4, num_blocks=1, has_memory=True)
DEEP = VaeStageSpec(width=4, num_blocks=3, has_memory=True)
SPEC = VideoVaeSpec(latent_channels=4, encoder=(STAGE, STAGE, STAGE), decoder=(STAGE, STAGE, DEEP, STAGE))
LIGHT = (STAGE, STAGE, replace(DEEP, num_blocks=2), replace(STAGE, width=6))


def old_vae() -> VideoVae:
    torch.manual_seed(0)
    vae = VideoVae(SPEC).eval()
    vae.set_latent_statistics(torch.rand(4), torch.rand(4) + 0.5)
    return vae


def small_run(**changes: object) -> DecoderRun:
    run = decoder_run(5.0, 2)
    trainer = replace(run.trainer, warmup_steps=0, log_every=1, autocast="none", ema_decay=None)
    return replace(
        run, trainer=trainer, decoder=LIGHT, batch=4, num_raw_frames=5, crop_px=32, edit_groups=2, **changes
    )


def small_store() -> ClipStore:
    clip = np.random.default_rng(0).integers(0, 256, (9, 40, 48, 3), dtype=np.uint8)
    return ClipStore([("a", "clip", clip), ("b", "still", clip[:1])])


def small_lpips() -> Lpips:
    torch.manual_seed(1)
    return Lpips()


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


def test_a_batch_is_a_pure_function_of_the_seed_with_the_shares_of_the_run():
    run, store = small_run(edited_share=0.5, particle_share=1.0), small_store()
    video = decoder_batch(run, store, 9)
    assert torch.equal(video, decoder_batch(run, store, 9))
    plain = decoder_batch(replace(run, edited_share=0.0), store, 9)
    assert (video != plain).flatten(1).any(dim=1).tolist() == [False, False, True, True]


def test_the_run_survives_json():
    assert from_json(DecoderRun, to_json(decoder_run(3.0, 10))) == decoder_run(3.0, 10)
