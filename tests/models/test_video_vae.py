import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from vivace.core.config import from_json, to_json
from vivace.core.errors import ConfigError, StateError, WeightsError
from vivace.models.video_vae import (
    WEIGHTS_NAME,
    DecoderState,
    EncoderState,
    VaeStageSpec,
    VideoVae,
    VideoVaeSpec,
)
from vivace.state.tree import tree_map, tree_tensors

SMALL = VideoVaeSpec(
    latent_channels=6,
    encoder=(
        VaeStageSpec(width=8, num_blocks=1, has_memory=True),
        VaeStageSpec(width=8, num_blocks=1, has_memory=True),
        VaeStageSpec(width=12, num_blocks=2),
    ),
    decoder=(
        VaeStageSpec(width=12, num_blocks=1, has_memory=True),
        VaeStageSpec(width=8, num_blocks=2, has_memory=True),
        VaeStageSpec(width=8, num_blocks=1, has_memory=True),
        VaeStageSpec(width=4, num_blocks=1),
    ),
)
# Convolutions of other batch sizes may sum in another order.
TOLERANCE = 2e-6
NUM_LATENT_FRAMES = 6


def small_vae() -> VideoVae:
    torch.manual_seed(0)
    vae = VideoVae(SMALL).eval().requires_grad_(False)
    vae.set_latent_statistics(torch.randn(6), torch.rand(6) + 0.5)
    return vae


def clip(num_raw_frames: int = 4 * NUM_LATENT_FRAMES - 3, batch: int = 1, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, num_raw_frames, 32, 48, generator=generator) * 2 - 1


def streamed_encode(vae: VideoVae, video: torch.Tensor, latent_frames: list[int]) -> torch.Tensor:
    state: EncoderState | None = None
    parts, position = [], 0
    for size in latent_frames:
        num_raw_frames = 4 * size - (3 if state is None else 0)
        latent, state = vae.encode(video[:, :, position : position + num_raw_frames], state)
        parts.append(latent)
        position += num_raw_frames
    return torch.cat(parts, dim=2)


def streamed_decode(vae: VideoVae, latent: torch.Tensor, latent_frames: list[int]) -> torch.Tensor:
    state: DecoderState | None = None
    parts = []
    for part in latent.split(latent_frames, dim=2):
        video, state = vae.decode(part, state)
        parts.append(video)
    return torch.cat(parts, dim=2)


def partitions() -> st.SearchStrategy[list[int]]:
    def sizes(cuts: set[int]) -> list[int]:
        borders = [0, *sorted(cuts), NUM_LATENT_FRAMES]
        return [stop - start for start, stop in pairwise(borders)]

    return st.sets(st.integers(1, NUM_LATENT_FRAMES - 1)).map(sizes)


@given(sizes=partitions())
@settings(max_examples=15, deadline=None)
def test_encoding_in_any_pushes_equals_encoding_the_whole_clip(sizes: list[int]) -> None:
    vae, video = small_vae(), clip()
    whole, _ = vae.encode(video, None)
    torch.testing.assert_close(streamed_encode(vae, video, sizes), whole, atol=TOLERANCE, rtol=0)


@given(sizes=partitions())
@settings(max_examples=15, deadline=None)
def test_decoding_in_any_pushes_equals_decoding_the_whole_clip(sizes: list[int]) -> None:
    vae = small_vae()
    latent = torch.randn(1, 6, NUM_LATENT_FRAMES, 2, 3)
    whole, _ = vae.decode(latent, None)
    torch.testing.assert_close(streamed_decode(vae, latent, sizes), whole, atol=TOLERANCE, rtol=0)


def test_the_strides_are_those_of_the_grid() -> None:
    vae = small_vae()
    for num_raw_frames in (1, 5, 13):
        latent, _ = vae.encode(clip(num_raw_frames), None)
        assert latent.shape == (
            1,
            6,
            vae.grid.num_latent_frames(num_raw_frames),
            *vae.grid.latent_size(32, 48),
        )
        video, _ = vae.decode(latent, None)
        assert video.shape == (1, 3, num_raw_frames, 32, 48)
        assert video.abs().max() <= 1


def test_a_later_raw_frame_never_changes_an_earlier_latent_frame() -> None:
    vae, video = small_vae(), clip(13)
    changed = video.clone()
    changed[:, :, 9:] = 0
    before, after = vae.encode(video, None)[0], vae.encode(changed, None)[0]
    assert torch.equal(before[:, :, :3], after[:, :, :3])
    assert not torch.equal(before[:, :, 3], after[:, :, 3])


def test_a_later_latent_frame_never_changes_an_earlier_raw_frame() -> None:
    vae = small_vae()
    latent = torch.randn(1, 6, 4, 2, 3)
    changed = latent.clone()
    changed[:, :, 2:] += 1
    before, after = vae.decode(latent, None)[0], vae.decode(changed, None)[0]
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert not torch.equal(before[:, :, 5], after[:, :, 5])


def test_an_earlier_raw_frame_changes_later_latents_through_the_state() -> None:
    vae, video = small_vae(), clip(9)
    changed = video.clone()
    changed[:, :, 1:5] = 0
    later = [streamed_encode(vae, x, [1, 1, 1])[:, :, 2] for x in (video, changed)]
    assert not torch.equal(later[0], later[1])


