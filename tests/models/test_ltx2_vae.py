import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional as F

from streaming import partitions
from tiny_ltx2 import SPEC, tiny_vae
from vivace.core.config import from_json, to_json
from vivace.core.errors import ConfigError, StateError
from vivace.models.ltx2_vae import GrowStageSpec, Ltx2Vae, Ltx2VaeSpec
from vivace.state.stream_state import StreamState, join_states, split_state
from vivace.state.tree import tree_tensors

NUM_LATENT_FRAMES = 5
# convolutions of other lengths may sum in another order
TOLERANCE = 1e-5


def clip(num_raw_frames: int = 8 * NUM_LATENT_FRAMES - 7, batch: int = 1, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, num_raw_frames, 64, 96, generator=generator) * 2 - 1


def latents(batch: int = 1, frames: int = NUM_LATENT_FRAMES, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 8, frames, 2, 3, generator=generator)


def streamed_encode(vae: Ltx2Vae, video: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    state, parts, position = None, [], 0
    for size in sizes:
        stop = position + vae.grid.num_raw_frames(size, len(parts))
        latent, state = vae.encode(video[:, :, position:stop], state)
        parts.append(latent)
        position = stop
    return torch.cat(parts, dim=2)


def streamed_decode(vae: Ltx2Vae, latent: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    state, parts = None, []
    for part in latent.split(sizes, dim=2):
        video, state = vae.decode(part, state)
        parts.append(video)
    return torch.cat(parts, dim=2)


@given(sizes=partitions(NUM_LATENT_FRAMES, 3))
@settings(max_examples=8, deadline=None)
def test_encoding_in_any_pushes_equals_encoding_the_whole_clip(sizes):
    vae, video = tiny_vae(), clip()
    whole, _ = vae.encode(video, None)
    assert whole.shape == (1, 8, NUM_LATENT_FRAMES, 2, 3)
    torch.testing.assert_close(streamed_encode(vae, video, sizes), whole, atol=TOLERANCE, rtol=0)


@given(sizes=partitions(NUM_LATENT_FRAMES, 3))
@settings(max_examples=8, deadline=None)
def test_decoding_in_any_pushes_equals_decoding_the_whole_clip(sizes):
    vae = tiny_vae()
    whole, _ = vae.decode(latents(), None)
    assert whole.shape == (1, 3, 8 * NUM_LATENT_FRAMES - 7, 64, 96)
    torch.testing.assert_close(streamed_decode(vae, latents(), sizes), whole, atol=TOLERANCE, rtol=0)


def test_an_old_state_can_be_gone_back_to():
    vae = tiny_vae()
    first, state = vae.decode(latents()[:, :, :2], None)
    before = [leaf.clone() for _, leaf in tree_tensors(state)]
    once, _ = vae.decode(latents()[:, :, 2:3], state)
    again, _ = vae.decode(latents()[:, :, 2:3], state)
    assert torch.equal(once, again)
    assert all(torch.equal(a, b) for a, (_, b) in zip(before, tree_tensors(state)))
    assert first.shape[2] == 9


def test_memory_of_a_long_stream_stays_bounded():
    vae, state, sizes = tiny_vae(), None, []
    for index in range(4):
        _, state = vae.decode(latents(seed=index, frames=1), state)
        kept = [leaf for _, leaf in tree_tensors(state)]
        sizes.append(sum(leaf.numel() for leaf in kept))
        # nothing kept may hold a larger buffer alive
        assert all(leaf.untyped_storage().nbytes() == leaf.numel() * 4 for leaf in kept)
    assert len(set(sizes)) == 1


def test_streams_in_one_batch_do_not_see_each_other():
    vae = tiny_vae()
    alone = []
    for seed in (1, 2):
        _, state = vae.encode(clip(9, seed=seed), None)
        latent, _ = vae.encode(clip(8, seed=seed + 10), state)
        alone.append((latent, StreamState(state, 2)))
    joined = join_states([state for _, state in alone])
    both, after = vae.encode(torch.cat([clip(8, seed=11), clip(8, seed=12)]), joined.take())
    torch.testing.assert_close(both, torch.cat([latent for latent, _ in alone]), atol=1e-6, rtol=1e-5)
    assert len(split_state(StreamState(after, 3), 2)) == 2


def test_a_later_raw_frame_never_changes_an_earlier_latent_frame():
    vae, video = tiny_vae(), clip(25)
    changed = video.clone()
    changed[:, :, 17:] = 0
    before, after = vae.encode(video, None)[0], vae.encode(changed, None)[0]
    assert torch.equal(before[:, :, :3], after[:, :, :3])
    assert not torch.equal(before[:, :, 3], after[:, :, 3])


def test_a_decoder_that_looks_ahead_sees_later_frames_and_a_causal_one_does_not():
    vae, changed = tiny_vae(), latents()
    changed[:, :, -1] = 0
    causal = [vae.decoder(x, None)[0][:, :, :33] for x in (latents(), changed)]
    ahead = [vae.decoder(x, None, looks_ahead=True)[0][:, :, :33] for x in (latents(), changed)]
    assert torch.equal(causal[0][:, :, :25], causal[1][:, :, :25])
    assert not torch.equal(ahead[0][:, :, :25], ahead[1][:, :, :25])


@pytest.mark.parametrize(("tile_frames", "tile_stride"), [(3, 1), (2, 2), (4, 2)])
def test_tiles_fade_into_each_other_linearly(tile_frames, tile_stride):
    vae, latent = tiny_vae(), latents(frames=8)
    raw = latent * vae.latent_std[:, None, None, None] + vae.latent_mean[:, None, None, None]
    expected = torch.full((1, 3, 57, 64, 96), torch.nan)
    for start in range(0, 7, tile_stride):
        tile = vae.decoder(raw[:, :, start : start + tile_frames + 1], None, looks_ahead=True)[0]
        for frame in range(0 if start == 0 else 1, tile.shape[2]):
            place, age = start * 8 + frame, frame - 1
            fade = (tile_frames - tile_stride) * 8
            # shorter tiles at the end of the clip fade over what they have
            fade = min(fade, tile.shape[2] - 1)
            weight = 1.0 if start == 0 or age >= fade else age / fade
            old = expected[:, :, place].nan_to_num() if weight < 1 else 0
            expected[:, :, place] = weight * tile[:, :, frame] + (1 - weight) * old
    parts = list(vae.decode_looking_ahead(latent, tile_frames=tile_frames, tile_stride=tile_stride))
    assert [part.shape[2] for part in parts[:-1]] == [8 * tile_stride + 1] + [8 * tile_stride] * (
        len(parts) - 2
    )
    torch.testing.assert_close(torch.cat(parts, dim=2), expected.clamp(-1, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 2])
def test_a_clip_of_one_tile_is_decoded_whole(frames):
    vae = tiny_vae()
    parts = list(vae.decode_looking_ahead(latents(frames=frames)))
    raw = latents(frames=frames) * vae.latent_std[:, None, None, None] + vae.latent_mean[:, None, None, None]
    whole, _ = vae.decoder(raw, None, looks_ahead=True)
    assert len(parts) == 1
    assert torch.equal(parts[0], whole.clamp(-1, 1))


def test_decoding_is_the_inverse_scaling_of_encoding():
    vae = tiny_vae()
    mode, _ = vae.encoder(clip(9), None)
    latent, _ = vae.encode(clip(9), None)
    expected = (mode - vae.latent_mean[:, None, None, None]) / vae.latent_std[:, None, None, None]
    torch.testing.assert_close(latent, expected)
    video, _ = vae.decode(latent, None)
    torch.testing.assert_close(video, vae.decoder(mode, None)[0].clamp(-1, 1), atol=1e-4, rtol=0)


def test_one_block_equals_its_formula_in_library_parts():
    vae = tiny_vae()
    state_dict = vae.state_dict()

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        padded = torch.cat([x[:, :, :1], x[:, :, :1], x], dim=2)
        padded = F.pad(padded, (1, 1, 1, 1, 0, 0), mode="reflect")
        return F.conv3d(padded, state_dict[f"decoder.{name}.weight"], state_dict[f"decoder.{name}.bias"])

    def act(x: torch.Tensor) -> torch.Tensor:
        return F.silu(x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt())

    seen: list[torch.Tensor] = []
    block = vae.decoder.middle[0]
    block.register_forward_hook(lambda _, __, result: seen.append(result.total))
    vae.decoder(latents(), None)
    entered = conv(latents(), "enter")
    inside = conv(act(entered), "middle.0.conv_1")
    expected = entered + conv(act(inside), "middle.0.conv_2")
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=1e-5)


def test_training_passes_gradients_to_every_parameter():
    torch.manual_seed(0)
    vae = Ltx2Vae(SPEC)
    moments, _ = vae.encoder(clip(9), None, with_log_variance=True)
    video, _ = vae.decoder(moments[:, :8], None)
    (video.square().mean() + moments.square().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())


@pytest.mark.parametrize(("frames", "starts"), [(8, True), (9, False), (0, True)])
def test_a_wrong_number_of_raw_frames_is_refused(frames, starts):
    vae = tiny_vae()
    state = None if starts else vae.encode(clip(1), None)[1]
    with pytest.raises(StateError, match="raw frames to encode, expected"):
        vae.encode(clip(9)[:, :, :frames], state)


def test_a_picture_that_the_stride_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="divisible by 32"):
        tiny_vae().encode(torch.zeros(1, 3, 1, 64, 80), None)


def test_the_state_of_another_stream_size_is_refused():
    vae = tiny_vae()
    _, state = vae.decode(latents(frames=1), None)
    with pytest.raises(StateError, match="expected"):
        vae.decode(torch.zeros(1, 8, 1, 2, 4), state)


def test_a_stride_outside_the_tile_is_refused():
    with pytest.raises(ConfigError, match="stride of 4"):
        tiny_vae().decode_looking_ahead(latents(), tile_stride=4)


def test_a_spec_survives_json_and_uneven_strides_are_refused():
    assert from_json(Ltx2VaeSpec, to_json(SPEC)) == SPEC
    assert (SPEC.grid.temporal_stride, SPEC.grid.spatial_stride) == (8, 32)
    with pytest.raises(ConfigError, match="differ"):
        Ltx2VaeSpec(decoder=(GrowStageSpec(num_blocks=1, out_channels=512),))
