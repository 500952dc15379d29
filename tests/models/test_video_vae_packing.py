"""A packed VAE is the VAE that it was, up to rounding."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vivace.layers.packed import PackedConv, can_pack
from vivace.models.video_vae import VaeStageSpec, VideoVae, VideoVaeSpec
from vivace.state.tree import tree_map, tree_tensors

pytestmark = pytest.mark.skipif(
    not can_pack(PackedConv, torch.float32), reason="this build of torch has no oneDNN"
)

SPEC = VideoVaeSpec(
    latent_channels=6,
    encoder=(
        VaeStageSpec(width=8, num_blocks=2),
        VaeStageSpec(width=20, num_blocks=1, has_memory=True),
        VaeStageSpec(width=12, num_blocks=1),
    ),
    decoder=(
        VaeStageSpec(width=12, num_blocks=1),
        VaeStageSpec(width=20, num_blocks=2, has_memory=True),
        VaeStageSpec(width=8, num_blocks=1, has_memory=True),
        VaeStageSpec(width=4, num_blocks=1),
    ),
)
NUM_LATENT_FRAMES = 5


def vaes(dtype: torch.dtype = torch.float32) -> tuple[VideoVae, VideoVae]:
    """The plain one and the packed one."""
    torch.manual_seed(0)
    plain = VideoVae(SPEC).eval().requires_grad_(False)
    plain.set_latent_statistics(torch.randn(6), torch.rand(6) + 0.5)
    packed = copy.deepcopy(plain.to(dtype))
    packed.pack()
    return plain, packed


def clip(batch: int = 1, height: int = 32, width: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    num_raw_frames = 4 * NUM_LATENT_FRAMES - 3
    return torch.rand(batch, 3, num_raw_frames, height, width, generator=generator) * 2 - 1


def streamed(
    encoder: list[VideoVae], decoder: list[VideoVae], video: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor]:
    """Latents and pictures of pushes of so many latent frames, each with the next VAE of the lists."""
    latents, pictures, position = [], [], 0
    encoder_state = decoder_state = None
    for push, size in enumerate(sizes):
        num_raw_frames = 4 * size - (3 if push == 0 else 0)
        part = video[:, :, position : position + num_raw_frames]
        latent, encoder_state = encoder[push % len(encoder)].encode(part, encoder_state)
        picture, decoder_state = decoder[push % len(decoder)].decode(latent, decoder_state)
        latents.append(latent)
        pictures.append(picture)
        position += num_raw_frames
    return torch.cat(latents, dim=2), torch.cat(pictures, dim=2)


def partitions() -> st.SearchStrategy[list[int]]:
    def sizes(cuts: set[int]) -> list[int]:
        return [stop - start for start, stop in pairwise([0, *sorted(cuts), NUM_LATENT_FRAMES])]

    return st.sets(st.integers(1, NUM_LATENT_FRAMES - 1)).map(sizes)


@given(sizes=partitions(), batch=st.integers(1, 2), size=st.sampled_from([(32, 48), (16, 16), (48, 16)]))
@settings(max_examples=20, deadline=None)
def test_any_pushes_give_what_the_plain_vae_gives_for_the_whole_clip(
    sizes: list[int], batch: int, size: tuple[int, int]
) -> None:
    plain, packed = vaes()
    video = clip(batch, *size)
    expected = streamed([plain], [plain], video, [NUM_LATENT_FRAMES])
    for ours, wanted in zip(streamed([packed], [packed], video, sizes), expected, strict=True):
        torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", [0, 1])
def test_a_stream_can_go_on_with_the_other_vae(order: int) -> None:
    plain, packed = vaes()
    turns = [plain, packed] if order == 0 else [packed, plain]
    expected = streamed([plain], [plain], clip(2), [1, 2, 1, 1])
    for ours, wanted in zip(streamed(turns, turns, clip(2), [1, 2, 1, 1]), expected, strict=True):
        torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)


def test_bf16_is_as_near_to_fp32_as_that_of_the_plain_vae() -> None:
    if not can_pack(PackedConv, torch.bfloat16):
        pytest.skip("this CPU does not multiply bf16")
    exact, _ = vaes()
    plain, packed = vaes(torch.bfloat16)
    video = clip(2)
    expected = streamed([exact], [exact], video, [1, 2, 2])
    ours = streamed([packed], [packed], video.bfloat16(), [1, 2, 2])
    theirs = streamed([plain], [plain], video.bfloat16(), [1, 2, 2])
    for wanted, a, b in zip(expected, ours, theirs, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a.float() - wanted).norm() < 1.05 * (b.float() - wanted).norm()


@pytest.mark.parametrize("channels_last", [False, True])
def test_neither_inputs_nor_states_are_written_to(channels_last: bool) -> None:
    _, packed = vaes()
    video = clip(2)
    if channels_last:
        video = video.contiguous(memory_format=torch.channels_last_3d)
    latent, encoder_state = packed.encode(video[:, :, :1], None)
    _, decoder_state = packed.decode(latent, None)
    given = video, latent, encoder_state, decoder_state
    before = tree_map(torch.clone, given)
    first = packed.encode(video[:, :, 1:5], encoder_state), packed.decode(latent, decoder_state)
    again = packed.encode(video[:, :, 1:5], encoder_state), packed.decode(latent, decoder_state)
    for one, other in ((given, before), (first, again)):
        for (_, a), (_, b) in zip(tree_tensors(one), tree_tensors(other), strict=True):
            assert torch.equal(a, b)


def test_states_have_the_form_of_those_of_the_plain_vae() -> None:
    states = []
    for vae in vaes():
        latent, encoder_state = vae.encode(clip(2), None)
        states.append((encoder_state, vae.decode(latent, None)[1]))
    (plain, packed) = (tree_tensors(state) for state in states)
    for (path, a), (other_path, b) in zip(plain, packed, strict=True):
        assert (path, a.shape, a.dtype) == (other_path, b.shape, b.dtype)


def test_a_state_that_lies_channels_first_serves_once_and_is_followed_by_others() -> None:
    _, packed = vaes()
    latent, _ = packed.encode(clip(2), None)
    _, state = packed.decode(latent[:, :, :1], None)
    expected, _ = packed.decode(latent[:, :, 1:2], state)
    video, after = packed.decode(latent[:, :, 1:2], tree_map(torch.Tensor.contiguous, state))
    torch.testing.assert_close(video, expected, atol=1e-6, rtol=0)
    assert all(
        tensor.is_contiguous(memory_format=torch.channels_last_3d) for _, tensor in tree_tensors(after)
    )


def test_every_convolution_is_packed() -> None:
    plain, packed = vaes()
    convs = [module for module in plain.modules() if isinstance(module, torch.nn.Conv2d)]
    assert sum(isinstance(module, PackedConv) for module in packed.modules()) == len(convs)
    assert not any(isinstance(module, torch.nn.Conv2d) for module in packed.modules())