def test_two_streams_in_one_batch_do_not_see_each_other() -> None:
    vae = small_vae()
    together, other = clip(9, batch=2), clip(9, batch=2)
    other[1] = 0
    latents = [vae.encode(x, None)[0] for x in (together, other)]
    videos = [vae.decode(x, None)[0] for x in latents]
    assert torch.equal(latents[0][0], latents[1][0])
    assert torch.equal(videos[0][0], videos[1][0])
    assert not torch.equal(videos[0][1], videos[1][1])


def test_two_streams_that_take_turns_equal_two_streams_alone() -> None:
    vae = small_vae()
    clips = [clip(9, seed=seed) for seed in (1, 2)]
    alone = [streamed_encode(vae, x, [1, 1, 1]) for x in clips]
    states: list[EncoderState | None] = [None, None]
    parts: list[list[torch.Tensor]] = [[], []]
    for cut in (slice(0, 1), slice(1, 5), slice(5, 9)):
        for i in range(2):
            latent, states[i] = vae.encode(clips[i][:, :, cut], states[i])
            parts[i].append(latent)
    assert all(torch.equal(torch.cat(parts[i], 2), alone[i]) for i in range(2))


def test_a_stream_started_anew_equals_a_fresh_vae() -> None:
    vae, video = small_vae(), clip(5)
    vae.encode(clip(9, seed=7), None)
    assert torch.equal(vae.encode(video, None)[0], small_vae().encode(video, None)[0])


def test_a_kept_state_can_be_gone_back_to() -> None:
    vae, video = small_vae(), clip(9)
    _, state = vae.encode(video[:, :, :5], None)
    kept = tree_map(torch.clone, state)
    first, _ = vae.encode(video[:, :, 5:], state)
    again, _ = vae.encode(video[:, :, 5:], state)
    assert torch.equal(first, again)
    pairs = zip(tree_tensors(state), tree_tensors(kept))
    assert all(torch.equal(a, b) for (_, a), (_, b) in pairs)


def test_latents_are_normalised_by_the_stored_statistics() -> None:
    vae, video = small_vae(), clip(5)
    _, plain = vae.autoencode(video, 0.0)
    mean, std = (x.view(1, 6, 1, 1, 1) for x in (vae.latent_mean, vae.latent_std))
    torch.testing.assert_close(vae.encode(video, None)[0] * std + mean, plain, atol=1e-5, rtol=0)


def test_training_runs_the_forward_that_streams() -> None:
    vae, video = small_vae(), clip(9)
    trained, _ = vae.autoencode(video, 0.0)
    streamed = streamed_decode(vae, streamed_encode(vae, video, [1, 2]), [2, 1])
    torch.testing.assert_close(trained.clamp(-1, 1), streamed, atol=1e-5, rtol=0)


def test_every_weight_gets_a_gradient() -> None:
    vae = small_vae().requires_grad_(True)
    decoded, latent = vae.autoencode(clip(9), 0.0)
    (decoded.square().mean() + latent.square().mean()).backward()
    assert [name for name, p in vae.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(
    ("num_raw_frames", "starts"), [(4, True), (0, True), (1, False), (5, False), (0, False)]
)
def test_a_push_of_broken_groups_is_refused(num_raw_frames: int, starts: bool) -> None:
    vae = small_vae()
    state = None if starts else vae.encode(clip(1), None)[1]
    with pytest.raises(StateError, match=f"got {num_raw_frames} raw frames"):
        vae.encode(clip(num_raw_frames), state)


def test_a_picture_that_the_stride_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="divisible by 16"):
        small_vae().encode(torch.zeros(1, 3, 1, 32, 40), None)


def test_a_state_of_another_size_is_refused() -> None:
    vae = small_vae()
    _, state = vae.encode(clip(1), None)
    with pytest.raises(StateError, match="made with"):
        vae.encode(torch.zeros(1, 3, 4, 32, 32), state)


def test_the_spec_survives_json() -> None:
    assert from_json(VideoVaeSpec, to_json(SMALL)) == SMALL
    with pytest.raises(ConfigError, match="latent_chanels"):
        from_json(VideoVaeSpec, {"latent_chanels": 3})


def test_a_saved_vae_loads_equal(tmp_path: Path) -> None:
    vae, video = small_vae(), clip(5)
    vae.save(tmp_path)
    loaded = VideoVae.load(tmp_path)
    assert loaded.spec == SMALL
    assert torch.equal(loaded.encode(video, None)[0], vae.encode(video, None)[0])


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, damage: str) -> None:
    small_vae().save(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS_NAME)
    if damage == "missing":
        tensors.pop("latent_mean")
    elif damage == "unknown":
        tensors["extra"] = torch.zeros(1)
    else:
        tensors["latent_mean"] = torch.zeros(7)
    save_file(tensors, tmp_path / WEIGHTS_NAME)
    with pytest.raises(WeightsError, match="extra" if damage == "unknown" else "latent_mean"):
        VideoVae.load(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    small_vae().save(tmp_path)
    (tmp_path / WEIGHTS_NAME).unlink()
    with pytest.raises(WeightsError, match="no weights"):
        VideoVae.load(tmp_path)


def test_bf16_stays_near_fp32() -> None:
    vae, video = small_vae(), clip(9)
    exact = vae.decode(vae.encode(video, None)[0], None)[0]
    vae.to(torch.bfloat16)
    rough = vae.decode(vae.encode(video.bfloat16(), None)[0], None)[0]
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < 0.02


def test_the_bundled_size_stays_within_its_budget() -> None:
    vae = VideoVae(VideoVaeSpec())
    assert sum(p.numel() for p in vae.parameters()) <= 3_200_000
    assert dataclasses.asdict(vae.spec)["latent_channels"] == 48
