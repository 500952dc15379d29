from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from vivace.catalog.model_folder import BUNDLED
from vivace.data.clips import ClipStore
from vivace.layers.gdn import GdnMixer, GdnSpec
from vivace.layers.rope import rotation_table
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.video_vae import VideoVae
from vivace.recipes.research_rows import Bench, RowConfig, count_spikes, run, table
from vivace.recipes.research_variants import ScaledKeyMixer, Variant, build
from vivace.recipes.tiny_edit import tiny_edit_spec

SMALL = RowConfig(
    num_train_steps=2,
    batch=2,
    num_pairs=8,
    num_raw_frames=9,
    height_px=64,
    width_px=64,
    eval_raw_frames=53,
)


@pytest.fixture(scope="module")
def bench() -> Bench:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (72, 8, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    clips = ClipStore([("noise", "clip", frames)])
    vae = VideoVae.load(BUNDLED / "video_vae").requires_grad_(False)
    made = Bench(SMALL, clips, clips, vae, PromptEncoder.load(BUNDLED / "prompt_encoder"))
    made.base = replace(made.base, dim=32, num_heads=2)
    return made


def test_the_scaled_mixer_with_the_usual_scale_is_the_mixer():
    torch.manual_seed(0)
    usual, scaled = GdnMixer(16, 2, GdnSpec()), ScaledKeyMixer(16, 2, "sqrt_tokens")
    torch.nn.init.normal_(usual.write_strength.weight)
    scaled.load_state_dict(usual.state_dict())
    x, table_ = torch.randn(2, 3, 6, 16), rotation_table(range(3), 2, 3, 8, torch.device("cpu"))
    torch.testing.assert_close(scaled(x, table_, None, (1, 2))[0], usual(x, table_, None, (1, 2))[0])
    scaled.key_scale = "l2"
    assert not torch.allclose(scaled(x, table_, None, (1, 2))[0], usual(x, table_, None, (1, 2))[0])


@pytest.mark.parametrize("variant", get_args(Variant))
def test_every_variant_can_be_built(variant):
    assert len(build(variant, tiny_edit_spec(48, 192)).blocks) == 6


def test_a_run_gives_a_row_that_depends_on_the_seed(bench):
    first, again, other = run(bench, "hybrid", 0), run(bench, "hybrid", 0), run(bench, "hybrid", 1)
    assert first == again
    assert first.early_error != other.early_error
    assert 0 < run(bench, "all_gdn", 0).state_bytes < first.state_bytes
    assert "| hybrid | 2 |" in table([first, other])


def test_spikes_are_jumps_above_the_running_mean():
    norms = torch.ones(200)
    norms[150] = 9.0
    assert count_spikes(norms, 100) == (1, 9.0)
    norms[160] = float("inf")
    assert count_spikes(norms, 100) == (2, None)
