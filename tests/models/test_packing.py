import copy

import pytest
import torch
from torch import nn

from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.layers.packed import PackedLinear, can_pack
from vivace.models.packing import pack_linear_layers
from vivace.models.streaming_dit import DitSpec, StreamingDit

pytestmark = pytest.mark.skipif(
    not can_pack(PackedLinear, torch.float32), reason="this build of torch has no oneDNN"
)

SPEC = DitSpec(
    in_channels=6,
    out_channels=3,
    dim=24,
    num_heads=2,
    mlp_ratio=2.0,
    text_dim=10,
    mixers=(GdnSpec(), SoftmaxSpec(num_sink_frames=1, window_frames=1)),
    place_octaves=2,
)


def model(dtype: torch.dtype) -> StreamingDit:
    torch.manual_seed(0)
    dit = StreamingDit(SPEC)
    for parameter in dit.parameters():
        nn.init.normal_(parameter, std=0.2)
    return dit.to(dtype).eval().requires_grad_(False)


def streamed(dit: StreamingDit, sizes: tuple[int, ...], batch: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Velocities of chunks of these sizes, each read once and then written."""
    generator = torch.Generator().manual_seed(1)
    text = torch.randn(batch, 5, 10, generator=generator).to(dtype)
    context = dit.embed_text(text, torch.ones(batch, 5, dtype=torch.bool))
    state, velocities = None, []
    for size in sizes:
        latent = torch.randn(batch, 6, size, 4, 6, generator=generator).to(dtype)
        velocities.append(dit(latent, torch.full((batch, 1), 0.7), context, state, write=False)[0])
        velocity, state = dit(latent, torch.zeros(batch, 1), context, state, write=True)
        velocities.append(velocity)
    return velocities


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (1, 2, 1)])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_a_packed_model_streams_like_the_one_it_was(sizes, batch, dtype, limit):
    if not can_pack(PackedLinear, dtype):
        pytest.skip("this CPU does not multiply bf16")
    packed = copy.deepcopy(dit := model(dtype))
    pack_linear_layers(packed, 24)
    assert sum(isinstance(module, PackedLinear) for module in packed.modules()) > 10
    pairs = zip(streamed(packed, sizes, batch, dtype), streamed(dit, sizes, batch, dtype))
    for ours, expected in pairs:
        assert ours.dtype == dtype
        # medians: random weights make some denominators of the recurrent memory vanish
        assert (ours - expected).float().abs().median() < limit * expected.float().abs().median()


def test_layers_side_by_side_are_one_product():
    layers = nn.Linear(5, 7, bias=False), nn.Linear(5, 2)
    packed = PackedLinear.of(layers, 4)
    assert (packed.in_features, packed.out_features) == (5, 9)
    with torch.no_grad():
        # a strided slice, of another number of rows
        x = torch.randn(2, 3, 9)[..., :5]
        expected = torch.cat([layer(x) for layer in layers], dim=-1)
        torch.testing.assert_close(packed(x), expected)
        torch.testing.assert_close(packed.plus(x, expected), 2 * expected)


def test_types_without_kernels_are_not_packed():
    assert not can_pack(PackedLinear, torch.float64)
