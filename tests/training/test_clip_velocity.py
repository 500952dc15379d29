"""The forms of a velocity agree: bf16 with fp32, replayed with called; gradients reach the fp32 weights."""

import pytest
import torch
from torch import Tensor

from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.streaming_dit import DitSpec, StreamingDit, hybrid_mixers
from vivace.training.clip_velocity import ClipVelocity, GraphedVelocity, HalfClipVelocity, clip_velocity

SPEC = DitSpec(
    in_channels=8,
    out_channels=4,
    dim=32,
    num_heads=2,
    mlp_ratio=2,
    text_dim=6,
    mixers=hybrid_mixers(3, 1, GdnSpec(), SoftmaxSpec(num_sink_frames=1, window_frames=1)),
    place_octaves=2,
)
CHUNKS = (1, 1, 2)


def model(device: str = "cpu") -> StreamingDit:
    torch.manual_seed(0)
    dit = StreamingDit(SPEC)
    torch.nn.init.normal_(dit.final.weight, std=0.2)
    return dit.to(device)


def given(device: str = "cpu", seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(2, 8, 4, 4, 6, generator=generator)
    sigma, text = torch.rand(2, 4, generator=generator), torch.randn(2, 5, 6, generator=generator)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    moved = (each.to(device) for each in (latent, sigma, text, mask))
    latent, sigma, text, mask = moved
    return latent, sigma, text.requires_grad_(), mask


def gradients(dit: StreamingDit, velocity, inputs) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    dit.zero_grad(set_to_none=True)
    out = velocity(*inputs)
    out.float().square().mean().backward()
    weights = {name: item.grad.clone() for name, item in dit.named_parameters() if item.grad is not None}
    return out.detach().float(), weights, inputs[2].grad


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


def joined(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weights[name].flatten() for name in sorted(weights)])


def test_bf16_differs_from_fp32_by_rounding_and_its_gradients_reach_fp32_weights() -> None:
    dit = model()
    exact = gradients(dit, ClipVelocity(dit, CHUNKS), given())
    half = gradients(dit, HalfClipVelocity(dit, CHUNKS), given())
    assert relative(half[0], exact[0]) < 0.02
    assert relative(half[2], exact[2]) < 0.05
    assert half[1].keys() == exact[1].keys() == dict(dit.named_parameters()).keys()
    assert {gradient.dtype for gradient in half[1].values()} == {torch.float32}
    assert relative(joined(half[1]), joined(exact[1])) < 0.03


def test_a_cpu_gets_the_plain_form() -> None:
    assert isinstance(clip_velocity(model(), CHUNKS, torch.device("cpu")), ClipVelocity)


# a recorded backward hands gradients over on another stream than the warm-up did, which torch mentions
@pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream")
@pytest.mark.gpu
def test_replayed_graphs_follow_inputs_and_weights() -> None:
    dit = model("cuda")
    plain, replayed = HalfClipVelocity(dit, CHUNKS), GraphedVelocity(HalfClipVelocity(dit, CHUNKS))
    for seed in range(3):
        a, b = (gradients(dit, form, given("cuda", seed)) for form in (plain, replayed))
        assert relative(b[0], a[0]) < 1e-2
        assert relative(b[2], a[2]) < 5e-2
        assert relative(joined(b[1]), joined(a[1])) < 1e-2
        with torch.no_grad():
            for weight in dit.parameters():
                weight.add_(0.05 * torch.randn_like(weight))
