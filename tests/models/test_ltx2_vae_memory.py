"""What the full-size VAE needs, counted on tensors without data."""

import pytest
import torch
from torch import Tensor

from live_bytes import LiveBytes
from tiny_ltx2 import SPEC
from vivace.catalog.ltx2_vae import ltx2_vae_spec
from vivace.core.errors import StateError
from vivace.layers.causal_conv3d import CausalConv3d, Features, Grow, Shrink
from vivace.models.ltx2_vae import Ltx2Vae
from vivace.ops.conv_input import ConvInput
from vivace.state.tree import tree_map, tree_tensors

MIB = 2**20
HEIGHT, WIDTH = 704, 1280


def as_fused(update, tail, padding, *, base=None, bias=None, activate, keep_total=True) -> ConvInput:
    """Allocates what the fused form allocates."""
    streams, channels, frames, height, width = update.shape
    border = 2 * padding.reflect
    padded = update.new_empty(
        streams, channels, frames + padding.before + padding.after, height + border, width + border
    )
    total = None
    if keep_total:
        total = update if base is None and bias is None else torch.empty_like(update)
    return ConvInput(padded, total, update.new_empty(streams, channels, padding.before, height, width))


def as_shrunk(update, bias, total, stride) -> Tensor:
    streams, channels, frames, height, width = update.shape
    a, b, c = stride
    return update.new_empty(streams, channels * a * b * c, frames // a, height // b, width // c)


def as_grown(update, bias, total, stride, *, num_dropped) -> Tensor:
    streams, channels, frames, height, width = update.shape
    a, b, c = stride
    return update.new_empty(streams, channels // (a * b * c), frames * a - num_dropped, height * b, width * c)


@pytest.fixture(scope="module")
def vae() -> Ltx2Vae:
    with torch.device("meta"):
        made = Ltx2Vae(ltx2_vae_spec()).to(torch.bfloat16).requires_grad_(False)
    for module in made.modules():
        match module:
            case CausalConv3d():
                module.prepare = as_fused
            case Shrink():
                module.resample = as_shrunk
            case Grow():
                module.resample = as_grown
    return made


def inputs(vae: Ltx2Vae, direction: str, latent_frames: int, *, is_first: bool) -> Tensor:
    if direction == "decode":
        size = (1, vae.spec.latent_channels, latent_frames, HEIGHT // 32, WIDTH // 32)
    else:
        size = (1, 3, vae.grid.num_raw_frames(latent_frames, int(not is_first)), HEIGHT, WIDTH)
    return torch.empty(size, dtype=torch.bfloat16, device="meta")


@pytest.mark.parametrize(
    ("direction", "latent_frames", "work_mib"),
    [("encode", 1, 496), ("encode", 3, 1376), ("decode", 1, 498), ("decode", 3, 1386)],
)
def test_a_call_that_overwrites_needs_two_terms_their_sum_and_what_is_convolved(
    vae, direction, latent_frames, work_mib
):
    call = vae.encode if direction == "encode" else vae.decode
    _, state = call(inputs(vae, direction, 1, is_first=True), None)
    state_bytes = sum(tensor.nbytes for _, tensor in tree_tensors(state))
    assert state_bytes / MIB == pytest.approx({"encode": 897.2, "decode": 567.6}[direction], abs=0.1)
    x = inputs(vae, direction, latent_frames, is_first=False)
    peaks = []
    for overwrites in (True, False):
        given = tree_map(torch.clone, state)
        known = [x, *vae.parameters(), *(tensor for _, tensor in tree_tensors(given))]
        with LiveBytes(known) as live:
            result = call(x, given, overwrites=overwrites)
        peaks.append(live.peak / MIB)
        del result
    assert peaks[0] == pytest.approx(work_mib, abs=5)
    # a value beside the old one: at the peak of decoding all of it is there, at that of encoding a part
    assert peaks[1] > peaks[0] + 25


@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_a_state_that_is_overwritten_gives_what_a_new_one_gives(direction):
    torch.manual_seed(0)
    vae = Ltx2Vae(SPEC).eval().requires_grad_(False)
    call = vae.encode if direction == "encode" else vae.decode
    if direction == "encode":
        parts = [torch.rand(1, 3, frames, 64, 96) for frames in (1, 8, 16)]
    else:
        parts = [torch.randn(1, SPEC.latent_channels, frames, 2, 3) for frames in (1, 1, 2)]
    valued = overwritten = None
    for part in parts:
        given = overwritten
        expected, valued = call(part, valued)
        found, overwritten = call(part, overwritten, overwrites=overwritten is not None)
        assert torch.equal(found, expected)
        for (name, a), (_, b) in zip(tree_tensors(overwritten), tree_tensors(valued), strict=True):
            assert torch.equal(a, b), name
        if given is not None:
            places = [[t.data_ptr() for _, t in tree_tensors(state)] for state in (given, overwritten)]
            assert places[0] == places[1]


def test_features_are_taken_once():
    features = Features(torch.ones(1, 2, 1, 3, 3), bias=torch.ones(2))
    assert (features.total == 2).all()
    features.take()
    with pytest.raises(StateError, match="taken"):
        features.take()
