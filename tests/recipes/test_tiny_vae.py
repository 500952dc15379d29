import json
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from vae_runs import small_lpips, small_store
from vivace.core.config import from_json, to_json
from vivace.data.edit_pairs import PENCIL_SKETCH
from vivace.models.video_vae import VaeStageSpec, VideoVae, VideoVaeSpec
from vivace.recipes.tiny_vae import (
    TinyVaeConfig,
    evaluate,
    haar_high_bands,
    tiny_vae,
    train,
    training_batch,
)

STAGE = VaeStageSpec(width=4, num_blocks=1, has_memory=True)
SPEC = VideoVaeSpec(latent_channels=4, encoder=(STAGE, STAGE, STAGE), decoder=(STAGE, STAGE, STAGE, STAGE))


def small_config() -> TinyVaeConfig:
    config = tiny_vae(5.0)
    trainer = replace(config.trainer, num_train_steps=2, warmup_steps=0, log_every=1, autocast="none")
    return replace(config, trainer=trainer, spec=SPEC, batch=4, num_raw_frames=5, crop_px=32)


def test_two_train_steps_end_in_weights_with_latent_statistics(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config, store = small_config(), small_store()
    torch.manual_seed(config.trainer.seed)
    before = VideoVae(SPEC)
    trained = train(config, store, small_lpips(), tmp_path, use_compile=False)
    assert not torch.equal(before.decoder.leave.conv.weight, trained.decoder.leave.conv.weight.float())
    loaded = VideoVae.load(tmp_path)
    latents = [loaded.encode(training_batch(config, store, seed), None)[0] for seed in range(12)]
    joined = torch.cat(latents)
    assert joined.mean(dim=(0, 2, 3, 4)).abs().max() < 0.3
    assert (joined.std(dim=(0, 2, 3, 4)) - 1).abs().max() < 0.3
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert {"pixel", "perceptual", "motion", "haar", "scale"} <= json.loads(lines[0])["parts"].keys()


def test_evaluation_measures_clips_edits_and_a_still_scene(tmp_path: Path) -> None:
    vae = VideoVae(SPEC).eval()
    results = evaluate(
        vae, small_lpips(), small_store(), tmp_path, edits=(PENCIL_SKETCH,), height=32, width=32
    )
    assert results.keys() == {"clip/a", "edit/pencil_sketch", "still"}
    assert results["clip/a"]["psnr_db"] > 0
    with Image.open(tmp_path / "reconstructions.png") as sheet:
        assert sheet.size == (4 * 32, 2 * 32)


def test_a_training_batch_is_a_pure_function_of_the_seed_and_partly_edited() -> None:
    config, store = small_config(), small_store()
    video = training_batch(config, store, 9)
    assert torch.equal(video, training_batch(config, store, 9))
    assert video.min() >= -1
    plain = training_batch(replace(config, edited_share=0.0), store, 9)
    changed = (video != plain).flatten(1).any(dim=1)
    assert changed.tolist() == [False, False, True, True]
    falling = training_batch(replace(config, particle_share=1.0), store, 9)
    assert torch.equal(falling[:2], video[:2])
    assert not torch.equal(falling[2:], video[2:])


def test_the_config_survives_json() -> None:
    config = tiny_vae(3.0)
    assert from_json(TinyVaeConfig, to_json(config)) == config


def test_haar_bands_of_a_flat_picture_are_zero_and_of_stripes_are_not() -> None:
    flat = torch.ones(1, 3, 1, 4, 4)
    stripes = flat.clone()
    stripes[..., 0::2] = 0
    assert haar_high_bands(flat).abs().max() == 0
    bands = haar_high_bands(stripes).abs().amax(dim=(0, 2, 3, 4))
    assert bands.tolist() == [1.0] * 3 + [0.0] * 6
