"""The full-size bench: what can be said without a GPU, and on one a small model through all of it."""

from dataclasses import replace

import pytest
import torch

from vivace.bench import full_speed
from vivace.bench.full_speed import FullSpeedSettings, measure_full_speed
from vivace.catalog.random_weights import random_dit
from vivace.core.errors import InputError
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.streaming_dit import DitSpec, hybrid_mixers

CPU = torch.device("cpu")
SMALL = DitSpec(
    in_channels=256,
    out_channels=128,
    dim=64,
    num_heads=2,
    mlp_ratio=2,
    text_dim=16,
    mixers=hybrid_mixers(4, 2, GdnSpec(), SoftmaxSpec(num_sink_frames=3, window_frames=3)),
)
SETTINGS = FullSpeedSettings(width_px=128, height_px=64, num_chunks=2, num_warmup_chunks=6)


def test_without_a_gpu_it_is_one_sentence():
    with pytest.raises(InputError, match="timed on a GPU only"):
        measure_full_speed(CPU, SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_chunks": 0}, "at least 1"),
        ({"width_px": 100}, "multiples of 32"),
        ({"variants": ("graph", "eager")}, "in this order"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(SETTINGS, **change)


def test_random_weights_leave_no_layer_silent():
    dit = random_dit(SMALL, CPU, torch.float32)
    assert all(parameter.abs().max() > 0 for name, parameter in dit.named_parameters() if parameter.ndim > 1)
    text = full_speed.random_text(dit, 1, CPU, torch.float32)
    latent = torch.cat([full_speed.random_latent(SETTINGS, CPU, seed) for seed in range(2)], dim=1)
    with torch.no_grad():
        velocity, _ = dit(latent, torch.ones(1, 1), text, write=False)
    assert velocity.isfinite().all()
    assert 0.05 < velocity.std() < 20


@pytest.mark.parametrize(("commit", "writes"), [("clean_pass", [0, 0, 0, 0, 1]), ("last_step", [0, 0, 0, 1])])
def test_a_chunk_makes_the_calls_that_a_pipeline_makes(commit, writes):
    seen: list[tuple[float, bool]] = []

    def velocity(latent, sigma, text, state, *, write):
        seen.append((sigma.item(), write))
        return torch.ones_like(latent[:, :128]), state

    levels, sigmas = full_speed.sigma_levels(SETTINGS, CPU)
    noise = full_speed.random_latent(SETTINGS, CPU, 0)
    x, _ = full_speed.denoise_chunk(velocity, noise, noise, sigmas, levels, None, None, commit)
    assert [write for _, write in seen] == [bool(one) for one in writes]
    assert [sigma for sigma, _ in seen] == pytest.approx(levels[: len(writes)])
    torch.testing.assert_close(x, noise - 1)


@pytest.mark.gpu
def test_a_small_model_is_timed_in_every_variant():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    report = measure_full_speed(torch.device("cuda"), SETTINGS, SMALL)
    assert {figure.variant for figure in report.times} == {"eager", "graph", "graph fp8"}
    assert all(0 < figure.median_ms <= figure.p99_ms for figure in report.times)
    assert all(figure.relative < 0.2 for figure in report.distances)
    assert set(report.peak_gib) == {"eager", "graph", "graph fp8"}
